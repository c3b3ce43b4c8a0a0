"""Limit the memory of a Parquet file before any of its pages is decoded: read its footer and its page headers."""

import io
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from bulkreset.cancellation import check_current
from bulkreset.input.batch import MAX_VALUE_LENGTH

LONGEST_BYTES = 4 * MAX_VALUE_LENGTH  # of a value; the reader cuts longer ones
BUDGET = 32 << 20  # bytes that the values of one reading step may have
LARGEST_PAGE = 64 << 20  # bytes, uncompressed
LARGEST_DICTIONARY = 16 << 20
MOST_EXPANDED = 16 << 30  # bytes that Arrow may copy of long values in dictionaries
LONGEST_TEXT = 32 << 20  # bytes
MOST_VALUES = 1_000_000  # in a footer; each takes some hundred bytes of memory
STRUCTS_BETWEEN_CHECKS = 1000
MOST_DEPTH = 32  # of nested structures in a footer
_CODECS: dict[int, Any] = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_DICTIONARY_PAGE = 2
_DATA_PAGES = {0: (5, 2), 3: (8, 4)}  # kind: field numbers of its own header, and of the encoding in it
_DICTIONARY_ENCODINGS = {2, 8}
_DELTA_BYTE_ARRAY = 7
_BYTE_ARRAY = 6  # the physical type of text
_STRUCT, _LISTS, _MAP, _BINARY, _DOUBLE, _BYTE = 12, {9, 10}, 11, 8, 7, 3


class RefusedPagesError(Exception):
    """The footer or a page is damaged, or would fill the memory. The message says what it is, and `advice` what to do."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.advice = advice


class _Page(NamedTuple):
    """One page: its kind, sizes in bytes, number of values, and encoding."""

    kind: int
    size: int
    packed: int
    values: int
    encoding: int


class _Lengths(NamedTuple):
    """The most bytes that a value of a column chunk takes: in its dictionary, and in its pages (at least on average).

    `indexes` is the number of values that are an index in the dictionary.
    """

    dictionary: int
    pages: float
    indexes: int


class Steps(NamedTuple):
    """How to read a file: the rows of each row group to decode at once, and the columns to read as dictionaries."""

    rows: Sequence[int]
    dictionaries: Sequence[str]


def bounded_steps(stream: Any, footer: bytes, columns: Collection[str]) -> Steps:  # noqa: ANN401  (a file of Arrow or Python)
    """Return how to read a file, so that `columns` take at most BUDGET each.

    A few bytes can stand for gigabytes: pages are compressed, and a dictionary or a prefix stores a value once for
    many rows. Raises RefusedPagesError, and what reading `stream` raises.
    """
    groups: list[dict[str, _Lengths]] = []
    try:
        for group in _Thrift(io.BufferedReader(io.BytesIO(footer))).read_struct().get(4, []):
            groups.append(found := {})
            for chunk in group.get(1, []):
                meta = chunk[3]
                name = ".".join(part.decode("utf-8", "replace") for part in meta[3])
                if name in columns:
                    found[name] = _longest_values(stream, meta, name)
    except (KeyError, TypeError, ValueError, AttributeError, struct.error, pa.ArrowException) as error:
        raise RefusedPagesError(f"cannot be read: its pages are damaged ({error})", "Write the file again.") from None
    # Arrow adds the values of other pages to a dictionary while reading it, until they fill the memory.
    whole = {name for name in columns if not any(group[name].pages for group in groups if name in group)}
    expanded = Counter[str]()
    steps = []
    for group in groups:
        longest = 1.0
        for name, it in group.items():
            is_long = it.dictionary > LONGEST_BYTES
            if is_long and name not in whole:
                expanded[name] += it.dictionary * it.indexes
                if expanded[name] > MOST_EXPANDED:
                    raise _too_large_error(f"repeats a value of {it.dictionary:,} bytes in its column {name!r}")
            longest = max(longest, it.pages, LONGEST_BYTES if is_long and name in whole else it.dictionary)
        steps.append(max(1, int(BUDGET / longest)))
    return Steps(
        steps, [name for name in whole if any(it[name].dictionary > LONGEST_BYTES for it in groups if name in it)]
    )


def _too_large_error(what: str) -> RefusedPagesError:
    return RefusedPagesError(what, "Check that it is the right column, or write the file with smaller pages.")


def _longest_values(stream: io.BufferedReader, meta: dict[int, Any], name: str) -> _Lengths:
    longest, in_dictionary, indexes = 0.0, 0.0, 0
    for page in _pages(stream, meta):
        most = LARGEST_DICTIONARY if page.kind == _DICTIONARY_PAGE else LARGEST_PAGE
        if page.size > most:
            raise _too_large_error(
                f"has a page of {page.size >> 20:,} MB in its column {name!r}; {LARGEST_PAGE >> 20} MB are read,"
                f" {LARGEST_DICTIONARY >> 20} MB of a dictionary"
            )
        if page.kind == _DICTIONARY_PAGE:
            if meta[1] == _BYTE_ARRAY:
                in_dictionary = _longest_in_dictionary(stream.read(page.packed), page, meta[4])
            else:
                in_dictionary = page.size / max(1, page.values)
        elif page.encoding in _DICTIONARY_ENCODINGS:
            indexes += page.values
        elif page.encoding == _DELTA_BYTE_ARRAY:
            longest = max(longest, page.size)
        else:
            longest = max(longest, page.size / max(1, page.values))
    if meta[1] != _BYTE_ARRAY:  # Arrow expands such a dictionary; all of its values have the same length
        return _Lengths(0, max(longest, in_dictionary), 0)
    return _Lengths(int(in_dictionary) if indexes else 0, longest, indexes)


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
            raise ValueError("false sizes")
        yield page
        at += page.packed
        left -= page.values if kind in _DATA_PAGES else 0


def _longest_in_dictionary(packed: bytes, page: _Page, codec: int) -> int:
    """Return the length of the longest value in a dictionary; the page's size if it cannot be decompressed here."""
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
    """A reader of Thrift's compact protocol: structures as dicts by field number.

    Arrow's own metadata is not used: asking it for a column of a damaged footer ends the process.
    """

    def __init__(self, stream: io.BufferedReader) -> None:
        self.taken = 0  # bytes
        self._stream = stream
        self._depth = 0
        self._values = 0
        self._structs = 0

    def read_struct(self) -> dict[int, Any]:
        """Return the fields of a structure."""
        self._structs += 1
        if self._structs % STRUCTS_BETWEEN_CHECKS == 0:
            check_current()
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise ValueError("too deep")
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
            raise RefusedPagesError(
                f"has a footer of more than {MOST_VALUES:,} values",
                "Write it with fewer columns, or in larger row groups.",
            )
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
        raise ValueError(f"kind {kind}")

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, count: int) -> bytes:
        found = self._stream.read(count) if count <= LONGEST_TEXT else b""
        if len(found) < count:
            raise ValueError("cut off")
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
                raise ValueError("a number of more than 64 bits")

    def _integer(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
