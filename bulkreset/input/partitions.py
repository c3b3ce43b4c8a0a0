"""Columns in directory names, as Hive, Spark and Athena write them: user_pool_id=eu-west-1_A/part-0.csv."""

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from bulkreset.errors import InputError
from bulkreset.input.batch import FIELDS, RowBatch, fold_name
from bulkreset.input.location import Digest
from bulkreset.job import ColumnsConfig, Location
from bulkreset.job.input import S3

if TYPE_CHECKING:
    from bulkreset.input.reader import InputReader

_EMPTY = "__HIVE_DEFAULT_PARTITION__"  # how Hive writes NULL
_READ = ("permanent", "user_pool_id")


def partition_columns(where: Location, columns: ColumnsConfig) -> dict[str, str]:
    """Return the value of each of our fields that a directory in the path names.

    Raises InputError if a directory names a username or a password, a field twice, or a field with another spelling.
    Its message never has the value, which may be a password.
    """
    found: dict[str, str] = {}
    names = {field: getattr(columns, field) or "password" for field in FIELDS}
    for directory in _directories(where):
        key, equals, value = directory.partition("=")
        name = unquote(key).strip()
        field = next(
            (field for field, known in names.items() if name == known or fold_name(name) == fold_name(known) != ""),
            None,
        )
        if not equals or field is None:
            continue
        if field not in _READ or name != names[field]:
            raise InputError(
                f"A directory of the input {_masked(where)} is named {name}=…, which would be ignored.",
                f'Rename the directory, or write the column into the files. Directory names may be "{names["permanent"]}" and'
                f' "{names["user_pool_id"]}".',
            )
        text = "" if value == _EMPTY else unquote(value)
        if found.get(field, text) != text:
            raise InputError(
                f"Two directories of the input {_masked(where)} are named {name}=…, with different values.",
                "Rename one of them.",
            )
        found[field] = text
    return found


def _directories(where: Location) -> list[str]:
    return where.removeprefix(S3).split("/")[1:-1] if isinstance(where, str) else list(where.parts[:-1])


def _masked(where: Location) -> str:
    """Return the path without the values in its directory names."""
    *directories, name = str(where).split("/")
    return "/".join([*(f"{one.partition('=')[0]}=…" if "=" in one else one for one in directories), name])


class PartitionedReader:
    """A reader of one file that adds the columns of its directory names to each batch."""

    def __init__(self, reader: "InputReader", values: Mapping[str, str], where: Location) -> None:
        self._reader = reader
        self._values = values
        self._where = where

    @property
    def remembers(self) -> bool:
        """Return whether reading can begin at any row that was read once."""
        return self._reader.remembers

    @property
    def remark(self) -> str:
        """Return the text for the user about the file, or ""."""
        return self._reader.remark

    @property
    def keeps_open(self) -> bool:
        """Return whether a new call of `batches` continues with the open file."""
        return self._reader.keeps_open

    @keeps_open.setter
    def keeps_open(self, value: bool) -> None:
        self._reader.keeps_open = value

    def batches(
        self, first: int = 1, fields: Collection[str] = FIELDS, size: int | None = None, digest: Digest | None = None
    ) -> Iterator[RowBatch]:
        """Yield the file's batches with the columns added. Raises InputError if the file has such a column itself."""
        added = {field: value for field, value in self._values.items() if field in fields}
        for batch in self._reader.batches(first, fields, size, digest):
            if twice := next((field for field in added if field in batch.columns), None):
                raise InputError(
                    f"The input {_masked(self._where)} has the column {twice!r}, and a directory of that name.",
                    "Remove the column, or rename the directory.",
                )
            rows = len(batch.columns["username"]) if "username" in batch.columns else batch.last - batch.first + 1
            columns = {
                field: ["" if offset in batch.malformed else value for offset in range(rows)]
                for field, value in added.items()
            }
            yield RowBatch(batch.first, {**batch.columns, **columns}, batch.malformed, batch.file)

    def nearest(self, row: int) -> int:
        """Return the last row at or before `row` at which reading can begin."""
        return self._reader.nearest(row)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
