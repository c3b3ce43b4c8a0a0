"""The metrics of an ended execution as one log line in CloudWatch's embedded metric format (EMF)."""

import json
import os
from pathlib import Path
from typing import IO, Any

from bulkreset.clock import now_ms
from bulkreset.notify.metrics import RunMetrics

NAMESPACE = "bulkreset"


def line(figures: RunMetrics, run_dir: Path | None) -> str:
    """Return the EMF line, including its line feed. Metrics have the dimension Job."""
    units = {"Seconds": "Seconds", "RowsPerSecond": "Count/Second", "Ceiling": "Count/Second", "ExitCode": "None"}
    known: dict[str, float | None] = {
        **{f"Rows{status.title().replace('_', '')}": number for status, number in figures.rows.items()},
        "Attempts": figures.attempts,
        "Throttled": figures.throttled,
        "RowsPerSecond": figures.rate,
        "Seconds": round(figures.seconds, 3),
        "Finished": int(figures.finished),
        "Success": int(figures.succeeded),
        "Ceiling": figures.ceiling,
        "ExitCode": figures.exit_code,
    }
    values = {name: value for name, value in known.items() if value is not None}
    metrics = [{"Name": name, "Unit": units.get(name, "Count")} for name in values]
    whole: dict[str, Any] = {
        "_aws": {
            "Timestamp": now_ms(),
            "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [["Job"]], "Metrics": metrics}],
        },
        "Job": figures.job,
        "RunDir": str(run_dir or ""),
        **values,
    }
    return json.dumps(whole) + "\n"


def write(place: str, out: IO[str] | None, figures: RunMetrics, run_dir: Path | None) -> None:
    """Append the EMF line to the file `place`, or write it to `out` if `place` is "stdout". Raises OSError."""
    text = line(figures, run_dir)
    if place != "stdout":
        with os.fdopen(os.open(place, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644), "a", encoding="utf-8") as file:
            file.write(text)
    elif out is None:
        raise OSError("standard output is not free for it: a calling program or --json uses it")
    else:
        out.write(text)
        out.flush()
