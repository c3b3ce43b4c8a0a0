"""The S3 process. It prints its address, and ends when its standard input is closed."""

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import WSGIRequestHandler, make_server

Start = Callable[..., Any]


class Faulty:
    """The S3 application with the configured latency and faults in front of it."""

    def __init__(self, application: Callable[[dict[str, Any], Start], Iterable[bytes]]) -> None:
        self._application = application
        self._lock = threading.Lock()
        self.latency = 0.0
        self.faults: list[list[Any]] = []
        self.ignored: list[str] = []
        self.seen: list[tuple[str, str]] = []

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/_bucket":
            return self._configured(environ, start)
        query = environ.get("QUERY_STRING", "")
        what = environ["PATH_INFO"] + (f"?{query}" if query else "")
        method = environ["REQUEST_METHOD"]
        with self._lock:
            self.seen.append((method, what))
            fault = next((one for one in self.faults if one[3] > 0 and re.search(one[0], f"{method} {what}")), None)
            if fault:
                fault[3] -= 1
        if self.latency:
            time.sleep(self.latency)  # the configured time to S3 and back
        for name in self.ignored:
            environ.pop(f"HTTP_{name.upper().replace('-', '_')}", None)
        if fault and fault[1]:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            body = f"<Error><Code>{fault[2]}</Code><Message>as asked</Message></Error>".encode()
            start(f"{fault[1]} Fault", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [body]
        answer = self._application(environ, start)
        if not fault:
            return answer
        whole = b"".join(answer)
        return [whole[: len(whole) // 2]]

    def _configured(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        asked = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        self.latency = asked.get("latency", self.latency)
        self.faults = asked.get("faults", self.faults)
        self.ignored = asked.get("ignored", self.ignored)
        if asked.get("reset"):
            s3_backends["123456789012"]["global"].reset()
            self.seen.clear()
        body = json.dumps(self.seen).encode()
        start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]


class Handler(WSGIRequestHandler):
    """Keeps connections open, as S3 does."""

    protocol_version = "HTTP/1.1"


def main() -> None:
    """Serve until standard input is closed."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = make_server(
        "127.0.0.1", 0, Faulty(DomainDispatcherApplication(create_backend_app)), threaded=True, request_handler=Handler
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{server.port}"}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


main()
