"""The reports' columns, and the writers of new CSV files and summary.json."""

import csv
import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from bulkreset.files import atomic_writer, require_new
from bulkreset.journal.records import ReportRow
from bulkreset.models import Summary
from bulkreset.steps import COLUMNS as STEP_COLUMNS
from bulkreset.text import json_safe

COLUMNS = ReportRow._fields[:-1]  # a report has no `canonical`
_WHERE_KNOWN = {
    "unchecked",
    "approved",
    *STEP_COLUMNS,
    "stopped_by",
    "undone",
}  # omitted from the summary if empty


def write_new_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Write a new CSV file that only its owner can read. Returns the number of rows.

    Raises RunDirError if the file exists, RecordError if it cannot be written.
    """
    require_new(path)
    number = 0
    with atomic_writer(path, "Make room, or name a file elsewhere.", new=True) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for number, row in enumerate(rows, 1):  # noqa: B007  (the loop counts the rows)
            writer.writerow(row)
    return number


def write_summary(summary: Summary, path: Path) -> None:
    """Write summary.json. Raises RecordError if it cannot be written."""
    figures = {key: value for key, value in asdict(summary).items() if key not in _WHERE_KNOWN or value}
    with atomic_writer(path, redraw_advice(path)) as file:
        file.write(json_safe(json.dumps(figures, indent=2, ensure_ascii=False)) + "\n")


def redraw_advice(path: Path, form: str = "") -> str:
    """Return the advice if a file of a run directory cannot be written: the command to write it in this `form`."""
    return (
        f"Make room, then run: bulkreset report {shlex.quote(str(path.parent))}{f' --format {form}' if form else ''}."
    )
