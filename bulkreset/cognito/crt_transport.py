"""Builds AdminSetUserPassword requests; AWS's C runtime (awscrt) signs and sends them."""

import io
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from awscrt.auth import AwsCredentialsProvider, AwsSigningConfig, aws_sign_request
from awscrt.http import HttpHeaders, HttpRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import NoCredentialsError

from bulkreset.cognito.bounded_http import (
    CALL_BYTES,
    HEAD_BYTES,
    AnswerTooLargeError,
    MalformedAnswerError,
    require_headers,
)
from bulkreset.cognito.crt_connections import ConnectionPool, CrtConnection, NoConnectionError, keep_thread_state
from bulkreset.cognito.endpoint import netloc, resolve_endpoint
from bulkreset.cognito.response import Disposition, Response
from bulkreset.cognito.response_parser import (
    NO_CREDENTIALS,
    TOO_LARGE,
    WITHHELD,
    no_credentials_response,
    not_sent_response,
    read_response,
)
from bulkreset.cognito.session import TargetSession
from bulkreset.cognito.transport import RenewingTransport, password_body
from bulkreset.models import Row
from bulkreset.send_permit import Departure, WithheldError, current_departure, require_departure

if TYPE_CHECKING:
    from botocore.credentials import Credentials

LOOK_AT_ANSWER_SIZE_SECONDS = 0.1  # between two checks of how much of an answer has arrived
_MOST_READ = HEAD_BYTES + 3 * CALL_BYTES  # a whole answer, plus what the runtime reads ahead and what TLS adds


class CrtTransport(RenewingTransport["Credentials | None"]):
    """A transport that sends AdminSetUserPassword to the endpoint and with the credentials of a boto3 session."""

    def __init__(self, session: TargetSession) -> None:
        """Resolve the endpoint. Raises TargetError if the session's certificates or proxy cannot be used."""
        super().__init__(session.credentials, session.credential_refresher())
        self._route = route = resolve_endpoint(session)
        self._connections = ConnectionPool(route)
        self._headers = [("Host", netloc(route.scheme, route.host, route.port)), *route.headers]
        self._patience = min(threading.TIMEOUT_MAX, route.read_timeout)
        self._signing: tuple[ReadOnlyCredentials | None, int, Any] = None, 0, None

    def _send(self, access: "Credentials | None", row: Row) -> Response:
        try:
            connection, opened = self._connections.acquire()
        except NoConnectionError as error:
            return error.response
        exchange = self._begin(connection, access, row, opened=opened)
        if isinstance(exchange, Response):
            return exchange
        failure = self._wait(exchange, connection)
        if not failure:
            self._connections.release(connection)
            headers = {name.lower(): value for name, value in exchange.headers}
            return read_response(exchange.status, headers, b"".join(exchange.body), row.password.withhold)
        connection.http.close()  # a late response must not be used for another call
        if exchange.sent.withheld:
            return WITHHELD
        if isinstance(failure, AnswerTooLargeError):
            return TOO_LARGE
        return Response(Disposition.AMBIGUOUS, _name_of(failure), "the answer was lost or could not be read")

    def _wait(self, exchange: "_Exchange", connection: CrtConnection) -> BaseException | None:
        """Wait for the whole answer. Return None if it came, or the reason if it did not.

        The runtime keeps unfinished headers, and anything before a chunk, in memory and reports nothing. So the socket
        of a slow answer is checked.
        """
        until = time.monotonic() + self._patience
        first: int | None = None
        while not exchange.done.acquire(timeout=max(0.0, min(LOOK_AT_ANSWER_SIZE_SECONDS, until - time.monotonic()))):
            if time.monotonic() >= until:
                return TimeoutError()
            read = connection.bytes_read()
            first = read if first is None else first
            if read is not None and first is not None and read - first > _MOST_READ:
                return exchange.failure or MalformedAnswerError("the headers do not end")
        return exchange.failure

    def _begin(
        self, connection: CrtConnection, access: "Credentials | None", row: Row, *, opened: bool
    ) -> "_Exchange | Response":
        """Send the request for one row. If nothing was sent, return a Response and release the connection."""
        try:
            request, body = self._signed(access, row)
            require_departure(connected=opened)
            body.departure = current_departure()
            return _Exchange(connection, request, body)
        except (*NO_CREDENTIALS, WithheldError) as error:
            self._connections.release(connection)
            return WITHHELD if isinstance(error, WithheldError) else no_credentials_response(error)
        except Exception:  # noqa: BLE001  (nothing was sent: usually the server has just closed the connection)
            connection.http.close()
            return not_sent_response("EndpointConnectionError")

    def _signed(self, credentials: "Credentials | None", row: Row) -> tuple[HttpRequest, "_Body"]:
        """Return the request for one row and its body, signed with the current keys.

        Raises one of NO_CREDENTIALS without keys.
        """
        if credentials is None:
            raise NoCredentialsError
        text = password_body(row)
        headers = HttpHeaders([*self._headers, ("Content-Length", str(len(text)))])
        body = _Body(text)
        request = HttpRequest("POST", self._route.path, headers, body)
        aws_sign_request(request, self._config(credentials.get_frozen_credentials())).result()
        return request, body

    def _config(self, keys: ReadOnlyCredentials) -> AwsSigningConfig:
        """Return the signing configuration for `keys`. All requests in the same second share one."""
        used, second, config = self._signing
        now = int(time.time())
        if used != keys or second != now:
            config = AwsSigningConfig(
                credentials_provider=AwsCredentialsProvider.new_static(keys.access_key, keys.secret_key, keys.token),
                region=self._route.region,
                service=self._route.service,
            )
            self._signing = keys, now, config
        return config


