"""CSV input: records counted exactly, a malformed line kept as a row that says what is wrong with it."""

import codecs
import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import islice
from typing import IO, cast

import pandas as pd

from bulkreset.errors import InputError
from bulkreset.intake.chunk import CHUNK_ROWS, FIELDS, Chunk, find_columns, unreadable
from bulkreset.job import Input

LONGEST_LINE = 1 << 20  # characters: a file without line breaks must not be read into memory whole
HEAD = 1 << 16  # characters, from whose line ends the file's are known
_UNDECODED = re.compile("[\ud800-\udfff]")


class CsvRows:
    """CSV, also gzipped.

    The records come from the csv module in strict mode: pandas' own parser fills short lines up, forgives broken
    quotes and does not say which line a bad byte stood on, so a row could be lost or changed in silence.
    """

    def __init__(self, spec: Input) -> None:
        self._spec = spec

    def chunks(self, first: int = 1) -> Iterator[Chunk]:
        """Yield the rows in order, those before `first` only where they share a chunk with it.

        Raises InputError on a bad header, an endless line or a quote that may have swallowed lines.
        """
        try:
            with closing(self._open()) as text:
                records = self._records(text)
                header = next(records, [])
                if isinstance(header, str):
                    raise InputError(
                        f"The header of the input {self._spec.path} is malformed: {header}.", "Mend the first line."
                    )
                places = find_columns(header, self._spec.columns, self._spec.path)
                start = 1
                while batch := list(islice(records, CHUNK_ROWS)):
                    if start + len(batch) > first:
                        yield _chunk(start, batch, places, width=len(header))
                    start += len(batch)
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(self._spec.path, error) from None

    def _open(self) -> IO[str]:
        # A BOM is no part of the first column's name. Bytes that do not decode are kept as lone surrogates, so that
        # their line can be named instead of ending the file there.
        encoding = "utf-8-sig" if codecs.lookup(self._spec.encoding).name == "utf-8" else self._spec.encoding
        opener = gzip.open if self._spec.path.name.lower().endswith(".gz") else open

        beginning = ""

        def opened(end: str) -> IO[str]:
            text = opener(self._spec.path, "rt", encoding=encoding, errors="surrogateescape", newline=end)
            return cast("IO[str]", text)

        with closing(opened("\n")) as text, suppress(UnicodeError):  # which is told when its line is reached
            beginning = text.read(HEAD)
        # LF and CRLF end a line, and CR where there is no LF at all: a lone CR in a password must not cut it.
        return opened("\r" if "\r" in beginning and "\n" not in beginning else "\n")

    def _records(self, text: IO[str]) -> Iterator[list[str] | str]:
        """The header's fields; then each record's, or what is wrong with its line. Blank lines are no records."""
        lines = _Lines(text, self._spec)
        parser = csv.reader(lines, delimiter=self._spec.delimiter, strict=True)
        width = 0
        while True:
            line = lines.number + 1
            try:
                fields = next(parser)
            except StopIteration:
                return
            except csv.Error as error:
                if lines.number > line or self._may_reach_on(lines.last):
                    # What an open quote swallows may be rows: to guess where they end could set a wrong password.
                    raise InputError(
                        f"The input {self._spec.path} has a quote on line {line} that does not close as it should"
                        f" (found at line {lines.number}).",
                        "Mend the quoting there; a quote inside a quoted value is written twice.",
                    ) from None
                lines.undecoded = 0
                yield f"line {line}: {_SAID.get(str(error)[:16], 'broken quoting')}"
                continue
            if not fields:
                continue
            width = width or len(fields)
            if lines.undecoded:
                yield f"line {lines.undecoded}: bytes that are not {self._spec.encoding}"
                lines.undecoded = 0
            elif len(fields) == width:
                yield fields
            else:
                yield f"line {line}: {len(fields)} fields where the header has {width}"

    def _may_reach_on(self, line: str) -> bool:
        """Whether a line with broken quoting may leave a quote open, read leniently or by counting its quotes."""
        if line.count('"') % 2:
            return True
        lenient = csv.reader([line, "\n"], delimiter=self._spec.delimiter)
        try:
            next(lenient)
        except csv.Error:
            return "\r" not in line and len(line) <= csv.field_size_limit()
        return lenient.line_num > 1


# How the csv module's words for what is not about quotes are told.
_SAID = {
    "new-line charact": "a carriage return inside a value that is not quoted",
    "field larger tha": "a value of more than 131,072 characters",
}


class _Lines:
    """The file's lines, each of bounded length. `last` is the newest, `undecoded` the number of one that did not decode."""

    def __init__(self, text: IO[str], spec: Input) -> None:
        self._text = text
        self._spec = spec
        self.number = 0
        self.last = ""
        self.undecoded = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            self.last = self._text.readline(LONGEST_LINE)
        except UnicodeError:
            raise InputError(
                f"The input {self._spec.path} does not decode as {self._spec.encoding} near line {self.number + 1}.",
                "Set [input] encoding to the file's own.",
            ) from None
        if not self.last:
            raise StopIteration
        self.number += 1
        if len(self.last) == LONGEST_LINE:
            raise InputError(
                f"Line {self.number} of the input {self._spec.path} is longer than {LONGEST_LINE:,} characters.",
                "Check that it is a CSV file.",
            )
        if not self.last.isascii() and _UNDECODED.search(self.last):
            self.undecoded = self.number
        return self.last


def _chunk(first: int, batch: list[list[str] | str], places: dict[str, int], width: int) -> Chunk:
    malformed = {offset: record for offset, record in enumerate(batch) if isinstance(record, str)}
    blank = [""] * width
    columns = list(zip(*(blank if isinstance(record, str) else record for record in batch), strict=True))
    absent = ("",) * len(batch)
    values = {field: columns[places[field]] if field in places else absent for field in FIELDS}
    frame = pd.DataFrame({field: pd.array(list(value), dtype="str") for field, value in values.items()})
    return Chunk(first, frame, malformed)
