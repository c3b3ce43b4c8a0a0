"""The errand: what is called for a row, and what its answers make of it: a password set, or a sign-out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from bulkreset.cognito.response import FATAL_SET, HISTORY_VIOLATION, Disposition, Response
from bulkreset.cognito.transport import SignOutTransport, Transport
from bulkreset.models import Outcome, Row, SignOutOutcome, SignOutTask, Status

_ALREADY_SET = "set by an earlier call whose answer was lost: the password is the newest in the user's history"


@dataclass(slots=True)
class AttemptState:
    """One row's attempts so far. Times are Unix milliseconds; `latency` is the last attempt's, in seconds.

    `doubted`: an answer was once lost; `unsettled`: and what has become of the row is not known since.
    """

    was_in_doubt: bool = False
    outcome_unknown: bool = False
    attempts: int = 0
    throttled: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    latency: float | None = None
    response: Response | None = None


T = TypeVar("T")  # what an errand is run for: a Row, a Leaver
T_contra = TypeVar("T_contra", contravariant=True)
OperationResult = Outcome | SignOutOutcome


class Operation(Protocol[T_contra]):
    """One kind of call. `claimed`: it must be written down before its first attempt leaves."""

    call: str
    needs_claim: bool

    def begin(self, what: T_contra) -> AttemptState:
        """The tally before the first attempt."""

    def send(self, what: T_contra) -> Response:
        """One attempt."""

    def settle(self, what: T_contra, tally: AttemptState, max_attempts: int) -> OperationResult:
        """What became of it after its last attempt; after none, it was given back."""


class SetPassword:
    """AdminSetUserPassword, by user pool. A lost answer leaves the row in doubt."""

    call = "AdminSetUserPassword"
    needs_claim = True

    def __init__(self, transports: Mapping[str, Transport]) -> None:
        self._transports = transports

    def begin(self, what: Row) -> AttemptState:
        """In doubt from the beginning where an earlier answer was lost."""
        return AttemptState(
            was_in_doubt=what.was_in_doubt, outcome_unknown=what.was_in_doubt and not what.retrying_failed
        )

    def send(self, what: Row) -> Response:
        """One attempt."""
        return self._transports[what.pool].set_password(what)

    def settle(self, what: Row, tally: AttemptState, max_attempts: int) -> Outcome:
        """The row's outcome."""
        status, message = self._status(tally, max_attempts)
        answer = tally.response or Response(Disposition.NOT_SENT)
        given_back = status is Status.READY
        return Outcome(
            row=what.number,
            status=status,
            code="" if given_back or status is Status.SET else answer.code,
            message=message,
            attempts=tally.attempts,
            throttled=tally.throttled,
            in_doubt=tally.was_in_doubt,
            latency_ms=None if tally.latency is None else round(tally.latency * 1000),
            request_id=answer.request_id,
            started_at=tally.started_at,
            finished_at=tally.finished_at,
        )

    def _status(self, tally: AttemptState, max_attempts: int) -> tuple[Status, str]:
        """What the row is after its last attempt, and the message that goes with it."""
        answer = tally.response
        if answer is not None:
            if answer.disposition is Disposition.DONE:
                return Status.SET, ""
            if answer.disposition is Disposition.REFUSED:
                if answer.code == HISTORY_VIOLATION and tally.was_in_doubt:
                    return Status.SET, _ALREADY_SET
                return Status.FAILED, answer.message
        if tally.outcome_unknown:
            return Status.IN_DOUBT, answer.message if answer else ""
        if answer is None or answer.disposition in FATAL_SET or tally.attempts < max_attempts:
            return Status.READY, ""
        return Status.FAILED, f"given up after {tally.attempts} attempts: {answer.message}"


class SignOut:
    """AdminUserGlobalSignOut, by user pool. Twice does no harm, so a lost answer is no more than one to ask for again."""

    call = "AdminUserGlobalSignOut"
    needs_claim = False

    def __init__(self, transports: Mapping[str, SignOutTransport]) -> None:
        self._transports = transports

    def begin(self, what: SignOutTask) -> AttemptState:  # noqa: ARG002  (one as the other)
        """Nothing is known of it."""
        return AttemptState()

    def send(self, what: SignOutTask) -> Response:
        """One attempt."""
        return self._transports[what.pool].sign_out(what)

    def settle(self, what: SignOutTask, tally: AttemptState, max_attempts: int) -> SignOutOutcome:
        """What became of the sign-out; the row stays set."""
        answer = tally.response
        if answer is not None and answer.disposition is Disposition.DONE:
            return SignOutOutcome(what.number, done=True, attempts=tally.attempts, throttled=tally.throttled)
        refused = answer is not None and answer.disposition is Disposition.REFUSED
        if answer is None or not (refused or (answer.disposition not in FATAL_SET and tally.attempts >= max_attempts)):
            return SignOutOutcome(what.number, done=None, attempts=tally.attempts, throttled=tally.throttled)
        tries = "" if refused else f" after {tally.attempts} attempts"
        why = f": {answer.message}" if answer.message else ""
        message = f"the password was set; only the sign-out failed{tries}{why}"
        return SignOutOutcome(what.number, False, answer.code, message, tally.attempts, tally.throttled)  # noqa: FBT003
