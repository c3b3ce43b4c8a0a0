"""The forms of the report: CSV, JSON Lines, Parquet; all of a journal's rows, or some, in one pass and in constant memory."""

import csv
import io
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, Any

from bulkreset.cells import spreadsheet_safe
from bulkreset.errors import Refused
from bulkreset.files import atomic_bytes_writer
from bulkreset.journal.journal import Journal
from bulkreset.journal.records import ReportRow
from bulkreset.models import Status
from bulkreset.report.redaction import Redaction
from bulkreset.report.report import COLUMNS, format_iso, redraw_advice
from bulkreset.text import json_safe

REPORTED = tuple(status.value for status in Status if status is not Status.CLAIMED)
GROUP_ROWS = 25_000  # of a Parquet file's row group
_SECOND = 1000  # milliseconds
_TEXT = {1: "true", 0: "false", None: ""}
_TRUTH = {1: True, 0: False, None: None}
_shared = lru_cache(maxsize=512)(spreadsheet_safe)  # for the columns in which many rows say the same
Writer = Callable[[Iterable[ReportRow], IO[bytes]], None]


@dataclass(frozen=True, slots=True)
class ReportSpec:
    """What of a journal is to be reported, and how: the form, the statuses (all where there is none), redacted or not."""

    form: str = "csv"
    only: Collection[str] = ()
    redaction: Redaction | None = None


def write_report(journal: Journal, path: Path, unsent: str, cut: ReportSpec | None = None, advice: str = "") -> None:
    """Write a report; `unsent` is what a row that was not sent is called.

    Raises RecordError where it cannot be written, with that advice in place of a run directory's.
    """
    with atomic_bytes_writer(path, advice or redraw_advice(path)) as out:
        stream_report(journal, out, unsent, cut)


def stream_report(journal: Journal, out: IO[bytes], unsent: str, cut: ReportSpec | None = None) -> None:
    """Write a report to an open file. Raises OSError, Refused for a form that this program does not have, RecordError."""
    cut = cut or ReportSpec()
    if cut.form not in WRITERS:
        raise Refused(f"This bulkreset cannot draw the report as {cut.form}.", f"Ask for one of {', '.join(WRITERS)}.")
    rows: Iterable[ReportRow] = journal.report_rows(unsent, cut.only)
    try:
        WRITERS[cut.form](map(cut.redaction.redact_row, rows) if cut.redaction else rows, out)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):  # a cell is of a kind that no run writes
        raise journal.damaged_error() from None


def write_csv(rows: Iterable[ReportRow], out: IO[bytes]) -> None:
    """One line per row, for people and spreadsheets: no cell is one that a spreadsheet would run."""
    writer = csv.writer(_LfWriter(out), lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(_csv_cells, rows))


def write_jsonl(rows: Iterable[ReportRow], out: IO[bytes]) -> None:
    """One JSON object per row, values as they are; null where there is nothing to say."""
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    for row in rows:
        line = dict(zip(COLUMNS, _typed_values(row), strict=True))
        line |= {"started_at": _iso(row.started_at) or None, "finished_at": _iso(row.finished_at) or None}
        out.write(json_safe(encode(line)).encode() + b"\n")


def write_parquet(rows: Iterable[ReportRow], out: IO[bytes]) -> None:
    """Typed columns, in row groups; null where there is nothing to say."""
    import pyarrow as pa  # noqa: PLC0415  (slow to load, and the other forms need it not)
    import pyarrow.parquet as pq  # noqa: PLC0415  (the same)

    types: dict[str, pa.DataType] = {
        **dict.fromkeys(COLUMNS, pa.string()),
        **dict.fromkeys(("row", "attempts", "throttled", "latency_ms"), pa.int64()),
        **dict.fromkeys(("in_doubt", "permanent", "signed_out"), pa.bool_()),
        **dict.fromkeys(("started_at", "finished_at"), pa.timestamp("ms", tz="UTC")),
    }
    columns = pa.schema([pa.field(name, types[name]) for name in COLUMNS])
    with pq.ParquetWriter(pa.PythonFile(_CountingStream(out), mode="w"), columns, compression="zstd") as writer:
        some = iter(rows)
        while group := [_typed_values(row) for row in islice(some, GROUP_ROWS)]:
            found = zip(zip(*group, strict=True), columns.types, strict=True)
            writer.write_table(pa.Table.from_arrays([pa.array(values, kind) for values, kind in found], schema=columns))


# The forms that have a line for each row. A page, which is drawn from the journal as a whole, is none of them.
WRITERS: Mapping[str, Writer] = {"csv": write_csv, "parquet": write_parquet, "jsonl": write_jsonl}


def _csv_cells(row: ReportRow) -> tuple[Any, ...]:
    return (
        row.row,
        _shared(row.user_pool_id),
        spreadsheet_safe(row.username),
        row.status,
        _shared(row.code),
        _shared(row.message),
        row.attempts,
        row.throttled,
        _TEXT[row.in_doubt],
        _TEXT[row.permanent],
        _TEXT[row.signed_out],
        row.latency_ms,
        spreadsheet_safe(row.request_id),
        _iso(row.started_at),
        _iso(row.finished_at),
        _shared(row.status_before),
        _shared(row.file),
    )


def _typed_values(row: ReportRow) -> tuple[Any, ...]:
    """A row's values by COLUMNS: None where there is nothing to say, times as Unix milliseconds."""
    return (
        row.row,
        row.user_pool_id or None,
        row.username or None,
        row.status,
        row.code or None,
        row.message or None,
        row.attempts,
        row.throttled,
        _TRUTH[row.in_doubt],
        _TRUTH[row.permanent],
        _TRUTH[row.signed_out],
        row.latency_ms,
        row.request_id or None,
        row.started_at,
        row.finished_at,
        row.status_before or None,
        row.file or None,
    )


def _iso(unix_ms: int | None) -> str:
    """A time in words, as `iso` has it; many rows share a second."""
    return "" if unix_ms is None else f"{_second(unix_ms // _SECOND)}{unix_ms % _SECOND:03d}Z"


@lru_cache(maxsize=64)
def _second(unix: int) -> str:
    return format_iso(unix * _SECOND)[: -len("000Z")]


class _LfWriter:
    """Ends each row with LF. The csv module quotes a CR in a cell only where CR is part of its own line end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, row: str) -> int:
        """Write one row that ends with CRLF."""
        return self._file.write((row[:-2] + "\n").encode())


class _CountingStream(io.RawIOBase):
    """A file that knows how far it is: a pipe, which does not, can take Parquet, too."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._written = 0

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401  (whatever buffer pyarrow has)
        """Write all of it."""
        self._file.write(data)
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        """How many bytes have been written."""
        return self._written
