"""Read CSV input. Records are counted exactly; a malformed line stays a row and carries an error text."""

import csv
import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, TextIO

from bulkreset.errors import EmptyInput, InputError
from bulkreset.input.batch import MAX_VALUE_LENGTH, find_columns
from bulkreset.input.own_files import is_report
from bulkreset.input.text_lines import ENCODING_ADVICE, MARK, UNDECODED
from bulkreset.input.text_reader import Records, TextReader
from bulkreset.job import InputConfig
from bulkreset.text import parse_cell

if TYPE_CHECKING:
    import _csv

_LOOKED_AT = 20  # lines that are searched for a header after the first line
_SET_ESCAPE = 'set [input] escape = "\\\\"'
_MARKED = re.compile(f"{UNDECODED.pattern}|{MARK}").search
_DELIMITERS = ",;\t|:^~\x01\x1f "


def _delimiter_of(line: str, needed: frozenset[str]) -> str:
    """Return the delimiter by which a line has the needed columns, "" if there is none."""
    some = _DELIMITERS if len(needed) > 1 else _DELIMITERS.rstrip(" ")  # a title has blanks
    return next((by for by in some if needed <= {name.strip(' "\r\n') for name in line.split(by)}), "")


def _show_delimiter(delimiter: str) -> str:
    """Return a delimiter as a job file has it."""
    return json.dumps(delimiter)[1:-1]


