"""The worker: the result of every sequence of answers for a row, and one slot for each attempt."""

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.cognito.response import Disposition, Response
from bulkreset.errors import Stopped
from bulkreset.job import PaceConfig
from bulkreset.models import Outcome, Row, Status
from bulkreset.send.lost_answer_evidence import ListedEvidence
from bulkreset.send.operations import LaneFailed, SetPassword
from bulkreset.send.pacer import Pacer
from bulkreset.send.rate_control import BACKOFF, UNMEASURED_SHARE
from bulkreset.send.worker import Worker
from bulkreset.send_permit import WithheldError, require_departure
from tests.send.fakes import (
    DOUBTFUL,
    EXPIRED,
    FATAL,
    HISTORY,
    REFUSED,
    SET,
    THROTTLED,
    UNSENT,
    FakeClock,
    Scripted,
    row,
)
from tests.send.lanes import outcome_of


class Bench:
    """A worker with its clock, its stop and its scripted service."""

    def __init__(
        self,
        *answers: Response,
        attempts: int = 4,
        rate: float | None = 50,
        seconds: float = 0.0,
        evidence: "FixedEvidence | None" = None,
    ) -> None:
        self.clock = FakeClock()
        self.stop = threading.Event()
        self.transport = Scripted(self.clock, answers, seconds)
        self.pacer = Pacer(rate, self.clock)
        pace = PaceConfig(max_attempts=attempts, max_wait=2.0)
        operation = SetPassword(defaultdict(lambda: self.transport), cast("ListedEvidence | None", evidence))
        self.worker = Worker(operation, self.pacer, pace, self.clock, self.stop)

    def send(self, *, doubted: bool = False, revived: bool = False) -> "Sent":
        """Send one row; check that its result contains no password."""
        what = row(doubted=doubted, revived=revived)
        settled = self.worker.send(what)
        assert "Hidden" not in repr(settled)
        outcome, fatal = (settled.outcome, settled.error) if isinstance(settled, LaneFailed) else (settled, None)
        assert isinstance(outcome, Outcome)
        assert self.transport.meant == [what] * outcome.attempts
        assert not isinstance(fatal, Stopped)
        return Sent(outcome, self.worker.latency, fatal)


@dataclass(frozen=True)
class Sent:
    """The worker's result for a row; here an Outcome."""

    outcome: Outcome
    latency: float | None
    fatal: Response | None


MAY_BE_SET = "used before; an earlier call, whose answer was lost, may have set the password"


class FixedEvidence:
    """Evidence with one answer, and the times for which it was asked."""

    def __init__(self, missing: str = "") -> None:
        self._missing = missing
        self.asked: list[int | None] = []

    def missing(self, row: Row, since: int | None) -> str:
        assert row.number == 1
        self.asked.append(since)
        return self._missing


# The answers; then status, code, attempts, throttled, in doubt, and a part of the message.
OUTCOMES = [
    ([SET], Status.SET, "", 1, 0, False, ""),
    ([THROTTLED, SET], Status.SET, "", 2, 1, False, ""),
    ([THROTTLED, THROTTLED, THROTTLED, SET], Status.SET, "", 4, 3, False, ""),
    ([UNSENT, SET], Status.SET, "", 2, 0, False, ""),
    ([DOUBTFUL, SET], Status.SET, "", 2, 0, True, ""),
    ([DOUBTFUL, THROTTLED, SET], Status.SET, "", 3, 1, True, ""),
    ([DOUBTFUL, HISTORY], Status.IN_DOUBT, HISTORY.code, 2, 0, True, MAY_BE_SET),
    ([DOUBTFUL, THROTTLED, HISTORY], Status.IN_DOUBT, HISTORY.code, 3, 1, True, MAY_BE_SET),
    ([HISTORY], Status.FAILED, HISTORY.code, 1, 0, False, "used before"),
    ([THROTTLED, HISTORY], Status.FAILED, HISTORY.code, 2, 1, False, "used before"),
    ([UNSENT, HISTORY], Status.FAILED, HISTORY.code, 2, 0, False, "used before"),
    ([REFUSED], Status.FAILED, REFUSED.code, 1, 0, False, "User does not exist."),
    ([THROTTLED, REFUSED], Status.FAILED, REFUSED.code, 2, 1, False, "User does not exist."),
    ([DOUBTFUL, REFUSED], Status.FAILED, REFUSED.code, 2, 0, True, "User does not exist; an earlier call"),
    ([FATAL], Status.READY, "", 1, 0, False, ""),
    ([THROTTLED, FATAL], Status.READY, "", 2, 1, False, ""),
    ([EXPIRED], Status.READY, "", 1, 0, False, ""),
    ([DOUBTFUL, FATAL], Status.IN_DOUBT, FATAL.code, 2, 0, True, "not authorized"),
    ([DOUBTFUL, EXPIRED], Status.IN_DOUBT, EXPIRED.code, 2, 0, True, "expired"),
    ([UNSENT], Status.FAILED, UNSENT.code, 4, 0, False, "given up after 4 attempts: no connection could be made"),
    ([THROTTLED], Status.FAILED, THROTTLED.code, 4, 4, False, "given up after 4 attempts: slow down"),
    ([DOUBTFUL], Status.IN_DOUBT, DOUBTFUL.code, 4, 0, True, "the answer was lost"),
    ([DOUBTFUL, THROTTLED], Status.IN_DOUBT, THROTTLED.code, 4, 3, True, "slow down"),
    ([DOUBTFUL, UNSENT], Status.IN_DOUBT, UNSENT.code, 4, 0, True, "no connection"),
]


