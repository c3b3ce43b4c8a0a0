"""An endpoint with the answers that a test sets: pages, and answers that only a broken proxy would give."""

import datetime as dt
import ipaddress
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Said:
    """One answer. `raw` is sent instead of an answer, below the encryption if there is any."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes = b""


def of_the_service(answer: object, status: int = 200) -> Said:
    """Return an answer as the service itself would give it."""
    return Said(json.dumps(answer).encode(), status, {"x-amzn-requestid": "r-1"})


class Endpoint(ThreadingHTTPServer):
    """Returns its answers in order, and repeats the last one. `received` are the bodies of the requests."""

    daemon_threads = True
    block_on_close = False
    protocol = "HTTP/1.0"  # it hangs up after an answer; with "HTTP/1.1" it does not

    def __init__(self, answers: Sequence[Said], certificate: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: Iterator[Said] = chain(answers, repeat(answers[-1]))
        self.received: list[bytes] = []
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.server_port}"
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
        if self._context and certificate:
            self._context.load_cert_chain(certificate)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Leave the handshake to the connection's own thread: a client that breaks it off may be slow."""
        connection, address = super().get_request()
        if self._context:
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a client that hangs up."""

    def asked(self) -> list[Any]:
        """Return the requests' parameters."""
        return [json.loads(body) for body in self.received]


class _Handler(BaseHTTPRequestHandler):
    """Answers requests, and hangs up as the server's protocol says."""

    timeout = 90  # seconds after which a connection is closed
    server: Endpoint

    def setup(self) -> None:
        super().setup()
        self.protocol_version = self.server.protocol

    def do_POST(self) -> None:
        self.server.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        said = next(self.server.answers)
        if said.raw:
            os.write(self.connection.fileno(), said.raw)
            return
        self.send_response_only(said.status)  # no Date header unless the test sets one
        for name, value in ({"Content-Length": str(len(said.body))} | said.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        del format, args


@contextmanager
def answering(*answers: Said, certificate: Path | None = None) -> Iterator[Endpoint]:
    """Run an endpoint inside the block."""
    with Endpoint(answers, certificate) as endpoint:
        thread = threading.Thread(target=endpoint.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield endpoint
        finally:
            endpoint.shutdown()
            thread.join()


def certify(folder: Path) -> Path:
    """Write a self-signed certificate for loopback, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(loopback, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "loopback.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return path
