"""Opens connections of AWS's C runtime (CRT) to one endpoint and keeps them alive between calls."""

import copy
import ctypes
import fcntl
import itertools
import socket
import struct
import termios
import threading
from concurrent.futures import Future
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, Final

from awscrt.http import (
    HttpClientConnection,
    HttpProxyAuthenticationType,
    HttpProxyConnectionType,
    HttpProxyOptions,
)
from awscrt.io import (
    ClientBootstrap,
    ClientTlsContext,
    DefaultHostResolver,
    EventLoopGroup,
    SocketOptions,
    TlsConnectionOptions,
    TlsContextOptions,
)
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, SSLError
from botocore.httpsession import URLLib3Session

from bulkreset.cognito.bounded_http import CALL_BYTES
from bulkreset.cognito.endpoint import Endpoint, Proxy
from bulkreset.cognito.http_errors import UNSENT, is_about_the_certificate
from bulkreset.cognito.response import Response
from bulkreset.cognito.response_parser import BAD_CERTIFICATE, not_sent_response
from bulkreset.errors import TargetError

LONGEST_TRY: Final = 2.0  # seconds for botocore to connect, and again to wait for a response
PATIENCE: Final = 1.0  # seconds to wait for a handshake; after that botocore is used to find the reason
_LONGEST_MS: Final = 2**31 - 1
_TIMED_OUT: Final = frozenset({"AWS_IO_SOCKET_TIMEOUT", "AWS_IO_TLS_NEGOTIATION_TIMEOUT"})
_IN_CALLBACKS: Final = threading.local()
_MARKS: Final = itertools.cycle(range(7200, 32767))  # seconds: from Linux's usual interval to its longest one
_RECEIVED_AT: Final = 128  # where tcpi_bytes_received is in Linux's struct tcp_info


class NoConnectionError(Exception):
    """No connection could be opened, so nothing was sent; `response` says why."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.code)
        self.response = answer


class CrtConnection:
    """A connection of the runtime, and how much was read from its socket.

    The runtime shows neither its socket nor unfinished headers, which it keeps in memory. The socket is found by its
    keep-alive interval, which is `mark` seconds for this connection only.
    """

    def __init__(self, http: HttpClientConnection, mark: int) -> None:
        self.http = http
        self._mark = mark
        self._descriptor: int | None = None

    def bytes_read(self) -> int | None:
        """Return how many bytes the runtime has read from the socket; None if the system (not Linux) cannot say."""
        if not hasattr(socket, "TCP_INFO"):
            return None
        if self._descriptor is None or (read := self._read_from(self._descriptor)) is None:
            try:
                numbers = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
            except OSError:  # no /proc
                return None
            found = ((number, read) for number in numbers if (read := self._read_from(number)) is not None)
            self._descriptor, read = next(found, (None, None))
        return read

    def _read_from(self, descriptor: int) -> int | None:
        """Return the bytes that were read from a descriptor; None if it is not this connection's socket."""
        try:
            sock = socket.socket(fileno=descriptor)
        except OSError:  # no socket
            return None
        try:
            if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) != self._mark:
                return None
            facts = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED_AT + 8)
            unread = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4))
            return int(struct.unpack_from("Q", facts, _RECEIVED_AT)[0] - struct.unpack("i", unread)[0])
        except (OSError, struct.error):  # closed meanwhile, or a system that reports less
            return None
        finally:
            sock.detach()  # the descriptor is the runtime's


