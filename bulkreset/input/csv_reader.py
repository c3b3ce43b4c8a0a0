"""Read CSV input. Records are counted exactly; a malformed line stays a row and carries an error text."""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import islice
from typing import NamedTuple, TextIO

from bulkreset.age import DecryptError
from bulkreset.cancellation import check_current
from bulkreset.errors import InputError
from bulkreset.input.batch import (
    BATCH_ROWS,
    FIELDS,
    MAX_VALUE_LENGTH,
    PAGE_ROWS,
    RowBatch,
    find_columns,
    unreadable_input_error,
)
from bulkreset.input.decrypt import LONGEST_BEGINNING, InputContent, marked_encoding, sniff_format, sniff_text
from bulkreset.input.location import Digest
from bulkreset.input.own_files import is_report, restore_names
from bulkreset.job import InputConfig
from bulkreset.s3 import BucketError

# Characters of a line, and of a record of several lines. Without a limit, a file without line breaks, or one quote
# that does not close, would be read into memory whole.
LONGEST_LINE = 1 << 20
LINES_BETWEEN_CHECKS = 1 << 14  # blank lines and lines of one record yield no row, so nobody else looks at signals
HEAD = 1 << 16  # characters read to detect the file's line ending
_ESCAPED_LETTER = re.compile(r"(?<!\\)(?:\\\\)*\\[0-9A-Za-z]")  # \N is null in MySQL, and "N" elsewhere
_WIDE = ("utf-16", "utf-32")
_UNDECODED = re.compile("[\ud800-\udfff]")

# Encodings without state: reading can begin at any character. Other encodings shift states or begin with a
# byte order mark, so they are read from the beginning.
_STATELESS = re.compile(r"utf-8|utf-8-sig|ascii|iso8859-\d+|cp(125\d|437|85\d|86\d|874)|koi8-[rtu]|mac-.*|tis-620")


class _Position(NamedTuple):
    """Start of a page: `place` is the argument for the text's `seek`, `line` the number of the line before it."""

    place: int
    line: int


