"""The metrics of a run, built from its journal or its summary. Textfile and EMF both use them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bulkreset import statuses
from bulkreset.errors import EXIT_OK, EXIT_ROWS
from bulkreset.models import LaneSummary, Status, Summary
from bulkreset.report.run_status import RunStatus
from bulkreset.statuses import public_counts

# Every status always has a value, so that a graph shows 0 and no gap.
STATUSES = statuses.REPORTED


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """One running or ended execution of a job.

    `rows`, `attempts` and `throttled` count the whole run. `seconds` is the duration of this execution. `rate` is rows
    per second, recent or over the whole run. `exit_code` is None while the execution is running. The lanes have their
    current ceiling.
    """

    job: str
    seconds: float
    rows: Mapping[str, int]
    attempts: int = 0
    throttled: int = 0
    rate: float = 0.0
    exit_code: int | None = None
    lanes: tuple[LaneSummary, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Return whether every row was set or skipped."""
        return self.exit_code == EXIT_OK

    @property
    def finished(self) -> bool:
        """Return whether the execution reached its end (exit code 0 or 1), whatever the status of its rows."""
        return self.exit_code in {EXIT_OK, EXIT_ROWS}

    @property
    def ceiling(self) -> float | None:
        """Return the calls per second that all lanes together may send. None if unknown, or if a lane is not paced."""
        known = [lane.ceiling for lane in self.lanes if lane.ceiling is not None]
        return sum(known) if known and len(known) == len(self.lanes) else None


def metrics_running(status: RunStatus, seconds: float, exit_code: int | None = None) -> RunMetrics:
    """Return the metrics of an execution that is running, or was refused with this exit code."""

    def shown(counts: Mapping[str, int]) -> Mapping[str, int]:
        return counts if exit_code is None else public_counts(counts, dry_run=False)

    return RunMetrics(
        status.job,
        seconds,
        _rows(shown(status.counts)),
        status.attempts,
        status.throttled,
        status.rate,
        exit_code,
        _lanes([replace(lane, counts=shown(lane.counts)) for lane in status.lanes]),
    )


def metrics_finished(summary: Summary, seconds: float) -> RunMetrics:
    """Return the metrics of an execution that has ended."""
    return RunMetrics(
        summary.job,
        seconds,
        _rows(summary.counts),
        summary.attempts,
        summary.throttled,
        summary.rows_per_second,
        summary.exit_code,
        _lanes(summary.lanes),
    )


def metrics_without_rows(job: str, seconds: float, exit_code: int) -> RunMetrics:
    """Return the metrics of an execution without a run: it was refused or found nothing, so every row count is 0."""
    return RunMetrics(job, seconds, _rows({}), exit_code=exit_code)


def _rows(counts: Mapping[str, int]) -> dict[str, int]:
    found = {status.value: counts.get(status, 0) for status in STATUSES}
    found[Status.READY] += sum(counts.values()) - statuses.count_of(counts, STATUSES)  # in progress: not finished yet
    return found


def _lanes(lanes: Sequence[LaneSummary]) -> tuple[LaneSummary, ...]:
    """Return the lanes with every status and the current ceiling."""
    return tuple(
        replace(lane, counts=_rows(lane.counts), ceiling=lane.limit if lane.limited_by else lane.ceiling)
        for lane in lanes
    )
