"""Reads each answer of botocore's HTTP client with a deadline and a size limit, and refuses malformed answers."""

import contextlib
import fcntl
import io
import re
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterable, Mapping
from functools import partial
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any, Final, cast

from botocore.awsrequest import AWSHTTPConnection, AWSHTTPConnectionPool, AWSHTTPSConnection, AWSHTTPSConnectionPool
from urllib3.util.wait import wait_for_write

from bulkreset.send_permit import AllPermits, Departure, WithheldError, current_departure

HEAD_BYTES: Final = 2**17  # the longest status line with headers, and the 1xx answers before it
CALL_BYTES: Final = 2**20  # the longest body of a call's answer; a real one has some kilobytes
PAGE_BYTES: Final = 2**24  # the longest page of users: 60 users of 50 attributes with 2048 characters, escaped
_MOST_HEADERS: Final = 99  # http.client accepts no more
_MOST_HEADER_BYTES: Final = 2**16
_NO_BODY: Final = frozenset({204, 304})
_SIOCOUTQNSD: Final = 0x894B  # Linux: how many written bytes of a socket were not sent yet
_PIECE: Final = 2**16
_CORK: Final = getattr(socket, "TCP_CORK", None)
_ALWAYS: Final = Departure(AllPermits())  # for a call that needs no permit
_USUAL_HEAD: Final = re.compile(rb"HTTP/1\.1 ([2-5](?!04)\d\d) [ -~]*\r\n((?:[\w.-]+:[\t -~]*\r\n)+)\r\n", re.ASCII)
_USUAL_LINE: Final = re.compile(r"([^:]+):[\t ]*([^\r]*)\r\n")


class AnswerTooLargeError(Exception):
    """An answer is longer than any answer of the service."""


class MalformedAnswerError(HTTPException):
    """An answer's headers violate HTTP, or do not say where the answer ends."""


def require_headers(status: int, headers: Iterable[tuple[str, str]]) -> None:
    """Raise MalformedAnswerError for headers that two HTTP libraries would read in different ways.

    http.client accepts nearly anything. AWS's runtime treats a body without a length as empty.
    """
    pairs = [(name.lower(), value) for name, value in headers]
    lengths = [value for name, value in pairs if name == "content-length"]
    codings = [value.lower() for name, value in pairs if name == "transfer-encoding"]
    framed = (len(lengths) == 1 and not codings and lengths[0].isascii() and lengths[0].isdigit()) or (
        codings == ["chunked"] and not lengths
    )
    if not (framed or (status in _NO_BODY and not lengths and not codings)):
        raise MalformedAnswerError("the length of the answer is unknown")
    if len(pairs) > _MOST_HEADERS or sum(len(name) + len(value) for name, value in pairs) > _MOST_HEADER_BYTES:
        raise MalformedAnswerError("too many headers")
    if any(letter in value for _, value in pairs for letter in "\r\n\0"):
        raise MalformedAnswerError("a header of several lines, or with a NUL")


def _usual_head(received: bytes) -> tuple[int, dict[str, str], int, int] | None:
    """Return the status and the headers of an answer, and where its body begins and ends. None for an unusual answer.

    It is unusual if http.client or `require_headers` could refuse it or read it in another way.
    """
    head = _USUAL_HEAD.match(received)
    if not head:
        return None
    lines = _USUAL_LINE.findall(head[2].decode())
    headers = {name.lower(): value for name, value in lines}
    length = headers.get("content-length", "")
    usual = (
        len(lines) == len(headers) <= _MOST_HEADERS
        and len(length) < len(str(CALL_BYTES))
        and length.isdigit()
        and headers.get("connection", "keep-alive").lower() == "keep-alive"
        and "transfer-encoding" not in headers
    )
    return (int(head[1]), headers, head.end(), head.end() + int(length)) if usual else None


class Answers:
    """The answers that one client waits for or reads; each body has at most `limit` bytes. Usable from any thread."""

    def __init__(self, limit: int = CALL_BYTES) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._abandoned = False

    def abandon(self) -> None:
        """End all waiting at once, and wait for no answer from now on. The calls end as lost ones."""
        with self._lock:
            self._abandoned = True
            for sock in self._open:
                _hang_up(sock)

    def add(self, sock: socket.socket) -> None:
        """Record a socket on which an answer is awaited."""
        with self._lock:
            self._open.add(sock)
            if self._abandoned:
                _hang_up(sock)

    def remove(self, sock: socket.socket) -> None:
        """Forget a socket: its answer is complete, or lost."""
        with self._lock:
            self._open.discard(sock)


def _hang_up(sock: socket.socket) -> None:
    """Wake the thread that reads from a socket: it then reads the end."""
    plain = getattr(sock, "socket", sock)  # urllib3's transport of TLS in TLS is no socket itself
    with contextlib.suppress(OSError):
        # not ssl's own method, which would break the other thread's read
        socket.socket.shutdown(plain, socket.SHUT_RDWR)


