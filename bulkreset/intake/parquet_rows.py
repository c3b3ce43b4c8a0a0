"""Parquet input: text columns as they are; a number where text belongs is refused before any value is touched."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bulkreset.errors import InputError
from bulkreset.intake.chunk import CHUNK_ROWS, FIELDS, Chunk, find_columns, unreadable
from bulkreset.job import Input


class ParquetRows:
    """A Parquet file, read batch by batch; null and "" both mean an empty cell."""

    def __init__(self, spec: Input) -> None:
        self._spec = spec

    def chunks(self, first: int = 1) -> Iterator[Chunk]:
        """Yield the rows in order, those before `first` only where they share a row group with it.

        Raises InputError where the schema does not fit or the file is damaged.
        """
        try:
            with pq.ParquetFile(self._spec.path, pre_buffer=False, buffer_size=1 << 20) as file:
                schema = file.schema_arrow
                places = find_columns(schema.names, self._spec.columns, self._spec.path)
                for field, place in places.items():
                    self._check_type(field, schema.field(place))
                names = {field: schema.field(place).name for field, place in places.items()}
                start, groups = 1, list(range(file.num_row_groups))
                while groups and start + file.metadata.row_group(groups[0]).num_rows <= first:
                    start += file.metadata.row_group(groups.pop(0)).num_rows
                wanted = list(names.values())
                for batch in file.iter_batches(CHUNK_ROWS, row_groups=groups, columns=wanted, use_threads=False):
                    if batch.num_rows:
                        yield _chunk(start, batch, names)
                        start += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise unreadable(self._spec.path, error) from None

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
                f"The column {column.name!r} of the input {self._spec.path} holds {column.type}, not text.",
                "Write it as a string column: a number has already lost leading zeros and exact digits.",
            )


def _chunk(first: int, batch: pa.RecordBatch, names: dict[str, str]) -> Chunk:
    malformed: dict[int, str] = {}
    values: dict[str, Any] = {}
    for field in FIELDS:
        if field in names:
            values[field] = _text(batch.column(names[field]), malformed, names[field])
        else:
            values[field] = pa.array([""] * batch.num_rows, pa.large_string())
    frame = pd.DataFrame({field: pd.array(value, dtype="str") for field, value in values.items()})
    if malformed:
        frame.loc[list(malformed), :] = ""
    return Chunk(first, frame, malformed)


def _text(column: Any, malformed: dict[int, str], name: str) -> Any:  # noqa: ANN401  (Arrow's stubs know no arrays of text)
    """The column as Arrow text, null as ""; an offset whose bytes are not UTF-8 is noted in `malformed`."""
    text: Any = pc.fill_null(column.cast(pa.large_string()), "")
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:  # Parquet readers do not check that text is UTF-8: find the rows where it is not
        decoded: list[str] = []
        for offset, raw in enumerate(text.cast(pa.large_binary()).to_pylist()):
            try:
                decoded.append(raw.decode())
            except UnicodeDecodeError:
                malformed[offset] = f"the column {name!r} has bytes that are not UTF-8"
                decoded.append("")
        return pa.array(decoded, pa.large_string())
    return text
