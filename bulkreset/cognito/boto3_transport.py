"""Sends AdminSetUserPassword for one row, and the calls of the steps after it, with boto3 and returns a Response."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from botocore import xform_name

from bulkreset.cognito.http_errors import failure_response
from bulkreset.cognito.prepared_call import PreparedCall
from bulkreset.cognito.response import Response
from bulkreset.cognito.response_parser import require_service_response, success_response
from bulkreset.cognito.session import TargetSession
from bulkreset.cognito.transport import ReadAnswer, RenewingTransport
from bulkreset.models import Row
from bulkreset.steps import CALLS

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

# A client and its prepared call; None if the client has to make each call itself.
_Access: TypeAlias = "tuple[CognitoIdentityProviderClient, PreparedCall | None]"


class BotoTransport(RenewingTransport["_Access"]):
    """A transport that sends all calls with one boto3 client, shared by all threads of a lane.

    `client` makes it, again whenever `newer` says that there are newer credentials.
    """

    def __init__(
        self, client: "Callable[[], CognitoIdentityProviderClient]", newer: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__(lambda: _make_access(client()), newer)

    @classmethod
    def of(cls, session: TargetSession) -> Self:
        """Return the transport of one target. Raises TargetError if no client can be created."""
        return cls(session.cognito, session.credential_refresher())

    def call(self, operation: str, parameters: Mapping[str, Any], read: ReadAnswer = lambda _answer: None) -> Response:
        """Send one attempt, as `set_password` does; expired credentials are renewed for the next one."""
        method = xform_name(operation)

        def called(client: "CognitoIdentityProviderClient") -> Response:
            answer = getattr(client, method)(**parameters)
            read(answer)
            return _succeeded(answer, str)

        return self._sent(lambda access: _answer(lambda: called(access[0]), str))

    def _send(self, access: "_Access", row: Row) -> Response:
        client, prepared = access
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


def _answer(call: Callable[[], Response], withhold: Callable[[str], str]) -> Response:
    try:
        return call()
    except Exception as error:  # noqa: BLE001  (whatever it is, the call may have been applied)
        return failure_response(error, withhold)


def _succeeded(answer: Mapping[str, Any], withhold: Callable[[str], str]) -> Response:
    return success_response(answer["ResponseMetadata"].get("RequestId"), withhold)


def _make_access(client: "CognitoIdentityProviderClient") -> "_Access":
    for operation in ("AdminSetUserPassword", *CALLS):
        client.meta.events.register(f"before-parse.cognito-identity-provider.{operation}", _checked)
    return client, PreparedCall.of(client)


def _checked(response_dict: dict[str, Any], **_kwargs: object) -> None:
    require_service_response(response_dict["status_code"], response_dict["headers"], response_dict["body"])
