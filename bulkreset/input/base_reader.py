"""The base class of the readers of all input formats."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

from bulkreset.age_encryption import DecryptError
from bulkreset.errors import InputError
from bulkreset.input import batch
from bulkreset.input.batch import Fields, RowBatch
from bulkreset.input.decrypt import InputContent
from bulkreset.input.location import Digest, unreadable_input_error
from bulkreset.input.partitions import mask_values
from bulkreset.job import InputConfig
from bulkreset.s3 import BucketError


class InputReader(ABC):
    """One input file. `batches` can be called any number of times.

    If `keeps_open` is set, a new call of `batches` continues with the open file. `remembers`: reading can begin at any
    row that was read once. `remark` is the text for the user about a file that was read to its end, or "". `directories`
    are the values of our fields that the file's directories name.
    """

    # Exceptions for a file that is damaged or cannot be read.
    faults: ClassVar[tuple[type[Exception], ...]] = (OSError, DecryptError, BucketError)

    def __init__(self, spec: InputConfig, content: InputContent, directories: Mapping[str, str]) -> None:
        self.keeps_open = False
        self.remembers = False
        self.remark = ""
        self._spec = spec
        self._content = content
        self._directories = directories

    def batches(
        self, first: int = 1, fields: Fields = None, size: int | None = None, digest: Digest | None = None
    ) -> Iterator[RowBatch]:
        """Yield the rows in order, up to `size` at a time, from row `nearest(first)`; only `fields`, if given.

        The bytes that are read in order are added to `digest`. Raises InputError if the file does not fit or cannot be
        read to its end.
        """
        try:
            for rows in self._read(first, fields, size or batch.BATCH_ROWS, digest):
                yield self._with_directories(rows, fields) if self._directories else rows
            self.close()
        except self.faults as error:
            raise unreadable_input_error(self._spec.file, error) from None
        finally:
            if not self.keeps_open:
                self.close()

    @abstractmethod
    def _read(self, first: int, fields: Fields, size: int, digest: Digest | None) -> Iterator[RowBatch]: ...

    @abstractmethod
    def nearest(self, row: int) -> int:
        """Return the last row at or before `row` at which reading can begin. Any thread may call it."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def _with_directories(self, rows: RowBatch, fields: Fields) -> RowBatch:
        """Return the rows with the columns that the directories name."""
        added = {field: it for field, it in self._directories.items() if fields is None or field in fields}
        if twice := next((field for field in added if field in rows.columns), None):
            raise InputError(
                f"The input {mask_values(self._spec.file)} has the column {twice!r}, and a directory of that name.",
                "Remove the column, or rename the directory.",
            )
        places = range(rows.last - rows.first + 1)
        cells = {field: ["" if place in rows.malformed else it for place in places] for field, it in added.items()}
        return RowBatch(rows.first, {**rows.columns, **cells}, rows.malformed)
