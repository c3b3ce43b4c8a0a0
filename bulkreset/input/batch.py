"""Batches of input rows, and the columns that all input formats have."""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bulkreset.errors import InputError
from bulkreset.input.own_files import is_report, no_passwords_error
from bulkreset.job import ColumnsConfig, InputConfig, Location
from bulkreset.text import format_count

if TYPE_CHECKING:  # only planning uses frames; pandas is slow to load, so nothing else imports it
    import pandas as pd

BATCH_ROWS = 20_000
PAGE_ROWS = 2_000
# Characters kept of a value. No field of ours may be this long, so a longer value is rejected for its length anyway.
MAX_VALUE_LENGTH = 1024
FIELDS = ("username", "password", "permanent", "user_pool_id")
NEEDED = ("username", "password")
Fields = Collection[str] | None  # those that a caller wants; None for all
# Other names of these columns in other programs, without blanks, "_" and "-". A name for passwords is shown only if the
# column of usernames was found: otherwise the first line may be a row.
_USUAL = {
    "username": re.compile(
        r"user(id)?|login(name)?|mail|email(address)?|benutzer(name)?|utilisateur|usuario|userprincipalname|upn"
        r"|samaccountname|accountname|preferredusername|phone(number)?|sub|uid|cognito:username"
    ),
    "password": re.compile(
        r"pass(wd)?|pwd?|secret|(new|temporary|user|initial)password|passwort|kennwort|motdepasse|contraseña|senha"
    ),
}
_EDGES = "\"'`*:#()[]<>"  # characters that may surround a name similar to a column's
CARRIED = "+"  # prefix of the name of a column that is not one of ours


class CarryingColumns(ColumnsConfig):
    """The input's columns, and the names of others that are read beside them; ALL_COLUMNS for all that have a name."""

    carried: tuple[str, ...] = ()


ALL_COLUMNS = ("*",)


def carrying(spec: InputConfig, columns: tuple[str, ...]) -> InputConfig:
    """Return the settings of an input with these additional columns, or as they are if they have some already."""
    if not columns or isinstance(spec.columns, CarryingColumns):
        return spec
    return spec.model_copy(update={"columns": CarryingColumns(**dict(spec.columns), carried=columns)})


def carries_all(spec: InputConfig) -> bool:
    """Return whether all columns of this input are read."""
    return isinstance(spec.columns, CarryingColumns) and spec.columns.carried == ALL_COLUMNS


class RowBatch:
    """Some consecutive rows: the one shape in which every reader yields them.

    `columns` maps a field of FIELDS to its cells, as a list of Python strings or as an Arrow array of text; an empty
    cell is "", and the cells of an absent field are empty. `malformed` maps an offset to the error text of that line;
    all cells of such a row are "". Other columns have CARRIED in front of their name. `file` is the number of the file
    that the rows are from, if the input has several files.
    """

    def __init__(
        self, first: int, columns: Mapping[str, Any], malformed: Mapping[int, str] | None = None, file: int = 0
    ) -> None:
        self.first = first
        self.last = first + len(columns["username"]) - 1
        self.columns = columns
        self.malformed = malformed or {}
        self.file = file

    def __repr__(self) -> str:  # the columns' own repr would print passwords
        return f"RowBatch(rows {self.first} to {self.last})"

    def cells(self, field: str, first: int = 0, last: int | None = None) -> list[str]:
        """Return the cells of a field from row `first` to row `last`; all cells if they are not given."""
        rows = slice(max(0, first - self.first), (self.last if last is None else last) - self.first + 1)
        if field not in self.columns:
            return [""] * len(self.columns["username"][rows])
        found = self.columns[field][rows]
        return found if isinstance(found, list) else found.to_pylist()

    @property
    def frame(self) -> "pd.DataFrame":
        """Return the rows as a new frame with the columns of FIELDS, all text."""
        import pandas as pd  # noqa: PLC0415  (slow to load, and sending does not need it)
        import pyarrow as pa  # noqa: PLC0415  (as above)

        text, blank = pa.large_string(), pa.repeat("", self.last - self.first + 1)
        columns: dict[str, Any] = {field: pa.array(self.columns.get(field, blank), text) for field in FIELDS}
        return pd.DataFrame({field: pd.array(cells, dtype="str") for field, cells in columns.items()})


