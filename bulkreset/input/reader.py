"""The reader: an input file of any known format, its rows as chunks in constant memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from bulkreset.input.batch import RowBatch, RowPage
from bulkreset.input.csv_reader import CsvReader
from bulkreset.input.decrypt import InputContent
from bulkreset.input.location import InputFile, LocalFile
from bulkreset.job import InputConfig


class BatchSource(Protocol):
    """Rows as chunks."""

    def batches(self) -> Iterator[RowBatch]:
        """Yield the rows in order."""


class InputReader(BatchSource, Protocol):
    """One input file: its rows as chunks, each time it is asked."""

    def batches(self, first: int = 1) -> Iterator[RowBatch]:
        """Yield the rows in order, from the chunk that has `first` on (earlier ones may come too). Raises InputError where the file cannot be read to its end."""

    def pages(self) -> "PageReader":
        """The same rows in any order, piece by piece."""


class PageReader(Protocol):
    """An input whose pieces can be read in any order. Used by one thread; `knows` by any.

    `remembers`: whether a piece that was passed once can be had at once from then on.
    """

    remembers: bool

    def knows(self, number: int) -> bool:
        """Whether `read` gives this piece at once, without a search."""

    def read(self, number: int) -> RowPage | None:
        """The piece with this number; None after so much of a search as one call may take: ask again.

        Raises InputError where the file cannot be read, or ends before it.
        """

    def close(self) -> None:
        """Let go of the file."""


def open_rows(spec: InputConfig, place: InputFile | None = None, *, with_passwords: bool = True) -> InputReader:
    """The rows of one file, `spec`'s own or the one at `place`, by the format in `spec` or by its name.

    Raises InputError where there is no such file, or it is not opened.
    """
    if not with_passwords:
        spec = spec.model_copy(update={"columns": spec.columns.model_copy(update={"password": None})})
    place = place or LocalFile(Path(spec.file))
    spec = spec.model_copy(update={"path": place.where})
    content = InputContent(spec, place)
    content.check()
    kind = spec.format or ("parquet" if content.name.endswith((".parquet", ".pq")) else "csv")
    if kind == "csv":
        return CsvReader(spec, content)
    from bulkreset.input.parquet_reader import ParquetReader  # noqa: PLC0415  (only Parquet needs pyarrow)

    return ParquetReader(spec, content)
