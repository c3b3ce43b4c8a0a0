"""Open an input file of any known format and read its rows in batches, in constant memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from bulkreset.input.batch import RowBatch, RowPage
from bulkreset.input.csv_reader import CsvReader
from bulkreset.input.decrypt import InputContent
from bulkreset.input.location import InputFile, LocalFile
from bulkreset.job import InputConfig


class BatchSource(Protocol):
    """A source of rows in batches."""

    def batches(self) -> Iterator[RowBatch]:
        """Yield the rows in order."""


class InputReader(BatchSource, Protocol):
    """One input file. `batches` and `pages` can be called any number of times."""

    def batches(self, first: int = 1) -> Iterator[RowBatch]:
        """Yield the rows in order, starting at the batch with row `first` or earlier.

        Raises InputError if the file cannot be read to its end.
        """

    def pages(self) -> "PageReader":
        """Return a reader of the same rows, page by page in any order."""


class PageReader(Protocol):
    """An input whose pages can be read in any order. Only one thread may use it, but any thread may call `knows`.

    `remembers` says whether a page that was read or skipped once is available immediately from then on.
    """

    remembers: bool

    def knows(self, number: int) -> bool:
        """Return whether `read` returns this page immediately, without a search."""

    def read(self, number: int) -> RowPage | None:
        """Return the page with this number; None if the search needs another call.

        Raises InputError if the file cannot be read or ends before the page.
        """

    def close(self) -> None:
        """Close the file."""


def open_rows(spec: InputConfig, place: InputFile | None = None, *, with_passwords: bool = True) -> InputReader:
    """Return a reader of one file: `place`, or the file in `spec`. The format is that of `spec` or of the file's name.

    Raises InputError if the file does not exist or cannot be opened or decrypted.
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