@pytest.mark.parametrize(("answers", "status", "code", "attempts", "throttled", "in_doubt", "message"), OUTCOMES)
def test_outcome_of_a_row(
    answers: list[Response],
    status: Status,
    code: str,
    attempts: int,
    throttled: int,
    message: str,
    *,
    in_doubt: bool,
) -> None:
    bench = Bench(*answers)
    settled = bench.send()
    outcome = settled.outcome
    assert (outcome.status, outcome.code, outcome.attempts, outcome.throttled) == (status, code, attempts, throttled)
    assert outcome.in_doubt is in_doubt
    assert message in outcome.message
    assert bool(outcome.message) is bool(message)
    fatal = answers[-1] in (FATAL, EXPIRED)
    assert settled.fatal is (answers[-1] if fatal else None)
    assert bench.stop.is_set() is fatal


def test_row_is_set_only_if_there_is_evidence_that_the_lost_call_set_it() -> None:
    found = FixedEvidence()
    before = time.time_ns() // 1_000_000
    outcome = Bench(THROTTLED, DOUBTFUL, HISTORY, evidence=found).send().outcome
    assert (outcome.status, outcome.code, outcome.in_doubt) == (Status.SET, "", True)
    assert outcome.message == "set by an earlier call whose answer was lost: the user was changed after that call began"
    (since,) = found.asked
    assert since is not None
    assert before <= since <= (outcome.finished_at or 0)


@pytest.mark.parametrize("revived", [False, True])
def test_row_without_evidence_stays_in_doubt_and_says_why(revived: bool) -> None:  # noqa: FBT001
    bench = Bench(HISTORY, evidence=FixedEvidence("nobody knows"))
    outcome = bench.send(doubted=True, revived=revived).outcome
    assert (outcome.status, outcome.code, outcome.in_doubt) == (Status.IN_DOUBT, HISTORY.code, True)
    assert outcome.message == f"{MAY_BE_SET}, but nobody knows"


def test_generated_password_is_never_looked_up() -> None:
    outcome = Bench(DOUBTFUL, HISTORY).send().outcome
    assert (outcome.status, outcome.message) == (
        Status.IN_DOUBT,
        f"{MAY_BE_SET}, but a generated password is not looked up",
    )


@pytest.mark.parametrize("answers", [[HISTORY], [THROTTLED, HISTORY], [DOUBTFUL, SET], [DOUBTFUL, REFUSED], [DOUBTFUL]])
def test_user_is_looked_up_only_for_a_history_refusal_after_a_lost_answer(answers: list[Response]) -> None:
    found = FixedEvidence()
    Bench(*answers, evidence=found).send()
    assert found.asked == []


def test_evidence_counts_from_the_earlier_execution_whose_answer_was_lost() -> None:
    found = FixedEvidence()
    bench = Bench(DOUBTFUL, HISTORY, evidence=found)
    outcome = outcome_of(bench.worker.send(replace(row(doubted=True), doubted_since=1000)))
    assert found.asked == [1000]
    assert isinstance(outcome, Outcome)
    assert outcome.started_at == 1000


def test_refusal_after_a_lost_answer_says_that_the_lost_call_may_have_set_it() -> None:
    outcome = Bench(DOUBTFUL, REFUSED).send().outcome
    assert outcome.status is Status.FAILED
    assert outcome.message == "User does not exist; an earlier call, whose answer was lost, may have set the password"


