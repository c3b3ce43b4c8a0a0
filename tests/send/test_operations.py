"""The sign-out operation: the result of every sequence of answers, with the worker that also sends passwords."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.causes import advice_for
from bulkreset.cognito.response import Disposition, Response
from bulkreset.job import PaceConfig
from bulkreset.models import Status, StepOutcome, StepTask
from bulkreset.send.operations import AttemptState, SetPassword, TakeStep
from bulkreset.send.pacer import Pacer
from bulkreset.send.worker import Worker
from bulkreset.steps import SIGN_OUT
from tests.send.fakes import (
    DOUBTFUL,
    EXPIRED,
    FATAL,
    HISTORY,
    POOL,
    REFUSED,
    SET,
    THROTTLED,
    UNSENT,
    FakeClock,
    Scripted,
    row,
)
from tests.send.lanes import outcome_of

MAYBE = "; an answer was lost, so the user may be signed out"


class SignOutScript(Scripted):
    """The script, for sign-outs."""

    def call(self, operation: str, parameters: Mapping[str, Any], read: object = None) -> Response:  # noqa: ARG002
        return self.answer((operation, parameters))


class Bench:
    """A worker that signs out."""

    def __init__(self, *answers: Response, attempts: int = 3) -> None:
        clock, self.stop = FakeClock(), threading.Event()
        self.transport = SignOutScript(clock, answers)
        pace = PaceConfig(max_attempts=attempts, max_wait=2.0)
        self.worker = Worker(TakeStep(SIGN_OUT, {POOL: self.transport}), Pacer(20, clock), pace, clock, self.stop)

    def send(self) -> StepOutcome:
        task = StepTask(1, "user1", POOL)
        outcome = outcome_of(self.worker.send(task))
        assert isinstance(outcome, StepOutcome)
        assert outcome.row == task.number
        sent = ("AdminUserGlobalSignOut", {"UserPoolId": POOL, "Username": "user1"})
        assert self.transport.meant == [sent] * outcome.attempts
        return outcome


@pytest.mark.parametrize(
    ("answers", "done", "code", "attempts", "throttled"),
    [
        ([SET], True, "", 1, 0),
        ([THROTTLED, THROTTLED, SET], True, "", 3, 2),
        ([DOUBTFUL, SET], True, "", 2, 0),
        ([UNSENT, SET], True, "", 2, 0),
        ([REFUSED], False, REFUSED.code, 1, 0),
        ([DOUBTFUL, REFUSED], False, REFUSED.code, 2, 0),
        ([HISTORY], False, HISTORY.code, 1, 0),
        ([THROTTLED], False, THROTTLED.code, 3, 3),
        ([DOUBTFUL], False, DOUBTFUL.code, 3, 0),
        ([UNSENT], False, UNSENT.code, 3, 0),
        ([FATAL], None, "", 1, 0),
        ([THROTTLED, EXPIRED], None, "", 2, 1),
    ],
)
def test_outcome_of_a_sign_out(
    answers: list[Response],
    code: str,
    attempts: int,
    throttled: int,
    *,
    done: bool | None,
) -> None:
    bench = Bench(*answers)
    outcome = bench.send()
    assert (outcome.done, outcome.code, outcome.attempts, outcome.throttled) == (done, code, attempts, throttled)
    assert ("the password was set; only the sign-out failed" in outcome.message) is (done is False)
    assert bench.stop.is_set() is (done is None)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (REFUSED, "the password was set; only the sign-out failed: User does not exist."),
        (THROTTLED, "the password was set; only the sign-out failed after 3 attempts: slow down"),
        (Response(Disposition.REFUSED, "Code"), "the password was set; only the sign-out failed"),
        (
            Response(Disposition.AMBIGUOUS, "Code"),
            "the password was set; only the sign-out failed after 3 attempts" + MAYBE,
        ),
    ],
)
def test_failed_sign_out_gives_its_error_and_number_of_attempts(answer: Response, message: str) -> None:
    assert Bench(answer).send().message == message


def test_refused_sign_out_says_that_an_earlier_one_may_have_been_made() -> None:
    failed = "the password was set; only the sign-out failed: User does not exist"
    assert Bench(DOUBTFUL, REFUSED).send().message == failed + MAYBE


def test_stop_before_sending_returns_the_row() -> None:
    bench = Bench(SET)
    bench.stop.set()
    assert bench.send() == StepOutcome("sign_out", 1, done=None)


@given(answers=st.lists(st.sampled_from([SET, THROTTLED, DOUBTFUL, UNSENT, REFUSED, FATAL]), min_size=1, max_size=6))
def test_every_sequence_of_answers_is_reported_correctly(answers: list[Response]) -> None:
    bench = Bench(*answers, attempts=4)
    outcome = bench.send()
    last = [*answers, *[answers[-1]] * 4][outcome.attempts - 1]
    assert outcome.done is {Disposition.DONE: True, Disposition.FATAL: None}.get(last.disposition, False)


def test_advice_names_the_call_that_was_denied() -> None:
    assert "cognito-idp:AdminSetUserPassword on" in advice_for("AccessDeniedException", SetPassword.call)
    assert "cognito-idp:AdminUserGlobalSignOut on" in advice_for("AccessDenied", SIGN_OUT.call)


def test_operation_of_a_step_names_its_call_and_the_step() -> None:
    operation = TakeStep(SIGN_OUT, {})
    assert (operation.call, operation.step) == (SIGN_OUT.call, SIGN_OUT)


@pytest.mark.parametrize("doubted", [False, True])
def test_row_that_is_given_up_says_whether_an_earlier_call_may_have_set_it(*, doubted: bool) -> None:
    state = AttemptState(was_in_doubt=doubted, attempts=3, response=THROTTLED)
    outcome = SetPassword({}).settle(row(doubted=doubted), state, 3)
    assert outcome.status is Status.FAILED
    given_up = "given up after 3 attempts: slow down"
    assert outcome.message == (
        f"{given_up}; an earlier call, whose answer was lost, may have set the password" if doubted else given_up
    )


def test_refusal_without_a_message_after_a_lost_answer_says_only_what_may_be() -> None:
    state = AttemptState(was_in_doubt=True, attempts=2, response=Response(Disposition.REFUSED, "Strange"))
    outcome = SetPassword({}).settle(row(doubted=False), state, 3)
    assert outcome.message == "an earlier call, whose answer was lost, may have set the password"


@pytest.mark.parametrize(("doubted", "since"), [(False, 9), (True, 5)])
def test_time_of_a_doubt_counts_only_for_a_row_in_doubt(*, doubted: bool, since: int) -> None:
    what = replace(row(doubted=doubted), doubted_since=5)
    operation = SetPassword({})
    assert operation.begin(what).doubted_since == (5 if doubted else None)
    state = AttemptState(was_in_doubt=doubted, attempts=1, started_at=9, response=SET)
    assert operation.settle(what, state, 3).started_at == since