def find_columns(header: list[str], columns: ColumnsConfig, path: Location, part: str = "first line") -> dict[str, int]:
    """Return the index of each of our fields in `header`; `part` is the part of the file that has the names.

    Raises InputError if a column is missing, occurs twice or is spelled differently; the message names the column.
    Also raises it if the job generates passwords and the input has a password column.
    """
    names = [name.strip() for name in header]
    wanted = {field: name for field in FIELDS if (name := getattr(columns, field))}
    if columns.password is None:
        reject_passwords(names, path)
    for field, name in wanted.items():
        if names.count(name) > 1:
            raise InputError(
                f"The input {path} has the column {name!r} {names.count(name)} times.",
                "Keep one of them, or rename the others.",
            )
        if name in names:
            continue
        if field not in NEEDED:
            reject_near_names(names, wanted, field, path)
        elif field == "password" and is_report(names):
            raise no_passwords_error(path)
        else:
            raise _missing_column_error(names, wanted, field, path, part)
    found = {field: names.index(name) for field, name in wanted.items() if name in names}
    carried = columns.carried if isinstance(columns, CarryingColumns) else ()
    return found | _find_carried(names, carried, path)


def _find_carried(names: Sequence[str], carried: Sequence[str], path: Location) -> dict[str, int]:
    """Return the index of each additional column. Raises InputError if one is missing or occurs twice."""
    every = carried == ALL_COLUMNS
    wanted = [name for name in names if name] if every else carried
    for name in wanted:
        if (count := names.count(name)) != 1:
            has = f"the column {name!r} {count} times" if count else f"no column {name!r}, which report.columns names"
            raise InputError(f"The input {path} has {has}.", "Each of these columns must occur exactly once.")
    return {CARRIED + name: names.index(name) for name in wanted}


def _missing_column_error(
    names: Sequence[str], wanted: Mapping[str, str], field: str, path: Location, part: str
) -> InputError:
    """Return the error; it shows a similar name and no other: without a header the first line has a password."""
    name = wanted[field]
    bare = _EDGES if field == "username" or wanted["username"] in names else ""
    near = [found for found in names if fold_words(found).strip(bare) == fold_words(name)]
    usual = [found for found in names if _USUAL[field].fullmatch(fold_words(found)) and found not in wanted.values()]
    missing = f"The input {path} has no column {name!r} ({format_count(len(names), 'column')} in its {part})."
    advice = f"set [input] columns.{field} to the name in the file."
    if near:
        is_case = near[0].casefold() == name.casefold()
        differs = "column names are case-sensitive" if is_case else "it is spelled differently"
        return InputError(f"{missing} It has {_show_name(near[0])}: {differs}.", f"Rename it to {name!r}, or {advice}")
    if usual:
        named = f'set [input] columns.{field} = "{usual[0]}".' if usual[0].isprintable() else advice
        return InputError(f"{missing} It has {usual[0]!r}.", f"If that is it: {named}")
    first = "Give it a header, check the delimiter" if part == "first line" else "Check that it is the right file"
    return InputError(missing, f"{first}, or {advice}")


def reject_passwords(names: Sequence[str], path: Location) -> None:
    """Raise InputError if there is a column of passwords, for a job that generates them."""
    if "password" in [name.casefold() for name in names]:
        raise InputError(
            f"The input {path} has a column of passwords, but the job generates passwords.",
            'Remove the column, or set password.source = "input".',
        )


def reject_near_names(names: Sequence[str], wanted: Mapping[str, str], field: str, path: Location) -> None:
    """Raise InputError if a missing optional column may be there under a similar name, so it is not ignored."""
    name = wanted[field]
    near = [found for found in names if fold_name(found) == fold_name(name) != "" and found not in wanted.values()]
    if near:
        raise InputError(
            f"The input {path} has no column {name!r}, but it has {near[0]!r}, which would be ignored.",
            f"Rename it to {name!r}, set [input] columns.{field} to {near[0]!r}, or remove it.",
        )


def fold_words(name: str) -> str:
    """Return the name in lower case, without blanks, "_", "-" and invisible characters."""
    # Digits and signs stay: without a header, a name similar to the column's may be a password.
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(it for it in folded if it.isprintable() and it not in " _-")


def _show_name(name: str) -> str:
    """Return a name for a message, with the name of any invisible character."""
    visible = "".join(filter(str.isprintable, name))
    return repr(name) if visible == name else f"{visible!r} with an invisible character"


def fold_name(name: str) -> str:
    """Return the name's letters only, case-folded, to compare similar names."""
    return "".join(filter(str.isalpha, name.casefold()))


def input_too_short_error(path: Location, row: int) -> InputError:
    """Return the error for an input that ends before an expected row."""
    return InputError(f"The input {path} ends before row {row}, so it has changed.", "Restore the original file.")
