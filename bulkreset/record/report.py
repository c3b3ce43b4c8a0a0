"""The reports' columns and cells, summary.json, and files that are never there by half."""

import contextlib
import csv
import fcntl
import glob
import json
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from bulkreset.errors import RecordError, RunDirError
from bulkreset.record.entries import Reported
from bulkreset.record.words import escaped, printable
from bulkreset.rows import Summary

COLUMNS = Reported._fields[:-1]  # a report has no `canonical`
_FORMULA = tuple(
    "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
)  # what makes a spreadsheet run a cell, the full-width forms included
_WHERE_KNOWN = {
    "unchecked",
    "approved",
    "signed_out",
    "stopped_by",
}  # left out of the summary where there is nothing to say


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


def swept(path: Path) -> list[Path]:
    """What killed processes have left of a file with this name, deleted; one that is being written has its process's lock."""
    left = []
    for partial in sorted(path.absolute().parent.glob(f".{glob.escape(path.name)}.*.partial")):
        with contextlib.suppress(OSError), partial.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()
            left.append(partial)
    return left


def write_summary(summary: Summary, path: Path) -> None:
    """Write summary.json. Raises RecordError where it cannot be written."""
    figures = {key: value for key, value in asdict(summary).items() if key not in _WHERE_KNOWN or value}
    with beside(path, redraw_advice(path)) as file:
        file.write(escaped(json.dumps(figures, indent=2, ensure_ascii=False)) + "\n")


def iso(unix_ms: int) -> str:
    """A time as the reports have it."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_text(text: str) -> str:
    """The cell as text that no spreadsheet takes for a formula, and no terminal for an order.

    An apostrophe before what would be a formula, a sign in the place of a control character but tabs and line feeds.
    """
    return printable(f"'{text}" if text.startswith(_FORMULA) else text)


def as_named(cell: str) -> str:
    """The username in a cell of a report: without the apostrophe that `as_text` puts before a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def redraw_advice(path: Path, form: str = "") -> str:
    """What to do where a file of a run directory cannot be written: the command for it, in that `form`."""
    return (
        f"Make room, then run: bulkreset report {shlex.quote(str(path.parent))}{f' --format {form}' if form else ''}."
    )


@contextmanager
def beside(path: Path, advice: str, flag: int = os.O_TRUNC) -> Iterator[IO[str]]:
    """A text file that takes its name only when it is whole and on disk; whatever goes wrong before, nothing is left of it.

    Raises RecordError with that advice where it cannot be written.
    """
    with _beside(path, advice, flag, {"mode": "w", "encoding": "utf-8", "newline": ""}) as file:
        yield file


@contextmanager
def bytes_beside(path: Path, advice: str) -> Iterator[IO[bytes]]:
    """The same for bytes."""
    with _beside(path, advice, os.O_TRUNC, {"mode": "wb"}) as file:
        yield file


@contextmanager
def _beside(path: Path, advice: str, flag: int, how: Mapping[str, str]) -> Iterator[IO[Any]]:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # `report` may draw it while the run does
    try:
        with os.fdopen(os.open(partial, os.O_CREAT | flag | os.O_WRONLY, 0o600), **how) as file:  # type: ignore[call-overload]
            with contextlib.suppress(OSError):  # where there are no locks, `swept` deletes nothing either
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if not isinstance(error, OSError):
            raise
        raise RecordError(f"{path} cannot be written: {error.strerror or error}.", advice) from None
