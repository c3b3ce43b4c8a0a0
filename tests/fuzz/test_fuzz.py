"""Every target accepts its corpus and similar inputs, without a fuzzer."""

import pytest

from tests.fuzz.replay import CORPUS, TARGETS, corpus, mutations, target

# Their number takes some tenths of a second of processor time.
MUTATIONS = {"answer": 60, "csv_input": 40, "job_file": 100, "journal": 8, "parquet_input": 8, "policy": 10}
LONGER = 25  # times as many in `make soak`; `make fuzz` runs for a given time


# Sockets of answers that urllib3 abandons are closed by garbage collection.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # its child reads Parquet
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
