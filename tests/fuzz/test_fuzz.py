"""Every target accepts its corpus and similar inputs, without a fuzzer."""

import pytest

from tests.fuzz.replay import CORPUS, TARGETS, corpus, mutations, target

# As many as take some tenths of a second of processor time.
MUTATIONS = {"answer": 60, "csv_input": 40, "job_file": 100, "journal": 8, "parquet_input": 8, "policy": 10}
LONGER = 25  # times as many of them, in `make soak`; `make fuzz` looks for as long as it is told to


# Sockets of answers that urllib3 gives up on are closed when they are collected.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)  # a child of it reads Parquet
@pytest.mark.process  # one of the targets reads in a child
@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("times", [1, pytest.param(LONGER, marks=pytest.mark.soak)])
def test_corpus_and_similar_inputs(name: str, times: int) -> None:
    take = target(name)
    for data in (*corpus(name), *mutations(name, times * MUTATIONS.get(name, 30))):
        take(data)


def test_every_target_has_a_corpus() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert all(map(corpus, TARGETS))
