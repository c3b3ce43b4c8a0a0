"""The reads: calls that change nothing and cost nothing, and why one of them failed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ProxyConnectionError,
)

from bulkreset.cognito.response import Verdict, classify
from bulkreset.cognito.response_parser import UnreadableAnswerError

_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "NotAuthorizedException", "UnauthorizedOperation"})
_UNREACHED = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)


@dataclass(frozen=True, slots=True)
class Gap:
    """What could not be learned: `what` in words, the IAM `action` of the call, the `code` of its failure.

    `resource` is the ARN that a policy statement would name. `denied`: a permission is missing. `fatal`: no call can
    succeed there.
    """

    what: str
    action: str
    code: str
    resource: str = "*"
    denied: bool = False
    fatal: bool = False


class ReadError(Exception):
    """A read that failed. `code` is the service's, or the transport's name for what went wrong."""

    def __init__(self, code: str, verdict: Verdict) -> None:
        super().__init__(code)
        self.code = code
        self.verdict = verdict

    @property
    def denied(self) -> bool:
        """Whether a permission is missing."""
        return self.code in _DENIED

    @property
    def passes(self) -> bool:
        """Whether trying again may help."""
        return self.verdict in {Verdict.THROTTLED, Verdict.DOUBTFUL, Verdict.UNSENT}

    def gap(self, what: str, action: str, resource: str = "*") -> Gap:
        """What is not known for that reason."""
        fatal = self.verdict is Verdict.FATAL and not self.denied
        return Gap(what, action, self.code, resource, denied=self.denied, fatal=fatal)


def read(call: Callable[..., Mapping[str, Any]], **params: Any) -> dict[str, Any]:  # noqa: ANN401  (the call's own)
    """One call. Raises ReadError for anything but an answer."""
    try:
        answer = call(**params)
    except ClientError as error:
        details: Any = error.response.get("Error", {})
        metadata: Any = error.response.get("ResponseMetadata", {})
        code = str(details.get("Code") or "")
        raise ReadError(code or "an unreadable error", classify(code, int(metadata.get("HTTPStatusCode", 0)))) from None
    except NoCredentialsError:
        raise ReadError("NoCredentialsError", Verdict.EXPIRED) from None
    except _UNREACHED as error:
        raise ReadError(type(error).__name__, Verdict.UNSENT) from None
    except (BotoCoreError, UnreadableAnswerError, ValueError) as error:
        name = "UnreadableAnswer" if isinstance(error, UnreadableAnswerError) else type(error).__name__
        raise ReadError(name, Verdict.DOUBTFUL) from None
    except Exception as error:  # noqa: BLE001  (an answer on which botocore chokes)
        raise ReadError(type(error).__name__, Verdict.DOUBTFUL) from None
    if not isinstance(answer, Mapping):
        raise ReadError("UnreadableAnswer", Verdict.DOUBTFUL)
    return dict(answer)
