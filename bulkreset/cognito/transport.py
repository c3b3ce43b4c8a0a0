"""Transports, which send one attempt for one row: what all kinds have in common, and the kind that a job gets."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, TypeVar

from bulkreset.cognito.response import Disposition, Response
from bulkreset.models import Row

if TYPE_CHECKING:
    from bulkreset.cognito.session import TargetSession

AccessT = TypeVar("AccessT")
ReadAnswer = Callable[[Mapping[str, Any]], None]
TransportKind = Literal["boto3", "crt"]

# Measured calls per second in one process. A lane without a pace gets enough threads for this rate.
MAX_RATE: Final[Mapping[TransportKind, int]] = {"boto3": 2500, "crt": 5000}


class Transport(Protocol):
    """Sends the call that sets a password, and blocks. Its callers do not know which library it uses."""

    def set_password(self, row: Row) -> Response:
        """Send one attempt without a retry. Never raises because of a response or a lost response."""


class StepTransport(Protocol):
    """Sends the calls of the steps after a password was set, in the same way."""

    def call(self, operation: str, parameters: Mapping[str, Any], read: ReadAnswer = ...) -> Response:
        """Send one attempt without a retry. Never raises because of a response or a lost response.

        `read` is called with the answer of a success. If `read` raises ValueError, the answer counts as unreadable.
        """


class RenewingTransport(ABC, Generic[AccessT]):
    """A transport shared by all threads of a lane. `make_access` makes a client or credentials to send with.

    They are made again with newer credentials, if `newer` says that the credentials' provider has some.
    """

    def __init__(self, make_access: Callable[[], AccessT], newer: Callable[[], bool] = lambda: False) -> None:
        self._make_access = make_access
        self._newer = newer
        self._access = make_access()
        self._renewing = threading.Lock()

    def set_password(self, row: Row) -> Response:
        """Send one attempt. If the credentials have expired, renew them for the next one."""
        return self._sent(lambda access: self._send(access, row))

    def _sent(self, send: Callable[[AccessT], Response]) -> Response:
        access = self._access
        answer = send(access)
        if answer.disposition is not Disposition.EXPIRED:
            return answer
        with self._renewing:
            if self._access is access:  # the first thread renews; the others use its result
                if not self._newer():
                    return answer
                self._access = self._make_access()
        return Response(
            Disposition.NOT_SENT, answer.code, "the credentials had expired and were renewed", answer.request_id
        )

    @abstractmethod
    def _send(self, access: AccessT, row: Row) -> Response:
        """Make one call. The Response has only names, codes and scrubbed messages, never a library's own text."""


def password_body(row: Row) -> bytes:
    """Return the body of AdminSetUserPassword for a row."""
    # Not json.dumps: it takes ten times as long for so small an object.
    pool, user, password = map(encode_basestring_ascii, (row.pool, row.username, row.password.reveal()))
    permanent = "true" if row.permanent else "false"
    return f'{{"UserPoolId": {pool}, "Username": {user}, "Password": {password}, "Permanent": {permanent}}}'.encode()


def choose_transport(wanted: TransportKind | Literal["auto"]) -> TransportKind:
    """Return the transport to use: boto3 if the job does not say, whose calls take half of the runtime's processor time."""
    return "boto3" if wanted == "auto" else wanted


def open_transport(kind: TransportKind, session: "TargetSession") -> Transport:
    """Return a transport of this kind for one target. Raises TargetError if none can be created."""
    if kind == "boto3":
        from bulkreset.cognito.boto3_transport import BotoTransport  # noqa: PLC0415  (a kind of these transports)

        return BotoTransport.of(session)
    from bulkreset.cognito.crt_transport import CrtTransport  # noqa: PLC0415  (an extra)

    return CrtTransport(session)
