"""The coordinator: nothing leaves unclaimed, everything that left is recorded, and a stop is a stop."""

from collections.abc import Iterator
from threading import Event, Thread

import pytest

from bulkreset.cognito.answer import Answer
from bulkreset.dispatch.lane import UNPACED_BACKLOG
from bulkreset.errors import GuardTripped, Interrupted, RecordError, ServiceError, Stopped
from bulkreset.rows import Row, Status
from tests.dispatch.fakes import DOUBTFUL, EXPIRED, FATAL, REFUSED, SET
from tests.dispatch.lanes import Bench, rows


def settled_once(bench: Bench, last: int) -> None:
    """Every row was sent once, after its claim, and is in the ledger and with the observer."""
    assert sorted(bench.service.received) == list(range(1, last + 1))
    assert bench.service.unclaimed == []
    assert bench.ledger.claimed == set(range(1, last + 1))
    assert sorted(bench.ledger.outcomes) == list(range(1, last + 1))
    assert sorted(outcome.row for outcome in bench.observed) == list(range(1, last + 1))
    assert bench.threads_ended


@pytest.mark.parametrize("count", [0, 1, 2, 127, 1000, 3000])
def test_every_row_is_claimed_sent_and_recorded_once(count: int) -> None:
    bench = Bench()
    bench.run(rows(1, count))
    settled_once(bench, count)
    assert set(bench.ledger.statuses().values()) <= {"set"}


def test_several_lanes_run_side_by_side() -> None:
    bench = Bench()
    bench.run(rows(1, 400), rows(401, 403), [], rows(404, 1200))
    settled_once(bench, 1200)


def test_nobody_to_feed_is_nothing_to_do() -> None:
    bench = Bench()
    bench.run()
    assert bench.ledger.commits == 0


def test_each_outcome_is_what_the_service_answered() -> None:
    answers = {1: REFUSED, 2: SET, 3: DOUBTFUL}
    bench = Bench(lambda number: answers[number])
    bench.run(rows(1, 3))
    assert bench.ledger.statuses() == {1: "failed", 2: "set", 3: "in_doubt"}
    assert bench.observed_statuses() == {1: Status.FAILED, 2: Status.SET, 3: Status.IN_DOUBT}


def test_rows_are_taken_only_as_they_can_be_sent() -> None:
    bench = Bench()
    most = 0

    def counted() -> Iterator[Row]:
        nonlocal most
        for given in rows(1, 2000):
            most = max(most, given.number - len(bench.ledger.outcomes))
            yield given

    bench.run(counted())
    settled_once(bench, 2000)
    assert most <= 2 * (UNPACED_BACKLOG + 4) + 1


def test_claims_are_committed_in_lots() -> None:
    bench = Bench()
    bench.run(rows(1, 2000))
    assert bench.ledger.commits < 500


@pytest.mark.parametrize("fail_at", [1, 2, 3, 5])
def test_journal_that_cannot_be_written_stops_everything(fail_at: int) -> None:
    bench = Bench(fail_at=fail_at)
    with pytest.raises(RecordError, match="disk is full"):
        bench.run(rows(1, 50_000))
    assert bench.threads_ended
    assert bench.service.unclaimed == []
    assert set(bench.service.received) <= bench.ledger.claimed
    assert len(bench.ledger.claimed) <= (fail_at - 1) * (UNPACED_BACKLOG + 4)


@pytest.mark.parametrize("answer", [FATAL, EXPIRED])
def test_answer_that_forbids_going_on_stops_the_run(answer: Answer) -> None:
    bench = Bench(lambda number: answer if number == 300 else SET)
    with pytest.raises(ServiceError) as caught:
        bench.run(rows(1, 50_000))
    assert caught.value.code == answer.code
    assert answer.code in caught.value.message
    assert caught.value.advice
    assert len(bench.ledger.claimed) < 1000
    # What was claimed is settled, or given back.
    assert set(bench.ledger.outcomes) == bench.ledger.claimed
    given_back = {number for number, status in bench.ledger.statuses().items() if status == "ready"}
    assert 300 in given_back
    assert bench.ledger.claimed - given_back == set(bench.service.received) - {300}
    assert bench.threads_ended


