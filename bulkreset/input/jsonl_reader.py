"""Read JSON Lines input: an object in each line, whose fields are the columns. A malformed line stays a row."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple, NoReturn, TextIO

from bulkreset.errors import EmptyInput, InputError
from bulkreset.input.batch import (
    CARRIED,
    FIELDS,
    MAX_VALUE_LENGTH,
    NEEDED,
    Fields,
    RowBatch,
    carries_all,
    find_columns,
    fold_words,
    reject_near_names,
    reject_passwords,
)
from bulkreset.input.decrypt import InputContent
from bulkreset.input.format_detection import JSON, JSON_LINES
from bulkreset.input.own_files import is_report
from bulkreset.input.text_lines import LONGEST_LINE, MARK, UNDECODED
from bulkreset.input.text_reader import Piece, Records, TextReader
from bulkreset.job import InputConfig

LOOKED_AT = 100  # lines that are searched for columns: a program may leave out a field without a value
KEPT_SHAPES = 256  # sequences of field names whose columns are remembered
LONGEST_SHAPE = 64  # fields
_CSV = ("is CSV, not JSON Lines", 'Rename it so that it ends in .csv, or set [input] format = "csv".')
# The kind of a file without objects in its first lines, by its first character.
_NOT_LINES = {
    "[": ("is a JSON array", "Write one object in each line; jq -c '.[]' does so."),
    "{": ("has no whole JSON object in its first lines", "Write one object in each line; jq -c . does so."),
    "": ("has no JSON object in its first lines", "Write one object in each line, with username and password."),
}


class _JsonObject(list[tuple[str, Any]]):
    """The fields of a JSON object in order, including repeated ones."""


class _Number(NamedTuple):
    """A number as it is written. Its digits are not converted, because there may be a million of them."""

    text: str


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not JSON


_DECODER = json.JSONDecoder(
    object_pairs_hook=_JsonObject, parse_int=_Number, parse_float=_Number, parse_constant=_reject_constant
)


class JsonLinesRecords(Records):
    """An iterator over the file's objects. It skips blank lines. A field that is absent or null is empty."""

    format = "JSON Lines"

    def __init__(self, text: TextIO, spec: InputConfig) -> None:
        super().__init__(text, spec)
        self._ours = {field: name for field in FIELDS if (name := getattr(spec.columns, field))}
        self._wanted = self._ours  # and the additional columns, after `header`
        self._shapes: dict[tuple[str, ...], Sequence[int] | str] = {}

    def header(self) -> dict[str, int]:
        """Search the first lines for the columns, or all lines if all columns are read.

        Raises InputError if none of these lines is an object, or if a needed column is missing.
        """
        names: dict[str, None] = {}
        first, objects, size = "", 0, 0
        every = carries_all(self._spec)
        for _ in count() if every else range(LOOKED_AT):
            found = self._read_line()
            if found is None:
                break
            first = first or self._lines.last.lstrip(f"{MARK} \t")
            if isinstance(found, _JsonObject) and first[0] != "[":
                objects += 1
                self._add_names(names, found)
            size += len(self._lines.last)
            if size > LONGEST_LINE and not every:
                break
        if not first:
            raise EmptyInput(f"The input {self._spec.file} has only blank lines.", "Check the export.")
        if not objects:
            is_csv = "{" not in first and self._spec.columns.username in re.split(r'[",;|\s]+', first)
            what, advice = _CSV if is_csv else _NOT_LINES.get(first[:1], _NOT_LINES[""])
            raise InputError(f"The input {self._spec.file} {what}.", advice)
        places = find_columns(list(names), self._spec.columns, self._spec.file, "first lines")
        self._wanted = self._ours | {it: it.removeprefix(CARRIED) for it in places if it.startswith(CARRIED)}
        self.is_report = self._spec.columns.username == "username" and is_report(names)
        self._lines.seek(0, 0)
        return {field: place for place, field in enumerate(self._wanted)}

    def _add_names(self, names: dict[str, None], found: _JsonObject) -> None:
        """Add the names of an object's fields. Raises InputError if all names together are longer than LONGEST_LINE."""
        new = [name for name in (name.strip() for name, _ in found) if name not in names]
        names |= dict.fromkeys(new)
        if new and sum(map(len, names)) > LONGEST_LINE:
            raise InputError(
                f"The names of the fields of the input {self._spec.file} have more than {LONGEST_LINE:,} characters together.",
                "Check that the names of the fields are the same in all lines.",
            )

    def __next__(self) -> list[str] | str:
        found = self._read_line()
        if found is None:
            raise StopIteration
        what = self._cells(found) if isinstance(found, _JsonObject) else found
        return f"line {self._lines.number}: {what}" if isinstance(what, str) else what

    def _read_line(self) -> _JsonObject | str | None:
        """Return the object of the next line that is not blank, or what is wrong with it; None at the end."""
        lines = self._lines
        line = ""
        while not line.strip():
            lines.record_size = 0
            line = next(lines, "")
            if not line:
                return None
        lines.marked = 0  # a mark before an object changes nothing
        if lines.take_problem():
            return "bytes that are not utf-8"
        try:
            found = _DECODER.decode(line.lstrip(MARK))
        except json.JSONDecodeError as error:
            return f"not JSON (at character {error.colno})"
        except ValueError:
            return "not JSON (NaN and Infinity are not numbers)"
        except RecursionError:
            return "JSON that is nested too deeply"
        return found if isinstance(found, _JsonObject) else "JSON, but not an object"

    def _cells(self, found: _JsonObject) -> list[str] | str:
        """Return the cells of our fields, or what is wrong with the object."""
        names = tuple(name for name, _ in found)
        shape = self._shapes.get(names)
        if shape is None:
            shape = self._shape(names)
            if len(names) <= LONGEST_SHAPE and sum(map(len, names)) <= MAX_VALUE_LENGTH:
                if len(self._shapes) == KEPT_SHAPES:
                    self._shapes.clear()
                self._shapes[names] = shape
        if isinstance(shape, str):
            return shape
        cells = []
        for (field, name), place in zip(self._wanted.items(), shape, strict=True):
            value = self._text_of(field, name, found[place][1] if place >= 0 else "")
            if not isinstance(value, str):
                return f"{name!r} holds {_kind(value)}, not text"
            if not value.isascii() and UNDECODED.search(value):
                return f"{name!r} has one half of a surrogate pair, which is not a character"
            cells.append(value[:MAX_VALUE_LENGTH])
        return cells

    def _text_of(self, field: str, name: str, value: object) -> object:
        """Return the value as text if it may be one. Raises InputError if an additional column has an array or object."""
        if value is None:
            return ""
        is_carried = field.startswith(CARRIED)
        if is_carried and isinstance(value, list):
            raise InputError(
                f"The column {name!r} of the input {self._spec.file} holds {_kind(value)} on line {self._lines.number},"
                " not text.",
                "Write it as text, or remove the column.",
            )
        if isinstance(value, bool) and (is_carried or field == "permanent"):
            return "true" if value else "false"
        return value.text if is_carried and isinstance(value, _Number) else value

    def _shape(self, names: tuple[str, ...]) -> Sequence[int] | str:
        """Return the index of each of our fields in an object with these names (-1 if absent), or the error text."""
        stripped = [name.strip() for name in names]
        where = f"{self._spec.file}, line {self._lines.number},"
        counts = Counter(stripped)
        if self._spec.columns.password is None:
            reject_passwords(stripped, where)
        for field, name in self._wanted.items():
            if counts[name] > 1:
                return f"{name!r} is there {counts[name]} times"
            if counts[name] or field.startswith(CARRIED):
                continue
            if field not in NEEDED:
                reject_near_names(stripped, self._ours, field, where)
            elif any(fold_words(found) == fold_words(name) for found in stripped):
                return f"no {name!r}, but a name like it; names are case-sensitive"
        return [stripped.index(name) if counts[name] else -1 for name in self._wanted.values()]


class JsonLinesReader(TextReader):
    """A JSON Lines file. JSON is always UTF-8."""

    records = JsonLinesRecords
    ours = (JSON, JSON_LINES)

    def __init__(self, spec: InputConfig, content: InputContent, directories: Mapping[str, str]) -> None:
        super().__init__(spec.model_copy(update={"encoding": "utf-8", "escape": ""}), content, directories)

    def _line_end(self, head: str) -> str:
        return "\r" if "\r" in head and "\n" not in head else "\n"

    def _make_batch(self, first: int, pieces: Sequence[Piece], fields: Fields, *, is_report: bool) -> RowBatch:
        """Return the rows without the optional fields that none of them has: a later line may have them."""
        made = super()._make_batch(first, pieces, fields, is_report=is_report)
        optional = {*FIELDS} - {*NEEDED}
        columns = {field: cells for field, cells in made.columns.items() if field not in optional or any(cells)}
        return RowBatch(made.first, columns, made.malformed)


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    return "a number" if isinstance(value, _Number) else "an object" if isinstance(value, _JsonObject) else "an array"
