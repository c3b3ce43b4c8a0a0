"""CSV input: records counted exactly, a malformed line kept as a row that says what is wrong with it."""

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import IO, cast

import pandas as pd

from bulkreset.errors import InputError
from bulkreset.intake.chunk import CHUNK_ROWS, FIELDS, Chunk, find_columns, unreadable
from bulkreset.job import Input

LONGEST_LINE = 1 << 20  # characters: a file without line breaks must not be read into memory whole
_UNDECODED = re.compile("[\ud800-\udfff]")


class CsvRows:
    """CSV, also gzipped.

    The records come from the csv module in strict mode: pandas' own parser fills short lines up, forgives broken
    quotes and does not say which line a bad byte stood on, so a row could be lost or changed in silence.
    """

    def __init__(self, spec: Input) -> None:
        self._spec = spec

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows in order. Raises InputError on a bad header, an endless line or a quote that swallows lines."""
        try:
            with closing(self._open()) as text:
                records = self._records(text)
                header = next(records, [])
                if isinstance(header, str):
                    raise InputError(
                        f"The header of the input {self._spec.path} is malformed: {header}.", "Mend the first line."
                    )
                places = find_columns(header, self._spec.columns, self._spec.path)
                first = 1
                while batch := list(islice(records, CHUNK_ROWS)):
                    yield _chunk(first, batch, places, width=len(header))
                    first += len(batch)
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(self._spec.path, error) from None

    def _open(self) -> IO[str]:
        # A BOM is no part of the first column's name. Bytes that do not decode are kept as lone surrogates, so that
        # their line can be named instead of ending the file there.
        encoding = "utf-8-sig" if self._spec.encoding.lower() in {"utf-8", "utf8", "utf_8"} else self._spec.encoding
        opener = gzip.open if self._spec.path.name.lower().endswith(".gz") else open
        return cast("IO[str]", opener(self._spec.path, "rt", encoding=encoding, errors="surrogateescape", newline=""))

    def _records(self, text: IO[str]) -> Iterator[list[str] | str]:
        """Each record's fields, or what is wrong with its line. Blank lines are no records."""
        undecoded: list[int] = []
        parser = csv.reader(self._lines(text, undecoded), delimiter=self._spec.delimiter, strict=True)
        while True:
            line = parser.line_num + 1
            try:
                fields = next(parser)
            except StopIteration:
                return
            except csv.Error as error:
                if parser.line_num > line:
                    # What an open quote swallowed may have been rows: to guess where they end could set a wrong password.
                    raise InputError(
                        f"The input {self._spec.path} has a quote on line {line} that does not close as it should ({error}, line {parser.line_num}).",
                        "Mend the quoting there; a quote inside a quoted value is written twice.",
                    ) from None
                yield f"line {line}: broken quoting, {error}"
                continue
            if undecoded:
                yield f"line {undecoded.pop()}: bytes that are not {self._spec.encoding}"
                undecoded.clear()
            elif fields:
                yield fields

    def _lines(self, text: IO[str], undecoded: list[int]) -> Iterator[str]:
        """The file's lines, each of bounded length; the numbers of those with bytes that did not decode."""
        number = 0
        try:
            while line := text.readline(LONGEST_LINE):
                number += 1
                if len(line) == LONGEST_LINE:
                    raise InputError(
                        f"Line {number} of the input {self._spec.path} is longer than {LONGEST_LINE:,} characters.",
                        "Check that it is a CSV file.",
                    )
                if not line.isascii() and _UNDECODED.search(line):
                    undecoded.append(number)
                yield line
        except UnicodeError:
            raise InputError(
                f"The input {self._spec.path} does not decode as {self._spec.encoding} near line {number + 1}.",
                "Set [input] encoding to the file's own.",
            ) from None


def _chunk(first: int, batch: list[list[str] | str], places: dict[str, int], width: int) -> Chunk:
    malformed: dict[int, str] = {}
    blank = [""] * width
    fields: list[list[str]] = []
    for offset, record in enumerate(batch):
        if isinstance(record, str):
            malformed[offset] = record
            fields.append(blank)
        elif len(record) != width:
            malformed[offset] = f"{len(record)} fields where the header has {width}"
            fields.append(blank)
        else:
            fields.append(record)
    columns = list(zip(*fields, strict=True))
    absent = ("",) * len(fields)
    values = {field: columns[places[field]] if field in places else absent for field in FIELDS}
    return Chunk(
        first, pd.DataFrame({field: pd.array(list(value), dtype="str") for field, value in values.items()}), malformed
    )
