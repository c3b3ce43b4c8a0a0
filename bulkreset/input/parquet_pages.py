"""Bound the memory of a Parquet file before any of its pages is decoded: read its footer and its page headers."""

import io
import struct
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from bulkreset.cancellation import check_current

BUDGET = 32 << 20  # bytes that the values of one reading step may have
LARGEST_PAGE = 64 << 20  # bytes, uncompressed
LARGEST_DICTIONARY = 16 << 20
LONGEST_TEXT = 32 << 20  # bytes
MOST_VALUES = 1_000_000  # in a footer; each takes some hundred bytes of memory
MOST_DEPTH = 32  # of nested structures in a footer
_CODECS: dict[int, Any] = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_DICTIONARY_PAGE = 2
_DATA_PAGES = {0: (5, 2), 3: (8, 4)}  # kind: fields of its own header, and of the encoding in it
_DICTIONARY_ENCODINGS = {2, 8}
_DELTA_BYTE_ARRAY = 7
_STRUCT, _LISTS, _MAP, _BINARY, _DOUBLE, _BYTE = 12, {9, 10}, 11, 8, 7, 3


class PageTooLargeError(Exception):
    """A page would fill the memory. The text says which."""


class DamagedPagesError(Exception):
    """The footer or a page header cannot be read."""


class _Page(NamedTuple):
    """One page: its kind, sizes in bytes, number of values, and encoding."""

    kind: int
    size: int
    packed: int
    values: int
    encoding: int


def rows_per_step(stream: io.BufferedReader, footer: bytes, columns: Collection[str]) -> list[int]:
    """Return for each row group how many rows may be decoded at once, so that `columns` take at most BUDGET each.

    A few bytes can stand for gigabytes: pages are compressed, and a dictionary or a prefix stores a value once for
    many rows. Raises PageTooLargeError, DamagedPagesError, and what reading `stream` raises.
    """
    try:
        groups = _Thrift(io.BufferedReader(io.BytesIO(footer))).read_struct().get(4, [])
        steps = []
        for group in groups:
            longest = 1.0
            for chunk in group.get(1, []):
                meta = chunk[3]
                name = ".".join(part.decode("utf-8", "replace") for part in meta[3])
                if name in columns:
                    longest = max(longest, _longest_value(stream, meta, name))
            steps.append(max(1, int(BUDGET / longest)))
    except (KeyError, TypeError, ValueError, AttributeError, struct.error, pa.ArrowException) as error:
        raise DamagedPagesError(str(error)) from None
    return steps


def _longest_value(stream: io.BufferedReader, meta: dict[int, Any], name: str) -> float:
    """Return the most bytes that a value of the column takes, at least on average over a page."""
    longest, in_dictionary = 0.0, 0
    for page in _pages(stream, meta):
        most = LARGEST_DICTIONARY if page.kind == _DICTIONARY_PAGE else LARGEST_PAGE
        if page.size > most:
            raise PageTooLargeError(f"has a page of {page.size >> 20:,} MB in its column {name!r}")
        if page.kind == _DICTIONARY_PAGE:
            in_dictionary = _longest_in_dictionary(stream.read(page.packed), page, meta[4])
        elif page.encoding in _DICTIONARY_ENCODINGS:
            longest = max(longest, in_dictionary)
        elif page.encoding == _DELTA_BYTE_ARRAY:
            longest = max(longest, page.size)
        else:
            longest = max(longest, page.size / max(1, page.values))
    return longest


def _pages(stream: io.BufferedReader, meta: dict[int, Any]) -> Iterator[_Page]:
    """Yield the pages of a column chunk; `stream` is then at the page's content."""
    at, left = min(place for place in (meta.get(11), meta[9]) if place), meta[5]
    while left > 0:
        check_current()
        stream.seek(at)
        thrift = _Thrift(stream)
        header = thrift.read_struct()
        kind, at = header[1], at + thrift.taken
        own, encoding = _DATA_PAGES.get(kind, (7, 2))
        page_header = header.get(own, {})
        page = _Page(kind, header[2], header[3], page_header.get(1, 0), page_header.get(encoding, 0))
        if page.size < 0 or page.packed < 0 or (kind in _DATA_PAGES and page.values <= 0):
            msg = "false sizes"
            raise ValueError(msg)
        yield page
        at += page.packed
        left -= page.values if kind in _DATA_PAGES else 0


def _longest_in_dictionary(packed: bytes, page: _Page, codec: int) -> int:
    """Return the length of the longest value in a dictionary; the page's size if it cannot be unpacked here."""
    if codec and codec not in _CODECS:
        return page.size
    raw = pa.decompress(packed, page.size, _CODECS[codec]).to_pybytes() if codec else packed
    longest = at = 0
    while at + 4 <= len(raw):
        (length,) = struct.unpack_from("<I", raw, at)
        longest = max(longest, length)
        at += 4 + length
    return min(longest, page.size)


class _Thrift:
    """A reader of Thrift's compact protocol: structures as dicts by field number. Text of any length is skipped."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self.taken = 0  # bytes
        self._stream = stream
        self._depth = 0
        self._values = 0

    def read_struct(self) -> dict[int, Any]:
        """Return the fields of a structure."""
        self._depth += 1
        if self._depth > MOST_DEPTH:
            msg = "too deep"
            raise ValueError(msg)
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._value(head & 15)
        self._depth -= 1
        return fields

    def _value(self, kind: int) -> Any:  # noqa: ANN401, PLR0911  (one return for each kind that the file may have)
        self._values += 1
        if self._values > MOST_VALUES:
            msg = "too many values"
            raise ValueError(msg)
        if kind in {1, 2}:
            return kind == 1
        if kind == _BYTE:
            return self._byte()
        if kind in {4, 5, 6}:
            return self._integer()
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind == _BINARY:
            return self._bytes(self._unsigned())
        if kind in _LISTS:
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._unsigned()  # noqa: PLR2004  (Thrift's mark of a long list)
            return [self._value(head & 15) if head & 15 > 2 else self._byte() for _ in range(count)]  # noqa: PLR2004
        if kind == _MAP:
            count = self._unsigned()
            kinds = self._byte() if count else 0
            return [(self._value(kinds >> 4), self._value(kinds & 15)) for _ in range(count)]
        if kind == _STRUCT:
            return self.read_struct()
        msg = f"kind {kind}"
        raise ValueError(msg)

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, count: int) -> bytes:
        found = self._stream.read(count) if count <= LONGEST_TEXT else b""
        if len(found) < count:
            msg = "cut off"
            raise ValueError(msg)
        self.taken += count
        return found

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:  # noqa: PLR2004  (Thrift's mark of the last byte)
                return value
            shift += 7
            if shift > 63:  # noqa: PLR2004
                msg = "a number of more than 64 bits"
                raise ValueError(msg)

    def _integer(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