class ConnectionPool:
    """Open connections to one endpoint, one for each call in flight. A connection is used by one call at a time."""

    def __init__(self, route: Endpoint) -> None:
        self._route = route
        self._idle: list[CrtConnection] = []  # last in, first out: the rest may time out
        self._asking = threading.Lock()
        self._options = SocketOptions()
        self._options.connect_timeout_ms = max(1, min(_LONGEST_MS, round(route.connect_timeout * 1000)))
        self._options.keep_alive = True
        context = _tls_context(route) if "https" in {route.scheme, route.proxy and route.proxy.scheme} else None
        self._tls = _tls(context, route.host) if context and route.scheme == "https" else None
        self._proxy = _proxy_options(route.proxy, context, tunnel=self._tls is not None) if route.proxy else None

    def acquire(self) -> tuple[CrtConnection, bool]:
        """Return an open connection, and whether it was opened just now. Raises NoConnectionError if none can be."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread took the last one
                break
            if connection.http.is_open():  # otherwise the server has closed it; nothing was sent on it
                return connection, False
        return self._connect(), True

    def release(self, connection: CrtConnection) -> None:
        """Keep a connection for the next call. Its response must have been read completely."""
        if connection.http.is_open():
            self._idle.append(connection)

    def _connect(self) -> CrtConnection:
        route, mark, options = self._route, next(_MARKS), copy.copy(self._options)
        # Both, because the runtime uses one as the default of the other.
        options.keep_alive_timeout_secs = options.keep_alive_interval_secs = mark
        connecting: Future[HttpClientConnection] = HttpClientConnection.new(
            route.host,
            route.port,
            _bootstrap(),
            options,
            self._tls,
            self._proxy,
            manual_window_management=True,  # a body is never read beyond the size of a whole answer
            initial_window_size=CALL_BYTES + 1,
        )
        timeout = min(threading.TIMEOUT_MAX, route.connect_timeout)
        patience = min(timeout, PATIENCE) if self._tls else timeout
        try:
            try:
                return CrtConnection(connecting.result(patience), mark)
            except TimeoutError:
                if answer := self._tls_problem():
                    raise NoConnectionError(answer) from None
                return CrtConnection(connecting.result(timeout - patience), mark)
        except TimeoutError:
            raise NoConnectionError(not_sent_response("ConnectTimeoutError")) from None
        except NoConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  (the runtime has many errors; for all of them nothing was sent)
            raise NoConnectionError(self._reason(error)) from None
        finally:
            if not connecting.done():
                connecting.add_done_callback(_close)

    def _tls_problem(self) -> Response | None:
        """Return botocore's diagnosis of a TLS connection, None if there is none.

        Only one thread at a time asks, so that a slow network does not get more load.
        """
        if not self._tls or not self._asking.acquire(blocking=False):
            return None
        try:
            return _diagnose(self._route)
        finally:
            self._asking.release()

    def _reason(self, error: Exception) -> Response:
        """Return why a connection could not be opened, with botocore's error name as the code."""
        name = getattr(error, "name", "")
        if name.startswith("AWS_IO_TLS_ERROR") and (answer := self._tls_problem()):
            return answer
        if self._proxy or name == "AWS_ERROR_HTTP_PROXY_CONNECT_FAILED":
            return not_sent_response("ProxyConnectionError")
        return not_sent_response("ConnectTimeoutError" if name in _TIMED_OUT else "EndpointConnectionError")


@cache
def _bootstrap() -> ClientBootstrap:
    """Return the bootstrap for all connections. One thread is enough: it mostly waits for the network."""
    group = EventLoopGroup(1)
    return ClientBootstrap(group, DefaultHostResolver(group))


def _tls_context(route: Endpoint) -> ClientTlsContext:
    options = TlsContextOptions()
    options.verify_peer = route.ca_file is not None
    if route.certificates:
        options.override_default_trust_store(route.certificates)
    try:
        return ClientTlsContext(options)
    except RuntimeError:
        raise TargetError(f"The CA bundle {route.ca_file} cannot be used.", "Name a PEM file.") from None


def _tls(context: ClientTlsContext, host: str) -> TlsConnectionOptions:
    options = context.new_connection_options()
    options.set_server_name(host)
    return options


def _proxy_options(proxy: Proxy, context: ClientTlsContext | None, *, tunnel: bool) -> HttpProxyOptions:
    kind = HttpProxyConnectionType.Tunneling if tunnel else HttpProxyConnectionType.Forwarding
    basic = HttpProxyAuthenticationType.Basic if proxy.user else HttpProxyAuthenticationType.Nothing
    tls = _tls(context, proxy.host) if context and proxy.scheme == "https" else None
    return HttpProxyOptions(
        proxy.host, proxy.port, tls, basic, proxy.user or None, proxy.password or None, connection_type=kind
    )


def _diagnose(route: Endpoint) -> Response | None:
    """Return what botocore finds wrong with a connection; None if it can connect, or may have connected.

    It sends an unsigned HEAD request without any data of a row. The runtime reports a bad certificate only after 10 to
    30 seconds, and as the same error as any other failed handshake.
    """
    patience: Any = (min(route.connect_timeout, LONGEST_TRY),) * 2
    trusted: Any = route.ca_file or False  # a path, as botocore itself passes it
    with closing(URLLib3Session(verify=trusted, proxies=route.proxies, timeout=patience)) as session:
        try:
            session.send(AWSRequest("HEAD", route.url).prepare())
        except SSLError as error:
            return BAD_CERTIFICATE if is_about_the_certificate(error) else not_sent_response("EndpointConnectionError")
        except UNSENT as error:
            return not_sent_response(type(error).__name__)
        except (BotoCoreError, ValueError):  # the request may have arrived without a response
            return None
    return None


def _close(connecting: "Future[HttpClientConnection]") -> None:
    """Close a connection that was opened after its caller had stopped waiting."""
    if not connecting.exception():
        connecting.result().close()


def keep_thread_state() -> None:
    """Keep Python's thread state for the runtime's thread. Call this on that thread.

    Otherwise every callback, four for each call, creates and destroys the state. That maps and unmaps memory, which
    stops every other thread. PyGILState_Ensure counts its calls; the first one on a thread creates the state.
    """
    if not hasattr(_IN_CALLBACKS, "kept"):
        _IN_CALLBACKS.kept = ctypes.pythonapi.PyGILState_Ensure()
