"""Sends AdminSetUserPassword for one row, and the calls of the steps after it, with boto3 and returns a Response."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from botocore import xform_name
from botocore.exceptions import (
    ClientError,
    HTTPClientError,
    SSLError,
)

from bulkreset.cognito.http_errors import UNSENT, is_about_the_certificate, is_too_large
from bulkreset.cognito.prepared_call import PreparedCall
from bulkreset.cognito.response import Disposition, Response
from bulkreset.cognito.response_parser import (
    BAD_CERTIFICATE,
    NO_CREDENTIALS,
    TOO_LARGE,
    UNREADABLE,
    WITHHELD,
    UnreadableResponseError,
    error_response,
    no_credentials_response,
    not_sent_response,
    require_service_response,
    success_response,
)
from bulkreset.cognito.session import TargetSession
from bulkreset.cognito.transport import ReadAnswer, RenewingTransport
from bulkreset.departure import WithheldError
from bulkreset.models import Row
from bulkreset.steps import CALLS

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

# A client and its prepared call; None if the client has to make each call itself.
_Means: TypeAlias = "tuple[CognitoIdentityProviderClient, PreparedCall | None]"


class BotoTransport(RenewingTransport["_Means"]):
    """A transport that sends all calls with one boto3 client, shared by all threads of a lane.

    `renew` returns a client with newer credentials, or None if there are none.
    """

    def __init__(
        self,
        client: "CognitoIdentityProviderClient",
        renew: "Callable[[], CognitoIdentityProviderClient | None]" = lambda: None,
    ) -> None:
        def renewed() -> "_Means | None":
            newer = renew()
            return _means(newer) if newer else None

        super().__init__(_means(client), renewed)

    @classmethod
    def of(cls, session: TargetSession) -> Self:
        """Return the transport of one target. Raises TargetError if no client can be created."""
        newer = session.credential_refresher()
        return cls(session.cognito(), lambda: session.cognito() if newer() else None)

    def call(self, operation: str, parameters: Mapping[str, Any], read: ReadAnswer = lambda _answer: None) -> Response:
        """Send one attempt, as `set_password` does; expired credentials are renewed for the next one."""
        method = xform_name(operation)

        def called(client: "CognitoIdentityProviderClient") -> Response:
            answer = getattr(client, method)(**parameters)
            read(answer)
            return _succeeded(answer, str)

        return self._sent(lambda means: _answer(lambda: called(means[0]), str))

    def _send(self, means: "_Means", row: Row) -> Response:
        client, prepared = means
        withhold = row.password.withhold
        if prepared:
            return _answer(lambda: prepared.send(row), withhold)
        return _answer(
            lambda: _succeeded(
                client.admin_set_user_password(
                    UserPoolId=row.pool, Username=row.username, Password=row.password.reveal(), Permanent=row.permanent
                ),
                withhold,
            ),
            withhold,
        )


def _answer(  # noqa: PLR0911  (one return for each kind of result)
    call: Callable[[], Response], withhold: Callable[[str], str]
) -> Response:
    """Make one call. The Response has only names, codes and scrubbed messages, never a library's own text."""
    try:
        return call()
    except ClientError as error:
        return error_response(error.response, withhold)
    except SSLError as error:
        if is_about_the_certificate(error):
            return BAD_CERTIFICATE
        return Response(Disposition.AMBIGUOUS, "SSLError", "the answer was lost")  # the request may have been sent
    except UNSENT as error:
        return not_sent_response(type(error).__name__)
    except NO_CREDENTIALS as error:
        return no_credentials_response(error)
    except UnreadableResponseError:
        return UNREADABLE
    except HTTPClientError as error:
        if isinstance(error.kwargs.get("error"), WithheldError):
            return WITHHELD
        return TOO_LARGE if is_too_large(error) else _lost(error)
    except Exception as error:  # noqa: BLE001  (response lost, or botocore cannot parse it: it may have been applied)
        return _lost(error)


def _succeeded(answer: Mapping[str, Any], withhold: Callable[[str], str]) -> Response:
    return success_response(answer["ResponseMetadata"].get("RequestId"), withhold)


def _lost(error: Exception) -> Response:
    return Response(Disposition.AMBIGUOUS, type(error).__name__, "the answer was lost or could not be read")


def _means(client: "CognitoIdentityProviderClient") -> "_Means":
    for operation in ("AdminSetUserPassword", *CALLS):
        client.meta.events.register(f"before-parse.cognito-identity-provider.{operation}", _checked)
    return client, PreparedCall.of(client)


def _checked(response_dict: dict[str, Any], **_kwargs: object) -> None:
    require_service_response(response_dict["status_code"], response_dict["headers"], response_dict["body"])
