"""Explains why a path is not a run directory, and names the run that may be meant."""

import os
from collections.abc import Iterator
from pathlib import Path

from bulkreset.errors import RunDirError
from bulkreset.journal import commit_mark
from bulkreset.journal.commit_mark import read_mark
from bulkreset.journal.run_dir import JOURNAL, RUNS
from bulkreset.text import quoted

_LIST = "To list the runs: bulkreset status."
_LEFT = (commit_mark.NAME, f"{JOURNAL}-wal", "log.jsonl", "summary.json")  # files that only a run writes
_LOST = (
    "Restore the run directory from a backup, or resume from its mirror."
    " Without them, start a new run of the rows that are not set."
)


def not_a_run_error(path: Path) -> RunDirError:
    """Return the error for a path without a journal. Raises OSError if the path cannot be examined."""
    if not os.path.lexists(path):
        return RunDirError(f"{path} does not exist.", f"Name a run directory. {_LIST}")
    if not path.is_dir():
        if path.suffix.lower() != ".toml":
            return RunDirError(f"{path} is a file, not a run directory.", f"Name a run directory. {_LIST}")
        last = max(_runs_in(RUNS, _job_name(path)), key=lambda run: run.stat().st_mtime, default=None)
        advice = f"Its last run is {quoted(last)}." if last else _LIST
        return RunDirError(f"{path} is a job file, not a run directory.", advice)
    if runs := sorted(_runs_in(path)):
        few = ", ".join(quoted(run) for run in runs[-3:])
        return RunDirError(f"{path} contains runs; it is not a run directory itself.", f"Choose one, such as {few}.")
    if is_without_journal(path):
        mark = read_mark(path / JOURNAL)
        of = f" It was a run of {mark.job}, begun {mark.started_at}." if mark else ""
        sent = f" Rows up to {mark.row:,} may have been set." if mark and mark.row else ""
        return RunDirError(f"The run {path} has no journal any more: {JOURNAL} is missing.{of}{sent}", _LOST)
    return RunDirError(
        f"{path} is not a run directory: it has no {JOURNAL}.",
        f"Name a run directory. {_LIST} A run whose journal is lost cannot be resumed without a copy of it.",
    )


def is_without_journal(path: Path) -> bool:
    """Return whether a directory is a run's remains without its journal."""
    return not os.path.lexists(path / JOURNAL) and any(os.path.isfile(path / name) for name in _LEFT)  # noqa: PTH113  (Path.is_file may raise)


def _runs_in(folder: Path, job: str | None = None) -> Iterator[Path]:
    """Yield the run directories in `folder`; with `job`, only those that are named after this job."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        is_wanted = not entry.name.startswith(".") and (job is None or entry.name.startswith(f"{job}-"))
        if is_wanted and (entry / JOURNAL).is_file():
            yield entry


def _job_name(path: Path) -> str:
    """Return the name of the job in a file, or the file's own name if the file does not give one."""
    import tomllib  # noqa: PLC0415  (only this error needs it)

    from bulkreset.files import decode_text, read_small_file  # noqa: PLC0415  (as above)

    try:
        return str(tomllib.loads(decode_text(read_small_file(path))).get("name", path.stem))
    except (OSError, ValueError, RecursionError):
        return path.stem
