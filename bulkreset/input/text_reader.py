"""Read a text input, CSV or JSON Lines, in batches, and continue at any page that was read before."""

import codecs
import io
import re
import sys
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import chain, islice, takewhile
from typing import Any, ClassVar, NamedTuple, TextIO

from bulkreset.errors import EmptyInput, InputError
from bulkreset.input.base_reader import InputReader
from bulkreset.input.batch import PAGE_ROWS, Fields, RowBatch
from bulkreset.input.decrypt import HEAD_BYTES, InputContent
from bulkreset.input.format_detection import (
    IS_GZIP,
    Kind,
    binary_kind,
    marked_encoding,
    text_kind,
    unmarked_encoding,
    wide_kind,
)
from bulkreset.input.location import Digest
from bulkreset.input.own_files import require_names
from bulkreset.input.text_lines import LineReader
from bulkreset.job import InputConfig

HEAD = 1 << 16  # characters read to detect the file's line ending
PIECE_ROWS = 200  # rows that are read at once if none of them is odd; a page has several pieces
_WIDE = ("utf-16", "utf-32")
_NATIVE = "le" if sys.byteorder == "little" else "be"  # how Python reads UTF-16 without a byte order mark

# Encodings without state: reading can begin at any character. Other encodings shift states or begin with a
# byte order mark, so they are read from the beginning.
_STATELESS = re.compile(r"utf-8|utf-8-sig|ascii|iso8859-\d+|cp(125\d|437|85\d|86\d|874)|koi8-[rtu]|mac-.*|tis-620")


class Piece(NamedTuple):
    """Some records: the cells of our fields, column by column, and the error texts of malformed lines by offset."""

    columns: Sequence[Sequence[str]]
    malformed: Mapping[int, str]


class Records(Iterator[list[str] | str]):
    """The records of an open file, in order: the cells of our fields, or the error text of a malformed line.

    `taken` counts the pages that were read or skipped. `is_report` says whether the file is a report of this program; it
    is known after `header`.
    """

    format: ClassVar[str]

    def __init__(self, text: TextIO, spec: InputConfig) -> None:
        self.taken = 0
        self.is_report = False
        self._text = text
        self._spec = spec
        self._lines = LineReader(text, spec, self.format)

    @property
    def remark(self) -> str:
        """Return the text for the user about a file that was read to its end, or ""."""
        return ""

    @abstractmethod
    def header(self) -> Mapping[str, int]:
        """Return the index of each of our fields in the records. Raises InputError if the file does not have them."""

    def mark(self) -> tuple[int, int]:
        """Return where the next record begins: the argument for `seek`, and the number of the line before it."""
        return self._text.tell(), self._lines.number

    def go_to(self, page: int, mark: tuple[int, int]) -> None:
        """Continue reading at `mark`, the start of page `page`."""
        self._lines.seek(*mark)
        self.taken = page

    def plain_columns(self, _rows: int) -> Sequence[Sequence[str]] | None:
        """Return the cells of the next records by field, or None if they must be read one by one."""
        return None


