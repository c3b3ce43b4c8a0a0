"""The latency of a lane: the fastest answer, which decays slowly."""

from tests.send.test_lane import Bench

QUICK, SLOW = 0.01, 0.5  # seconds


def back(bench: Bench, latency: float, times: int) -> None:
    for _ in range(times):
        bench.back(latency)


def test_quickest_answer_is_forgotten_by_a_hundredth_with_each_slower_one() -> None:
    """For a transport with 700 calls per second; for another one, in proportion."""
    bench = Bench(1000)
    back(bench, QUICK, 1)
    assert bench.lane._target_workers() == 13
    back(bench, SLOW, 100)
    assert bench.lane._target_workers() == 34  # 1000 x 0.01 x 1.01 ** 100 x 1.2, and one
    back(bench, QUICK, 1)
    assert bench.lane._target_workers() == 13, "one quick answer is enough"


def test_service_that_has_become_slow_for_good_gets_its_threads() -> None:
    bench = Bench(100)
    back(bench, QUICK, 1)
    back(bench, SLOW, 400)
    assert bench.lane._target_workers() == 61


def test_faster_transport_forgets_as_slowly_in_time() -> None:
    bench = Bench(1000, max_rate=7000)
    back(bench, QUICK, 1)
    back(bench, SLOW, 1000)
    assert bench.lane._target_workers() == 34
