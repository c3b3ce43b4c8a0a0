"""The writer of summary.json."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bulkreset.files import atomic_writer
from bulkreset.models import Summary
from bulkreset.steps import COLUMNS as STEP_COLUMNS
from bulkreset.text import json_safe

_WHERE_KNOWN = {
    "resent",
    "unchecked",
    "approved",
    *STEP_COLUMNS,
    "stopped_by",
    "undone",
}  # omitted from the summary if empty


def summary_figures(summary: Summary) -> dict[str, Any]:
    """Return the content of summary.json."""
    return {key: value for key, value in asdict(summary).items() if key not in _WHERE_KNOWN or value}


def write_summary(summary: Summary, path: Path) -> None:
    """Write summary.json. Raises RecordError if it cannot be written."""
    with atomic_writer(path, redraw_advice(path)) as file:
        file.write(json_safe(json.dumps(summary_figures(summary), indent=2, ensure_ascii=False)) + "\n")


def redraw_advice(path: Path, form: str = "") -> str:
    """Return the advice if a file of a run directory cannot be written: the command to write it in this `form`."""
    return f"Free disk space, then run: bulkreset report {shlex.quote(str(path.parent))}{f' --format {form}' if form else ''}."