def test_fatal_answer_in_one_lane_stops_that_lane() -> None:
    bench = Bench(lambda number: FATAL if number == 1 else SET)
    with pytest.raises(ServiceError):
        bench.run(rows(1, 20_000), rows(20_001, 20_010))
    assert len([number for number in bench.service.received if number <= 20_000]) < 1000
    assert set(bench.ledger.outcomes) == bench.ledger.claimed


@pytest.mark.parametrize("error", [Interrupted("Interrupted."), GuardTripped("Enough.")])
def test_stop_is_obeyed_and_what_is_in_flight_is_recorded(error: Exception) -> None:
    bench = Bench()

    def check() -> None:
        if len(bench.ledger.outcomes) > 300:
            raise error

    with pytest.raises(type(error)):
        bench.run(rows(1, 50_000), check=check)
    assert bench.threads_ended
    assert len(bench.ledger.claimed) < 2000
    assert set(bench.ledger.outcomes) == bench.ledger.claimed
    sent = set(bench.service.received)
    assert {number for number, status in bench.ledger.statuses().items() if status == "set"} == sent


def test_call_in_flight_is_waited_for() -> None:
    leaving, go_on = Event(), Event()

    def answer(_number: int) -> Answer:
        leaving.set()
        assert go_on.wait(10)
        return SET

    bench = Bench(answer, workers=1)

    def check() -> None:
        if leaving.is_set():
            go_on.set()
            raise Interrupted("Interrupted.")

    with pytest.raises(Interrupted):
        bench.run(rows(1, 5), check=check)
    assert bench.ledger.outcomes[1].status is Status.SET
    assert set(bench.ledger.outcomes) == {1, 2, 3, 4, 5}


def test_bug_in_a_worker_is_raised_and_its_row_left_in_doubt() -> None:
    def answer(number: int) -> Answer:
        if number == 200:
            raise ZeroDivisionError
        return SET

    bench = Bench(answer)
    with pytest.raises(ZeroDivisionError):
        bench.run(rows(1, 50_000))
    assert bench.threads_ended
    assert bench.ledger.claimed - set(bench.ledger.outcomes) == {200}
    assert len(bench.service.received) < 1000


def test_input_that_breaks_off_sends_nothing_more() -> None:
    bench = Bench()

    def broken() -> Iterator[Row]:
        yield from rows(1, 500)
        raise GuardTripped("The file has changed.")

    with pytest.raises(GuardTripped, match="changed"):
        bench.run(broken())
    assert bench.threads_ended
    assert set(bench.ledger.outcomes) == bench.ledger.claimed
    assert set(bench.service.received) <= bench.ledger.claimed


def only_threads(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The system lets so many threads be started."""
    start, started = Thread.start, iter(range(count))

    def limited(thread: Thread) -> None:
        if next(started, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(Thread, "start", limited)


def test_fewer_threads_than_wanted_send_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(workers=4)
    only_threads(monkeypatch, 2)
    bench.run(rows(1, 50))
    settled_once(bench, 50)


def test_without_a_thread_the_rows_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(workers=4)
    only_threads(monkeypatch, 0)
    with pytest.raises(Stopped, match="no thread"):
        bench.run(rows(1, 50))
    assert bench.service.received == []
    assert bench.ledger.statuses() == dict.fromkeys(range(1, 51), "ready")


def test_outcome_waits_for_no_full_group() -> None:
    """While one call hangs, the outcomes of the others are committed."""
    committed, bench = Event(), Bench(workers=4)

    def answer(number: int) -> Answer:
        if number == 1:
            assert committed.wait(10)
        return SET

    def check() -> None:
        bench.clock.advance(0.2)
        if len(bench.ledger.outcomes) == 9:
            committed.set()

    bench.service._answer = answer
    bench.run(rows(1, 10), check=check)
    settled_once(bench, 10)
