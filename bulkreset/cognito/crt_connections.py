"""Opens connections of AWS's C runtime (CRT) to one endpoint and keeps them alive between calls."""

import ctypes
import threading
from concurrent.futures import Future
from functools import cache
from typing import Final

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

from bulkreset.cognito.bounded_http import CALL_BYTES
from bulkreset.cognito.diagnose import diagnose_connection
from bulkreset.cognito.endpoint import Endpoint, Proxy
from bulkreset.cognito.response import Response
from bulkreset.cognito.response_parser import not_sent_response
from bulkreset.errors import TargetError

PATIENCE: Final = 1.0  # seconds to wait for a handshake before botocore is used to find out what is wrong
_LONGEST_MS: Final = 2**31 - 1
_TIMED_OUT: Final = frozenset({"AWS_IO_SOCKET_TIMEOUT", "AWS_IO_TLS_NEGOTIATION_TIMEOUT"})
_IN_CALLBACKS: Final = threading.local()


class NoConnectionError(Exception):
    """No connection could be opened, so nothing was sent; `response` says why."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.code)
        self.response = answer


class ConnectionPool:
    """Open connections to one endpoint, one for each call in flight. A connection is used by one call at a time."""

    def __init__(self, route: Endpoint) -> None:
        self._route = route
        self._idle: list[HttpClientConnection] = []  # last in, first out: the rest may time out
        self._asking = threading.Lock()
        self._options = SocketOptions()
        self._options.connect_timeout_ms = max(1, min(_LONGEST_MS, round(route.connect_timeout * 1000)))
        self._options.keep_alive = True
        context = _tls_context(route) if "https" in {route.scheme, route.proxy and route.proxy.scheme} else None
        self._tls = _tls(context, route.host) if context and route.scheme == "https" else None
        self._proxy = _proxy_options(route.proxy, context, tunnel=self._tls is not None) if route.proxy else None

    def acquire(self) -> tuple[HttpClientConnection, bool]:
        """Return an open connection, and whether it was opened just now. Raises NoConnectionError if none can be."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread took the last one
                break
            if connection.is_open():  # otherwise the server has closed it; nothing was sent on it
                return connection, False
        return self._connect(), True

    def release(self, connection: HttpClientConnection) -> None:
        """Keep a connection for the next call. Its response must have been read completely."""
        if connection.is_open():
            self._idle.append(connection)

    def _connect(self) -> HttpClientConnection:
        route = self._route
        connecting: Future[HttpClientConnection] = HttpClientConnection.new(
            route.host,
            route.port,
            _bootstrap(),
            self._options,
            self._tls,
            self._proxy,
            manual_window_management=True,  # no more of a body is read than a whole answer can have
            initial_window_size=CALL_BYTES + 1,
        )
        timeout = min(threading.TIMEOUT_MAX, route.connect_timeout)
        patience = min(timeout, PATIENCE) if self._tls else timeout
        try:
            try:
                return connecting.result(patience)
            except TimeoutError:
                if answer := self._objection():
                    raise NoConnectionError(answer) from None
                return connecting.result(timeout - patience)
        except TimeoutError:
            raise NoConnectionError(not_sent_response("ConnectTimeoutError")) from None
        except NoConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  (the runtime has many errors; for all of them nothing was sent)
            raise NoConnectionError(self._reason(error)) from None
        finally:
            if not connecting.done():
                connecting.add_done_callback(_close)

    def _objection(self) -> Response | None:
        """Return botocore's diagnosis of a TLS connection, None if there is none.

        Only one thread at a time asks, so that a slow network does not get more load.
        """
        if not self._tls or not self._asking.acquire(blocking=False):
            return None
        try:
            return diagnose_connection(self._route)
        finally:
            self._asking.release()

    def _reason(self, error: Exception) -> Response:
        """Return why a connection could not be opened, with botocore's error name as the code."""
        name = getattr(error, "name", "")
        if name.startswith("AWS_IO_TLS_ERROR") and (answer := self._objection()):
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


def _close(connecting: "Future[HttpClientConnection]") -> None:
    """Close a connection that was opened after its caller stopped waiting."""
    if not connecting.exception():
        connecting.result().close()


def keep_thread_state() -> None:
    """Keep Python's thread state for the runtime's thread. Call this on that thread.

    Otherwise every callback, four for each call, creates and destroys the state. That maps and unmaps memory, which
    stops every other thread. PyGILState_Ensure counts its calls; the first one on a thread creates the state.
    """
    if not hasattr(_IN_CALLBACKS, "kept"):
        _IN_CALLBACKS.kept = ctypes.pythonapi.PyGILState_Ensure()
