"""The boto3 transport: AdminSetUserPassword and AdminUserGlobalSignOut for one row, as an Answer."""

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProxyConnectionError,
    SSLError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from bulkreset.cognito.answer import HISTORY, OF_THE_PASSWORD, Answer, Verdict, classify
from bulkreset.rows import Leaver, Row

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

_UNSENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)


class Transport(Protocol):
    """One small blocking call; nothing above knows which library makes it."""

    def set_password(self, row: Row) -> Answer:
        """Send one attempt, without any retry. Never raises for an answer or a lost one."""


class SignsOut(Protocol):
    """The same for the other call."""

    def sign_out(self, leaver: Leaver) -> Answer:
        """Send one attempt, without any retry. Never raises for an answer or a lost one."""


class UnreadableAnswerError(Exception):
    """An answer that is not the service's: botocore would take any body with HTTP 200 for success."""


class BotoTransport:
    """Both calls through a boto3 client, shared by all threads of a lane.

    `renew` makes a client with other credentials where the provider has some, and gives None where it has not.
    """

    def __init__(
        self,
        client: "CognitoIdentityProviderClient",
        renew: "Callable[[], CognitoIdentityProviderClient | None]" = lambda: None,
    ) -> None:
        self._renew = renew
        self._renewing = threading.Lock()
        self._client = self._prepared(client)

    def set_password(self, row: Row) -> Answer:
        """Send one attempt. Where the credentials have expired, they are renewed for the next one."""
        return self._sent(lambda client: _set_password(client, row))

    def sign_out(self, leaver: Leaver) -> Answer:
        """Send one attempt, in the same way."""
        return self._sent(lambda client: _sign_out(client, leaver))

    def _sent(self, send: "Callable[[CognitoIdentityProviderClient], Answer]") -> Answer:
        client = self._client
        answer = send(client)
        if answer.verdict is not Verdict.EXPIRED:
            return answer
        with self._renewing:
            if self._client is client:  # the first thread renews; the others find it done
                renewed = self._renew()
                if renewed is None:
                    return answer
                self._client = self._prepared(renewed)
        return Answer(Verdict.UNSENT, answer.code, "the credentials had expired and were renewed", answer.request_id)

    @staticmethod
    def _prepared(client: "CognitoIdentityProviderClient") -> "CognitoIdentityProviderClient":
        for operation in ("AdminSetUserPassword", "AdminUserGlobalSignOut"):
            event = f"before-parse.cognito-identity-provider.{operation}"
            client.meta.events.register(event, _must_be_the_services)
        return client


def _set_password(client: "CognitoIdentityProviderClient", row: Row) -> Answer:
    return _answer(
        lambda: client.admin_set_user_password(
            UserPoolId=row.pool, Username=row.username, Password=row.password.reveal(), Permanent=row.permanent
        ),
        row.password.withhold,
    )


def _sign_out(client: "CognitoIdentityProviderClient", leaver: Leaver) -> Answer:
    return _answer(lambda: client.admin_user_global_sign_out(UserPoolId=leaver.pool, Username=leaver.username), str)


def _answer(  # noqa: PLR0911  (one for each kind of answer)
    call: Callable[[], Mapping[str, Any]], withhold: Callable[[str], str]
) -> Answer:
    """One call. What a library says is not passed on: only names, codes and scrubbed messages are."""
    try:
        answer = call()
    except ClientError as error:
        return _error_answer(error, withhold)
    except SSLError as error:
        if _is_about_the_certificate(error):
            return Answer(Verdict.FATAL, "SSLError", "the endpoint's certificate could not be verified")
        return Answer(Verdict.DOUBTFUL, "SSLError", "the answer was lost")  # the request may have left before
    except _UNSENT as error:
        return Answer(Verdict.UNSENT, type(error).__name__, "no connection could be made")
    except _NO_CREDENTIALS as error:
        return Answer(Verdict.EXPIRED, type(error).__name__, "no valid credentials could be obtained")
    except UnreadableAnswerError:
        return Answer(Verdict.DOUBTFUL, "UnreadableAnswer", "the answer could not be read")
    except Exception as error:  # noqa: BLE001  (a lost answer, or one on which botocore chokes: it may have been applied)
        return Answer(Verdict.DOUBTFUL, type(error).__name__, "the answer was lost or could not be read")
    return Answer(Verdict.SET, request_id=_shown(answer["ResponseMetadata"].get("RequestId"), withhold))


def _error_answer(error: ClientError, withhold: Callable[[str], str]) -> Answer:
    details: Any = error.response.get("Error", {})
    metadata: Any = error.response.get("ResponseMetadata", {})
    told = str(details.get("Code") or "")
    # By the code as it came: a password that is a part of it must not change what the run does.
    verdict = classify(told, int(metadata.get("HTTPStatusCode", 0)))
    known = verdict is not Verdict.REFUSED or told == HISTORY or told in OF_THE_PASSWORD
    code = told if known else _shown(told, withhold)
    if verdict is Verdict.DOUBTFUL and (not code or code.isdigit()):
        code = f"HTTP{metadata.get('HTTPStatusCode', '')}"
    elif verdict is Verdict.DOUBTFUL:
        code = _shown(code, withhold)
    return Answer(verdict, code, _shown(details.get("Message"), withhold), _shown(metadata.get("RequestId"), withhold))


def _shown(text: object, withhold: Callable[[str], str]) -> str:
    """What the service says, as text that can be kept and does not repeat the password."""
    kept = str(text or "").encode("utf-8", "backslashreplace").decode()
    return withhold(kept)


def _is_about_the_certificate(error: SSLError) -> bool:
    """Whether the handshake failed on it, so that nothing was sent."""
    cause: object = error.kwargs.get("error")
    while isinstance(cause, BaseException) and not isinstance(cause, ssl.SSLError):
        cause = cause.args[0] if cause.args else None
    return isinstance(cause, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error)


def must_be_readable(response_dict: dict[str, Any], **_kwargs: object) -> None:
    """Raise where an answer's body is neither empty nor a JSON object, as behind a captive proxy.

    botocore takes any body with HTTP 200 for success, and makes a 5xx body that it cannot parse the error's message.
    """
    _answer_in(response_dict["body"])


def _must_be_the_services(response_dict: dict[str, Any], **_kwargs: object) -> None:
    """Raise where a success is not Cognito's: an empty object, or at least with the service's request id."""
    answer = _answer_in(response_dict["body"])
    if response_dict["status_code"] >= 300 or answer == {}:  # noqa: PLR2004
        return
    if "x-amzn-requestid" not in response_dict["headers"] or "__type" in (answer or {}):
        raise UnreadableAnswerError


def _answer_in(body: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(body) if body else None
    except (ValueError, RecursionError):
        raise UnreadableAnswerError from None
    if answer is not None and not isinstance(answer, dict):
        raise UnreadableAnswerError
    return answer
