"""Metrics and notifications for one execution of a job. Failures here never end a run or change its exit code."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from bulkreset.errors import EXIT_OK, BulkresetError
from bulkreset.job import Job
from bulkreset.journal.run_dir import RunDir
from bulkreset.journal.run_state import RunState
from bulkreset.models import Summary
from bulkreset.notify import emf
from bulkreset.notify.execution_result import ExecutionResult
from bulkreset.notify.metrics import RunMetrics, metrics_finished, metrics_running, metrics_without_rows
from bulkreset.notify.notifier import check, notify
from bulkreset.report.run_status import read_status

EVERY = 15.0  # seconds between two updates of the textfile
# the pause is at least this many times as long as one update: counting millions of rows must not slow the run
_PART = 20

Warn = Callable[[str], None]


class ExecutionReporter:
    """Context manager around one execution. An execution that ends with an exception is reported, too.

    If `counts` is false (dry run), it sends and writes nothing and only warns about notification problems.
    `begun`: the run in `path` is this run, started by an earlier execution.
    """

    def __init__(
        self, job: Job, path: Path, out: IO[str] | None, remark: Warn, *, counts: bool, begun: bool = False
    ) -> None:
        self._job = job
        self._path = path
        self._out = out
        self._remark = remark
        self._counts = counts
        self._begun = begun
        self._began = time.monotonic()
        self._over = threading.Event()
        self._writing = threading.Lock()
        self._reported = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        if error and self._counts and not self._reported:
            ending = ExecutionResult.from_error(error, self._job.name, self._seconds)
            self._report(ending, self._left(ending), self._remark)

    def idle(self) -> None:
        """Write success metrics for an execution that found nothing to do. Sends no notification."""
        if self._counts:
            self._measure(metrics_without_rows(self._job.name, self._seconds, EXIT_OK), None, self._remark)

    def _left(self, ending: ExecutionResult) -> RunMetrics:
        """Return the metrics of an execution ended by an exception, with its rows if the run has a journal."""
        if not (self._begun and RunDir(self._path).journal.exists()):
            return metrics_without_rows(ending.job, ending.seconds, ending.exit_code)
        try:
            return metrics_running(read_status(self._path), ending.seconds, ending.exit_code)
        except BulkresetError:  # its rows cannot be counted
            return RunMetrics(ending.job, ending.seconds, {}, exit_code=ending.exit_code)

    @contextmanager
    def along(self, warn: Warn) -> Iterator[None]:
        """Update the textfile with the run's metrics periodically while the block runs."""
        self._begun = True
        if self._counts and self._job.metrics.textfile:
            threading.Thread(target=self._tick, args=(warn,), name="metrics", daemon=True).start()
        try:
            yield
        finally:
            self._over.set()

    def of(self, summary: Summary, state: RunState, warn: Warn) -> None:
        """Report the end of an execution that has a summary. `state` is the run's, from its journal."""
        self._over.set()
        self._reported = True
        if self._counts:
            figures = metrics_finished(summary, self._seconds)
            self._report(ExecutionResult.from_summary(summary, state, self._path, self._seconds), figures, warn)
        elif problems := check(self._job.notify):
            warn(f"Notifications at the end of a run would fail: {'; '.join(problems)}.")

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _tick(self, warn: Warn) -> None:
        pause, warned = EVERY, False
        while not self._over.wait(pause):
            began = time.monotonic()
            problem = self._write_textfile(lambda: metrics_running(read_status(self._path), self._seconds), last=False)
            if problem and not warned and not self._over.is_set():
                warn(problem)
                warned = True
            pause = max(EVERY, (time.monotonic() - began) * _PART)

    def _report(self, ending: ExecutionResult, figures: RunMetrics, warn: Warn) -> None:
        """Write metrics, then send notifications. Metrics come first because they take almost no time."""
        self._measure(figures, ending.run_dir, warn)
        if ending.end in self._job.notify.on and (unsent := notify(self._job.notify, ending)):
            warn(f"Not all notifications were sent: {'; '.join(unsent)}.")

    def _measure(self, figures: RunMetrics, run_dir: Path | None, warn: Warn) -> None:
        place = self._job.metrics.emf
        problems = [
            self._write_textfile(lambda: figures, last=True),
            place and _try_to_write(place, lambda: emf.write(place, self._out, figures, run_dir)),
        ]
        for problem in filter(None, problems):
            warn(problem)

    def _write_textfile(self, made: Callable[[], RunMetrics], *, last: bool) -> str:
        path = self._job.metrics.textfile
        if path is None:
            return ""

        def write() -> None:
            from bulkreset.notify import textfile  # noqa: PLC0415  (optional dependency)

            figures = made()
            with self._writing:
                if last or not self._over.is_set():
                    textfile.write_textfile(path, figures)

        return _try_to_write(path, write)


def _try_to_write(place: object, write: Callable[[], None]) -> str:
    """Write metrics. Returns a sentence that says what failed, "" if nothing did."""
    try:
        write()
    except (OSError, BulkresetError, ValueError) as error:
        return f"The metrics could not be written to {place}: {_why(error)}."
    return ""


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error).rstrip(".")
