"""The lane: its number of claimed rows and of threads."""

import inspect
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

import bulkreset
from bulkreset.job import PaceConfig
from bulkreset.models import Outcome, Status
from bulkreset.send.lane import (
    BACKLOG_SECONDS,
    MOST_WORKERS,
    UNPACED_BACKLOG,
    UNPACED_RATE,
    Lane,
    Results,
    WorkerCrashed,
)
from bulkreset.send.operations import SetPassword
from bulkreset.send.pacer import Pacer
from tests.send.fakes import POOL, SET, FakeClock, Scripted, row
from tests.send.lanes import rows

PATIENCE = 90.0  # seconds after which a test gives up


class Bench:
    """A lane that never starts its threads by itself."""

    def __init__(self, rate: float | None, max_rate: int = UNPACED_RATE, **pace: Any) -> None:  # noqa: ANN401  (the keys of a pace)
        self.clock = FakeClock()
        self.results = Results()
        self.transport = Scripted(self.clock, [SET])
        self.pacer = Pacer(rate, self.clock)
        operation = SetPassword({POOL: self.transport})
        self.lane = Lane(operation, self.pacer, PaceConfig(**pace), self.clock, self.results, max_rate=max_rate)

    def back(self, latency: float) -> None:
        """Finish one row."""
        self.lane._note_latency(latency)
        self.lane.on_result(Outcome(1, Status.SET))


@pytest.mark.parametrize("rate", [0.1, 1, 24, 300])
def test_lane_claims_half_a_second_of_rows(rate: float) -> None:
    bench = Bench(rate)
    room = bench.lane.capacity()
    assert max(1, rate * BACKLOG_SECONDS) <= room <= rate * BACKLOG_SECONDS + 1
    bench.lane.in_flight = room
    assert bench.lane.capacity() == 0


def test_lane_claims_rows_in_batches() -> None:
    bench = Bench(None)
    assert bench.lane.capacity() == UNPACED_BACKLOG
    bench.lane.in_flight = UNPACED_BACKLOG // 2 + 1
    assert bench.lane.capacity() == 0
    bench.lane.in_flight = UNPACED_BACKLOG // 2
    assert bench.lane.capacity() == UNPACED_BACKLOG // 2


@pytest.mark.parametrize(("rate", "latency"), [(24, 0.05), (24, 0.5), (24, 3.0), (100, 0.2)])
def test_lane_keeps_the_threads_that_rate_and_latency_ask_for(rate: float, latency: float) -> None:
    bench = Bench(rate)
    bench.back(latency)
    assert rate * latency <= bench.lane._target_workers() <= min(MOST_WORKERS, rate * latency * 1.2 + 2)


@pytest.mark.parametrize("rate", [None, 24, 10_000])
def test_threads_are_bounded(rate: float | None) -> None:
    bench = Bench(rate)
    bench.back(1000.0)
    assert bench.lane._target_workers() == MOST_WORKERS


def test_lane_has_more_threads_and_rows_for_a_faster_transport() -> None:
    slow, fast = Bench(None, max_rate=2000), Bench(None, max_rate=5000)
    assert (slow.lane._target_workers(), fast.lane._target_workers()) == (2, 5)
    assert (slow.lane.capacity(), fast.lane.capacity()) == (200, 500)
    for bench in (slow, fast):
        bench.back(0.02)
    assert (slow.lane._target_workers(), fast.lane._target_workers()) == (40, 100)


def test_latency_of_a_busy_processor_asks_for_no_more_threads() -> None:
    bench = Bench(None, max_rate=5000)
    for _ in range(10):
        bench.back(0.001)
        for _ in range(100):
            bench.back(0.05)
    assert bench.lane._target_workers() == 6  # 5000 x 0.001 x 1.0014 ** 100


def test_job_may_say_how_many_threads() -> None:
    assert Bench(24, workers=3).lane._target_workers() == 3


def test_unused_slots_request_more_threads() -> None:
    bench = Bench(24)
    bench.back(0.1)
    before = bench.lane._target_workers()
    bench.lane._threads.extend([None] * 8)  # type: ignore[list-item]
    bench.lane.in_flight = 20
    assert bench.lane._target_workers() == before
    bench.clock.advance(5)
    assert bench.lane._target_workers() == 10


def test_no_more_threads_than_rows() -> None:
    bench = Bench(None, workers=8)
    bench.lane.ensure_workers()
    assert bench.lane._threads == []
    bench.lane.put(rows(1, 3))
    bench.lane.ensure_workers()
    assert len(bench.lane._threads) == 3
    found = [result for _ in range(3) if (result := bench.results.get(timeout=PATIENCE))]
    assert {result.row for _, result in found if isinstance(result, Outcome)} == {1, 2, 3}
    for lane, came in found:
        lane.on_result(came)
    assert bench.lane.in_flight == 0
    bench.lane.close()


def test_crash_is_raised_and_stops_the_lane() -> None:
    bench = Bench(None, workers=1)
    bench.lane.put([row(1, pool="eu-west-1_Nobody"), row(2)])
    bench.lane.ensure_workers()
    crashed, after = (found[1] for _ in range(2) if (found := bench.results.get(timeout=PATIENCE)))
    assert isinstance(crashed, WorkerCrashed)
    assert isinstance(crashed.error, KeyError)
    assert bench.lane.stop.is_set()
    assert isinstance(after, Outcome)
    assert after.status is Status.READY
    assert bench.transport.sent == []
    bench.lane.close()


def test_no_simple_queue_is_read_with_a_timeout() -> None:
    """If the timeout is over before the waiting begins, it waits forever: seen once in about 10,000 calls."""
    assert not issubclass(Results, SimpleQueue)
    texts = {path: path.read_text() for path in Path(inspect.getfile(bulkreset)).parent.rglob("*.py")}
    assert [path for path, text in texts.items() if "get(timeout" in text and "SimpleQueue(" in text] == []
    assert any("get(timeout" in text for text in texts.values())
