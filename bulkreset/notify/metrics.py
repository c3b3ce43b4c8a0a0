"""The metrics of a run, built from its journal or its summary. Textfile and EMF both use them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bulkreset import statuses
from bulkreset.errors import EXIT_OK, EXIT_ROWS
from bulkreset.models import LaneSummary, Status, Summary
from bulkreset.notify.execution_result import ExecutionResult
from bulkreset.report.run_status import RunStatus
from bulkreset.statuses import public_counts

# Every status always has a value, so that a graph shows 0 and no gap.
STATUSES = statuses.REPORTED


@dataclass(frozen=True, slots=True)
class LaneMetrics:
    """One lane: `rows` by status; `rate` (of the last execution), `quota` and `ceiling` in calls per second.

    None means not known.
    """

    account: str
    region: str
    rows: Mapping[str, int]
    rate: float | None
    quota: float
    ceiling: float | None


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """One execution of a job, under way or ended.

    `rows`, `attempts` and `throttled` count the whole run. `seconds` is the duration of this execution. `rate` is rows
    per second, recent or over the whole run. `exit_code` is None while the execution is under way.
    """

    job: str
    seconds: float
    rows: Mapping[str, int]
    attempts: int = 0
    throttled: int = 0
    rate: float = 0.0
    exit_code: int | None = None
    lanes: tuple[LaneMetrics, ...] = ()

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
        """Return the calls per second that all lanes together may send. None if not known or if a lane is not paced."""
        known = [lane.ceiling for lane in self.lanes if lane.ceiling is not None]
        return sum(known) if known and len(known) == len(self.lanes) else None


def metrics_running(status: RunStatus, seconds: float) -> RunMetrics:
    """Return the metrics of an execution that is under way."""
    return RunMetrics(
        status.job,
        seconds,
        _rows(status.counts),
        status.attempts,
        status.throttled,
        status.rate,
        lanes=_lanes(status.lanes),
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


def metrics_refused(ending: ExecutionResult) -> RunMetrics:
    """Return the metrics of a refused execution that has no run: every row count is 0."""
    return RunMetrics(ending.job, ending.seconds, _rows({}), exit_code=ending.exit_code)


def metrics_unknown(ending: ExecutionResult) -> RunMetrics:
    """Return the metrics of a refused execution of a run whose rows cannot be counted. They have no row counts."""
    return RunMetrics(ending.job, ending.seconds, {}, exit_code=ending.exit_code)


def metrics_refused_run(ending: ExecutionResult, status: RunStatus) -> RunMetrics:
    """Return the metrics of a refused execution of a run that has rows."""
    return RunMetrics(
        ending.job,
        ending.seconds,
        _rows(public_counts(status.counts, dry_run=False)),
        status.attempts,
        status.throttled,
        status.rate,
        ending.exit_code,
        _lanes(
            tuple(replace(lane, counts=public_counts(lane.counts, dry_run=False)) for lane in status.lanes),
        ),
    )


def metrics_idle(job: str, seconds: float) -> RunMetrics:
    """Return the metrics of a scheduled run that found nothing to do. It counts as a success."""
    return RunMetrics(job, seconds, _rows({}), exit_code=EXIT_OK)


def _rows(counts: Mapping[str, int]) -> dict[str, int]:
    found = {status.value: counts.get(status, 0) for status in STATUSES}
    found[Status.READY] += sum(counts.values()) - statuses.count_of(counts, STATUSES)  # in progress: not settled yet
    return found


def _ceiling(lane: LaneSummary) -> float | None:
    """Return the ceiling in force."""
    return lane.limit if lane.limited_by else lane.ceiling


def _lanes(lanes: tuple[LaneSummary, ...]) -> tuple[LaneMetrics, ...]:
    return tuple(
        LaneMetrics(lane.account, lane.region, _rows(lane.counts), lane.rate, lane.quota, _ceiling(lane))
        for lane in lanes
    )
