"""Maps error codes of Cognito to a disposition, which says what the run does next.

The codes come from the service's own error table. A code in none of these lists is a refusal, counted and shown.
"""

from dataclasses import dataclass
from enum import Enum, auto

from bulkreset.causes import DOUBTFUL, FATAL, THROTTLED
from bulkreset.causes import HISTORY_VIOLATION as HISTORY_VIOLATION  # noqa: PLC0414  (exported)


class Disposition(Enum):
    """The result of one attempt, as it matters for the run."""

    __hash__ = object.__hash__  # Enum's own is written in Python

    DONE = auto()  # applied: the password is set, or the step after it is taken
    MORE = auto()  # applied, and the step needs another call for this user
    THROTTLED = auto()  # not applied: retry, and slow the lane down
    PAUSED = auto()  # not applied: the pool accepts no writes for a while. Retry; stop if it goes on
    WITHHELD = auto()  # nothing was sent: the run may not send now. Not an attempt; the row waits for a new slot
    NOT_SENT = auto()  # not applied, for a temporary reason: retry
    AMBIGUOUS = auto()  # may have been applied: retry
    REFUSED = auto()  # this row failed: continue with the others
    EXPIRED = auto()  # the credentials have expired: nothing was applied
    FATAL = auto()  # no call can succeed: stop


FATAL_SET = frozenset({Disposition.FATAL, Disposition.EXPIRED, Disposition.PAUSED})  # as the last answer for a row


@dataclass(frozen=True, slots=True)
class Response:
    """The result of one attempt. `code` is the service's error code, or the transport's name for the error."""

    disposition: Disposition
    code: str = ""
    message: str = ""
    request_id: str = ""


# Refusals of the password itself: a retry is refused too, unless the pool's rules change.
PASSWORD_REFUSALS = frozenset({"InvalidPasswordException", "InvalidParameterException", HISTORY_VIOLATION})

_PAUSED = frozenset({"OperationNotEnabledException"})
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})


def classify(code: str, http_status: int) -> Disposition:
    """Return the disposition for an error code. Use the HTTP status if the code is unreadable or in no list."""
    if code in THROTTLED:
        return Disposition.THROTTLED
    if code in DOUBTFUL:
        return Disposition.AMBIGUOUS
    if code in _PAUSED:
        return Disposition.PAUSED
    if code in _EXPIRED:
        return Disposition.EXPIRED
    if code in FATAL:
        return Disposition.FATAL
    unreadable = not code or code.isdigit()  # botocore uses the HTTP status if it finds no code
    return Disposition.AMBIGUOUS if unreadable or http_status >= 500 else Disposition.REFUSED  # noqa: PLR2004
