"""Answers that no service gives, but a broken or hostile peer might, as bytes on a connection."""

import contextlib
import gzip
import json
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import chain, repeat

from bulkreset.cognito.response import Disposition

_DRIP = 0.01  # seconds between two bytes: less than any read time-out, so that no single read is late
_HOLD = 90.0  # seconds for which a silent connection is left open, if the client does not close it


@dataclass(frozen=True)
class Answer:
    """One hostile answer: the bytes of `pieces`, then `after` (the connection's end), and the expected result.

    `listed` is the expected result of ListUsers if it differs from that of a call that sets a password.
    """

    name: str
    pieces: Callable[[], Iterable[bytes]]
    verdict: Disposition
    code: str = ""
    after: str = "close"
    drip: bool = False
    listed: tuple[Disposition, str] | None = None

    @property
    def is_late(self) -> bool:
        """Return whether only the deadline ends it, with every transport."""
        return self.code == _LATE

    def serve(self, connection: socket.socket, sent: list[int]) -> bool:
        """Answer one request. `sent` counts the bytes that the client's side accepted. Return whether to continue."""
        with contextlib.suppress(OSError):
            for piece in self.pieces():
                connection.sendall(piece)
                sent[0] += len(piece)
                if self.drip and _closed(connection, _DRIP):
                    return False
            if self.after == "keep":
                return True
            if self.after == "hold":
                _closed(connection, _HOLD)
            elif self.after == "half":
                connection.shutdown(socket.SHUT_WR)
                _closed(connection, _HOLD)
            elif self.after == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        return False


def _closed(connection: socket.socket, seconds: float) -> bool:
    """Return whether the client closes the connection in time."""
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    finally:
        connection.settimeout(None)