class CsvRecords(Records):
    """An iterator over the file's records, without blank lines: the whole header, then only our fields."""

    format = "CSV"

    def __init__(self, text: TextIO, spec: InputConfig) -> None:
        super().__init__(text, spec)
        self._width = 0
        self._doubled: set[bool] = set()  # whether the backslashes in our values are doubled
        self._header: list[str] = []
        self._names: frozenset[str] = frozenset()
        self._header_end = ""  # the line ending of the header
        self._ours: list[int] = []  # indexes of our fields in a record
        self._parser = self._parse(self._lines)

    def _parse(self, lines: Iterable[str], *, strict: bool = True) -> "_csv.Reader":
        escape = self._spec.escape or None
        return csv.reader(lines, delimiter=self._spec.delimiter, strict=strict, escapechar=escape)

    def header(self) -> dict[str, int]:
        """Read the header. Raises InputError if it is malformed or does not fit."""
        fields = next(self, [])
        if not fields:
            raise EmptyInput(f"The input {self._spec.file} has only blank lines.", "Check the export.")
        if isinstance(fields, str):
            malformed = InputError(
                f"The header of the input {self._spec.file} is malformed: {fields}.",
                ENCODING_ADVICE if "bytes that are not" in fields else "Fix the first line.",
            )
            raise self._first_line_error([self._lines.last]) or malformed  # quotes look broken with a wrong delimiter
        try:
            places = find_columns(fields, self._spec.columns, self._spec.file)
        except InputError as error:
            raise self._first_line_error(fields) or error from None
        self._ours = list(places.values())
        self._header, self._names, self._header_end = fields, frozenset(fields), _ending(self._lines.last)
        self.is_report = self._spec.columns.username == "username" and is_report(fields)
        return {field: place for place, field in enumerate(places)}

    @property
    def remark(self) -> str:
        """Return whether the file ends within a line, and whether it seems to escape by backslashes; or ""."""
        cut = "the last line has no line break: is the file whole?" if self._lines.ends_open else ""
        is_doubled = self._doubled == {True}
        doubled = f"each backslash is doubled: if the file escapes so, {_SET_ESCAPE}" if is_doubled else ""
        return "; ".join(filter(None, (cut, doubled)))

    def _first_line_error(self, fields: list[str]) -> InputError | None:
        """Return the error for a first line that programs write before a header, or that has another delimiter."""
        where, first = f"The first line of the input {self._spec.file}", fields[0] if fields else ""
        if first.casefold().startswith("sep=") and len(fields) <= 2:  # noqa: PLR2004  (sep=, is two empty fields)
            by = _show_delimiter(first[4:5] or self._spec.delimiter)
            return InputError(f"{where} is Excel's sep={by}.", f'Remove it, and set [input] delimiter = "{by}".')
        if first.startswith("#TYPE"):
            return InputError(f"{where} is PowerShell's #TYPE line.", "Remove it, or export with -NoTypeInformation.")
        needed = frozenset(filter(None, (self._spec.columns.username, self._spec.columns.password)))
        if other := _delimiter_of(",".join(fields), needed):
            if other == self._spec.delimiter:
                return None
            by = _show_delimiter(other)
            return InputError(f"{where} separates its columns with '{by}'.", f'Set [input] delimiter = "{by}".')
        for line in islice(self._lines, _LOOKED_AT):
            if other := _delimiter_of(line, needed):
                setting = f', and set [input] delimiter = "{_show_delimiter(other)}"'
                return InputError(
                    f"The header of the input {self._spec.file} is its line {self._lines.number}, not its first line.",
                    f"Remove the lines before it{setting if other != self._spec.delimiter else ''}.",
                )
        return None

    def plain_columns(self, rows: int) -> Sequence[Sequence[str]] | None:
        """Return the cells of our fields in the next rows, by field. If a row has a fault, read none and return None."""
        lines = self._lines.look_ahead(rows, MAX_VALUE_LENGTH)
        text = "".join(lines)
        if not lines or "\\" in text or len(lines[-1]) > MAX_VALUE_LENGTH or (not text.isascii() and _MARKED(text)):
            return None
        columns = self._split(lines, text)
        if not columns or not self._names.isdisjoint(columns[0]):  # perhaps the header again
            return None
        if "" in columns[0] and not all(map(any, zip(*columns, strict=True))):  # a blank row
            return None
        self._lines.skip_ahead()
        return [columns[place] for place in self._ours]

    def _split(self, lines: Sequence[str], text: str) -> Sequence[Sequence[str]]:
        """Return the cells of these lines, whose text is `text`, column by column. [] if a line is not one whole row."""
        by, width = self._spec.delimiter, self._width
        bare = text.replace("\r\n", "\n")
        if '"' not in bare and "\r" not in bare:  # then the csv module would split the same, in three times the time
            cells = bare.removesuffix("\n").replace("\n", by).split(by)
            whole = {line.count(by) for line in lines} == {width - 1}
            return [cells[at::width] for at in range(width)] if whole else []
        try:
            records = list(csv.reader(lines, delimiter=by, strict=True))
        except csv.Error:
            return []
        whole = len(records) == len(lines) and {*map(len, records)} == {width}
        return list(zip(*records, strict=True)) if whole else []

    def __next__(self) -> list[str] | str:
        lines, parser = self._lines, self._parser
        while True:
            line = lines.number + 1
            lines.record_size = 0
            try:
                fields = next(parser)
            except csv.Error as error:
                return self._malformed(line, error)
            if not any(fields):  # as Excel writes rows that were cleared
                lines.take_problem()
                continue
            self._width = self._width or len(fields)
            if problem := self._problem(line, fields):
                return problem
            if not self._ours:
                return fields
            # Keep our columns only, and cut long values: a batch has thousands of records in memory.
            if lines.number == line and len(lines.last) <= MAX_VALUE_LENGTH:
                return [fields[place] for place in self._ours]
            return [fields[place][:MAX_VALUE_LENGTH] for place in self._ours]

    def _problem(self, line: int, fields: list[str]) -> str:
        """Return the error text of the record that begins at `line`, or "". Raises InputError if it spoils the file."""
        problem = self._lines.take_problem()
        if fields[0].lstrip(MARK) in self._names and self._is_header(line, fields):
            return f"line {line}: the header again: was this file joined from several?"
        if problem:
            return problem
        if len(fields) != self._width:
            self._check_for_cut(line)
            escaped = not self._spec.escape and f"\\{self._spec.delimiter}" in self._lines.last
            hint = f"; a delimiter after a backslash: if the file escapes so, {_SET_ESCAPE}" if escaped else ""
            return f"line {line}: {len(fields)} fields where the header has {self._width}{hint}"
        if "\\" in self._lines.last and not self._spec.escape:
            return self._escaped(line, fields)
        return ""

    def _escaped(self, line: int, fields: list[str]) -> str:
        r"""Record the backslashes in our values. Return the error text for an \" that should be doubled."""
        for text in (fields[place] for place in self._ours):
            if '\\"' in text and '\\""' not in self._lines.last:
                return f"line {line}: a quote after a backslash: if the file escapes quotes so, set input.escape"
            if "\\" in text:
                self._doubled.add("\\" not in text.replace("\\\\", ""))
        return ""

    def _malformed(self, line: int, error: csv.Error) -> str:
        """Return the error text of the record that begins at `line`. Raises InputError if it may be several rows."""
        lines = self._lines
        if lines.number > line or self._may_reach_on(lines.last):
            # An open quote may swallow rows. Guessing where they end could set a wrong password.
            raise InputError(
                f"The input {self._spec.file} has an unclosed quote on line {line} (noticed at line {lines.number}).",
                "Fix the quoting there; a quote inside a quoted value is written twice."
                + (f" If the file escapes by backslashes, {_SET_ESCAPE}." if '\\"' in lines.last else ""),
            ) from None
        self._check_for_lines(lines.last, line)
        lines.take_problem()
        return f"line {line}: {_SAID.get(str(error)[:16], 'broken quoting')}"

    def _is_header(self, line: int, fields: list[str]) -> bool:
        """Return whether the record is the header again. Raises InputError if its columns are in another order."""
        names = [name.strip() for name in (fields[0].lstrip(MARK), *fields[1:])]
        header = [name.strip() for name in self._header]
        if names != header and sorted(names) == sorted(header):
            raise InputError(
                f"The input {self._spec.file} repeats its header on line {line}, with the columns in another order.",
                "The file was joined from several: pass each of them as an input of its own.",
            )
        return names == header

    def _check_for_lines(self, text: str, line: int) -> None:
        """Raise InputError if a line with other line breaks inside is several rows: the file mixes line endings."""
        parts = [part for part in text.replace("\r", "\n").split("\n") if part]
        if len(parts) > 1 and (not self._width or all(self._count_fields(part) == self._width for part in parts)):
            raise InputError(
                f"The input {self._spec.file} mixes line endings: line {line} has line breaks of another kind"
                " within it.",
                "Convert it to one kind of line ending.",
            )

    def _check_for_cut(self, line: int) -> None:
        """Raise InputError if the line before a fragment ends unlike the header: a line break may cut its password."""
        before, here = _ending(self._lines.previous), _ending(self._lines.last)
        if self._lines.number == line > 2 and before and before != self._header_end and here in {self._header_end, ""}:  # noqa: PLR2004  (the line after the first row)
            raise InputError(
                f"The input {self._spec.file} mixes line endings: line {line - 1} ends unlike the header, and line"
                f" {line} is not a whole row. A value that is not quoted may have a line break.",
                "Quote such values, or convert the file to one kind of line ending.",
            )

    def _count_fields(self, text: str) -> int:
        with suppress(csv.Error):
            return len(next(self._parse([text]), []))
        return 0

    def _may_reach_on(self, line: str) -> bool:
        """Return whether a line with broken quoting may leave a quote open, by its quote count or a lenient parse."""
        if line.count('"') % 2:
            return True
        lenient = self._parse([line, "\n"], strict=False)
        try:
            next(lenient)
        except csv.Error:
            return "\r" not in line and "\n" not in line[:-1] and len(line) <= csv.field_size_limit()
        return lenient.line_num > 1


# Our texts for the csv module's errors that are not about quotes, by the first 16 characters of its message.
_SAID = {
    "new-line charact": "a carriage return inside a value that is not quoted",
    "field larger tha": "a value of more than 131,072 characters",
}


def _ending(line: str) -> str:
    return "\r\n" if line.endswith("\r\n") else line[-1:] if line[-1:] in {"\n", "\r"} else ""


class CsvReader(TextReader):
    """A CSV file.

    The csv module in strict mode parses the records. The pandas parser would pad short lines, accept broken quotes and
    not report the line of a bad byte, so a row could be lost or changed without an error.
    """

    records = CsvRecords

    def _reported_name(self, cell: str) -> str:
        return parse_cell(cell)

    def _line_end(self, head: str) -> str:
        r"""Return "\r" for a file with only CR as line end, otherwise "\n", which ends LF and CRLF.

        A lone CR must not cut a password, so any LF outside quotes near the beginning decides.
        """
        if "\r" not in head:
            return "\n"
        bare = re.sub(r"\\.", "", head, flags=re.DOTALL) if self._spec.escape else head
        bare = re.sub(r'"[^"]*(?:"|\Z)', "", bare)
        return "\r" if "\r" in bare and "\n" not in bare else "\n"
