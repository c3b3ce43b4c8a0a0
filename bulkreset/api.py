"""The Python interface for orchestrators: plan, apply, resume. It does not print, ask or handle signals."""

import json
import multiprocessing
import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from bulkreset.cancellation import CancelToken, SendProgress
from bulkreset.errors import BulkresetError, Refused, RunDirError, error_from_summary
from bulkreset.files import read_small_file
from bulkreset.hardening import apart
from bulkreset.job import Job
from bulkreset.job.file import build
from bulkreset.job.file import load as load_file
from bulkreset.journal.run_dir import RunDir, new_name
from bulkreset.models import LaneSummary, Summary
from bulkreset.plan.preflight import Preflight
from bulkreset.plan.preflight_text import preflight_lines
from bulkreset.run.abandon import AbandonedRun
from bulkreset.run.abandon import abandon as abandon_run
from bulkreset.run.run import RunOptions
from bulkreset.run.start import resume as resume_run
from bulkreset.run.start import start

__all__ = [
    "AbandonedRun",
    "ApiProgress",
    "CancelToken",
    "DryRun",
    "Job",
    "Preflight",
    "Result",
    "Summary",
    "abandon",
    "apply",
    "dry_run",
    "load",
    "resume",
]

MOST_SUMMARY = 1 << 24  # bytes; a summary has a few hundred for each lane
PathLike = str | os.PathLike[str]
Confirm = Callable[[Preflight], bool]


@dataclass(frozen=True, slots=True)
class ApiProgress:
    """The progress of a run. `phase` is planning, checking or sending.

    `done` and `total` are rows, but API calls while checking; `total` is None if it is not known. `counts` are the rows
    settled by this execution, by status.
    """

    phase: str
    done: int
    total: int | None
    counts: Mapping[str, int] = field(default_factory=dict)
    attempts: int = 0
    throttled: int = 0