def _said(body: bytes = b"{}", status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    """Return a complete answer with the service's request id."""
    lines = [
        f"HTTP/1.1 {status}",
        "x-amzn-RequestId: r-1",
        f"Content-Length: {len(body) if length is None else length}",
    ]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def _once(*pieces: bytes) -> Callable[[], Iterable[bytes]]:
    return lambda: pieces


@cache
def _bomb() -> tuple[bytes, ...]:
    return (_said(gzip.compress(b" " * 2**26), "200 OK", "Content-Encoding: gzip"),)


def _for_ever(head: bytes, piece: bytes) -> Callable[[], Iterable[bytes]]:
    return lambda: chain([head], repeat(piece))


def _each(data: bytes) -> Callable[[], Iterable[bytes]]:
    return lambda: (data[place : place + 1] for place in range(len(data)))


_NO = b'{"__type":"UserNotFoundException","message":"no"}'
_OK = "HTTP/1.1 200 OK\r\nx-amzn-RequestId: r-1\r\n"
_BLOCK = b"a" * 16384
_DONE, _DOUBT, _REFUSED = Disposition.DONE, Disposition.AMBIGUOUS, Disposition.REFUSED
_LATE, _LOST, _UNREADABLE = "ReadTimeoutError", "ConnectionClosedError", "UnreadableResponse"
_LONG = "ResponseTooLarge"
_BAD_PAGE = (_DOUBT, _UNREADABLE)

ANSWERS = [
    Answer("nothing", _once(), _DOUBT, _LATE, after="hold"),
    Answer("closed at once", _once(), _DOUBT, _LOST),
    Answer("half-closed at once", _once(), _DOUBT, _LOST, after="half"),
    Answer("reset at once", _once(), _DOUBT, _LOST, after="reset"),
    Answer("drip in the headers", _for_ever(_OK.encode() + b"x-a: ", b"a"), _DOUBT, _LATE, drip=True),
    Answer("drip of headers", _for_ever(_OK.encode(), b"a: b\r\n"), _DOUBT, _LATE, drip=True),
    Answer(
        "drip in the body", _for_ever((_OK + "Content-Length: 9999\r\n\r\n{").encode(), b" "), _DOUBT, _LATE, drip=True
    ),
    Answer(
        "drip of chunks",
        _for_ever((_OK + "Transfer-Encoding: chunked\r\n\r\n").encode(), b"1\r\n \r\n"),
        _DOUBT,
        _LATE,
        drip=True,
    ),
    Answer("drip of 1xx", _for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), _DOUBT, _LATE, drip=True),
    Answer("endless header line", _for_ever(_OK.encode() + b"x-a: ", _BLOCK), _DOUBT, _LOST),
    Answer("endless headers", _for_ever(_OK.encode(), b"x-a: b\r\n" * 2048), _DOUBT, _LOST),
    Answer("endless status line", _for_ever(b"HTTP/1.1 200 ", _BLOCK), _DOUBT, _LOST),
    Answer("endless body", _for_ever((_OK + "Content-Length: 99999999999\r\n\r\n").encode(), _BLOCK), _DOUBT, _LONG),
    Answer("endless body, no length", _for_ever((_OK + "\r\n").encode(), _BLOCK), _DOUBT, _LOST),
    Answer(
        "endless chunks",
        _for_ever((_OK + "Transfer-Encoding: chunked\r\n\r\n").encode(), b"4000\r\n" + _BLOCK + b"\r\n"),
        _DOUBT,
        _LONG,
    ),
    Answer(
        "endless chunk",
        _for_ever((_OK + "Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n").encode(), _BLOCK),
        _DOUBT,
        _LONG,
    ),
    Answer(
        "endless chunk extension",
        _for_ever((_OK + "Transfer-Encoding: chunked\r\n\r\n1;").encode(), _BLOCK),
        _DOUBT,
        _LOST,
    ),
    Answer("1xx storm", _for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 512), _DOUBT, _LOST),
    Answer("102 storm", _for_ever(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 512), _DOUBT, _LOST),
    Answer(
        "103 then answer",
        _once(b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n", _said()),
        _DONE,
        "",
        after="keep",
        listed=_BAD_PAGE,
    ),
    Answer(
        "100 then answer", _once(b"HTTP/1.1 100 Continue\r\n\r\n", _said()), _DONE, "", after="keep", listed=_BAD_PAGE
    ),
    Answer("short body", _once(_said(b"{}", length=100)), _DOUBT, _LOST),
    Answer("short body, reset", _once(_said(b"{}", length=100)), _DOUBT, _LOST, after="reset"),
    Answer("long body", _once(_said(b"{}more", length=2)), _DONE, "", listed=_BAD_PAGE),
    Answer("two lengths", _once(_said(b"{}", "200 OK", "Content-Length: 3")), _DOUBT, _LOST),
    Answer("length no number", _once((_OK + "Content-Length: two\r\n\r\n{}").encode()), _DOUBT, _LOST),
    Answer("negative length", _once((_OK + "Content-Length: -1\r\n\r\n{}").encode()), _DOUBT, _LOST),
    Answer("no length", _once((_OK + "\r\n{}").encode()), _DOUBT, _LOST),
    Answer("chunk cut", _once((_OK + "Transfer-Encoding: chunked\r\n\r\n10\r\n{}").encode()), _DOUBT, _LOST),
    Answer(
        "bad chunk size",
        _once((_OK + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n").encode()),
        _DOUBT,
        _LOST,
    ),
    Answer(
        "chunked whole",
        _once((_OK + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n").encode()),
        _DONE,
        "",
        after="keep",
        listed=_BAD_PAGE,
    ),
    Answer("empty body", _once(_said(b"")), _DONE, "", after="keep", listed=_BAD_PAGE),
    Answer(
        "204",
        _once(b"HTTP/1.1 204 No Content\r\nx-amzn-RequestId: r-1\r\n\r\n"),
        _DONE,
        "",
        after="keep",
        listed=_BAD_PAGE,
    ),
    Answer("html 200", _once(_said(b"<html>sign in</html>")), _DOUBT, _UNREADABLE, after="keep"),
    Answer("html 403", _once(_said(b"<html>no</html>", "403 Forbidden")), _DOUBT, _UNREADABLE, after="keep"),
    Answer(
        "wrong types",
        _once(_said(b'{"__type":["x"],"message":{}}', "400 Bad Request")),
        _DOUBT,
        _UNREADABLE,
        after="keep",
    ),
    Answer("array", _once(_said(b"[]")), _DOUBT, _UNREADABLE, after="keep"),
    Answer(
        "gzip bomb",
        _bomb,
        _DOUBT,
        _UNREADABLE,
        after="keep",
    ),
    Answer(
        "redirect", _once(_said(b"", "302 Found", "Location: http://127.0.0.1:1/")), _DOUBT, "HTTP302", after="keep"
    ),
    Answer(
        "307",
        _once(_said(b"", "307 Temporary Redirect", "Location: http://127.0.0.1:1/")),
        _DOUBT,
        "HTTP307",
        after="keep",
    ),
    Answer("bad status line", _once(b"220 mail.example ESMTP\r\n"), _DOUBT, _LOST),
    Answer("status no number", _once(b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\n{}"), _DOUBT, _LOST),
    Answer(
        "http/2.0", _once(b"HTTP/2.0 200 OK\r\nx-amzn-RequestId: r-1\r\nContent-Length: 2\r\n\r\n{}"), _DOUBT, _LOST
    ),
    Answer(
        "http/1.0",
        _once(b"HTTP/1.0 200 OK\r\nx-amzn-RequestId: r-1\r\nContent-Length: 2\r\n\r\n{}"),
        _DONE,
        "",
        listed=_BAD_PAGE,
    ),
    Answer("101 headers", _once(_said(b"{}", "200 OK", *(f"x-{n}: y" for n in range(101)))), _DOUBT, _LOST),
    Answer("huge header", _once(_said(b"{}", "200 OK", "x-a: " + "a" * 70000)), _DOUBT, _LOST),
    Answer("header without colon", _once(_said(b"{}", "200 OK", "nonsense")), _DOUBT, _LOST),
    Answer("folded header", _once(_said(b"{}", "200 OK", "x-a: b", " c")), _DOUBT, _LOST),
    Answer("NUL in a header", _once(_said(b"{}", "200 OK", "x-a: \0")), _DOUBT, _LOST),
    Answer("NUL bytes", _once(b"\0" * 1000), _DOUBT, _LOST),
    Answer("NUL body", _once(_said(b"\0" * 10)), _DOUBT, _UNREADABLE, after="keep"),
    Answer("tls alert", _once(b"\x15\x03\x01\x00\x02\x02\x46"), _DOUBT, _LOST),
    Answer(
        "invalid utf-8",
        _once(_said(b'{"__type":"UserNotFoundException","message":"\xff"}', "400 Bad Request")),
        _DOUBT,
        _UNREADABLE,
        after="keep",
    ),
    Answer("bom", _once(_said(b"\xef\xbb\xbf{}")), _DOUBT, _UNREADABLE, after="keep"),
    Answer("utf-16", _once(_said("{}".encode("utf-16"))), _DOUBT, _UNREADABLE, after="keep"),
    Answer("nested", _once(_said(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)), _DOUBT, _UNREADABLE, after="keep"),
    Answer("nested error", _once(_said(b"[" * 100_000, "400 Bad Request")), _DOUBT, _UNREADABLE, after="keep"),
    Answer(
        "duplicate keys",
        _once(_said(b'{"__type":"UserNotFoundException","__type":"InvalidPasswordException"}', "400 Bad Request")),
        _REFUSED,
        "InvalidPasswordException",
        after="keep",
    ),
    Answer("huge integer", _once(_said(b'{"n":' + b"9" * 5000 + b"}")), _DOUBT, _UNREADABLE, after="keep"),
    Answer(
        "retry-after nonsense",
        _once(_said(b"", "503 Service Unavailable", "Retry-After: next year")),
        _DOUBT,
        "HTTP503",
        after="keep",
    ),
    Answer(
        "200 with an error type header",
        _once(_said(b"{}", "200 OK", "x-amzn-errortype: UserNotFoundException")),
        _DOUBT,
        _UNREADABLE,
        after="keep",
    ),
    Answer("200 with an error type", _once(_said(_NO)), _DOUBT, _UNREADABLE, after="keep"),
    Answer(
        "400 with an error type header",
        _once(_said(b"{}", "400 Bad Request", "x-amzn-errortype: UserNotFoundException:http://x/")),
        _DOUBT,
        "HTTP400",
        after="keep",
    ),
    Answer("400 without a type", _once(_said(b"{}", "400 Bad Request")), _DOUBT, "HTTP400", after="keep"),
    Answer("429", _once(_said(b"", "429 Too Many Requests")), _DOUBT, "HTTP429", after="keep"),
    Answer("500", _once(_said(b"", "500 Internal Server Error")), _DOUBT, "HTTP500", after="keep"),
    Answer(
        "500 with a refusal",
        _once(_said(_NO, "500 Internal Server Error")),
        _DOUBT,
        "UserNotFoundException",
        after="keep",
    ),
    Answer("status 999", _once(_said(b"{}", "999 What")), _DOUBT, "HTTP999", after="keep"),
    Answer("503 slow", _for_ever(_said(b"", "503 Service Unavailable", length=99999), b" "), _DOUBT, _LATE, drip=True),
    Answer(
        "long code and message",
        _once(_said(json.dumps({"__type": "C" * 5000, "message": "m\x1b[31m" * 5000}).encode(), "400 Bad Request")),
        _REFUSED,
        "C" * 199 + "…",
        after="keep",
    ),
]
