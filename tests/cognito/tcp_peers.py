"""TCP peers on loopback that send what a test sets, and an HTTP proxy."""

import base64
import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

ANSWER = b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: r-1\r\nContent-Length: 2\r\n\r\n{}"


class Peer:
    """Passes each connection, numbered from 1, to `serve` in a new thread, and closes it afterwards."""

    def __init__(self, serve: Callable[[int, socket.socket], None]) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._run(self._accept)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(90)
        for connection in self._open:
            connection.close()

    def _run(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self._run(lambda number=self.connections, to=connection: self._guarded(number, to))  # type: ignore[misc]

    def _guarded(self, number: int, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self._serve(number, connection)


@contextmanager
def peer(serve: Callable[[int, socket.socket], None]) -> Iterator[Peer]:
    """Run a peer inside the block."""
    running = Peer(serve)
    try:
        yield running
    finally:
        running.close()


def read_request(connection: socket.socket) -> bytes:
    """Read one request with its body; return b"" if the other side has closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


_FIN_WAIT1 = 4  # of linux/tcp_states.h: the end was sent, and the other side's kernel has not confirmed it yet


def has_arrived(connection: socket.socket) -> bool:
    """Return whether the other side's kernel has the end of a connection that was shut down here."""
    (state,) = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return state != _FIN_WAIT1


class Proxy(Peer):
    """An HTTP proxy. `heads` are its requests; with `wanted` ("user:password") it asks for credentials."""

    def __init__(self, wanted: str = "") -> None:
        self.heads: list[bytes] = []
        self._wanted = base64.b64encode(wanted.encode()) if wanted else b""
        super().__init__(self._pass_on)

    def _pass_on(self, _number: int, connection: socket.socket) -> None:
        request = read_request(connection)
        head, _, body = request.partition(b"\r\n\r\n")
        self.heads.append(head)
        if self._wanted and b"Basic " + self._wanted not in head:
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            connection.close()
            return
        method, target, _ = head.split(b"\r\n")[0].split(b" ")
        url = urlsplit(f"//{target.decode()}" if method == b"CONNECT" else target.decode())
        with socket.create_connection((url.hostname or "", url.port or 80)) as behind:
            if method == b"CONNECT":
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                behind.sendall(head.replace(target, (url.path or "/").encode(), 1) + b"\r\n\r\n" + body)
            _pump(connection, behind)


def _pump(one: socket.socket, other: socket.socket) -> None:
    while True:
        ready, _, _ = select.select([one, other], [], [], 90)
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            (other if source is one else one).sendall(data)
        if not ready:
            return


@contextmanager
def proxy(wanted: str = "") -> Iterator[Proxy]:
    """Run a proxy inside the block."""
    running = Proxy(wanted)
    try:
        yield running
    finally:
        running.close()


@contextmanager
def deaf() -> Iterator[str]:
    """Return the URL of a listener with a full queue, to which no connection is ever made."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
