"""Every target takes its corpus, and what is near to it; no fuzzer is needed for that."""

import pytest

from tests.fuzz.replay import CORPUS, TARGETS, corpus, mutations, target

# As many as take about half a second of processor time.
MUTATIONS = {"answer": 120, "csv_input": 120, "job_file": 200, "journal": 25, "parquet_input": 25, "policy": 15}


# Sockets of answers that urllib3 gives up on are closed when they are collected.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)  # a child of it reads Parquet
@pytest.mark.process  # one of the targets reads in a child
@pytest.mark.parametrize("name", TARGETS)
def test_corpus_and_what_is_near_to_it(name: str) -> None:
    take = target(name)
    for data in (*corpus(name), *mutations(name, MUTATIONS.get(name, 60))):
        take(data)


def test_every_target_has_a_corpus() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert all(map(corpus, TARGETS))