class TextReader(InputReader):
    """A text file, which may be compressed and encrypted. `ours` are the kinds of text that are this format itself."""

    faults = (*InputReader.faults, EOFError, zlib.error)
    records: ClassVar[type[Records]]
    ours: ClassVar[tuple[Kind, ...]] = ()

    def __init__(self, spec: InputConfig, content: InputContent, directories: Mapping[str, str]) -> None:
        super().__init__(spec, content, directories)
        self.can_be_entered = bool(_STATELESS.fullmatch(codecs.lookup(spec.encoding).name))
        # Compressed files can seek too, but only by decompressing everything before the position.
        self.remembers = self.can_be_entered and not content.is_packed
        self._marks: list[tuple[int, int]] = []  # start of each page, added when the page is first read
        self._text: TextIO | None = None
        self._records: Records | None = None
        self._places: Mapping[str, int] = {}

    @abstractmethod
    def _line_end(self, head: str) -> str:
        """Return the line ending of a file that begins with this text."""

    def _reported_name(self, cell: str) -> str:
        """Return the username in a cell of a report of this program."""
        return cell

    def _read(self, first: int, fields: Fields, size: int, digest: Digest | None) -> Iterator[RowBatch]:
        records = self._records_near(first, digest)
        start = records.taken * PAGE_ROWS + 1
        pages = range(max(1, size // PAGE_ROWS))
        while some := [piece for _ in pages for piece in self._next_page(records)]:
            batch = self._make_batch(start, some, fields, is_report=records.is_report)
            yield batch
            start = batch.last + 1
        self.remark = records.remark

    def _make_batch(self, first: int, pieces: Sequence[Piece], fields: Fields, *, is_report: bool) -> RowBatch:
        columns = {
            field: [*chain.from_iterable(it.columns[at] for it in pieces)]
            for field, at in self._places.items()
            if fields is None or field in fields
        }
        if is_report:
            columns.pop("permanent", None)  # of the earlier run
            require_names(columns["username"], self._spec.file)
            columns["username"] = [*map(self._reported_name, columns["username"])]
        malformed: dict[int, str] = {}
        rows = 0
        for piece in pieces:
            malformed |= {rows + offset: what for offset, what in piece.malformed.items()}
            rows += len(piece.columns[0])
        return RowBatch(first, columns, malformed)

    def nearest(self, row: int) -> int:
        """Return the last known start of a page at or before `row`."""
        return min((row - 1) // PAGE_ROWS, max(0, len(self._marks) - 1)) * PAGE_ROWS + 1

    def close(self) -> None:
        """Close the file."""
        if self._text:
            self._text.close()
        self._text = self._records = None

    def _records_near(self, first: int, digest: Digest | None) -> Records:
        """Return the records from the nearest known position at or before row `first`."""
        records = self._records
        if records is None or not self._marks:
            self.close()
            self._text = self._open(digest)
            records = self._records = self.records(self._text, self._spec)
            try:
                self._places = records.header()
            except InputError as error:
                raise self._format_error() or error from None
        page = (self.nearest(first) - 1) // PAGE_ROWS
        if records.taken != page:
            records.go_to(page, self._marks[page])
        return records

    def _next_page(self, records: Records) -> list[Piece]:
        """Return the records of the next page and remember where the page begins."""
        if self.can_be_entered and records.taken == len(self._marks):
            self._marks.append(records.mark())
        records.taken += 1
        sizes = (min(PIECE_ROWS, PAGE_ROWS - first) for first in range(0, PAGE_ROWS, PIECE_ROWS))
        pieces = (self._next_piece(records, size) for size in sizes)
        return list(takewhile(lambda piece: piece.columns, pieces))  # stops at the end of the file

    def _next_piece(self, records: Records, rows: int) -> Piece:
        if self.can_be_entered and (plain := records.plain_columns(rows)):
            return Piece(plain, {})
        found = list(islice(records, rows))
        blank = [""] * len(self._places)
        cells = [blank if isinstance(record, str) else record for record in found]
        malformed = {offset: record for offset, record in enumerate(found) if isinstance(record, str)}
        return Piece(list(zip(*cells, strict=True)), malformed)

    def _check_mark(self, begins: bytes) -> None:
        """Raise InputError if the file's byte order mark contradicts the job's encoding, which would change passwords."""
        # With a one-byte encoding the header of a UTF-16 file is unreadable, so that is detected there.
        marked, named = marked_encoding(begins), codecs.lookup(self._spec.encoding).name
        family = marked[:6].rstrip("-")
        if not marked or named in {family, marked} or not (family == "utf-8" or named.startswith(_WIDE)):
            return
        if named != "utf-8-sig" or family != "utf-8":
            raise InputError(
                f"The input {self._spec.file} begins as {(family if named[:6] != family else marked).upper()}"
                f" (byte order mark), but the job says {self._spec.encoding}.",
                f'Set [input] encoding = "{family}".',
            )

    def _format_error(self) -> InputError | None:
        """Return the error for a file whose first bytes show another format; None if they do not."""
        with closing(self._content.open_unpacked()) as stream:
            begins = stream.read(HEAD_BYTES)
        if not begins:
            return EmptyInput(f"The input {self._spec.file} is empty.", "Check that the export has been written.")
        named = codecs.lookup(self._spec.encoding).name
        is_wide = named.startswith(_WIDE)
        is_read = is_wide and (marked_encoding(begins) or unmarked_encoding(begins) in {named, f"{named}-{_NATIVE}"})
        if wide := None if is_read else wide_kind(begins):
            return InputError(f"The input {self._spec.file} looks like {wide.name}.", wide.advice)
        kind = None if is_wide else binary_kind(begins) or text_kind(begins)
        if kind is None or kind in self.ours:
            return None
        packed, unpack = (", packed", "Unpack it. ") if self._content.is_packed and kind is not IS_GZIP else ("", "")
        what = f"The input {self._spec.file} is {kind.name}{packed}, and its name does not say so."
        return InputError(what, unpack + kind.advice)

    def _open(self, digest: Digest | None) -> TextIO:
        """Return the file as a text stream that keeps its line endings."""
        # A BOM is not part of the first column's name. Keep bytes that do not decode as lone surrogates: then the
        # error can name their line, and reading continues after it.
        encoding = "utf-8-sig" if codecs.lookup(self._spec.encoding).name == "utf-8" else self._spec.encoding
        beginning = ""

        def opened(end: str, digest: Digest | None = None) -> TextIO:
            stream: Any = self._content.open_unpacked(digest)
            return io.TextIOWrapper(stream, encoding=encoding, errors="surrogateescape", newline=end)

        with closing(opened("\n")) as text, suppress(UnicodeError):  # reported when its line is reached
            self._check_mark(text.buffer.peek(4)[:4])  # type: ignore[attr-defined]
            beginning = text.read(HEAD)
        return opened(self._line_end(beginning), digest)
