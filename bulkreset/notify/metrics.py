"""The metrics: a run in figures for who draws curves, made in one place from its journal or its summary."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bulkreset.errors import EXIT_OK, EXIT_ROWS
from bulkreset.models import LaneSummary, Status, Summary
from bulkreset.notify.execution_result import ExecutionResult
from bulkreset.report.run_status import RunStatus
from bulkreset.report.summary import public_counts

# Every status has a figure at any time, so that no curve ends where it becomes 0.
STATUSES = tuple(status for status in Status if status is not Status.CLAIMED)


@dataclass(frozen=True, slots=True)
class LaneMetrics:
    """One lane: rows by status, its rate in the last execution, its quota and ceiling in calls per second; None where not known."""

    account: str
    region: str
    rows: Mapping[str, int]
    rate: float | None
    quota: float
    ceiling: float | None


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """One execution of a job, under way or ended.

    `rows`, `attempts` and `throttled` are of the whole run, `seconds` of this execution; `rate` is rows per second, lately
    or over all. `exit_code` is None while it is under way.
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
        """Whether every row was set or skipped."""
        return self.exit_code == EXIT_OK

    @property
    def finished(self) -> bool:
        """Whether it came to its end, whatever became of the rows."""
        return self.exit_code in {EXIT_OK, EXIT_ROWS}

    @property
    def ceiling(self) -> float | None:
        """Calls per second that all lanes may send together; None where that is not known, or one is not paced."""
        known = [lane.ceiling for lane in self.lanes if lane.ceiling is not None]
        return sum(known) if known and len(known) == len(self.lanes) else None


def metrics_running(status: RunStatus, seconds: float) -> RunMetrics:
    """The figures of an execution that is under way."""
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
    """The figures of one that has ended."""
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
    """The figures of one that was refused: it has no rows."""
    return RunMetrics(ending.job, ending.seconds, _rows({}), exit_code=ending.exit_code)


def metrics_unknown(ending: ExecutionResult) -> RunMetrics:
    """The figures of one that was refused, of a run whose rows cannot be counted."""
    return RunMetrics(ending.job, ending.seconds, {}, exit_code=ending.exit_code)


def metrics_refused_run(ending: ExecutionResult, status: RunStatus) -> RunMetrics:
    """The figures of one that was refused, of a run that has rows."""
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
    """The figures of a night that found nothing to do, which is a success."""
    return RunMetrics(job, seconds, _rows({}), exit_code=EXIT_OK)


def _rows(counts: Mapping[str, int]) -> dict[str, int]:
    found = {status.value: counts.get(status, 0) for status in STATUSES}
    found[Status.READY] += counts.get(Status.CLAIMED, 0)  # on its way, in the journal of a run that is under way
    return found


def _lanes(lanes: tuple[LaneSummary, ...]) -> tuple[LaneMetrics, ...]:
    return tuple(
        LaneMetrics(lane.account, lane.region, _rows(lane.counts), lane.rate, lane.quota, lane.ceiling)
        for lane in lanes
    )