class BoundedReader(io.RawIOBase):
    """Reads one answer from a socket: its status line, headers and body.

    The socket's time-out when the answer begins is the time for the whole answer. Raises TimeoutError after it and
    AnswerTooLargeError after `limit` bytes. `received` is what was read of the answer before, `began` when that began.
    """

    def __init__(
        self, sock: socket.socket, limit: int, answers: Answers, received: bytes = b"", began: float | None = None
    ) -> None:
        super().__init__()
        self._received = received
        self._answers = answers
        answers.add(sock)
        self._sock = sock
        self._patience = sock.gettimeout()
        self._until = (began or time.monotonic()) + self._patience if self._patience is not None else None
        self.limit = limit
        self._stream = cast("io.RawIOBase", sock.makefile("rb", buffering=0))

    def readable(self) -> bool:
        """Return true: this is for reading."""
        return True

    def readinto(self, buffer: Any, /) -> int | None:  # noqa: ANN401  (any writable buffer)
        """Read what there is, at most as much as the buffer holds."""
        received: int | None
        if self._received:
            received = min(len(buffer), len(self._received))
            buffer[:received], self._received = self._received[:received], self._received[received:]
        else:
            if self._until is not None:
                remaining = self._until - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError("the time for the answer is over")
                self._sock.settimeout(remaining)
            received = self._stream.readinto(buffer)
        self.limit -= received or 0
        if self.limit < 0:
            raise AnswerTooLargeError
        return received

    def close(self) -> None:
        """Give the socket back with the time-out that it had."""
        if not self.closed:
            self._answers.remove(self._sock)
            with contextlib.suppress(OSError):  # the connection is closed
                self._sock.settimeout(self._patience)
            self._stream.close()
        super().close()


def _hold_back(sock: socket.socket, *, hold: bool) -> None:
    """Let the kernel hold back the last segment of what is written, for 0.2 seconds at most, or send it now."""
    if _CORK:
        sock.setsockopt(socket.IPPROTO_TCP, _CORK, hold)


def _drop(sock: socket.socket) -> bool:
    """Close a socket and discard what it holds back. Return False if that is nothing: all has been sent."""
    held = _CORK is not None and any(fcntl.ioctl(sock, _SIOCOUTQNSD, bytes(4)))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    return held


