"""The JSON Lines reader: every line becomes an exact row or a malformed row, or the file is refused."""

import json
from typing import Any

import pyarrow as pa

from bulkreset.errors import InputError
from bulkreset.input.batch import MAX_VALUE_LENGTH
from tests.fuzz.reading import read, small
from tests.fuzz.scratch import written

_FIELDS = ("username", "password", "permanent", "user_pool_id")
_PLAIN, _PACKED, _RAW = 0, 1, 2
WORDS = (
    b'{"username":"',
    b'","password":"',
    b'"}\n',
    b'"permanent":',
    b"true",
    b"null",
    b"\\ud800",
    b"1e9",
    b"NaN",
    b"[[",
)


def one(data: bytes) -> None:
    """The first byte: the content is plain, compressed, or falsely marked as compressed. The second byte: the order."""
    kind, order, content = (data[0] if data else 0) % 3, data[1:2] or b"\1", data[2:]
    raw = pa.compress(content, codec="zstd", asbytes=True) if kind == _PACKED else content
    path = written("in.jsonl" if kind == _PLAIN else "in.jsonl.zst", raw)
    with small():
        found = read(path, [order[0], order[0] // 3, 0, order[0] // 7])
    if kind == _RAW or isinstance(found, InputError):
        return
    lines = [line for line in content.split(b"\n") if line.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r")]
    if b"\xef\xbb\xbf" in content or b"\r" in content or b"\x0b" in content or not content.isascii():
        return  # blank lines and line ends differ in the plain form
    lines = [line for line in lines if line.decode().strip()]
    assert len(found) == len(lines)
    for row, line in zip(found, lines, strict=True):
        if not row.malformed:
            expected = _plainly(line)
            assert [row.username, row.password, row.permanent, row.pool] == expected


def _plainly(line: bytes) -> list[str]:
    """Return the values of a valid line: an object of text and null, and a boolean for `permanent`."""
    found: dict[str, Any] = {name.strip(): value for name, value in json.loads(line).items()}
    values = [found.get(name) for name in _FIELDS]
    if isinstance(values[2], bool):
        values[2] = "true" if values[2] else "false"
    assert all(value is None or isinstance(value, str) for value in values)
    return [(value or "")[:MAX_VALUE_LENGTH] for value in values]
