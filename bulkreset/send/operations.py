"""Operations: the call for one row (set a password, take a step after it) and how its answers become an outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from bulkreset.cognito.response import FATAL_SET, HISTORY_VIOLATION, Disposition, Response
from bulkreset.cognito.response_parser import UnreadableResponseError
from bulkreset.cognito.transport import StepTransport, Transport
from bulkreset.errors import Stopped
from bulkreset.models import Outcome, Row, Status, StepOutcome, StepTask
from bulkreset.send.lost_answer_evidence import ListedEvidence
from bulkreset.steps import MOST_EMPTY_PAGES, MOST_ITEMS, ONLY, Listing, Step

_ALREADY_SET = "set by an earlier call whose answer was lost: the user was changed after that call began"
TOO_MANY = "MoreLeft"  # the code of a step that has removed its maximum number of items at once
_MAYBE_SET = "an earlier call, whose answer was lost, may have set the password"


@dataclass(slots=True)
class AttemptState:
    """The attempts of one row so far. Times are Unix milliseconds; `latency` is the last attempt's, in seconds.

    `was_in_doubt`: an answer was lost at some time. `outcome_unknown`: since then the row's outcome is not known.
    `doubted_since`: a time before the first call whose answer was lost, None if unknown.
    """

    was_in_doubt: bool = False
    outcome_unknown: bool = False
    doubted_since: int | None = None
    attempts: int = 0
    throttled: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    latency: float | None = None
    response: Response | None = None
    attempts_before: int = 0

    @property
    def tries(self) -> int:
        """Return the attempts of the present call.

        A step with several calls has made `attempts_before` for the others.
        """
        return self.attempts - self.attempts_before


T = TypeVar("T")  # the item of an operation: a Row or a StepTask
T_contra = TypeVar("T_contra", contravariant=True)
OperationResult = Outcome | StepOutcome


@dataclass(frozen=True, slots=True)
class LaneFailed:
    """The outcome of a row, and the answer or lane error because of which its lane must stop."""

    outcome: OperationResult
    error: Response | Stopped


class Operation(Protocol[T_contra]):
    """One kind of call. `needs_claim`: a row must be claimed in the journal before its first attempt is sent.

    `step` is None if the call sets the password.
    """

    call: str
    needs_claim: bool
    step: Step | None

    def begin(self, what: T_contra) -> AttemptState:
        """Return the state before the first attempt."""

    def send(self, what: T_contra) -> Response:
        """Send one attempt and return its response."""

    def settle(self, what: T_contra, state: AttemptState, max_attempts: int) -> OperationResult:
        """Return the outcome after the last attempt. Without an attempt, the row counts as returned unsent."""


class SetPassword:
    """AdminSetUserPassword, with one transport per user pool. A lost answer leaves the row in doubt.

    If the password history refuses a call after a lost answer, the lost call may have set the password or not: the
    refusal is the same. `evidence` decides; without it the row stays in doubt.
    """

    call = "AdminSetUserPassword"
    needs_claim = True
    step: Step | None = None

    def __init__(self, transports: Mapping[str, Transport], evidence: ListedEvidence | None = None) -> None:
        self._transports = transports
        self._evidence = evidence

    def begin(self, what: Row) -> AttemptState:
        """Return a new state, already in doubt if an earlier answer was lost."""
        return AttemptState(
            was_in_doubt=what.was_in_doubt,
            outcome_unknown=what.was_in_doubt and not what.retrying_failed,
            doubted_since=what.doubted_since if what.was_in_doubt else None,
        )

    def send(self, what: Row) -> Response:
        """Send one attempt and return its response."""
        return self._transports[what.pool].set_password(what)

    def settle(self, what: Row, state: AttemptState, max_attempts: int) -> Outcome:
        """Return the row's outcome. May look its user up, which takes a few seconds at most."""
        status, message = self._status(what, state, max_attempts)
        answer = state.response or Response(Disposition.NOT_SENT)
        given_back = status is Status.READY
        return Outcome(
            row=what.number,
            status=status,
            code="" if given_back or status is Status.SET else answer.code,
            message=message,
            attempts=state.attempts,
            throttled=state.throttled,
            in_doubt=state.was_in_doubt,
            latency_ms=None if state.latency is None else round(state.latency * 1000),
            request_id=answer.request_id,
            started_at=what.doubted_since or state.started_at if what.was_in_doubt else state.started_at,
            finished_at=state.finished_at,
        )

    def _status(self, what: Row, state: AttemptState, max_attempts: int) -> tuple[Status, str]:
        """Return the row's status after its last attempt, and the message for it."""
        answer = state.response
        if answer is not None:
            if answer.disposition is Disposition.DONE:
                return Status.SET, ""
            if answer.disposition is Disposition.REFUSED:
                if answer.code == HISTORY_VIOLATION and state.was_in_doubt:
                    return self._by_evidence(what, state, answer)
                return Status.FAILED, _with_doubt(answer.message) if state.was_in_doubt else answer.message
        if state.outcome_unknown:
            return Status.IN_DOUBT, answer.message if answer else ""
        if answer is None or answer.disposition in FATAL_SET or state.attempts < max_attempts:
            return Status.READY, ""
        given_up = f"given up after {state.attempts} attempts: {answer.message}"
        return Status.FAILED, _with_doubt(given_up) if state.was_in_doubt else given_up

    def _by_evidence(self, what: Row, state: AttemptState, answer: Response) -> tuple[Status, str]:
        """Return `set` if the user was changed after the call whose answer was lost, else `in_doubt` and why."""
        if self._evidence is None:
            missing = "a generated password is not looked up"
        else:
            missing = self._evidence.missing(what, state.doubted_since)
        if not missing:
            return Status.SET, _ALREADY_SET
        return Status.IN_DOUBT, f"{_with_doubt(answer.message)}, but {missing}"


