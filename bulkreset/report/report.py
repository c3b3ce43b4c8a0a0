"""The reports' columns and cells, and summary.json."""

import csv
import json
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bulkreset.files import atomic_writer, require_new
from bulkreset.journal.records import ReportRow
from bulkreset.models import Summary
from bulkreset.text import json_safe

COLUMNS = ReportRow._fields[:-1]  # a report has no `canonical`
_WHERE_KNOWN = {
    "unchecked",
    "approved",
    "signed_out",
    "stopped_by",
}  # left out of the summary where there is nothing to say


def write_new_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Write a CSV file that is not there yet, readable to its owner alone; how many rows. Raises RunDirError, RecordError."""
    require_new(path)
    number = 0
    with atomic_writer(path, "Make room, or name a file elsewhere.", os.O_EXCL) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for number, row in enumerate(rows, 1):  # noqa: B007  (it counts)
            writer.writerow(row)
    return number


def write_summary(summary: Summary, path: Path) -> None:
    """Write summary.json. Raises RecordError where it cannot be written."""
    figures = {key: value for key, value in asdict(summary).items() if key not in _WHERE_KNOWN or value}
    with atomic_writer(path, redraw_advice(path)) as file:
        file.write(json_safe(json.dumps(figures, indent=2, ensure_ascii=False)) + "\n")


def format_iso(unix_ms: int) -> str:
    """A time as the reports have it."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def redraw_advice(path: Path, form: str = "") -> str:
    """What to do where a file of a run directory cannot be written: the command for it, in that `form`."""
    return (
        f"Make room, then run: bulkreset report {shlex.quote(str(path.parent))}{f' --format {form}' if form else ''}."
    )
