"""Read Parquet input. Text columns are read unchanged; a number column is refused before any value is read."""

import os
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate, islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bulkreset.age import DecryptError
from bulkreset.errors import InputError
from bulkreset.input.batch import (
    BATCH_ROWS,
    FIELDS,
    MAX_VALUE_LENGTH,
    RowBatch,
    find_columns,
    unreadable_input_error,
)
from bulkreset.input.decrypt import InputContent
from bulkreset.input.location import Digest
from bulkreset.job import InputConfig
from bulkreset.s3 import BucketError

# Exceptions for a file that is damaged or cannot be read. UnicodeDecodeError: a column name is not UTF-8.
DAMAGED = (pa.ArrowException, OSError, UnicodeDecodeError, DecryptError, BucketError)
LARGEST_VALUES = 4 << 10  # bytes that a value may have on average, uncompressed
SMALL_GROUP = 64 << 20  # bytes; up to this size of a column in a row group the average is not checked
LARGEST_FOOTER = 32 << 20  # bytes; the footer lists the columns of all row groups
FOOTER_ENDS = 8  # bytes at the end of a footer: its length, then MAGIC
MAGIC = (b"PAR1", b"PARE")


class ParquetReader:
    """A Parquet file, read batch by batch; null and "" both mean an empty cell.

    An encrypted file is decrypted as a whole, because reading begins with the footer at its end.
    """

    def __init__(self, spec: InputConfig, content: InputContent) -> None:
        self.keeps_open = False
        self.may_be_cut = False  # the footer is at the end
        self.remembers = False
        self._spec = spec
        self._content = content
        self._coded: Sequence[str] | None = None  # columns to keep dictionary-encoded; None until known
        self._file: pq.ParquetFile | None = None
        self._starts: Sequence[int] = [0]  # number of rows before each row group

    def batches(
        self,
        first: int = 1,
        fields: Collection[str] = FIELDS,
        size: int | None = None,
        digest: Digest | None = None,  # noqa: ARG002  (the bytes are not read in order)
    ) -> Iterator[RowBatch]:
        """Yield the rows in order, from row `nearest(first)`. Nothing is added to `digest`.

        Raises InputError if the schema does not fit or the file is damaged.
        """
        try:
            file = self._file = self._file or self.open()
            names = {field: name for field, name in self.names(file).items() if field in fields}
            group = bisect_right(self._starts, first - 1) - 1
            start, groups, wanted = self._starts[group] + 1, range(group, file.num_row_groups), list(names.values())
            rows = size or BATCH_ROWS
            for batch in file.iter_batches(rows, row_groups=list(groups), columns=wanted, use_threads=False):
                if batch.num_rows:
                    yield _make_batch(start, batch, names)
                    start += batch.num_rows
            self.close()
        except DAMAGED as error:
            raise unreadable_input_error(self._spec.file, error) from None
        finally:
            if not self.keeps_open:
                self.close()

    def nearest(self, row: int) -> int:
        """Return the first row of the row group of `row`."""
        return self._starts[bisect_right(self._starts, row - 1) - 1] + 1

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
        self._file = None

    def open(self) -> pq.ParquetFile:
        """Return the opened file. Raises InputError if its footer or values would fill the memory."""
        source = pa.BufferReader(self._content.read_all()) if self._content.is_encrypted else None
        if self._coded is None:
            self._check_footer_size(source)
            self._coded = self._columns_to_keep_encoded(source)
        file = self._opened(source, self._coded)
        sizes = (file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        self._starts = list(accumulate(sizes, initial=0))[:-1] or [0]
        return file

    def _check_footer_size(self, source: pa.BufferReader | None) -> None:
        """Raise InputError if the footer is longer than LARGEST_FOOTER.

        Arrow reads the footer as a whole, whatever length the end of the file states.
        """
        if source:
            source.seek(max(0, source.size() - FOOTER_ENDS))
            end = source.read(FOOTER_ENDS)
            source.seek(0)
        else:
            with self._content.open() as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - FOOTER_ENDS))
                end = file.read(FOOTER_ENDS)
        if (told := int.from_bytes(end[:4], "little")) > LARGEST_FOOTER and end.endswith(MAGIC):
            raise InputError(
                f"The input {self._spec.file} has a footer of {told:,} bytes.",
                f"Write it with fewer columns, or in larger row groups: {LARGEST_FOOTER:,} bytes are read.",
            )

    def _opened(self, source: pa.BufferReader | None, coded: Sequence[str] = ()) -> pq.ParquetFile:
        """Return the opened file; an encrypted one is read from `source` in memory."""
        where = self._spec.file
        found: Any = source or (self._content.open() if isinstance(where, str) else where)
        return pq.ParquetFile(found, pre_buffer=False, buffer_size=1 << 20, read_dictionary=list(coded))

    def _columns_to_keep_encoded(self, source: pa.BufferReader | None) -> Sequence[str]:
        """Return our columns if any dictionary value is long, otherwise ().

        A dictionary value is stored once but many rows may use it. Raises InputError if values are too large.
        """
        names = list(self.names(self._opened(source)).values())
        file = self._opened(source, names)
        coded = False
        for group in range(file.num_row_groups):
            # Reading the first row of a row group loads its whole dictionary. Read it before the group's metadata: a
            # read fails cleanly on false metadata, but accessing such metadata directly may crash the process.
            for batch in islice(file.iter_batches(1, row_groups=[group], columns=names, use_threads=False), 1):
                coded |= any(
                    _holds_long_values(it.dictionary) for it in batch.columns if isinstance(it, pa.DictionaryArray)
                )
            self._check_value_sizes(file.metadata.row_group(group), names)
        return names if coded else ()

    def _check_value_sizes(self, group: pq.RowGroupMetaData, names: Sequence[str]) -> None:
        """Raise InputError if a column's values are too large on average.

        Megabytes of one letter compress to a few bytes, and a batch has thousands of values.
        """
        for column in map(group.column, range(group.num_columns)):
            size = column.total_uncompressed_size
            if column.path_in_schema in names and size > max(SMALL_GROUP, LARGEST_VALUES * column.num_values):
                raise InputError(
                    f"The column {column.path_in_schema!r} of the input {self._spec.file} holds {size >> 20:,} MB"
                    f" for {column.num_values:,} rows.",
                    "Check that it is the right column.",
                )

    def names(self, file: pq.ParquetFile) -> dict[str, str]:
        """Return the file's column name for each of our fields. Raises InputError if one is missing or is not text."""
        schema = file.schema_arrow
        places = find_columns(schema.names, self._spec.columns, self._spec.file, delimited=False)
        for field, place in places.items():
            self._check_type(field, schema.field(place))
        return {field: schema.field(place).name for field, place in places.items()}

    def _check_type(self, field: str, column: "pa.Field[Any]") -> None:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        fits = (
            pa.types.is_string(kind)
            or pa.types.is_large_string(kind)
            or pa.types.is_string_view(kind)
            or pa.types.is_null(kind)
        )
        if not (fits or (field == "permanent" and pa.types.is_boolean(kind))):
            raise InputError(
                f"The column {column.name!r} of the input {self._spec.file} holds {column.type}, not text.",
                _conversion_hint(field, kind),
            )


