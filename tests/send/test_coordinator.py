"""The coordinator: no unclaimed row is sent, every sent row is recorded, and stops are obeyed."""

from collections.abc import Callable, Iterable, Iterator
from threading import Event, Thread

import pytest

from bulkreset.cognito.response import Response
from bulkreset.errors import GuardTripped, Interrupted, RecordError, ServiceError, Stopped
from bulkreset.models import Row, Status, StepTask
from bulkreset.send.coordinator import LaneInput
from bulkreset.send.lane import UNPACED_BACKLOG, LaneKey
from tests.send.fakes import DOUBTFUL, EXPIRED, FATAL, POOL, REFUSED, SET
from tests.send.lanes import Bench, Given, rows

PATIENCE = 90.0  # seconds after which a test gives up
WORKERS = 4  # of a lane, unless a test says otherwise
MANY = 3000  # more rows than any stop allows


def held_from(bench: Bench, lane: int, number: int, answer: Callable[[int], Response]) -> Callable[[int], Response]:
    """Answer row `number` and the rows before it; hold the later rows of its lane until that lane is stopped.

    So at most one row per worker is sent after `number`, in any order of the threads.
    """

    def held(sent: int) -> Response:
        if sent > number:
            assert bench.lanes[lane].stop.wait(PATIENCE)
        return answer(sent)

    return held


def settled_once(bench: Bench, last: int) -> None:
    """Check that every row was sent once, after its claim, and that journal and observer have it."""
    assert sorted(bench.service.received) == list(range(1, last + 1))
    assert bench.service.unclaimed == []
    assert bench.ledger.claimed == set(range(1, last + 1))
    assert sorted(bench.ledger.outcomes) == list(range(1, last + 1))
    assert sorted(outcome.row for outcome in bench.observed) == list(range(1, last + 1))
    assert bench.threads_ended


@pytest.mark.parametrize("count", [0, 1, 2, 127, 1000])
def test_every_row_is_claimed_sent_and_recorded_once(count: int) -> None:
    bench = Bench()
    bench.run(rows(1, count))
    settled_once(bench, count)
    assert set(bench.ledger.statuses().values()) <= {"set"}


def test_several_lanes_run_side_by_side() -> None:
    bench = Bench()
    bench.run(rows(1, 400), rows(401, 403), [], rows(404, 1200))
    settled_once(bench, 1200)


def test_no_lane_means_no_work() -> None:
    bench = Bench()
    bench.run()
    assert bench.ledger.commits == 0


def test_each_outcome_agrees_with_the_answer_of_the_service() -> None:
    answers = {1: REFUSED, 2: SET, 3: DOUBTFUL}
    bench = Bench(lambda number: answers[number])
    bench.run(rows(1, 3))
    assert bench.ledger.statuses() == {1: "failed", 2: "set", 3: "in_doubt"}
    assert bench.observed_statuses() == {1: Status.FAILED, 2: Status.SET, 3: Status.IN_DOUBT}


def test_rows_are_claimed_only_as_they_can_be_sent() -> None:
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


def test_claims_are_committed_in_batches() -> None:
    bench = Bench()
    bench.run(rows(1, 2000))
    assert bench.ledger.commits < 500


@pytest.mark.parametrize("fail_at", [1, 2, 3, 5])
def test_journal_that_cannot_be_written_stops_everything(fail_at: int) -> None:
    bench = Bench(fail_at=fail_at)
    with pytest.raises(RecordError, match="disk is full"):
        bench.run(rows(1, MANY))
    assert bench.threads_ended
    assert bench.service.unclaimed == []
    assert set(bench.service.received) <= bench.ledger.claimed
    assert len(bench.ledger.claimed) <= (fail_at - 1) * (UNPACED_BACKLOG + 4)


@pytest.mark.parametrize("insecure_at", [1, 2, 5])
def test_unsecured_claims_are_released_and_no_outcome_is_recorded_twice(insecure_at: int) -> None:
    bench = Bench(insecure_at=insecure_at)
    with pytest.raises(RecordError, match="other disk is full"):
        bench.run(rows(1, MANY))  # the sink itself refuses a row that is settled twice
    assert bench.threads_ended
    assert set(bench.ledger.outcomes) == bench.ledger.claimed
    given_back = {number for number, status in bench.ledger.statuses().items() if status == "ready"}
    assert given_back
    assert not given_back & set(bench.service.received)
    assert bench.ledger.claimed - given_back == set(bench.service.received)


@pytest.mark.parametrize("answer", [FATAL, EXPIRED])
def test_answer_that_forbids_going_on_stops_the_run(answer: Response) -> None:
    bench = Bench()
    bench.service._answer = held_from(bench, 0, 300, lambda number: answer if number == 300 else SET)
    with pytest.raises(ServiceError) as caught:
        bench.run(rows(1, MANY))
    assert caught.value.code == answer.code
    assert answer.code in caught.value.message
    assert caught.value.advice
    assert len(bench.ledger.claimed) <= 300 + UNPACED_BACKLOG + WORKERS
    assert len(bench.service.received) <= 300 + WORKERS
    # Every claimed row is settled or returned.
    assert set(bench.ledger.outcomes) == bench.ledger.claimed
    given_back = {number for number, status in bench.ledger.statuses().items() if status == "ready"}
    assert 300 in given_back
    assert bench.ledger.claimed - given_back == set(bench.service.received) - {300}
    assert bench.threads_ended


