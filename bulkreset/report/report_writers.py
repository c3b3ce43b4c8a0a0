"""Writers for reports as CSV, JSON Lines and Parquet, in one pass and constant memory."""

import codecs
import csv
import io
import json
import re
import string
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice, starmap
from operator import call
from pathlib import Path
from typing import IO, Any

from bulkreset import statuses
from bulkreset.errors import Refused
from bulkreset.files import atomic_bytes_writer
from bulkreset.journal.database import damaged_journal_error
from bulkreset.journal.journal import Journal
from bulkreset.journal.reader import report_row
from bulkreset.models import REPORT_COLUMNS, ReportRow
from bulkreset.report.redaction import Redaction
from bulkreset.report.summary import rewrite_advice
from bulkreset.steps import COLUMNS as STEP_COLUMNS
from bulkreset.text import format_iso, json_safe, spreadsheet_safe

REPORTED = tuple(status.value for status in statuses.REPORTED)
GROUP_ROWS = 25_000  # rows in one row group of a Parquet file
LINES_AT_ONCE = 1000  # of a CSV file
TEXTS_AT_ONCE = 50  # of rows that are alike
_SECOND = 1000  # milliseconds
# The columns that are not text.
_NUMBERS = ("row", "attempts", "throttled", "latency_ms")
_FLAGS = ("in_doubt", "permanent", *STEP_COLUMNS)
_TIMES = ("started_at", "finished_at")
_FLAG_PLACES = tuple(map(REPORT_COLUMNS.index, _FLAGS))
_TEXT = {1: "true", 0: "false", None: ""}
_TRUTH: Mapping[Any, bool | None] = {1: True, 0: False, None: None}
_shared = lru_cache(maxsize=512)(spreadsheet_safe)  # for columns where many rows have the same value


class Carried:
    """Additional columns of the input, which a report has after its own.

    `cells` are those of the row that `along` yielded last. With a redaction, a cell with the user's name is withheld.
    """

    def __init__(
        self, names: Sequence[str], rows: Iterable[tuple[int, Sequence[str]]], redaction: Redaction | None
    ) -> None:
        self.names = tuple(names)
        self.cells: tuple[str, ...] = ("",) * len(self.names)
        self._rows = iter(rows)
        self._redaction = redaction

    def along(self, rows: Iterable[ReportRow]) -> Iterator[ReportRow]:
        """Yield the rows, which are in input order."""
        for row in rows:
            number, cells = next((found for found in self._rows if found[0] >= row.row), (0, ()))
            if number != row.row or len(cells) != len(self.names):
                raise ValueError  # the journal is damaged
            self.cells = (
                tuple(self._redaction.withhold(row, cell) for cell in cells) if self._redaction else tuple(cells)
            )
            yield row


NONE_CARRIED = Carried((), (), None)
Writer = Callable[[Iterable[ReportRow], IO[bytes], Carried], None]


@dataclass(frozen=True, slots=True)
class ReportSpec:
    """What to report and how: the form, the statuses (empty: all), and the redaction (None: show usernames).

    `bom`: a CSV file begins with a byte order mark, so that Excel reads it as UTF-8.
    """

    form: str = "csv"
    only: Collection[str] = ()
    redaction: Redaction | None = None
    bom: bool = False


def write_report(
    journal: Journal, path: Path, spec: ReportSpec | None = None, advice: str = "", *, dry_run: bool
) -> None:
    """Write a report. The status shown for rows that were not sent depends on `dry_run`.

    Raises RecordError if it cannot be written, with `advice` or, if that is empty, the advice for a run directory.
    """
    with atomic_bytes_writer(path, advice or rewrite_advice(path)) as out:
        stream_report(journal, out, spec, dry_run=dry_run)


