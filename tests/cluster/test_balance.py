"""The balance: every lane has a worker, lanes stay unless a move helps, and loads are similar."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from bulkreset.cluster.balance import WORTHWHILE, assign

WEIGHTS = st.dictionaries(st.integers(0, 40), st.integers(1, 100), max_size=30)
WORKERS = st.lists(st.sampled_from("abcdef"), unique=True, max_size=6)


def loads(weights: Mapping[int, float], found: Mapping[int, str], workers: list[str]) -> dict[str, float]:
    return {worker: sum(weights[group] for group, at in found.items() if at == worker) for worker in workers}


@settings(max_examples=40)
@given(WEIGHTS, WORKERS, st.dictionaries(st.integers(0, 40), st.sampled_from("abcdefgh")))
def test_every_lane_has_a_present_worker_and_no_move_improves_the_balance(
    weights: dict[int, int], workers: list[str], open_lanes: dict[int, str]
) -> None:
    found = assign(weights, open_lanes, workers)
    if not workers:
        assert found == {}
        return
    assert found.keys() == weights.keys()
    assert set(found.values()) <= set(workers)
    assert assign(weights, found, workers) == found, "what is placed stays"
    load = loads(weights, found, workers)
    lightest = min(load.values())
    for group, worker in found.items():
        assert load[worker] <= lightest * WORTHWHILE or lightest + weights[group] >= load[worker]


def test_equal_lanes_are_distributed_evenly_and_a_new_worker_gets_its_share() -> None:
    weights = dict.fromkeys(range(64), 30.0)
    before = assign(weights, {}, ["a", "b", "c"])
    assert sorted(loads(weights, before, ["a", "b", "c"]).values()) == [630, 630, 660]
    after = assign(weights, before, ["a", "b", "c", "d"])
    moved = [group for group in weights if before[group] != after[group]]
    assert 10 <= len(moved) <= 16
    assert {after[group] for group in moved} == {"d"}


def test_only_lanes_of_a_lost_worker_move() -> None:
    weights = dict.fromkeys(range(30), 30.0)
    before = assign(weights, {}, ["a", "b", "c"])
    after = assign(weights, before, ["a", "b"])
    assert all(after[group] == before[group] for group in weights if before[group] != "c")
