"""Open an input file of any known format and read its rows in batches, in constant memory."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Protocol

from bulkreset.errors import InputError
from bulkreset.input.batch import CARRIED, FIELDS, RowBatch, carries_all
from bulkreset.input.csv_reader import CsvReader
from bulkreset.input.decrypt import InputContent
from bulkreset.input.file_kinds import ENDINGS, has_known_name
from bulkreset.input.first_bytes import not_as_named, sniffed_ending
from bulkreset.input.jsonl_reader import JsonLinesReader
from bulkreset.input.location import Digest, InputFile, LocalFile
from bulkreset.input.partitions import PartitionedReader, partition_columns
from bulkreset.job import InputConfig, Location


class BatchSource(Protocol):
    """A source of rows in batches."""

    def batches(self) -> Iterator[RowBatch]:
        """Yield the rows in order."""


class InputReader(Protocol):
    """One input file. `batches` can be called any number of times.

    If `keeps_open` is set, a new call of `batches` continues with the open file.
    """

    @property
    def remark(self) -> str:
        """Return the text for the user about a file that was read to its end, or ""."""

    @property
    def remembers(self) -> bool:
        """Return whether reading can begin at any row that was read once."""

    keeps_open: bool

    def batches(
        self, first: int = 1, fields: Collection[str] = FIELDS, size: int | None = None, digest: Digest | None = None
    ) -> Iterator[RowBatch]:
        """Yield the rows in order, up to `size` at a time, from row `nearest(first)`.

        The bytes that are read are added to `digest`. Raises InputError if the file cannot be read to its end.
        """

    def nearest(self, row: int) -> int:
        """Return the last row at or before `row` at which reading can begin. Any thread may call it."""

    def close(self) -> None:
        """Close the file."""


def open_rows(
    spec: InputConfig, place: InputFile | None = None, *, with_passwords: bool = True, origin: Location | None = None
) -> InputReader:
    """Return a reader of one file: `place`, or the file in `spec`.

    The format is that of `spec`, or of the file's name, or of its first bytes if the name gives none. `origin` is the
    path whose directory names are read as columns, if the file was moved since. Raises InputError if the file does not
    exist or cannot be opened or decrypted.
    """
    named = spec.columns
    if not with_passwords:
        spec = spec.model_copy(update={"columns": spec.columns.model_copy(update={"password": None})})
    place = place or LocalFile(Path(spec.file))
    spec = spec.model_copy(update={"path": place.where})
    content = InputContent(spec, place)
    begins = content.check()
    if not (spec.format or has_known_name(content.name)):
        content.name += sniffed_ending(content.beginning())
    kind = spec.format or _format_of(content.name)
    if wrong := not_as_named(content.name, begins, is_parquet=kind == "parquet"):
        raise InputError(f"The input {place.where} is {wrong[1].name}, not {wrong[0]}.", wrong[1].advice)
    values = partition_columns(place.where if origin is None else origin, named)
    if carries_all(spec):
        values |= {CARRIED + getattr(named, field): value for field, value in values.items()}
    reader = _open_format(kind, spec, content)
    return PartitionedReader(reader, values, place.where) if values else reader


def _open_format(kind: str, spec: InputConfig, content: InputContent) -> InputReader:
    if kind == "csv":
        return CsvReader(spec, content)
    if kind == "jsonl":
        return JsonLinesReader(spec, content)
    from bulkreset.input.parquet_reader import ParquetReader  # noqa: PLC0415  (only Parquet needs pyarrow)

    return ParquetReader(spec, content)


def _format_of(name: str) -> str:
    """Return the format that a file's name implies; CSV if it implies none."""
    return next((kind for kind, endings in ENDINGS.items() if name.endswith(endings)), "csv")