def stream_report(journal: Journal, out: IO[bytes], spec: ReportSpec | None = None, *, dry_run: bool) -> None:
    """Write a report to an open file.

    Raises Refused for an unknown form, RecordError if the journal is damaged, OSError if the file cannot be written.
    """
    spec = spec or ReportSpec()
    if spec.form not in WRITERS:
        raise Refused(
            f"This bulkreset cannot write the report as {spec.form}.", f"Ask for one of {', '.join(WRITERS)}."
        )
    if spec.bom:
        out.write(codecs.BOM_UTF8)
    try:
        names = journal.state.job.get("report", {}).get("columns") or ()
        if spec.form == "csv" and not names and not spec.redaction:
            write_facts(journal.read.report_facts(spec.only, dry_run=dry_run), out)
            return
        rows: Iterable[ReportRow] = journal.read.report_rows(spec.only, dry_run=dry_run)
        carried = Carried(names, journal.read.carried(), spec.redaction) if names else NONE_CARRIED
        rows = carried.along(rows) if names else rows
        WRITERS[spec.form](map(spec.redaction.redact_row, rows) if spec.redaction else rows, out, carried)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):  # a cell has a type that no run writes
        raise damaged_journal_error(journal.path) from None


def write_csv(rows: Iterable[ReportRow], out: IO[bytes], carried: Carried = NONE_CARRIED) -> None:
    """Write one line per row, for people and spreadsheets. No cell can run as a spreadsheet formula."""
    lines: Iterator[tuple[Any, ...]] = map(_csv_cells, rows)
    if carried.names:
        lines = ((*cells, *map(spreadsheet_safe, carried.cells)) for cells in lines)
    lines = chain([(*REPORT_COLUMNS, *map(spreadsheet_safe, carried.names))], lines)
    while some := list(islice(lines, LINES_AT_ONCE)):
        out.write(_csv_text(some).encode())


def write_facts(rows: Iterable[tuple[int, list[str], str, str]], out: IO[bytes]) -> None:
    """Write the lines of `write_csv`. What many rows have in common is made into text once."""
    write_csv((), out)
    texts = starmap(_lines_alike, rows)
    while text := "".join(islice(texts, TEXTS_AT_ONCE)):
        out.write(text.encode())


# A text of these characters is safe and needs no quotes, if it begins with a letter or a digit.
_is_plain = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]*").fullmatch
_are_plain = re.compile(r"[A-Za-z0-9_.@-]*").fullmatch
_BEGINNINGS = frozenset(string.ascii_letters + string.digits)


def _lines_alike(first: int, usernames: list[str], facts: str, own: str) -> str:
    """Return the lines of rows that differ in their usernames only."""
    before, between, after = _around(facts)
    rest = f"{between}{_own_cells(own)}{after}"
    if not (_BEGINNINGS.issuperset([name[:1] for name in usernames]) and _are_plain("".join(usernames))):
        usernames = [*map(_csv_cell, usernames)]
    return "".join([f"{row}{before}{name}{rest}" for row, name in enumerate(usernames, first)])


def _csv_cell(text: str) -> str:
    return text if _is_plain(text) else _csv_text([(0, spreadsheet_safe(text))])[2:-1]


@lru_cache(maxsize=256)
def _around(facts: str) -> tuple[str, str, str]:
    """Return what a line of the CSV file has around the username and the row's own values, without its number."""
    _, pool, _, *others = _csv_cells(report_row(0, "", facts, '[null,"",null,null]'))
    return _csv_text([("", pool, "")])[:-1], _csv_text([("", *others[:-7], "")])[:-1], _csv_text([("", *others[-3:])])


@lru_cache(maxsize=16)
def _own_cells(own: str) -> str:
    """Return the part of a line with the row's own values."""
    latency, request, started, finished = json.loads(own)
    return f"{'' if latency is None else latency},{_csv_cell(request)},{_iso(started)},{_iso(finished)}"


def _csv_text(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)  # no cell has a CR, which this line end would not quote
    return text.getvalue()