def _conversion_hint(field: str, kind: Any) -> str:  # noqa: ANN401  (any of Arrow's types)
    """Return advice on the type to use instead for a column of this type."""
    if field == "permanent":
        return "Write it as a boolean or a string column."
    types = pa.types
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "Write it as a string column: a number has already lost leading zeros and exact digits."
    return "Check that it is the right column, and write it as a string column."


def _is_dictionary_encoded(column: Any) -> bool:  # noqa: ANN401  (Arrow's stubs know no arrays of text)
    return bool(pa.types.is_dictionary(column.type))


def _holds_long_values(values: Any) -> bool:  # noqa: ANN401  (Arrow's stubs know no arrays of text)
    return (pc.max(pc.binary_length(values)).as_py() or 0) > MAX_VALUE_LENGTH if len(values) else False


def _cut(raw: bytes) -> bytes:
    return raw if len(raw) <= 4 * MAX_VALUE_LENGTH else raw[: 4 * MAX_VALUE_LENGTH].decode(errors="ignore").encode()


def _make_batch(first: int, batch: pa.RecordBatch, names: dict[str, str]) -> RowBatch:
    malformed: dict[int, str] = {}
    columns = {field: _text(batch.column(name), malformed, name) for field, name in names.items()}
    for field in columns if malformed else ():
        columns[field] = ["" if at in malformed else cell for at, cell in enumerate(columns[field].to_pylist())]
    return RowBatch(first, columns, malformed)


def _text(column: Any, malformed: dict[int, str], name: str) -> Any:  # noqa: ANN401  (Arrow's stubs know no arrays of text)
    """Return the column as Arrow text, null as "". Offsets whose bytes are not UTF-8 are added to `malformed`."""
    if _is_dictionary_encoded(column) and _holds_long_values(column.dictionary):
        # Cut values before they are copied to each row. A value of that length is rejected anyway.
        short = [_cut(raw) for raw in column.dictionary.cast(pa.large_binary()).to_pylist()]
        column = pa.DictionaryArray.from_arrays(column.indices, pa.array(short, pa.large_binary()))
        column = column.cast(pa.large_binary())
    text: Any = pc.fill_null(column.cast(pa.large_string()), "")
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:  # Parquet readers do not check that text is UTF-8, so find the rows that are not
        decoded: list[str] = []
        for offset, raw in enumerate(text.cast(pa.large_binary()).to_pylist()):
            try:
                decoded.append(raw.decode())
            except UnicodeDecodeError:
                malformed[offset] = f"the column {name!r} has bytes that are not UTF-8"
                decoded.append("")
        return pa.array(decoded, pa.large_string())
    return text
