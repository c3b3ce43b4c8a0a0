"""Read Parquet input. Text columns are read unchanged; a number column is refused before any value is read."""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import accumulate
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bulkreset.cancellation import check_current
from bulkreset.errors import EmptyInput, InputError
from bulkreset.input.base_reader import InputReader
from bulkreset.input.batch import CARRIED, Fields, RowBatch, find_columns
from bulkreset.input.decrypt import InputContent
from bulkreset.input.format_detection import ENCRYPTED_PARQUET, PARQUET
from bulkreset.input.location import Digest
from bulkreset.input.own_files import is_report, require_names
from bulkreset.input.parquet_pages import LONGEST_BYTES, RefusedPagesError, Steps, bounded_steps
from bulkreset.job import InputConfig

UUID_BYTES = 16
GATHERED = 16 << 20  # bytes of a batch
LARGEST_FOOTER = 32 << 20  # bytes; the footer lists the columns of all row groups
FOOTER_ENDS = 8  # bytes at the end of a footer: its length, then MAGIC
MAGIC = (PARQUET, ENCRYPTED_PARQUET)


class ParquetReader(InputReader):
    """A Parquet file, read batch by batch; null and "" both mean an empty cell.

    An encrypted file is decrypted as a whole, because reading begins with the footer at its end. Nothing is added to a
    digest, because the bytes are not read in order.
    """

    faults = (*InputReader.faults, pa.ArrowException, UnicodeDecodeError)  # the last: a column name is not UTF-8

    def __init__(self, spec: InputConfig, content: InputContent, directories: Mapping[str, str]) -> None:
        super().__init__(spec, content, directories)
        self._steps: Steps | None = None  # None until known
        self._source: Any = None  # the open file, and how Arrow reads it
        self._file: pq.ParquetFile | None = None
        self._starts: Sequence[int] = [0]  # number of rows before each row group

    def _read(self, first: int, fields: Fields, size: int, _digest: Digest | None) -> Iterator[RowBatch]:
        file = self._file = self._file or self.open()
        names = {field: name for field, name in self.names(file).items() if fields is None or field in fields}
        reported = names.get("username") == "username" and is_report(file.schema_arrow.names)
        if reported:
            names.pop("permanent", None)  # of the earlier run
        group = bisect_right(self._starts, first - 1) - 1
        start = self._starts[group] + 1
        for parts in self._gathered(self._steps_from(file, group, names, size), size):
            batch = _make_batch(start, parts, names)
            if reported:
                require_names(batch.cells("username"), self._spec.file)
            yield batch
            start = batch.last + 1

    def _steps_from(
        self, file: pq.ParquetFile, group: int, names: Mapping[str, str], most: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows from a row group on, in steps with bounded values; long values are cut."""
        steps = self._steps.rows if self._steps else [1] * file.num_row_groups
        for number in range(group, file.num_row_groups):
            rows, wanted = min(most, steps[number]), list(dict.fromkeys(names.values()))
            for batch in file.iter_batches(rows, row_groups=[number], columns=wanted, use_threads=False):
                check_current()
                if batch.num_rows:
                    yield pa.RecordBatch.from_arrays(
                        [_cut(column, self._spec.binary) for column in batch.columns], batch.schema.names
                    )

    def _gathered(self, steps: Iterator[pa.RecordBatch], rows: int) -> Iterator[list[pa.RecordBatch]]:
        """Yield steps with at most `rows` rows together and, except for a single step, GATHERED bytes."""
        parts: list[pa.RecordBatch] = []
        held = size = 0
        for step in steps:
            held, size = held + step.num_rows, size + step.nbytes
            if parts and (held > rows or size > GATHERED):
                yield parts
                parts, held, size = [], step.num_rows, step.nbytes
            parts.append(step)
        if parts:
            yield parts

    def nearest(self, row: int) -> int:
        """Return the first row of the row group of `row`."""
        return self._starts[bisect_right(self._starts, row - 1) - 1] + 1

    def close(self) -> None:
        """Close the file."""
        if self._source:
            self._source.close()
        self._source = self._file = None

    def open(self) -> pq.ParquetFile:
        """Return the opened file. Raises InputError if its footer or a page of our columns would fill the memory."""
        content = self._content
        source = self._source = pa.BufferReader(content.read_all()) if content.is_encrypted else content.open()
        opened = partial(pq.ParquetFile, source, pre_buffer=False, buffer_size=1 << 20)
        footer = self._read_footer(source) if self._steps is None else b""
        file = opened()
        if self._steps is None:
            try:
                self._steps = bounded_steps(source, footer, list(self.names(file).values()))
            except RefusedPagesError as error:
                raise InputError(f"The input {self._spec.file} {error}.", error.advice) from None
        if self._steps.dictionaries:
            file = opened(read_dictionary=list(self._steps.dictionaries))
        sizes = (file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        self._starts = list(accumulate(sizes, initial=0))[:-1] or [0]
        return file

    def _read_footer(self, file: Any) -> bytes:  # noqa: ANN401  (Arrow's file or Python's)
        """Return the footer. Raises InputError if it is longer than LARGEST_FOOTER: Arrow reads it as a whole."""
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - FOOTER_ENDS))
        end = file.read(FOOTER_ENDS)
        footer_length = int.from_bytes(end[:4], "little")
        if not size:
            raise EmptyInput(f"The input {self._spec.file} is empty.", "Check that the export has been written.")
        if not end.endswith(MAGIC) or footer_length + FOOTER_ENDS > size:
            what = "is cut off or damaged: it does not end as a Parquet file"
            advice = "Copy or write the file again."
        elif end.endswith(ENCRYPTED_PARQUET):
            what = "is encrypted by Parquet's own encryption, which is not read"
            advice = "Write it without, and encrypt the whole file with age."
        elif footer_length > LARGEST_FOOTER:
            what = f"has a footer of {footer_length:,} bytes"
            advice = f"Write it with fewer columns, or in larger row groups: at most {LARGEST_FOOTER:,} bytes are read."
        else:
            file.seek(size - FOOTER_ENDS - footer_length)
            return bytes(file.read(footer_length))
        raise InputError(f"The input {self._spec.file} {what}.", advice)

    def names(self, file: pq.ParquetFile) -> dict[str, str]:
        """Return the file's column name for each of our fields. Raises InputError if one is missing or is not text."""
        schema = file.schema_arrow
        places = find_columns(schema.names, self._spec.columns, self._spec.file, "schema")
        for field, place in places.items():
            self._check_type(field, schema.field(place))
        return {field: schema.field(place).name for field, place in places.items()}

    def _check_type(self, field: str, column: "pa.Field[Any]") -> None:
        types, binary = pa.types, self._spec.binary
        kind = column.type.value_type if types.is_dictionary(column.type) else column.type
        if (binary == "utf8" and _is_binary(kind)) or (binary == "uuid" and _is_uuid(kind)):
            return
        if field.startswith(CARRIED):
            fits = not (types.is_nested(kind) or _is_binary(kind) or _is_uuid(kind))
        else:
            is_flag = field == "permanent" and types.is_boolean(kind)
            fits = is_flag or _is_any(kind, types.is_string, types.is_large_string, types.is_string_view, types.is_null)
        if not fits:
            raise InputError(
                f"The column {column.name!r} of the input {self._spec.file} holds {column.type}, not text.",
                _conversion_hint(field, kind),
            )


def _is_any(kind: Any, *tests: Callable[[Any], bool]) -> bool:  # noqa: ANN401  (any of Arrow's types)
    return any(test(kind) for test in tests)


def _is_binary(kind: Any) -> bool:  # noqa: ANN401  (as above)
    types: Any = pa.types
    return _is_any(kind, types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)


def _is_uuid(kind: Any) -> bool:  # noqa: ANN401  (as above)
    storage = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    return bool(pa.types.is_fixed_size_binary(storage)) and storage.byte_width == UUID_BYTES


def _conversion_hint(field: str, kind: Any) -> str:  # noqa: ANN401  (any of Arrow's types)
    """Return advice on the type to use instead for a column of this type."""
    if field.startswith(CARRIED):
        return "Write it as a string column, or remove the column."
    if field == "permanent":
        return "Write it as a boolean or a string column."
    types = pa.types
    if _is_any(kind, types.is_integer, types.is_floating, types.is_decimal):
        return "Write it as a string column: a number has already lost leading zeros and exact digits."
    if _is_uuid(kind):
        return 'If it holds UUIDs, set [input] binary = "uuid". Otherwise write it as a string column.'
    if _is_binary(kind):
        return 'If its bytes are UTF-8 text, set [input] binary = "utf8". Otherwise write it as a string column.'
    return "Check that it is the right column, and write it as a string column."


def _cut(column: Any, binary: str | None) -> Any:  # noqa: ANN401  (Arrow's stubs know no arrays of text)
    """Return a column as bytes, or unchanged if it is not text. Values that are too long anyway are cut.

    The cut is between characters: a byte that does not begin a character goes with the next one.
    """
    if pa.types.is_boolean(column.type) or pa.types.is_null(column.type):
        return column
    if pa.types.is_dictionary(column.type):
        # A dictionary may store a long value once for many rows: cut it before each row has it.
        used = pc.unique(column.indices).drop_null()
        return _cut(column.dictionary.take(used), binary).take(pc.index_in(column.indices, value_set=used))
    if binary == "uuid" and _is_uuid(column.type):
        stored = column.storage if isinstance(column.type, pa.BaseExtensionType) else column
        return pa.array([it and str(UUID(bytes=it)).encode() for it in stored.to_pylist()], pa.large_binary())
    raw = column if _is_binary(column.type) else column.cast(pa.large_string())
    raw = raw.cast(pa.large_binary())
    if not len(raw) or (pc.max(pc.binary_length(raw)).as_py() or 0) <= LONGEST_BYTES:
        return raw
    kept = [it if it is None or len(it) <= LONGEST_BYTES else _cut_value(it) for it in raw.to_pylist()]
    return pa.array(kept, pa.large_binary())


def _cut_value(raw: bytes) -> bytes:
    short = raw[:LONGEST_BYTES]
    with suppress(UnicodeDecodeError):
        raw.decode()
        return short.decode(errors="ignore").encode()
    return short


def _make_batch(first: int, parts: Sequence[pa.RecordBatch], names: Mapping[str, str]) -> RowBatch:
    malformed: dict[int, str] = {}
    columns: dict[str, Any] = {
        field: _text(pa.concat_arrays([part.column(name) for part in parts]), malformed, name)
        for field, name in names.items()
    }
    for field in columns if malformed else ():
        columns[field] = ["" if at in malformed else cell for at, cell in enumerate(columns[field].to_pylist())]
    return RowBatch(first, columns, malformed)


def _text(column: Any, malformed: dict[int, str], name: str) -> Any:  # noqa: ANN401  (Arrow's stubs know no arrays of text)
    """Return the column as Arrow text, null as "". Offsets whose bytes are not UTF-8 are added to `malformed`."""
    text: Any = pc.fill_null(column.cast(pa.large_string(), safe=False), "")  # safe would raise for bad UTF-8
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