@pytest.mark.parametrize(
    ("answers", "status", "message"),
    [
        ([SET], Status.SET, ""),
        ([HISTORY], Status.IN_DOUBT, MAY_BE_SET),
        ([REFUSED], Status.FAILED, "User does not exist; an earlier call"),
        ([FATAL], Status.IN_DOUBT, "not authorized"),
        ([THROTTLED], Status.IN_DOUBT, "slow down"),
        ([UNSENT], Status.IN_DOUBT, "no connection"),
    ],
)
def test_row_that_was_in_doubt_before_stays_so(answers: list[Response], status: Status, message: str) -> None:
    outcome = Bench(*answers).send(doubted=True).outcome
    assert (outcome.status, outcome.in_doubt) == (status, True)
    assert message in outcome.message


def test_row_in_doubt_that_never_leaves_stays_in_doubt() -> None:
    bench = Bench(SET)
    bench.stop.set()
    outcome = bench.send(doubted=True).outcome
    assert (outcome.status, outcome.attempts, outcome.in_doubt) == (Status.IN_DOUBT, 0, True)
    assert (outcome.code, outcome.message) == ("", "")


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ([], Status.READY),
        ([FATAL], Status.READY),
        ([HISTORY], Status.IN_DOUBT),
        ([REFUSED], Status.FAILED),
        ([DOUBTFUL, FATAL], Status.IN_DOUBT),
    ],
)
def test_row_that_failed_after_a_lost_answer_is_in_doubt_only_if_another_is_lost_or_the_history_refuses_it(
    answers: list[Response], status: Status
) -> None:
    bench = Bench(*(answers or [SET]), attempts=2)
    if not answers:
        bench.stop.set()
    outcome = bench.send(doubted=True, revived=True).outcome
    assert (outcome.status, outcome.in_doubt) == (status, True)


def test_unsent_row_is_returned_unchanged() -> None:
    bench = Bench(SET)
    bench.stop.set()
    settled = bench.send()
    assert settled.outcome == type(settled.outcome)(1, Status.READY)
    assert (settled.latency, settled.fatal) == (None, None)


@pytest.mark.parametrize(("answer", "status"), [(THROTTLED, "ready"), (UNSENT, "ready"), (DOUBTFUL, "in_doubt")])
def test_stop_during_the_backoff_gives_the_row_back(answer: Response, status: str) -> None:
    bench = Bench(answer, attempts=100)
    stopped: list[float] = []

    def stop(_stop: threading.Event, _seconds: float) -> None:
        if len(bench.transport.sent) == 2:
            stopped.append(bench.clock.now())
            bench.stop.set()

    bench.clock.on_wait = stop
    outcome = bench.send().outcome
    assert (outcome.status, outcome.attempts, outcome.in_doubt) == (status, 2, answer is DOUBTFUL)
    assert stopped == [bench.clock.now()], "it waited longer"


def test_next_attempt_of_a_row_is_known_while_the_row_is_retried() -> None:
    bench = Bench(THROTTLED, DOUBTFUL, SET)
    known: list[int] = [bench.worker.retrying]
    bench.clock.on_wait = lambda _stop, _seconds: known.append(bench.worker.retrying)
    bench.send()
    assert [*dict.fromkeys(known)] == [0, 2, 3]
    assert bench.worker.retrying == 0


ALL = st.sampled_from([SET, THROTTLED, DOUBTFUL, UNSENT, REFUSED, HISTORY, FATAL, EXPIRED])


@given(
    answers=st.lists(ALL, min_size=1, max_size=8),
    attempts=st.integers(1, 8),
    doubted=st.booleans(),
    shown=st.booleans(),
)
def test_every_sequence_of_answers_is_reported_correctly(
    answers: list[Response], attempts: int, *, doubted: bool, shown: bool
) -> None:
    bench = Bench(*answers, attempts=attempts, evidence=FixedEvidence("" if shown else "it is not known"))
    settled = bench.send(doubted=doubted)
    outcome = settled.outcome
    seen = [*answers, *[answers[-1]] * attempts][: outcome.attempts]
    last = seen[-1]
    unsettled = {Disposition.THROTTLED, Disposition.AMBIGUOUS, Disposition.NOT_SENT}
    assert 1 <= outcome.attempts <= attempts
    # Nothing is sent after a final answer, and an unsettled row is tried to the end.
    assert all(answer.disposition in unsettled for answer in seen[:-1])
    assert last.disposition not in unsettled or outcome.attempts == attempts
    doubtful = doubted or any(answer.disposition is Disposition.AMBIGUOUS for answer in seen)
    assert outcome.in_doubt is doubtful
    assert outcome.throttled == sum(answer.disposition is Disposition.THROTTLED for answer in seen)
    # `set` needs an answer or evidence that says so; nothing that may have been applied is called ready or unsent.
    assert (outcome.status is Status.SET) == (last is SET or (last is HISTORY and doubtful and shown))
    if doubtful:
        assert outcome.status in {Status.SET, Status.IN_DOUBT} or last.disposition is Disposition.REFUSED
    else:
        assert outcome.status is not Status.IN_DOUBT
    if outcome.status is Status.READY:
        assert last.disposition in {Disposition.FATAL, Disposition.EXPIRED}


