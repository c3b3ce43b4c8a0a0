"""The reader: an input file of any known format, its rows as chunks in constant memory, its fingerprint."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bulkreset.errors import InputError
from bulkreset.intake.chunk import Chunk, Piece, unreadable
from bulkreset.intake.content import Content
from bulkreset.intake.csv_rows import CsvRows
from bulkreset.job import Input


class Chunks(Protocol):
    """Rows as chunks."""

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows in order."""


class Rows(Chunks, Protocol):
    """One input file: its rows as chunks, each time it is asked."""

    def chunks(self, first: int = 1) -> Iterator[Chunk]:
        """Yield the rows in order, from the chunk that has `first` on (earlier ones may come too). Raises InputError where the file cannot be read to its end."""

    def pieces(self) -> "Pieces":
        """The same rows in any order, piece by piece."""


class Pieces(Protocol):
    """An input whose pieces can be read in any order. Used by one thread; `knows` by any.

    `remembers`: whether a piece that was passed once can be had at once from then on.
    """

    remembers: bool

    def knows(self, number: int) -> bool:
        """Whether `read` gives this piece at once, without a search."""

    def read(self, number: int) -> Piece | None:
        """The piece with this number; None after so much of a search as one call may take: ask again.

        Raises InputError where the file cannot be read, or ends before it.
        """

    def close(self) -> None:
        """Let go of the file."""


@dataclass(frozen=True)
class Fingerprint:
    """What makes an input the same input: its size in bytes and its SHA-256."""

    size: int
    sha256: str


def open_rows(spec: Input, *, with_passwords: bool = True) -> Rows:
    """The rows of `spec`, by its format or its file name. Raises InputError where there is no such file, or it is not opened."""
    if not with_passwords:
        spec = spec.model_copy(update={"columns": spec.columns.model_copy(update={"password": None})})
    try:
        exists, is_file = spec.file.exists(), spec.file.is_file()
    except OSError as error:  # a name that no file can have
        raise unreadable(spec.file, error) from None
    if not exists:
        raise InputError(f"There is no input file {spec.file}.", "Check the path.")
    if not is_file:
        raise InputError(f"The input {spec.file} is not a file.", "Name one CSV or Parquet file.")
    content = Content(spec)
    content.check()
    kind = spec.format or ("parquet" if content.name.endswith((".parquet", ".pq")) else "csv")
    if kind == "csv":
        return CsvRows(spec)
    from bulkreset.intake.parquet_rows import ParquetRows  # noqa: PLC0415  (only Parquet needs pyarrow)

    return ParquetRows(spec)


def identity(path: Path) -> tuple[int, ...]:
    """What changes whenever the file is written or replaced. Raises InputError where it is gone."""
    try:
        found = path.stat()
    except OSError as error:
        raise unreadable(path, error) from None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def fingerprint(path: Path) -> Fingerprint:
    """Read the whole file once. Raises InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Fingerprint(size=file.tell(), sha256=digest)
    except OSError as error:
        raise unreadable(path, error) from None
