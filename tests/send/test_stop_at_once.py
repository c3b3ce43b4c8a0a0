"""A tripped guard: no further call is sent, although rows are claimed and a thread waits for its slot."""

import threading

import pytest

from bulkreset.errors import GuardTripped
from bulkreset.send.coordinator import LaneInput
from tests.send.fakes import REFUSED
from tests.send.lanes import Bench, Given, rows


def test_thread_that_waits_for_its_slot_when_a_guard_trips_sends_nothing() -> None:
    """The third slot comes after the stop."""
    bench = Bench(lambda _number: REFUSED, workers=1)
    lane = bench.lane(5.0)

    def wait(stop: threading.Event, _seconds: float) -> None:
        if len(bench.service.received) == 2:
            assert stop.wait(90)

    asked = []

    def trips(number: int) -> GuardTripped | None:
        asked.append(number)
        return GuardTripped("Enough.") if len(asked) == 2 else None

    bench.clock.on_wait, bench.trips = wait, trips
    with pytest.raises(GuardTripped):
        bench.run_inputs([LaneInput(lane, Given(rows(1, 30)))])
    assert bench.service.received == [1, 2]
    statuses = bench.ledger.statuses()
    assert [statuses[row] for row in (1, 2)] == ["failed", "failed"]
    assert set(statuses) == bench.ledger.claimed
    assert {status for row, status in statuses.items() if row > 2} == {"ready"}