OnProgress = Callable[[ApiProgress], None]


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run: its directory and its summary."""

    run_dir: Path
    summary: Summary

    @classmethod
    def load(cls, run_dir: PathLike) -> Self:
        """Return the result of a finished run, also of another process. Raises RunDirError if there is none."""
        path = Path(run_dir)
        try:
            figures = json.loads(read_small_file(RunDir(path).summary, MOST_SUMMARY))
            figures["lanes"] = tuple(LaneSummary(**lane) for lane in figures["lanes"])
            figures["targets"] = tuple(figures["targets"])
            return cls(path, Summary(**figures))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise RunDirError(f"{path} has no summary.", "Look at it: bulkreset status " + str(path) + ".") from None

    @property
    def exit_code(self) -> int:
        """Return the exit code that the command would have had."""
        return self.summary.exit_code

    @property
    def ok(self) -> bool:
        """Return whether every row is set or skipped; for a dry run, ready or skipped."""
        return self.summary.exit_code == 0

    @property
    def report(self) -> Path:
        """Return the path of the report, which has one line for every row."""
        return self.run_dir / self.summary.report


@dataclass(frozen=True, slots=True)
class DryRun(Result):
    """A finished dry run. `preflight` describes what a run would do. Pass the DryRun to `apply` to run it."""

    job: Job
    preflight: Preflight

    @property
    def briefing(self) -> str:
        """Return what a run would do, as lines of text for the person who approves it."""
        return preflight_lines(self.preflight)


def load(job: PathLike | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Job:
    """Return a job from a TOML file, or from a mapping with the same tables.

    `overrides` ({"pace.rate": 24}) replace keys. Paths in a file are relative to the file; paths in a mapping, to the
    working directory. Raises JobError, which names every wrong key.
    """
    if isinstance(job, Mapping):
        return build(deepcopy(dict(job)), overrides or {}, "The job")
    return load_file(Path(job), overrides or {})


def dry_run(
    job: Job,
    *,
    run_dir: PathLike | None = None,
    on_progress: OnProgress | None = None,
    stop: CancelToken | None = None,
    emulate: bool = False,
) -> DryRun:
    """Make a dry run: read, screen and look up every row, and send nothing.

    `run_dir` must be new; the default is `runs/<job>-<UTC time>`. `on_progress` is called on the calling thread,
    several times a second. Raises Refused if nothing can be planned, or the error that stopped it:
    GuardTripped, ServiceError, RecordError, Interrupted.
    """
    path = _new(job, run_dir)
    listener = _Listener(on_progress, stop, confirm=False)
    result = _run(
        path,
        listener,
        lambda: start(job, path, RunOptions(None, dry_run=True, emulate=emulate), listener, listener.stop),
    )
    if listener.preflight is None:
        raise Refused("The plan has no preflight.")  # it cannot have ended without one
    return DryRun(path, result.summary, job, listener.preflight)


def apply(
    job: Job | DryRun,
    *,
    run_dir: PathLike | None = None,
    approved: PathLike | None = None,
    confirm: bool | Confirm = False,
    on_progress: OnProgress | None = None,
    stop: CancelToken | None = None,
    emulate: bool = False,
) -> Result:
    """Run a job: plan it, and send every row that is ready.

    With a DryRun, or a dry run's directory as `approved`, send only what it planned; raises ApprovalError if anything
    has changed. Otherwise `confirm` must be True, or return True for the preflight. If it does not, nothing is sent and
    GuardTripped is raised.

    The result has exit code 0 (every row is done) or 1 (some are not). Everything else is raised: Refused, Stopped
    (GuardTripped, ServiceError, RecordError), Busy, TimeLimit, RowLimit, Interrupted. If the error's `run_dir` is set, continue
    that run with `resume`. Never apply the job again, because that would set every row again.
    """
    if isinstance(job, DryRun):
        approved = approved or job.run_dir
        emulate = emulate or job.summary.emulated
        job = job.job
    wanted = job
    path = _new(wanted, run_dir)
    listener = _Listener(on_progress, stop, confirm)
    mode = RunOptions(None, emulate=emulate, yes=confirm is True, approved=Path(approved) if approved else None)
    return _run(path, listener, lambda: start(wanted, path, mode, listener, listener.stop))


def resume(
    run_dir: PathLike,
    *,
    overrides: Mapping[str, Any] | None = None,
    failed: bool = False,
    confirm: bool | Confirm = False,
    on_progress: OnProgress | None = None,
    stop: CancelToken | None = None,
) -> Result:
    """Continue a run: send the unsettled rows, and nothing else. With `failed`, also send the failed rows again.

    A run that was already confirmed needs no `confirm`. Raises the same errors as `apply`.
    """
    path = Path(run_dir)
    listener = _Listener(on_progress, stop, confirm)
    mode = RunOptions(None, yes=confirm is True, retry_failed=failed)
    return _run(path, listener, lambda: resume_run(path, mode, overrides or {}, listener, listener.stop))


def abandon(run_dir: PathLike) -> AbandonedRun:
    """Give up an unfinished run: it can never be resumed. Returns its rows by status, and how many users may be set.

    Raises RunDirError if there is nothing to give up, Busy if a process is working on the run.
    """
    return abandon_run(Path(run_dir))


def _new(job: Job, run_dir: PathLike | None) -> Path:
    return Path(run_dir) if run_dir else new_name(Path("runs") / f"{job.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")


def _run(path: Path, listener: "_Listener", go: Callable[[], Summary]) -> Result:
    """Return the result, or raise the error that ended the run. Its `run_dir` is set if the run can be resumed."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # Each worker of local:N loads the script that started it, and would run its unguarded code again.
        raise Refused(
            "This process was started by another one and is still loading its script: no run begins here.",
            'Put what runs jobs below if __name__ == "__main__":',
        )
    try:
        with apart():
            summary = go()
    except BulkresetError as error:
        if RunDir(path).journal.exists():
            error.run_dir = path
        raise
    if listener.failure:
        raise listener.failure
    if summary.stopped_by:
        stopped = summary.stopped_by
        ended = error_from_summary(summary.exit_code, stopped["code"], stopped["message"], stopped["advice"])
        ended.run_dir = path
        raise ended
    return Result(path, summary)


class _Listener:
    """The user interface for a calling program.

    An exception in `on_progress` stops the run like a stop request, and is raised when the run has ended.
    """

    def __init__(self, on_progress: OnProgress | None, stop: CancelToken | None, confirm: bool | Confirm) -> None:  # noqa: FBT001
        self.stop = stop or CancelToken()
        self.preflight: Preflight | None = None
        self.failure: Exception | None = None
        self._on_progress = on_progress
        self._confirm = confirm

    def on_run_started(self, run_id: str) -> None:
        """Do nothing: the result identifies the run."""

    def on_rows_read(self, rows: int) -> None:
        """Report how many rows have been read."""
        self._tell(ApiProgress("planning", rows, None))

    def on_lookup_progress(self, made: int, calls: int) -> None:
        """Report how many lookup calls have been made, of an estimated total."""
        self._tell(ApiProgress("checking", made, max(made, calls)))

    def on_send_progress(self, progress: SendProgress) -> None:
        """Report settled rows."""
        counts = {status.value: rows for status, rows in progress.counts.items()}
        self._tell(
            ApiProgress("sending", progress.settled, progress.total, counts, progress.attempts, progress.throttled)
        )

    def notice(self, text: str) -> None:
        """Do nothing: the log has the notices."""

    def show_preflight(self, preflight: Preflight) -> None:
        """Keep the preflight for the result."""
        self.preflight = preflight

    def confirm(self, preflight: Preflight) -> bool:
        """Return the caller's confirmation."""
        return self._confirm(preflight) if callable(self._confirm) else self._confirm

    def _tell(self, moment: ApiProgress) -> None:
        if self._on_progress is None or self.failure:
            return
        try:
            self._on_progress(moment)
        except Exception as error:  # noqa: BLE001  (the caller's own error: raised again to the caller)
            self.failure = error
            self.stop.request()