@given(
    answers=st.lists(st.sampled_from([THROTTLED, DOUBTFUL, UNSENT]), min_size=1, max_size=9), rate=st.floats(0.5, 100)
)
def test_every_attempt_uses_its_own_slot(answers: list[Response], rate: float) -> None:
    bench = Bench(*answers, SET, attempts=10, rate=rate)
    bench.send()
    sent = bench.transport.sent
    assert len(sent) == len(answers) + 1
    assert all(second - first >= 1 / rate - 1e-9 for first, second in pairwise(sent))


def test_attempts_of_several_rows_share_the_slots() -> None:
    bench = Bench(DOUBTFUL, SET, rate=10)
    for number in range(1, 11):
        bench.worker.send(row(number))
    sent = bench.transport.sent
    assert len(sent) == 11
    assert all(second - first >= 0.1 - 1e-9 for first, second in pairwise(sent))


def test_backoff_stays_within_its_bounds_and_varies() -> None:
    bench = Bench(THROTTLED, attempts=60, rate=None)
    bench.send()
    waits = bench.clock.waited
    assert len(waits) == 59
    assert all(0 <= wait <= 2.0 for wait in waits)
    assert len(set(waits)) > 30


def test_backoff_doubles_from_a_quarter_of_a_second() -> None:
    benches = [Bench(THROTTLED, rate=None) for _ in range(40)]
    for bench in benches:
        bench.send()
    for place, longest in enumerate([0.25, 0.5, 1.0]):
        assert longest / 2 < max(bench.clock.waited[place] for bench in benches) <= longest


def test_throttling_slows_the_lane_and_other_answers_do_not() -> None:
    for answer in (DOUBTFUL, UNSENT, REFUSED, HISTORY, SET):
        bench = Bench(answer)
        bench.send()
        assert bench.pacer.rate() == 50
    slowed = Bench(THROTTLED, SET)
    slowed.send()
    assert (slowed.pacer.rate() or 0) < 50


@pytest.mark.parametrize(
    ("answer", "counts"), [(SET, True), (REFUSED, True), (HISTORY, True), (UNSENT, False), (DOUBTFUL, False)]
)
def test_pace_is_measured_by_the_calls_that_the_service_took(answer: Response, *, counts: bool) -> None:
    bench = Bench(*[answer] * 10, THROTTLED, attempts=1, rate=50, seconds=0.1)
    for _ in range(11):
        bench.worker.send(row())
    unmeasured = 50 * UNMEASURED_SHARE * (1 - BACKOFF)
    assert ((bench.pacer.rate() or 0) < 0.9 * unmeasured) is counts


def test_times_are_of_the_first_start_and_the_last_end() -> None:
    bench = Bench(THROTTLED, SET, seconds=2.25)
    before = int(time.time() * 1000)
    settled = bench.send()
    after, outcome = time.time() * 1000, settled.outcome
    assert outcome.started_at
    assert outcome.finished_at
    assert before <= outcome.started_at <= outcome.finished_at <= after  # Unix milliseconds
    assert isinstance(outcome.finished_at, int)
    assert (settled.latency, outcome.latency_ms) == (2.25, 2250)
    assert outcome.request_id == "r-set"


def test_bug_in_a_transport_is_not_an_outcome() -> None:
    bench = Bench(SET)

    def broken() -> Scripted:
        raise ZeroDivisionError

    worker = Worker(SetPassword(defaultdict(broken)), bench.pacer, PaceConfig(), bench.clock, bench.stop)
    with pytest.raises(ZeroDivisionError):
        worker.send(row())


PAUSED = Response(Disposition.PAUSED, "OperationNotEnabledException", "writes are paused", "r-paused")


def test_row_waits_while_the_pool_takes_no_writes() -> None:
    bench = Bench(PAUSED, PAUSED, SET)
    sent = bench.send()
    assert (sent.outcome.status, sent.outcome.attempts, sent.outcome.in_doubt) == (Status.SET, 3, False)
    assert sent.fatal is None
    assert not bench.stop.is_set()


