"""The reader: an input file of any known format, its rows as chunks in constant memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from bulkreset.input.batch import Chunk, Piece
from bulkreset.input.csv_reader import CsvRows
from bulkreset.input.decrypt import Content
from bulkreset.input.location import File, Place
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


def open_rows(spec: Input, place: Place | None = None, *, with_passwords: bool = True) -> Rows:
    """The rows of one file, `spec`'s own or the one at `place`, by the format in `spec` or by its name.

    Raises InputError where there is no such file, or it is not opened.
    """
    if not with_passwords:
        spec = spec.model_copy(update={"columns": spec.columns.model_copy(update={"password": None})})
    place = place or File(Path(spec.file))
    spec = spec.model_copy(update={"path": place.where})
    content = Content(spec, place)
    content.check()
    kind = spec.format or ("parquet" if content.name.endswith((".parquet", ".pq")) else "csv")
    if kind == "csv":
        return CsvRows(spec, content)
    from bulkreset.input.parquet_reader import ParquetRows  # noqa: PLC0415  (only Parquet needs pyarrow)

    return ParquetRows(spec, content)
