"""Answers through both transports: only a real success is SET, nothing is raised, no password is shown."""

import io
import json
import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from botocore.awsrequest import AWSResponse, HeadersDict

from bulkreset.cognito.boto3_transport import BotoTransport
from bulkreset.cognito.crt_transport import CrtTransport
from bulkreset.cognito.response import Disposition, Response
from bulkreset.cognito.response_parser import read_response
from bulkreset.cognito.session import TargetSession, open_session
from bulkreset.job import Target
from bulkreset.models import Row, Secret

_POOL = "eu-west-1_Fuzzed001"
PASSWORD = 'Zq7x"Kw9é'
_ROW = Row(1, "ann", Secret(PASSWORD), _POOL, permanent=True)
_STATUSES = (200, 200, 400, 500, 202, 302, 403, 503, 299, 413, 429, 404, 204, 199, 0, 1000)
_HEADERS: tuple[Mapping[str, str], ...] = (
    {"x-amzn-requestid": "r-1"},
    {},
    {"x-amzn-requestid": PASSWORD, "x-amzn-errortype": f"{PASSWORD}:x"},
    {"x-amzn-query-error": "ThrottlingException;Sender", "x-amzn-requestid": "r-1"},
)
WORDS = (
    *(f'"{key}":'.encode() for key in ("__type", "message", "Message", "code", "Code", "Error", "errors")),
    *(f'"{code}"'.encode() for code in ("TooManyRequestsException", "InvalidParameterException", "ExpiredToken")),
    *(b"com.amazon#", b"null", b"1e999", b"\\ud800", PASSWORD.encode(), json.dumps(PASSWORD).encode()),
    *(b"HTTP/1.1 ", b"200 OK\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n", b"0\r\n\r\n"),
    *(b"Content-Encoding: gzip\r\n", b"x-amzn-requestid: r\r\n", b"Location: ", b"Connection: close\r\n"),
)


def one(data: bytes) -> None:
    """The first byte chooses status and headers of the body. From 240 on, the bytes are the whole HTTP answer."""
    how, body = (data[0] if data else 0), data[1:]
    if how >= 240:
        _verbatim(body)
        return
    status, headers = _STATUSES[how & 15], _HEADERS[how >> 4 & 3]
    answers = _through_botocore(status, headers, body), read_response(status, headers, body, _ROW.password.withhold)
    for answer in answers:
        _hides_password(answer)
        assert (answer.disposition is Disposition.DONE) is _is_success(status, headers, body), answer
    assert answers[0].disposition is answers[1].disposition, answers


def _is_success(status: int, headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether an answer is a success: an empty object, or an object without an error and with a request id."""
    try:
        told = json.loads(body.decode()) if body else None
    except (ValueError, RecursionError):
        return False
    if status >= 300 or "x-amzn-errortype" in headers or (body and not isinstance(told, dict)):
        return False
    return told == {} or ("x-amzn-requestid" in headers and "__type" not in (told or {}))


def _hides_password(answer: Response) -> None:
    told = (answer.code, answer.message, answer.request_id)
    assert not [text for text in told if PASSWORD in text or json.dumps(PASSWORD)[1:-1] in text], answer
    for text in told:
        text.encode()  # it can be stored


def _verbatim(answer: bytes) -> None:
    url = _listening()
    _SAID[0] = answer
    said = _boto(url).set_password(_ROW), _runtime(url).set_password(_ROW)
    for read in said:
        _hides_password(read)
        assert read.disposition is not Disposition.DONE or b"HTTP/1" in answer, read


class _Raw(io.BytesIO):
    def stream(self, **_how: object) -> Any:  # noqa: ANN401  (as in urllib3)
        yield self.read()


def _through_botocore(status: int, headers: Mapping[str, str], body: bytes) -> Response:
    """Return boto3's result for an answer, without a socket."""
    named: Any = HeadersDict(headers)  # as botocore gets it from urllib3
    _NEXT[0] = AWSResponse("http://127.0.0.1", status, named, _Raw(body))
    return _in_process().set_password(_ROW)


_NEXT: list[Any] = [None]
_SAID: list[bytes] = [b""]


def _session(url: str) -> TargetSession:
    for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
        del os.environ[name]
    nowhere = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    keys = {"AWS_ACCESS_KEY_ID": "AKIDFUZZED", "AWS_SECRET_ACCESS_KEY": "fuzzed", "AWS_EC2_METADATA_DISABLED": "true"}
    os.environ.update(nowhere | keys)
    return open_session(
        Target(user_pool_id=_POOL, region="eu-west-1", endpoint_url=url, connect_timeout=90.0, read_timeout=90.0)
    )


@cache
def _in_process() -> BotoTransport:
    client = _session("http://127.0.0.1:9").cognito()
    client.meta.events.register("before-send.cognito-identity-provider", lambda **_kwargs: _NEXT[0])
    return BotoTransport(lambda: client)


@cache
def _boto(url: str) -> BotoTransport:
    return BotoTransport(_session(url).cognito)


@cache
def _runtime(url: str) -> CrtTransport:
    return CrtTransport(_session(url))


@cache
def _listening() -> str:
    """Serve an endpoint that reads a request, sends the next answer, and hangs up."""
    door = socket.create_server(("127.0.0.1", 0), backlog=16)
    threading.Thread(target=_serve, args=(door,), name="endpoint", daemon=True).start()
    return f"http://127.0.0.1:{door.getsockname()[1]}"


def _serve(door: socket.socket) -> None:
    while True:
        connection, _ = door.accept()
        with connection, suppress(OSError):
            connection.settimeout(90)
            asked = b""
            while not asked.endswith(b"}"):  # the request's body is one object
                if not (more := connection.recv(1 << 16)):
                    break
                asked += more
            connection.sendall(_SAID[0])