def write_jsonl(rows: Iterable[ReportRow], out: IO[bytes], carried: Carried = NONE_CARRIED) -> None:
    """Write one JSON object per row, with unchanged values. A missing value is null."""
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    for row in rows:
        line = dict(zip(REPORT_COLUMNS, _typed_values(row), strict=True))
        line |= {name: _iso(line[name]) or None for name in _TIMES}
        line |= {name: cell or None for name, cell in zip(carried.names, carried.cells, strict=True)}
        out.write(json_safe(encode(line)).encode() + b"\n")


def write_parquet(rows: Iterable[ReportRow], out: IO[bytes], carried: Carried = NONE_CARRIED) -> None:
    """Write typed columns, in row groups. A missing value is null."""
    import pyarrow as pa  # noqa: PLC0415  (slow to import, and other forms do not need it)
    import pyarrow.parquet as pq  # noqa: PLC0415  (as above)

    types: dict[str, pa.DataType] = {
        **dict.fromkeys(REPORT_COLUMNS, pa.string()),
        **dict.fromkeys(_NUMBERS, pa.int64()),
        **dict.fromkeys(_FLAGS, pa.bool_()),
        **dict.fromkeys(_TIMES, pa.timestamp("ms", tz="UTC")),
    }
    columns = pa.schema(
        [pa.field(name, types[name]) for name in REPORT_COLUMNS]
        + [pa.field(name, pa.string()) for name in carried.names]
    )
    with pq.ParquetWriter(pa.PythonFile(_CountingStream(out), mode="w"), columns, compression="zstd") as writer:
        some = iter(rows)
        while group := [
            (*_typed_values(row), *(cell or None for cell in carried.cells)) for row in islice(some, GROUP_ROWS)
        ]:
            found = zip(zip(*group, strict=True), columns.types, strict=True)
            writer.write_table(pa.Table.from_arrays([pa.array(values, kind) for values, kind in found], schema=columns))


# The forms with one line per row. The HTML page is not one of them: it shows the journal as a whole.
WRITERS: Mapping[str, Writer] = {"csv": write_csv, "parquet": write_parquet, "jsonl": write_jsonl}


def _csv_cells(row: ReportRow) -> tuple[Any, ...]:
    return tuple(map(call, _TO_CSV.values(), row))


def _typed_values(row: ReportRow) -> tuple[Any, ...]:
    """Return a row's values in the order of REPORT_COLUMNS. A missing value is None; times are Unix milliseconds."""
    cells: list[Any] = [None if cell == "" else cell for cell in row[: len(REPORT_COLUMNS)]]
    for place in _FLAG_PLACES:
        cells[place] = _TRUTH[row[place]]
    return tuple(cells)


def _as_is(number: int | None) -> int | None:
    return number


def _iso(unix_ms: int | None) -> str:
    """Return a time as `format_iso` does, "" for None. Seconds are cached because many rows share one."""
    return "" if unix_ms is None else f"{_second(unix_ms // _SECOND)}{unix_ms % _SECOND:03d}Z"


@lru_cache(maxsize=64)
def _second(unix: int) -> str:
    return format_iso(unix * _SECOND)[: -len("000Z")]


# By column, in their order. `canonical`, which comes after them, is no column.
_TO_CSV: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(REPORT_COLUMNS, _shared),
    **dict.fromkeys(("username", "request_id"), spreadsheet_safe),
    **dict.fromkeys(_NUMBERS, _as_is),
    **dict.fromkeys(_FLAGS, _TEXT.__getitem__),
    **dict.fromkeys(_TIMES, _iso),
}


class _CountingStream(io.RawIOBase):
    """Adds tell() to a stream that has none, so that Parquet can be written to a pipe."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._written = 0

    def writable(self) -> bool:
        """Return True: the stream is for writing."""
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401  (any buffer of pyarrow)
        """Write all of `data` and return its length in bytes."""
        self._file.write(data)
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._written
