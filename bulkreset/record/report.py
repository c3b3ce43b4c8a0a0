"""The reports: report.csv with one line per input row, summary.json with the run in figures; both drawn from the journal."""

import contextlib
import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from bulkreset.errors import RecordError, RunDirError
from bulkreset.record.journal import Journal
from bulkreset.record.rundir import RunDir
from bulkreset.rows import Summary

COLUMNS = (
    "row",
    "user_pool_id",
    "username",
    "status",
    "code",
    "message",
    "attempts",
    "throttled",
    "in_doubt",
    "permanent",
    "signed_out",
    "latency_ms",
    "request_id",
    "started_at",
    "finished_at",
    "status_before",
)
_FORMULA = tuple(
    "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
)  # what makes a spreadsheet run a cell, the full-width forms included
_WHERE_KNOWN = {"approved", "signed_out", "stopped_by"}  # left out of the summary where there is nothing to say
_TRUTH = {1: "true", 0: "false", None: ""}


def redraw(path: Path, output: Path | None) -> Path:
    """Write report.csv from the journal of a live or an ended run; where it is. Raises RunDirError, RecordError."""
    home = RunDir.open(path)
    if output:
        must_be_new(output)
    journal = Journal.open(home.journal, read_only=True)
    try:
        unsent = "ready" if journal.facts()["mode"] == "dry_run" else "unprocessed"
        write_csv(journal, output or home.report, unsent)
    finally:
        journal.close()
    return output or home.report


def write_csv(journal: Journal, path: Path, unsent: str) -> None:
    """Write report.csv: every input row once, in input order. Raises RecordError where it cannot be written."""
    with beside(path, _redraw(path)) as file:
        writer = csv.writer(_LineFeeds(file), lineterminator="\r\n")
        writer.writerow(COLUMNS)
        try:
            writer.writerows(map(_cells, journal.report(unsent)))
        except (AttributeError, KeyError, TypeError, UnicodeEncodeError):  # a cell is of a kind that no run writes
            raise journal.damaged() from None


def must_be_new(path: Path) -> None:
    """Raise RunDirError where there is such a file already, or no directory for it."""
    if os.path.lexists(path) or not os.path.isdir(path.absolute().parent):  # noqa: PTH112  (Path's may raise)
        what = "exists already" if os.path.lexists(path) else "has no directory to be in"
        raise RunDirError(f"{path} {what}.", "Name a new file in a directory that exists.")


def write_new(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Write a CSV file that is not there yet, readable to its owner alone; how many rows. Raises RunDirError, RecordError."""
    must_be_new(path)
    number = 0
    with beside(path, "Make room, or name a file elsewhere.", os.O_EXCL) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for number, row in enumerate(rows, 1):  # noqa: B007  (it counts)
            writer.writerow(row)
    return number


def write_summary(summary: Summary, path: Path) -> None:
    """Write summary.json. Raises RecordError where it cannot be written."""
    figures = {key: value for key, value in asdict(summary).items() if key not in _WHERE_KNOWN or value}
    with beside(path, _redraw(path)) as file:
        json.dump(figures, file, indent=2, ensure_ascii=False)
        file.write("\n")


def _cells(found: tuple[Any, ...]) -> tuple[Any, ...]:
    (
        row,
        pool,
        username,
        status,
        code,
        message,
        attempts,
        throttled,
        in_doubt,
        permanent,
        signed_out,
        latency,
        request_id,
        started,
        finished,
        before,
    ) = found
    return (
        row,
        as_text(pool),
        as_text(username),
        status,
        as_text(code),
        as_text(message),
        attempts,
        throttled,
        _TRUTH[in_doubt],
        _TRUTH[permanent],
        _TRUTH[signed_out],
        latency,
        as_text(request_id),
        started,
        finished,
        as_text(before),
    )


def iso(unix_ms: int) -> str:
    """A time as the reports have it."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_text(text: str) -> str:
    """The cell as text that no spreadsheet takes for a formula: an apostrophe before what would be one."""
    return f"'{text}" if text.startswith(_FORMULA) else text


class _LineFeeds:
    """Ends each row with LF. The csv module quotes a CR in a cell only where CR is part of its own line end."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: str) -> int:
        """Write one row that ends with CRLF."""
        return self._file.write(row[:-2] + "\n")


def _redraw(path: Path) -> str:
    return f"Make room, then run: bulkreset report {path.parent}."


@contextmanager
def beside(path: Path, advice: str, flag: int = os.O_TRUNC) -> Iterator[IO[str]]:
    """A file that takes its name only when it is whole and on disk; whatever goes wrong before, nothing is left of it.

    Raises RecordError with that advice where it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # `report` may draw it while the run does
    try:
        with os.fdopen(
            os.open(partial, os.O_CREAT | flag | os.O_WRONLY, 0o600), "w", encoding="utf-8", newline=""
        ) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if not isinstance(error, OSError):
            raise
        raise RecordError(f"{path} cannot be written: {error.strerror}.", advice) from None