class _Departing:
    """A mixin for connections. If it `departs`, each request asks for permission to leave, and then leaves as a whole."""

    departs = False
    _opened = False
    _parts: list[bytes] | None = None  # of the request that is being prepared
    _poll: Any = None  # of the open socket
    _patience = 0.0  # its time-out, in seconds

    def connect(self) -> None:
        """Connect, and record that the next request is the first one."""
        above: Any = super()
        above.connect()
        self._opened, self._poll = True, None

    def request(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  (urllib3's own)
        """Send a request. If it may not leave, raise WithheldError and send nothing."""
        above: Any = super()
        if not self.departs:
            return above.request(*args, **kwargs)
        self._parts = []
        try:
            above.request(*args, **kwargs)
            whole = b"".join(self._parts)
        finally:
            self._parts = None
        if getattr(self, "sock", None) is None:
            self.connect()
        connected, self._opened = self._opened, False
        connection: Any = self
        patience = connection.sock.gettimeout()
        connection.sock.settimeout(0)
        try:
            self._leave(whole, patience, connected=connected)
        finally:
            if connection.sock:
                connection.sock.settimeout(patience)

    def _leave(self, whole: bytes, patience: float | None, *, connected: bool) -> None:
        """Write the request if it may leave.

        It is checked right before the write, and again after it: the kernel holds the last segment back until then. So
        a process that was stopped in between drops the request with its connection when it continues. If the kernel
        has sent it meanwhile, that was within 0.2 seconds of the first check, and the answer counts as lost.

        The socket must not block: with a time-out Python polls it before it writes, and waits twice for its own lock.
        """
        connection: Any = self
        sock, departure = connection.sock, current_departure() or _ALWAYS
        plain: socket.socket = getattr(sock, "socket", sock)  # urllib3's transport of TLS in TLS is no socket itself
        send, rest = sock.send, whole
        _hold_back(plain, hold=True)
        try:
            while rest:
                try:
                    departure.require(connected=connected)
                    rest = rest[send(rest) :]
                except (BlockingIOError, ssl.SSLWantWriteError):
                    if not wait_for_write(sock, patience):
                        raise TimeoutError("the request could not be written") from None
            departure.require_permit()
        except WithheldError:
            if rest == whole:  # the connection is as it was
                _hold_back(plain, hold=False)
                raise
            has_left = not rest and not _drop(plain)
            connection.close()
            if has_left:
                raise ConnectionResetError("the request had left before it was dropped") from None
            raise
        _hold_back(plain, hold=False)

    def is_quiet(self) -> bool:
        """Return whether the connection is open and nothing has come on it, as it must be before a request."""
        if self._poll is None:
            self._poll = select.poll()
            connection: Any = self
            self._poll.register(connection.sock, select.POLLIN)
        return not self._poll.poll(0)

    def exchange(self, request: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """Send a whole request on the quiet connection. Return the status, the headers (lower-case names) and the body.

        http.client reads an unusual answer only: it takes more processor time than all else. Raises WithheldError if
        nothing may leave, and what sockets and http.client raise. From now on the socket does not block.
        """
        connection: Any = self
        sock, began = connection.sock, time.monotonic()
        if sock.gettimeout():
            self._patience = sock.gettimeout()
            sock.settimeout(0)
        self._leave(request, self._patience, connected=False)
        received = self._received(began, wait=True)
        surplus = False
        if head := _usual_head(received):
            status, headers, start, end = head
            if len(received) < end:  # the body often comes after the headers
                received += self._received(began, wait=False)
            if len(received) == end:
                return status, headers, received[start:]
            surplus = len(received) > end
        sock.settimeout(self._patience)
        with contextlib.closing(connection.response_class(sock, 0, "POST", received=received, began=began)) as answer:
            answer.begin()
            body = b"".join(iter(partial(answer.read, _PIECE), b""))  # in pieces: it would allocate what is announced
            if answer.length:
                raise IncompleteRead(body)
        if answer.will_close or surplus:
            connection.close()
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, body

    def _received(self, began: float, *, wait: bool) -> bytes:
        """Return the next part of the answer to a request that began at `began`; `wait`: nothing has come of it yet."""
        connection: Any = self
        while True:
            if wait and not self._poll.poll(max(0, began + self._patience - time.monotonic()) * 1000):
                raise TimeoutError("the time for the answer is over")
            try:
                return cast("bytes", connection.sock.recv(_PIECE))
            except (BlockingIOError, ssl.SSLWantReadError):  # or what came was for TLS itself
                wait = True

    def send(self, data: Any) -> Any:  # noqa: ANN401  (http.client's own)
        """Send a part of a request, or keep it until the request is complete."""
        above: Any = super()
        return above.send(data) if self._parts is None else self._parts.append(data)


class _WholeBodies:
    """A mixin for pools of connections: botocore accepts a truncated body as complete."""

    def urlopen(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  (urllib3's own)
        """Send a request and return its response, with a body of the announced length."""
        above: Any = super()
        return above.urlopen(*args, **kwargs | {"enforce_content_length": True})


def _bounded_pools(answers: Answers, *, ask: bool) -> dict[str, type]:
    """Return classes for urllib3's connection pools, by scheme, which read `answers` and may `ask` for departures."""

    class Answer(HTTPResponse):
        """Reads through a BoundedReader. A proxy's answer to CONNECT is read by the same class."""

        def __init__(
            self,
            sock: socket.socket,
            *args: Any,  # noqa: ANN401  (http.client's own)
            received: bytes = b"",
            began: float | None = None,
            **kwargs: Any,  # noqa: ANN401  (as above)
        ) -> None:
            super().__init__(sock, *args, **kwargs)
            self.fp.close()
            self._reader = BoundedReader(sock, HEAD_BYTES, answers, received, began)
            self.fp = io.BufferedReader(self._reader)

        def begin(self) -> None:
            """Read the status line and the headers. Raises MalformedAnswerError."""
            try:
                super().begin()
                while self.status < 200:  # noqa: PLR2004  (informational: http.client itself passes over 100 only)
                    answer: Any = self  # Any: the stubs do not know the mark for "not read yet"
                    answer.headers = None
                    super().begin()
            except AnswerTooLargeError:
                raise MalformedAnswerError("the headers do not end") from None
            if self.headers.defects:
                raise MalformedAnswerError("a header without a name")
            require_headers(self.status, self.headers.items())
            self._reader.limit = answers.limit

    def pool(of: type, connection: type) -> type:
        kind = type("Connection", (_Departing, connection), {"response_class": Answer, "departs": ask})
        return type("Pool", (_WholeBodies, of), {"ConnectionCls": kind})

    return {
        "http": pool(AWSHTTPConnectionPool, AWSHTTPConnection),
        "https": pool(AWSHTTPSConnectionPool, AWSHTTPSConnection),
    }


def bound_answers(client: Any, answers: Answers) -> None:  # noqa: ANN401  (a boto3 client)
    """Let a new client wait for a whole answer no longer than its read time-out, and limit the size of each answer.

    Only calls of Cognito need a permit to leave: while one is prepared, another request may renew its credentials.
    botocore has no public way to choose its connections; tests/cognito/test_hostile_answers.py checks this one.
    """
    ask = client.meta.service_model.service_name == "cognito-idp"
    client._endpoint.http_session._pool_classes_by_scheme.update(_bounded_pools(answers, ask=ask))  # noqa: SLF001


def take_open_connection(session: Any, url: str) -> Any:  # noqa: ANN401  (botocore's and urllib3's own)
    """Take an open connection to `url` out of the pool of botocore's HTTP session. Return None if there is none.

    There is none for an http:// URL behind a proxy, either: its requests have another form.
    """
    proxy = session._proxy_config.proxy_url_for(url)  # noqa: SLF001  (as above)
    if proxy and url.startswith("http:"):
        return None
    pool = session._get_connection_manager(url, proxy).connection_from_url(url)  # noqa: SLF001  (as above)
    connection = pool._get_conn()  # noqa: SLF001  (as above)
    return connection if connection.sock else None
