"""Watches a sending run: shows, logs and counts results, and says when it must stop."""

from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass
from typing import Any

from bulkreset.cancellation import CancelToken, SendProgress, UserInterface
from bulkreset.clock import SINCE_BOOT
from bulkreset.errors import Stopped
from bulkreset.log import Log
from bulkreset.models import Outcome, Status, StepOutcome
from bulkreset.run.lane_run import LaneRun
from bulkreset.send.guards import GuardMonitor
from bulkreset.send.lane import LaneKey, LaneProtocol
from bulkreset.send.operations import OperationResult

RETRIES_SHOWN_SECONDS = 0.5  # how often the progress is shown while rows are only retried


@dataclass
class RunMonitor:
    """Shows, logs and counts committed results, and decides which lane groups must stop.

    Each of `checks` may raise to stop all sending. `count` gets each committed result, after its lane's
    "ACCOUNT/REGION" and its kind of call.
    """

    _guards: GuardMonitor
    _log: Log
    _progress: SendProgress
    _lanes: Sequence[LaneRun]
    _ui: UserInterface
    _stop: CancelToken
    checks: InitVar[Sequence[Callable[[], None]]]
    _count: Callable[[str, str, OperationResult], None] | None

    def __post_init__(self, checks: Sequence[Callable[[], None]]) -> None:
        self._checks = (self._stop.check, *checks, self._guards.check)
        self._shown_at = SINCE_BOOT.now()

    def check(self) -> None:
        """Raise if all sending must stop."""
        for check in self._checks:
            check()
        if SINCE_BOOT.now() >= self._shown_at + RETRIES_SHOWN_SECONDS and (
            self._progress.limits() or self._progress.retrying()
        ):
            self._show()  # no row may finish for a long time

    def seconds_left(self) -> float:
        """Return the seconds until the run's time limit, after which workers start no call."""
        return self._guards.seconds_left()

    def on_result(self, key: LaneKey, result: OperationResult) -> None:
        """Pass a result to the guards before it is committed."""
        if isinstance(result, Outcome):
            self._guards.add([result], key.number)

    def on_committed(self, results: Sequence[tuple[LaneProtocol[Any], OperationResult]]) -> None:
        """Count, log and show committed results."""
        for lane, outcome in results:
            sent_by = self._lanes[lane.key.number]
            if self._count:
                self._count(sent_by.name, lane.operation.call, outcome)
            if isinstance(outcome, StepOutcome):
                sent_by.steps[outcome.step].on_settled(outcome)
                self._progress.add_step(outcome)
                if outcome.done is False:
                    facts = {"row": outcome.row, "code": outcome.code, "attempts": outcome.attempts}
                    self._log.info("step_failed", step=outcome.step, **facts)
                continue
            self._progress.add([outcome], lane.key.number)
            if outcome.status.facts.finished:
                self._log_row(outcome)
        self._show()

    def _show(self) -> None:
        self._shown_at = SINCE_BOOT.now()
        self._ui.on_send_progress(self._progress)

    def on_lane_stopped(self, key: LaneKey, error: Stopped) -> None:
        """Log a stopped lane group at once if the run has others."""
        self._progress.lanes[key.number].stopped = True
        if key.name:
            self._log.warning("lane_stopped", reason=type(error).__name__, message=error.message, advice=error.advice)

    def on_stopping(self, calls: int, seconds: float) -> None:
        """Show the calls for which a requested stop waits."""
        if self._stop.is_set():
            self._log.warning("stopping", calls=calls, message=self._stop.describe_wait(calls, seconds))

    def violation(self, key: LaneKey) -> Stopped | None:
        """Return the error that stops a lane group, or None if it may continue."""
        return self._guards.violation(key.number)

    def _log_row(self, outcome: Outcome) -> None:
        write = self._log.debug if outcome.status is Status.SET else self._log.info
        write(
            "row_finished",
            row=outcome.row,
            status=outcome.status.value,
            code=outcome.code,
            attempts=outcome.attempts,
            request_id=outcome.request_id,
        )
