"""Makes read-only calls, which cost nothing, and explains why one failed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError

from bulkreset.cognito.http_errors import failure_response
from bulkreset.cognito.response import Disposition
from bulkreset.cognito.response_parser import PROVIDER_FAILED

MAX_SKEW = 300_000  # milliseconds; AWS refuses a signature whose time differs more, so a greater difference is an error
NO_ANSWER = "no answer"  # the code of a fact that was not read in time
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "NotAuthorizedException", "UnauthorizedOperation"})
_TRANSIENT = frozenset({Disposition.THROTTLED, Disposition.PAUSED, Disposition.AMBIGUOUS, Disposition.NOT_SENT})


@dataclass(frozen=True, slots=True)
class UnknownFact:
    """A fact that could not be read: `what` in words, the IAM `action` of the call, the `code` of its failure.

    `resource` is the ARN for a policy statement. `denied`: a permission is missing. `fatal`: no call to this target can
    succeed.
    """

    what: str
    action: str
    code: str
    resource: str = "*"
    denied: bool = False
    fatal: bool = False


class ReadCallError(Exception):
    """A read failed. `code` is the service's error code, or the name of the client library's error."""

    def __init__(self, code: str, verdict: Disposition) -> None:
        super().__init__(code)
        self.code = code
        self.verdict = verdict

    @property
    def denied(self) -> bool:
        """Return whether a permission is missing."""
        return self.code in _DENIED

    @property
    def is_transient(self) -> bool:
        """Return whether a retry may help."""
        return self.verdict in _TRANSIENT

    def unknown_fact(self, what: str, action: str, resource: str = "*") -> UnknownFact:
        """Return the fact that is unknown because of this error."""
        fatal = self.verdict is Disposition.FATAL and not self.denied
        return UnknownFact(what, action, self.code, resource, denied=self.denied, fatal=fatal)


def is_transient(outcome: object) -> bool:
    """Return whether the outcome of a read is an error after which a retry may help."""
    return isinstance(outcome, ReadCallError) and outcome.is_transient


def call_read(call: Callable[..., Mapping[str, Any]], **params: Any) -> dict[str, Any]:  # noqa: ANN401  (the call's own)
    """Return the response of one call. Raises ReadCallError if there is no readable, successful response."""
    try:
        answer = call(**params)
    except Exception as error:  # noqa: BLE001  (also a response that botocore cannot parse)
        failed = failure_response(error, str)
        code, verdict = failed.code, failed.disposition
        if isinstance(error, ClientError) and not error.response.get("Error", {}).get("Code"):
            code = "an unreadable error"
        if isinstance(error, PROVIDER_FAILED):  # which may be temporary
            verdict = Disposition.AMBIGUOUS
        raise ReadCallError(code, verdict) from None
    if not isinstance(answer, Mapping):
        raise ReadCallError("UnreadableResponse", Disposition.AMBIGUOUS)
    return dict(answer)


def milliseconds_ahead(answer: Mapping[str, Any], now: float) -> int | None:
    """Return how far the service's clock is at least ahead of this machine's, by the Date header of an answer.

    `now` is Unix seconds. The header has no fraction and is older than the answer's arrival, so the result is never too
    large. Returns None if unknown. It may be more than MAX_SKEW, and is not to be trusted then.
    """
    headers: Any = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return round((parsedate_to_datetime(headers["date"]).timestamp() - now) * 1000)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