def test_fatal_answer_in_one_lane_stops_that_lane() -> None:
    bench = Bench()
    first = held_from(bench, 0, 1, lambda number: FATAL if number == 1 else SET)
    bench.service._answer = lambda number: first(number) if number <= MANY else SET
    with pytest.raises(ServiceError):
        bench.run(rows(1, MANY), rows(MANY + 1, MANY + 10))
    assert len([number for number in bench.service.received if number <= MANY]) <= 1 + WORKERS
    assert set(bench.ledger.outcomes) == bench.ledger.claimed


@pytest.mark.parametrize("error", [Interrupted("Interrupted."), GuardTripped("Enough.")])
def test_stop_is_obeyed_and_calls_in_flight_are_recorded(error: Exception) -> None:
    bench = Bench()

    def check() -> None:
        if len(bench.ledger.outcomes) > 300:
            raise error

    with pytest.raises(type(error)):
        bench.run(rows(1, MANY), check=check)
    assert bench.threads_ended
    assert len(bench.ledger.claimed) < MANY
    assert set(bench.ledger.outcomes) == bench.ledger.claimed
    sent = set(bench.service.received)
    assert {number for number, status in bench.ledger.statuses().items() if status == "set"} == sent


def test_call_in_flight_is_waited_for() -> None:
    leaving, go_on = Event(), Event()

    def answer(_number: int) -> Response:
        leaving.set()
        assert go_on.wait(PATIENCE)
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
    def answer(number: int) -> Response:
        if number == 200:
            raise ZeroDivisionError
        return SET

    bench = Bench()
    bench.service._answer = held_from(bench, 0, 200, answer)
    with pytest.raises(ZeroDivisionError):
        bench.run(rows(1, MANY))
    assert bench.threads_ended
    assert bench.ledger.claimed - set(bench.ledger.outcomes) == {200}
    assert len(bench.service.received) <= 200 + WORKERS


def test_truncated_input_stops_sending() -> None:
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
    """Limit the number of threads that the system starts."""
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


def test_without_a_thread_the_rows_are_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(workers=4)
    only_threads(monkeypatch, 0)
    with pytest.raises(Stopped, match="no thread"):
        bench.run(rows(1, 50))
    assert bench.service.received == []
    assert bench.ledger.statuses() == dict.fromkeys(range(1, 51), "ready")


def test_outcome_waits_for_no_full_group() -> None:
    """While one call hangs, the outcomes of the others are committed."""
    committed, bench = Event(), Bench(workers=4)

    def answer(number: int) -> Response:
        if number == 1:
            assert committed.wait(PATIENCE)
        return SET

    def check() -> None:
        bench.clock.advance(0.2)
        if len(bench.ledger.outcomes) == 9:
            committed.set()

    bench.service._answer = answer
    bench.run(rows(1, 10), check=check)
    settled_once(bench, 10)


# ---- several lanes


def test_fatal_answer_stops_its_lane_only() -> None:
    bench = Bench()
    second = held_from(bench, 1, 1200, lambda number: FATAL if number == 1200 else SET)
    bench.service._answer = lambda number: second(number) if 1000 < number <= 5000 else SET
    with pytest.raises(ServiceError, match="Lane 1: Cognito answered AccessDeniedException"):
        bench.run(rows(1, 300), rows(1001, 5000), rows(5001, 5300))
    assert sum(number <= 1000 or number > 5000 for number in bench.service.received) == 600
    assert len([number for number in bench.service.received if 1000 < number <= 5000]) <= 200 + WORKERS
    assert [source.dropped for source in bench.sources] == [False, True, False]
    assert list(bench.errors) == bench.heard == [1]
    assert set(bench.ledger.outcomes) == bench.ledger.claimed
    assert bench.ledger.statuses()[1200] == "ready"
    assert bench.threads_ended


def test_several_lanes_may_stop_and_the_first_is_reported() -> None:
    bench = Bench(lambda number: FATAL if number in {5, 1005} else SET)
    with pytest.raises(ServiceError) as caught:
        bench.run(rows(1, 1000), rows(1001, 2000), rows(2001, 2300))
    assert set(bench.errors) == {0, 1}
    assert caught.value is next(iter(bench.errors.values()))
    assert sum(number > 2000 for number in bench.service.received) == 300


def both_held(bench: Bench, answer: Callable[[int], Response]) -> Callable[[int], Response]:
    """Hold rows after the fifth of the first lane and the hundredth of the second, until that lane stops."""
    first, second = held_from(bench, 0, 5, answer), held_from(bench, 1, MANY + 100, answer)
    return lambda number: (first if number <= MANY else second)(number)