class CsvReader:
    """A CSV file, which may be gzipped and encrypted.

    The csv module in strict mode parses the records. The pandas parser would pad short lines, accept broken quotes and
    not report the line of a bad byte, so a row could be lost or changed without an error.
    """

    def __init__(self, spec: InputConfig, content: InputContent) -> None:
        self.spec = spec
        self.keeps_open = False
        self._content = content
        self.can_be_entered = bool(_STATELESS.fullmatch(codecs.lookup(spec.encoding).name))
        self.is_packed = self._content.name.endswith(".gz")
        # gzip can seek, too, but only by unpacking everything before the position.
        self.remembers = self.can_be_entered and not self.is_packed
        self._marks: list[_Position] = []  # start of each page, added when the page is first read
        self._text: TextIO | None = None
        self._records: CsvRecords | None = None
        self._places: Mapping[str, int] = {}
        self._is_report = False  # its names are written for spreadsheets

    def batches(
        self, first: int = 1, fields: Collection[str] = FIELDS, size: int | None = None, digest: Digest | None = None
    ) -> Iterator[RowBatch]:
        """Yield the rows in order, from row `nearest(first)`.

        Raises InputError on a bad header, a line that is too long, or a quote that may have swallowed lines.
        """
        pages = max(1, (size or BATCH_ROWS) // PAGE_ROWS)
        try:
            with self._translate_errors():
                records = self._records_near(first, digest)
                start = records.taken * PAGE_ROWS + 1
                while batch := [record for _ in range(pages) for record in self._next_page(records)]:
                    yield self._make_batch(start, batch, fields)
                    start += len(batch)
            self.close()
        finally:
            if not self.keeps_open:
                self.close()

    def _make_batch(self, first: int, batch: "list[list[str] | str]", fields: Collection[str]) -> RowBatch:
        made = _make_batch(first, batch, {it: at for it, at in self._places.items() if it in fields})
        if not self._is_report:
            return made
        names = restore_names(made.cells("username"), self.spec.file)
        own = {it: cells for it, cells in made.columns.items() if it != "permanent"}  # of the earlier run
        return RowBatch(first, {**own, "username": names}, made.malformed)

    def nearest(self, row: int) -> int:
        """Return the last known start of a page at or before `row`."""
        return min((row - 1) // PAGE_ROWS, max(0, len(self._marks) - 1)) * PAGE_ROWS + 1

    def close(self) -> None:
        """Close the file."""
        if self._text:
            self._text.close()
        self._text = self._records = None

    def _records_near(self, first: int, digest: Digest | None) -> "CsvRecords":
        """Return the records from the nearest known position at or before row `first`."""
        records = self._records
        if records is None or not self._marks:
            self.close()
            self._text = self._open(digest)
            records = self._records = CsvRecords(self._text, self.spec)
            try:
                self._places = records.header()
                self._is_report = records.is_report
            except InputError as error:
                raise self._format_error() or error from None
        page = (self.nearest(first) - 1) // PAGE_ROWS
        if records.taken != page:
            records.go_to(page, self._marks[page])
        return records

    def _next_page(self, records: "CsvRecords") -> list[list[str] | str]:
        """Return the records of the next page and remember where the page begins."""
        if self.can_be_entered and records.taken == len(self._marks):
            self._marks.append(records.mark())
        records.taken += 1
        return list(islice(records, PAGE_ROWS))

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Convert exceptions of the system, S3, gzip and age to our errors."""
        try:
            yield
        except (OSError, EOFError, zlib.error, DecryptError, BucketError) as error:
            raise unreadable_input_error(self.spec.file, error) from None

    def _check_mark(self, begins: bytes) -> None:
        """Raise InputError if the file's byte order mark denies the job's encoding: it would change passwords.

        An encoding of one byte for each character cannot read the header of UTF-16, so that is found there.
        """
        marked, named = marked_encoding(begins), codecs.lookup(self.spec.encoding).name
        if (marked == "utf-8" or named.startswith(_WIDE)) and marked and not named.startswith(marked):
            raise InputError(
                f"The input {self.spec.file} begins as {marked.upper()} (byte order mark), and the job says"
                f" {self.spec.encoding}.",
                f'Set [input] encoding = "{marked}".',
            )

    def _format_error(self) -> InputError | None:
        """Return the error for a file whose first bytes show that it is not CSV; None if they do not show it."""
        with closing(self._open_bytes()) as stream:
            begins = stream.read(LONGEST_BEGINNING)
        wide = codecs.lookup(self.spec.encoding).name.startswith(_WIDE)
        told = None if begins and wide else sniff_format(begins) or sniff_text(begins)
        return InputError(f"The input {self.spec.file} {told[0]}.", told[1]) if told else None

    def _open_bytes(self, digest: Digest | None = None) -> io.BufferedReader | gzip.GzipFile:
        return self._content.open_gzip(digest) if self.is_packed else self._content.open(digest)

    def _open(self, digest: Digest | None) -> TextIO:
        """Return the file as a text stream that keeps its line endings."""
        # A BOM is not part of the first column's name. Keep bytes that do not decode as lone surrogates: then the
        # error can name their line, and reading continues after it.
        encoding = "utf-8-sig" if codecs.lookup(self.spec.encoding).name == "utf-8" else self.spec.encoding
        beginning = ""

        def opened(end: str, digest: Digest | None = None) -> TextIO:
            return io.TextIOWrapper(self._open_bytes(digest), encoding=encoding, errors="surrogateescape", newline=end)

        with closing(opened("\n")) as text, suppress(UnicodeError):  # reported when its line is reached
            self._check_mark(text.buffer.peek(4)[:4])  # type: ignore[attr-defined]
            beginning = text.read(HEAD)
        # LF and CRLF end a line. CR does so only if there is no LF at all: a lone CR must not cut a password.
        return opened("\r" if "\r" in beginning and "\n" not in beginning else "\n", digest)


class CsvRecords:
    """An iterator over the file's records: a list of fields, or the error text of a malformed line.

    It yields all fields of the header first, then only our fields of each record. It skips blank lines.
    """

    def __init__(self, text: TextIO, spec: InputConfig) -> None:
        self.taken = 0  # pages
        self.is_report = False  # known after `header`
        self._width = 0
        self._ours: list[int] = []  # indexes of our fields in a record
        self._text = text
        self._spec = spec
        self._lines = _LineReader(text, spec)
        self._parser = csv.reader(self._lines, delimiter=spec.delimiter, strict=True, escapechar=spec.escape or None)

    def header(self) -> dict[str, int]:
        """Read the header and return the index of each of our fields in the following records.

        Raises InputError if the header is malformed or does not fit.
        """
        fields = next(self, [])
        if isinstance(fields, str):
            raise InputError(
                f"The header of the input {self._spec.file} is malformed: {fields}.", "Fix the first line."
            )
        try:
            places = find_columns(fields, self._spec.columns, self._spec.file)
        except InputError as error:
            raise self._first_line_error(fields) or error from None
        self._ours = list(places.values())
        self.is_report = self._spec.columns.username == "username" and is_report(fields)
        return {field: place for place, field in enumerate(places)}

    def _first_line_error(self, fields: list[str]) -> InputError | None:
        """Return the error for a first line that programs write before a header, or that has another delimiter."""
        where, first = self._spec.file, fields[0].lstrip("\ufeff") if fields else ""
        if first.casefold().startswith("sep=") and len(fields) <= 2:  # noqa: PLR2004  (sep=, is two empty fields)
            by = first[4:5] or self._spec.delimiter
            return InputError(
                f"The first line of the input {where} is Excel's sep={by}.",
                f'Take it out, and set [input] delimiter = "{by}".',
            )
        if first.startswith("#TYPE"):
            return InputError(
                f"The first line of the input {where} is PowerShell's #TYPE line.",
                "Take it out, or export with -NoTypeInformation.",
            )
        needed = {name for name in (self._spec.columns.username, self._spec.columns.password) if name}
        for other in ";\t|,":
            if other != self._spec.delimiter and needed <= {name.strip(' "') for name in ",".join(fields).split(other)}:
                shown = "\\t" if other == "\t" else other
                return InputError(
                    f"The first line of the input {where} has its columns divided by {shown!r}.",
                    f'Set [input] delimiter = "{shown}".',
                )
        return None

    def mark(self) -> _Position:
        """Return the position at which the next record begins."""
        return _Position(self._text.tell(), self._lines.number)

    def go_to(self, piece: int, mark: _Position) -> None:
        """Continue reading at `mark`, the start of page `piece`."""
        self._text.seek(mark.place)
        self._lines.number = mark.line
        self.taken = piece

    def __iter__(self) -> Iterator[list[str] | str]:
        return self

    def __next__(self) -> list[str] | str:
        lines, parser = self._lines, self._parser
        while True:
            line = lines.number + 1
            lines.record_size = 0
            try:
                fields = next(parser)
            except csv.Error as error:
                if lines.number > line or self._may_reach_on(lines.last):
                    # An open quote may swallow rows. Guessing where they end could set a wrong password.
                    raise InputError(
                        f"The input {self._spec.file} has a quote on line {line} that does not close as it should"
                        f" (found at line {lines.number}).",
                        "Fix the quoting there; a quote inside a quoted value is written twice.",
                    ) from None
                lines.take_problem()
                return f"line {line}: {_SAID.get(str(error)[:16], 'broken quoting')}"
            if not any(fields):  # as Excel writes rows that were cleared
                lines.take_problem()
                continue
            self._width = self._width or len(fields)
            if problem := lines.take_problem():
                return problem
            if len(fields) == self._width:
                if not self._ours:
                    return fields
                # A batch has thousands of records, so many columns or long values could fill the memory.
                if lines.number == line and len(lines.last) <= MAX_VALUE_LENGTH:
                    return [fields[place] for place in self._ours]
                return [fields[place][:MAX_VALUE_LENGTH] for place in self._ours]
            return f"line {line}: {len(fields)} fields where the header has {self._width}"

    def _may_reach_on(self, line: str) -> bool:
        """Return whether a line with broken quoting may leave a quote open, by its quote count or a lenient parse."""
        if line.count('"') % 2:
            return True
        lenient = csv.reader([line, "\n"], delimiter=self._spec.delimiter, escapechar=self._spec.escape or None)
        try:
            next(lenient)
        except csv.Error:
            return "\r" not in line and len(line) <= csv.field_size_limit()
        return lenient.line_num > 1


# Our texts for the csv module's errors that are not about quotes, by the first 16 characters of its message.
_SAID = {
    "new-line charact": "a carriage return inside a value that is not quoted",
    "field larger tha": "a value of more than 131,072 characters",
}


class _LineReader:
    """An iterator over the file's lines, each of bounded length.

    `number` counts the lines read and `last` is the latest line. `undecoded` is the number of a line that did not
    decode, `unclear` of a line in which a letter or a digit is escaped, or 0.
    """

    def __init__(self, text: TextIO, spec: InputConfig) -> None:
        self._text = text
        self._spec = spec
        self.number = 0
        self.record_size = 0  # characters of the record so far
        self.last = ""
        self.undecoded = 0
        self.unclear = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def take_problem(self) -> str:
        """Return the error text of the record that was read, or "", and forget it."""
        undecoded, unclear, self.undecoded, self.unclear = self.undecoded, self.unclear, 0, 0
        if undecoded:
            return f"line {undecoded}: bytes that are not {self._spec.encoding}"
        return f"line {unclear}: a letter or a digit is escaped, and what that means is not known" if unclear else ""

    def __next__(self) -> str:
        try:
            self.last = self._text.readline(LONGEST_LINE)
        except UnicodeError:
            raise InputError(
                f"The input {self._spec.file} does not decode as {self._spec.encoding} near line {self.number + 1}.",
                "Set [input] encoding to the file's own.",
            ) from None
        if not self.last:
            raise StopIteration
        self.number += 1
        self.record_size += len(self.last)
        if self.number % LINES_BETWEEN_CHECKS == 0:
            check_current()
        if self.record_size >= LONGEST_LINE:
            raise InputError(
                f"Line {self.number} of the input {self._spec.file} is longer than {LONGEST_LINE:,} characters."
                if len(self.last) == LONGEST_LINE
                else f"A record of the input {self._spec.file} is longer than {LONGEST_LINE:,} characters: it ends"
                f" behind line {self.number}.",
                "Check that it is a CSV file, and the quoting.",
            )
        if not self.last.isascii() and _UNDECODED.search(self.last):
            self.undecoded = self.number
        if self._spec.escape and _ESCAPED_LETTER.search(self.last):
            self.unclear = self.number
        return self.last


def _make_batch(first: int, batch: list[list[str] | str], places: Mapping[str, int]) -> RowBatch:
    malformed = {offset: record for offset, record in enumerate(batch) if isinstance(record, str)}
    blank = [""] * (max(places.values()) + 1)
    records = [blank if isinstance(record, str) else record for record in batch] if malformed else batch
    return RowBatch(first, {field: [record[at] for record in records] for field, at in places.items()}, malformed)