def _with_doubt(message: str) -> str:
    """Return the message of a refusal that says nothing about an earlier call with a lost answer."""
    return f"{message.removesuffix('.')}; {_MAYBE_SET}" if message else _MAYBE_SET


def _note(what: StepTask, listing: Listing, answer: Mapping[str, Any]) -> None:
    """Record the items of one page. Raises UnreadableResponseError if it is malformed, or if the list has no end."""
    items, token = answer.get(listing.items) or [], answer.get(listing.token) or ""
    if not isinstance(items, list) or not isinstance(token, str):
        raise UnreadableResponseError
    if token and token == what.token:  # it would list its own page for ever
        raise UnreadableResponseError
    keys: list[Any] = [item.get(listing.key) if isinstance(item, Mapping) else None for item in items]
    if not all(isinstance(key, str) for key in keys):
        raise UnreadableResponseError
    if token and not items and what.empty == MOST_EMPTY_PAGES:
        raise UnreadableResponseError
    what.empty += not items
    what.found += keys
    what.token = token
    what.is_listed = not token or len(what.found) >= MOST_ITEMS


class TakeStep:
    """A step after the password was set, with one transport per user pool. A lost answer is retried: repeating is safe.

    A step with several calls for a user is settled as a whole, when the last one is answered.
    """

    needs_claim = False

    def __init__(self, step: Step, transports: Mapping[str, StepTransport]) -> None:
        self.call = step.call
        self.step: Step | None = step
        self._step = step
        self._transports = transports

    def begin(self, what: StepTask) -> AttemptState:  # noqa: ARG002  (same signature as SetPassword)
        """Return an empty state: earlier attempts do not matter."""
        return AttemptState()

    def send(self, what: StepTask) -> Response:
        """Send one attempt of the next call and return its response: MORE if the step needs another call after it.

        The progress is in `what` only. After a kill the step begins again with the remaining items.
        """
        step, listing, transport = self._step, self._step.listing, self._transports[what.pool]
        user = {"UserPoolId": what.pool, "Username": what.username}
        if listing and not what.is_listed:
            page = {listing.token: what.token} if what.token else {}
            answer = transport.call(listing.call, {**user, **listing.parameters, **page}, partial(_note, what, listing))
            if self._is_about_user(answer, what):  # the user was deleted: no reason to stop the lane
                answer = replace(answer, disposition=Disposition.REFUSED)
        else:
            item = {listing.key: what.found[-1]} if listing else {}
            answer = transport.call(step.call, {**user, **item, **step.parameters})
            if self._is_about_user(answer, what):
                answer = Response(Disposition.DONE)
            if listing and answer.disposition is Disposition.DONE:
                what.found.pop()
        if answer.disposition is not Disposition.DONE or listing is None:
            return answer
        if what.found or not what.is_listed:
            return Response(Disposition.MORE)
        if what.token:
            return Response(Disposition.REFUSED, TOO_MANY, f"{MOST_ITEMS:,} were removed, and there are more")
        return answer

    def _is_about_user(self, answer: Response, what: StepTask) -> bool:
        """Return whether an answer says that something of the user was not found.

        For a missing pool the answer names the pool.
        """
        return answer.code in self._step.gone and what.pool not in answer.message

    def settle(self, what: StepTask, state: AttemptState, max_attempts: int) -> StepOutcome:
        """Return the outcome of the step; the row stays set."""
        step, answer = self._step, state.response
        outcome = partial(StepOutcome, step.name, what.number, attempts=state.attempts, throttled=state.throttled)
        if answer is not None and answer.disposition is Disposition.DONE:
            return outcome(done=True)
        refused = answer is not None and answer.disposition is Disposition.REFUSED
        if answer is None or not (refused or (answer.disposition not in FATAL_SET and state.tries >= max_attempts)):
            return outcome(done=None)
        tries = "" if refused else f" after {state.tries} attempts"
        why = f": {answer.message}" if answer.message else ""
        message = f"{ONLY}the {step.noun} failed{tries}{why}"
        if state.was_in_doubt:
            message = f"{message.removesuffix('.')}; an answer was lost, so {step.perhaps}"
        return outcome(done=False, code=answer.code, message=message)