class _Body(io.BytesIO):
    """The body of a request. The runtime's thread reads it when it writes the request.

    If the call may no longer leave, the body ends too early, and the runtime drops the request and the connection.
    """

    departure: Departure | None = None
    withheld = False

    def readinto1(self, buffer: Any, /) -> int:  # noqa: ANN401  (any writable buffer)
        """Read up to the buffer's size; nothing if the call may not leave any more.

        The check is the last thing before the runtime writes: what was copied before it does not count as read.
        """
        read = super().readinto1(buffer)
        try:
            if self.departure:
                self.departure.require(connected=False)
        except WithheldError:
            self.withheld = True
            return 0
        return read


class _Exchange:
    """A request in flight and its response. The runtime's thread sets the fields and releases `done` at the end.

    `sent` is the request's body, which may have been withheld.
    `failure` is the error that ended the exchange, None if the response is complete.
    """

    __slots__ = ("_left", "body", "done", "failure", "headers", "sent", "status")

    def __init__(self, connection: CrtConnection, request: HttpRequest, sent: _Body) -> None:
        self.sent = sent
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body: list[bytes] = []
        self.failure: BaseException | None = None
        self._left = CALL_BYTES
        self.done = threading.Lock()
        self.done.acquire()
        stream = connection.http.request(request, self._begun, self._more)
        stream.completion_future.add_done_callback(self._over)
        stream.activate()

    def _begun(self, status_code: int, headers: list[tuple[str, str]], **_stream: object) -> None:
        keep_thread_state()
        self.status, self.headers = status_code, headers

    def _more(self, chunk: bytes, **_stream: object) -> None:
        self._left -= len(chunk)
        if self._left >= 0:
            self.body.append(bytes(chunk))
        elif not self.failure:
            self._end(AnswerTooLargeError())

    def _over(self, completed: "Future[int]") -> None:
        if not self.failure:
            self._end(completed.exception() or self._malformed())

    def _end(self, failure: BaseException | None) -> None:
        self.failure = failure
        self.done.release()

    def _malformed(self) -> MalformedAnswerError | None:
        try:
            require_headers(self.status, self.headers)
        except MalformedAnswerError as error:
            return error
        return None


def _name_of(failure: BaseException) -> str:
    """Return botocore's error name for an exchange that failed before the response was complete."""
    if isinstance(failure, TimeoutError):
        return "ReadTimeoutError"
    return "SSLError" if getattr(failure, "name", "").startswith("AWS_IO_TLS") else "ConnectionClosedError"
