"""Connections of AWS's C runtime to one endpoint, kept alive between calls."""

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

from bulkreset.cognito.diagnose import diagnose_connection
from bulkreset.cognito.endpoint import Endpoint, Proxy
from bulkreset.cognito.response import Response
from bulkreset.cognito.response_parser import not_sent_response
from bulkreset.errors import TargetError

PATIENCE: Final = 1.0  # seconds that a handshake may take before botocore is asked what is wrong with it
_LONGEST_MS: Final = 2**31 - 1
_TIMED_OUT: Final = frozenset({"AWS_IO_SOCKET_TIMEOUT", "AWS_IO_TLS_NEGOTIATION_TIMEOUT"})
_IN_CALLBACKS: Final = threading.local()


class NoConnectionError(Exception):
    """Nothing could be sent; `answer` says why."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.code)
        self.response = answer


class ConnectionPool:
    """As many connections to the end of a route as there are calls at once. Whoever takes one has it alone."""

    def __init__(self, route: Endpoint) -> None:
        self._route = route
        self._idle: list[HttpClientConnection] = []  # the last one used is the first one taken: the others may close
        self._asking = threading.Lock()
        self._options = SocketOptions()
        self._options.connect_timeout_ms = max(1, min(_LONGEST_MS, round(route.connect_timeout * 1000)))
        self._options.keep_alive = True
        context = _tls_context(route) if "https" in {route.scheme, route.proxy and route.proxy.scheme} else None
        self._tls = _tls(context, route.host) if context and route.scheme == "https" else None
        self._proxy = _proxy_options(route.proxy, context, tunnel=self._tls is not None) if route.proxy else None

    def acquire(self) -> HttpClientConnection:
        """An open connection. Raises NoConnectionError."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if connection.is_open():  # else the server has closed it: nothing was sent on it
                return connection
        return self._connect()

    def release(self, connection: HttpClientConnection) -> None:
        """Keep a connection, whose answer was read to its end, for the next call."""
        if connection.is_open():
            self._idle.append(connection)

    def _connect(self) -> HttpClientConnection:
        route = self._route
        connecting: Future[HttpClientConnection] = HttpClientConnection.new(
            route.host, route.port, _bootstrap(), self._options, self._tls, self._proxy
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
        except Exception as error:  # noqa: BLE001  (whatever the runtime names it, nothing was sent)
            raise NoConnectionError(self._reason(error)) from None
        finally:
            if not connecting.done():
                connecting.add_done_callback(_close)

    def _objection(self) -> Response | None:
        """What botocore says of an encrypted way. One thread at a time asks: a slow network must not be asked more."""
        if not self._tls or not self._asking.acquire(blocking=False):
            return None
        try:
            return diagnose_connection(self._route)
        finally:
            self._asking.release()

    def _reason(self, error: Exception) -> Response:
        """Why a connection could not be made, in botocore's words."""
        name = getattr(error, "name", "")
        if name.startswith("AWS_IO_TLS_ERROR") and (answer := self._objection()):
            return answer
        if self._proxy or name == "AWS_ERROR_HTTP_PROXY_CONNECT_FAILED":
            return not_sent_response("ProxyConnectionError")
        return not_sent_response("ConnectTimeoutError" if name in _TIMED_OUT else "EndpointConnectionError")


@cache
def _bootstrap() -> ClientBootstrap:
    """What makes connections: one thread for all, which waits for the network more than it works."""
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
    """Close a connection that came when nobody waited for it any more."""
    if not connecting.exception():
        connecting.result().close()


def keep_thread_state() -> None:
    """Let Python keep its state of the runtime's thread, on which this is called.

    Else the state is made anew and thrown away at every callback, four times a call: memory mapped and unmapped, which
    halts every other thread. Source: PyGILState_Ensure, which counts; the first one of a thread makes the state.
    """
    if not hasattr(_IN_CALLBACKS, "kept"):
        _IN_CALLBACKS.kept = ctypes.pythonapi.PyGILState_Ensure()