def test_pool_that_takes_no_writes_for_long_stops_the_lane_and_the_row_can_be_resumed() -> None:
    bench = Bench(*[PAUSED] * 4)
    sent = bench.send()
    assert (sent.outcome.status, sent.outcome.attempts) == (Status.READY, 4)
    assert sent.fatal == PAUSED
    assert bench.stop.is_set()


def test_lost_answer_before_a_pause_leaves_the_row_in_doubt() -> None:
    sent = Bench(DOUBTFUL, *[PAUSED] * 3).send()
    assert (sent.outcome.status, sent.fatal) == (Status.IN_DOUBT, PAUSED)


def test_pause_does_not_stop_a_stopped_lane() -> None:
    bench = Bench(PAUSED)
    answer = bench.transport.answer

    def stopped_meanwhile(what: object) -> Response:
        bench.stop.set()
        return answer(what)

    bench.transport.answer = stopped_meanwhile  # type: ignore[method-assign]
    sent = bench.send()
    assert (sent.outcome.status, sent.outcome.attempts, sent.fatal) == (Status.READY, 1, None)


class Permit:
    """A permit that the test controls."""

    def __init__(self) -> None:
        self.left = 1.0

    def seconds_left(self) -> float:
        """Return what the test has set."""
        return self.left


def permitted(bench: Bench) -> Permit:
    """Let the bench's worker send under a permit."""
    permit = Permit()
    pace = PaceConfig(max_attempts=4, max_wait=2.0)
    bench.worker = Worker(
        SetPassword(defaultdict(lambda: bench.transport)), bench.pacer, pace, bench.clock, bench.stop, permit
    )
    return permit


@pytest.mark.parametrize("rate", [50, None])
def test_row_waits_for_the_permit_and_goes_back_unsent_when_the_lane_stops(rate: float | None) -> None:
    bench = Bench(SET, rate=rate)
    permit = permitted(bench)
    permit.left = 0.0
    bench.clock.on_wait = lambda stop, _seconds: stop.set() if bench.clock.now() > 1005 else None
    settled = bench.send()
    assert settled.outcome == Outcome(1, Status.READY)
    assert bench.transport.sent == []
    assert bench.clock.now() > 1005


def test_row_is_sent_when_the_permit_comes_back() -> None:
    bench = Bench(SET)
    permit = permitted(bench)
    permit.left = -5.0

    def come_back(_stop: threading.Event, _seconds: float) -> None:
        permit.left = 1.0 if bench.clock.now() > 1003 else -5.0

    bench.clock.on_wait = come_back
    assert bench.send().outcome.attempts == 1
    (left,) = bench.transport.sent
    assert 1003 < left < 1004


def test_permit_that_ends_between_two_attempts_forbids_the_second() -> None:
    bench = Bench(THROTTLED, SET)
    permit = permitted(bench)
    answer = bench.transport.answer

    def slept(what: object) -> Response:
        permit.left = 0.0
        return answer(what)

    bench.transport.answer = slept  # type: ignore[method-assign]
    bench.clock.on_wait = lambda stop, _seconds: stop.set() if bench.clock.now() > 1005 else None
    outcome = bench.send().outcome
    assert (outcome.status, outcome.attempts) == (Status.READY, 1)


def test_withheld_call_is_not_an_attempt_and_takes_a_new_slot() -> None:
    withheld = Response(Disposition.WITHHELD, "Withheld")
    bench = Bench(withheld, withheld, SET, attempts=1, rate=10)
    outcome = outcome_of(bench.worker.send(row()))
    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.attempts, outcome.in_doubt) == (Status.SET, 1, False)
    assert all(second - first >= 0.1 - 1e-9 for first, second in pairwise(bench.transport.sent))
    assert len(bench.transport.sent) == 3


def test_call_is_late_at_most_once() -> None:
    """At an endpoint with slow connections, each row is sent by its second slot."""
    bench = Bench(SET, rate=10)
    began: list[float] = []
    left: list[float] = []

    def slow(what: object) -> Response:  # noqa: ARG001  (the name that the transport has)
        began.append(bench.clock.now())
        bench.clock.advance(3.0)
        try:
            require_departure(connected=True)
        except WithheldError:
            return Response(Disposition.WITHHELD)
        left.append(bench.clock.now())
        return SET

    bench.transport.answer = slow  # type: ignore[method-assign]
    for number in range(1, 4):
        assert outcome_of(bench.worker.send(row(number))).attempts == 1
    assert (len(began), len(left)) == (6, 3)