def test_lanes_that_stop_together() -> None:
    bench = Bench(together=True)
    bench.service._answer = both_held(bench, lambda number: FATAL if number == 5 else SET)
    with pytest.raises(ServiceError, match="Lane 0: "):
        bench.run(rows(1, MANY), rows(MANY + 1, 2 * MANY))
    assert len(bench.service.received) <= 5 + 100 + 2 * WORKERS
    assert set(bench.ledger.outcomes) == bench.ledger.claimed
    assert bench.threads_ended


def test_guard_of_a_lane_stops_that_lane() -> None:
    bench = Bench()
    second = held_from(bench, 1, 1010, lambda _number: REFUSED)
    bench.service._answer = lambda number: second(number) if number > 1000 else SET

    def trips(number: int) -> Stopped | None:
        return GuardTripped("Enough.") if number == 1 else None

    bench.trips = trips
    with pytest.raises(GuardTripped, match=r"Lane 1: Enough\."):
        bench.run(rows(1, 1000), rows(1001, 1000 + MANY))
    assert sum(number <= 1000 for number in bench.service.received) == 1000
    assert sum(number > 1000 for number in bench.service.received) <= 10 + WORKERS
    assert set(bench.ledger.outcomes) == bench.ledger.claimed


def test_bug_in_one_lane_stops_all() -> None:
    def answer(number: int) -> Response:
        if number == 5:
            raise ZeroDivisionError
        return SET

    bench = Bench()
    bench.service._answer = both_held(bench, answer)
    with pytest.raises(ZeroDivisionError):
        bench.run(rows(1, MANY), rows(MANY + 1, 2 * MANY))
    assert len(bench.service.received) <= 5 + 100 + 2 * WORKERS
    assert bench.threads_ended


def test_pending_searches_do_not_delay_other_rows() -> None:
    bench = Bench()
    slow = (None if number % 3 else given for number, given in enumerate(rows(1, 30)))
    bench.run(slow, rows(31, 1000))
    assert sorted(bench.service.received) == [*range(1, 31, 3), *range(31, 1001)]


def test_guard_that_trips_when_all_is_done_stops_nothing() -> None:
    bench = Bench(lambda _number: REFUSED)
    bench.trips = lambda _number: GuardTripped("Enough.") if len(bench.ledger.outcomes) == 4 else None
    bench.run(rows(1, 4))
    assert bench.errors == {}


class SetUsersSource:
    """Sign-outs of the users who are set in the sink."""

    def __init__(self, bench: Bench, lane: int = 0) -> None:
        self.ended = False
        self.dropped = False
        self._bench = bench
        self._lane = lane
        self._seen: set[int] = set()

    def take(self, most: int) -> list[StepTask]:
        done = [number for number, status in self._bench.ledger.statuses().items() if status == "set"]
        found = [number for number in done if number not in self._seen and number // 1000 == self._lane][:most]
        self._seen.update(found)
        self.ended = not found
        return [StepTask(number, f"user{number}", POOL) for number in found]

    def discard_rest(self) -> None:
        self.dropped = True


def with_leaving(bench: Bench, *given: Iterable[Row]) -> list[LaneInput]:
    """Return inputs of passwords and of their sign-outs; the rows of lane n begin with 1000 n."""
    lane_inputs = []
    for number, rows_ in enumerate(given):
        key = LaneKey(number, f"Lane {number}")
        sets = LaneInput(bench.lane(key=key), Given(rows_))
        lane_inputs += [sets, LaneInput(bench.leaving(key), SetUsersSource(bench, number), after=sets)]
    return lane_inputs


def test_sign_outs_follow_all_recorded_rows() -> None:
    bench = Bench(lambda number: REFUSED if number in {7, -9} else SET)
    bench.run_inputs(with_leaving(bench, rows(1, 400)))
    assert sorted(bench.service.left) == [number for number in range(1, 401) if number != 7]
    assert {number for number, out in bench.ledger.signed_out.items() if out.done is False} == {9}
    assert len(bench.ledger.signed_out) == 399
    assert bench.ledger.claimed == set(range(1, 401))
    assert bench.threads_ended


def test_fatal_sign_out_stops_the_passwords_of_its_lane_only() -> None:
    bench = Bench(lambda number: FATAL if number == -1010 else SET)
    with pytest.raises(ServiceError, match="Lane 1: ") as caught:
        bench.run_inputs(with_leaving(bench, rows(1, 300), rows(1000, 1999)))
    assert "AdminUserGlobalSignOut" in caught.value.advice
    assert sum(number < 1000 for number in bench.service.left) == 300
    assert set(bench.ledger.outcomes) == bench.ledger.claimed
    assert bench.ledger.signed_out[1010].done is None
    assert bench.threads_ended


def test_sign_outs_follow_rows_that_were_all_taken_at_once() -> None:
    bench = Bench()
    bench.run_inputs(with_leaving(bench, rows(1, 20)))
    assert sorted(bench.service.left) == list(range(1, 21))
