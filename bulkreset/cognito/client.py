"""The boto3 transport: AdminSetUserPassword for one row, as an Answer."""

import http.client
import json
from typing import TYPE_CHECKING, Any, Protocol

import urllib3.exceptions
from botocore.exceptions import (
    BotoCoreError,
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

from bulkreset.cognito.answer import Answer, Verdict, classify
from bulkreset.rows import Row

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
_LOST = (BotoCoreError, OSError, urllib3.exceptions.HTTPError, http.client.HTTPException)


class Transport(Protocol):
    """One small blocking call; nothing above knows which library makes it."""

    def set_password(self, row: Row) -> Answer:
        """Send one attempt, without any retry. Never raises for an answer or a lost one."""


class UnreadableAnswerError(Exception):
    """An answer that is not the service's: botocore would take any body with HTTP 200 for success."""


class BotoTransport:
    """AdminSetUserPassword through a boto3 client, shared by all threads of a lane."""

    def __init__(self, client: "CognitoIdentityProviderClient") -> None:
        self._client = client
        client.meta.events.register("before-parse.cognito-identity-provider.AdminSetUserPassword", _must_be_readable)

    def set_password(self, row: Row) -> Answer:  # noqa: PLR0911  (one return for each kind of answer)
        """Send one attempt. What a library says is not passed on: only names, codes and scrubbed messages are."""
        try:
            answer = self._client.admin_set_user_password(
                UserPoolId=row.pool, Username=row.username, Password=row.password.reveal(), Permanent=row.permanent
            )
        except ClientError as error:
            return _error_answer(error, row)
        except SSLError:
            return Answer(Verdict.FATAL, "SSLError", "The endpoint's certificate could not be verified.")
        except _UNSENT as error:
            return Answer(Verdict.UNSENT, type(error).__name__, "no connection could be made")
        except _NO_CREDENTIALS as error:
            return Answer(Verdict.EXPIRED, type(error).__name__, "no valid credentials could be obtained")
        except UnreadableAnswerError:
            return Answer(Verdict.DOUBTFUL, "UnreadableAnswer", "the answer could not be read")
        except _LOST as error:
            return Answer(Verdict.DOUBTFUL, type(error).__name__, "the answer was lost")
        return Answer(Verdict.SET, request_id=answer["ResponseMetadata"].get("RequestId", ""))


def _error_answer(error: ClientError, row: Row) -> Answer:
    details: Any = error.response.get("Error", {})
    metadata: Any = error.response.get("ResponseMetadata", {})
    code = row.password.withhold(str(details.get("Code", "")))
    verdict = classify(code, int(metadata.get("HTTPStatusCode", 0)))
    if verdict is Verdict.DOUBTFUL and (not code or code.isdigit()):
        code = f"HTTP{metadata.get('HTTPStatusCode', '')}"
    message = row.password.withhold(str(details.get("Message", "")))
    return Answer(verdict, code, message, row.password.withhold(str(metadata.get("RequestId", ""))))


def _must_be_readable(response_dict: dict[str, Any], **_kwargs: object) -> None:
    """Raise where an answer's body is neither empty nor a JSON object, as behind a captive proxy.

    botocore takes any body with HTTP 200 for success, and makes a 5xx body that it cannot parse the error's message.
    """
    try:
        readable = not response_dict["body"] or isinstance(json.loads(response_dict["body"]), dict)
    except ValueError:
        readable = False
    if not readable:
        raise UnreadableAnswerError
