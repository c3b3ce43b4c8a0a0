"""Interfaces to watch a run and to stop it: progress, confirmation and signals."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from bulkreset.causes import STOPS
from bulkreset.errors import Interrupted
from bulkreset.models import Outcome, Status, StepOutcome
from bulkreset.statuses import FINISHED, count_of
from bulkreset.text import format_count

if TYPE_CHECKING:  # commands that do not need it start faster
    from bulkreset.plan.preflight import Preflight


LOOK_SECONDS = 0.1  # between two looks whether a stop was requested

Item = TypeVar("Item")


@contextmanager
def nothing_written() -> Iterator[None]:
    """Let an interruption of the block say that nothing was written."""
    try:
        yield
    except Interrupted as error:
        raise Interrupted(error.message, "Nothing was written.", error.signal_number) from None


@dataclass(slots=True)
class LaneProgress:
    """The progress of one lane.

    `retrying` returns the number of the next attempt of each row that is being retried.
    `pace` returns the current rate in calls per second. Without pacing it returns None, and `ceiling` is None, too.
    `ceiling` is the limit that is in force; `limited_by` is its reason, "" if it is the job's own.
    """

    name: str
    total: int
    ceiling: float | None
    pace: Callable[[], float | None]
    counts: Counter[Status] = field(default_factory=Counter)
    throttled: int = 0
    stopped: bool = False
    limited_by: str = ""
    retrying: Callable[[], Sequence[int]] = tuple

    @property
    def finished(self) -> int:
        """Return the number of rows that this execution has finished."""
        return count_of(self.counts, FINISHED)

    @property
    def remaining(self) -> int:
        """Return the number of rows still to be sent; 0 if the lane was stopped."""
        return 0 if self.stopped else max(0, self.total - self.finished)


@dataclass(slots=True)
class SendProgress:
    """The progress of sending: rows by status, and attempts. `lanes` has the preflight's order.

    Three counts are by step: `pending` users who still needed the step when sending began, `steps` that are finished,
    and `failed_steps` among these. `max_attempts` is the highest number of attempts for one row.
    """

    total: int
    pending: Mapping[str, int] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)
    counts: Counter[Status] = field(default_factory=Counter)
    attempts: int = 0
    throttled: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    failed_steps: Counter[str] = field(default_factory=Counter)
    lanes: Sequence[LaneProgress] = ()
    max_attempts: int = 0

    @property
    def all_steps(self) -> int:
        """Return how many steps there are for the users who are set, including those already taken."""
        return sum(self.pending.values()) + len(self.pending) * self.counts[Status.SET]

    @property
    def finished(self) -> int:
        """Return the number of rows that this run has finished."""
        return count_of(self.counts, FINISHED)

    def limits(self) -> list[str]:
        """Return the reasons of the limits that are in force, besides the job's own ceiling."""
        return sorted({lane.limited_by for lane in self.lanes if lane.limited_by and not lane.stopped})

    def retrying(self) -> list[int]:
        """Return the number of the next attempt of each row that is being retried."""
        return [attempt for lane in self.lanes for attempt in lane.retrying()]

    def add(self, outcomes: Sequence[Outcome], lane: int | None = None) -> None:
        """Count outcomes; if `lane` is given, count them for that lane, too."""
        for outcome in outcomes:
            self.counts[outcome.status] += 1
            self.attempts += outcome.attempts
            self.throttled += outcome.throttled
            if lane is not None:
                self.lanes[lane].counts[outcome.status] += 1
                self.lanes[lane].throttled += outcome.throttled

    def add_step(self, outcome: StepOutcome) -> None:
        """Count a step."""
        self.steps[outcome.step] += outcome.done is not None
        self.failed_steps[outcome.step] += outcome.done is False
        self.throttled += outcome.throttled


class UserInterface(Protocol):
    """Shows a run's progress and asks its questions: a terminal, a log, or nothing.

    `confirmed_by` says in words how the last confirmation was given.
    """

    confirmed_by: str

    def on_run_started(self, run_id: str) -> None:
        """Handle the start of a run, or its continuation."""

    def on_rows_read(self, rows: int) -> None:
        """Handle the number of rows read so far."""

    def on_lookup_progress(self, made: int, calls: int) -> None:
        """Handle lookup progress: `made` of about `calls` calls to look up users."""

    def notice(self, text: str) -> None:
        """Show a message before the run continues."""

    def show_preflight(self, preflight: "Preflight") -> None:
        """Show what the run is about to do."""

    def confirm(self, preflight: "Preflight") -> bool:
        """Return whether the run may start sending."""

    def on_send_progress(self, progress: SendProgress) -> None:
        """Handle progress after some rows were finished."""


def lookup_listener(ui: UserInterface, stop: "CancelToken") -> Callable[[int, int], None]:
    """Return a function that shows how many of the expected calls were made. It raises Interrupted after a stop."""

    def seen(made: int, calls: int) -> None:
        ui.on_lookup_progress(made, calls)
        stop.check()

    return seen


_current: ContextVar["CancelToken | None"] = ContextVar("cancel_token", default=None)


def check_current() -> None:
    """Call `check` of the token that watches this thread, and raise what it raises. Do nothing without a token.

    Loops that read a file call it, because only they know how long a single step may take.
    """
    if token := _current.get():
        token.check()


def stop_requested() -> bool:
    """Return whether the token that watches this thread has a stop request; false without a token."""
    return (token := _current.get()) is not None and token.is_set()


class CancelToken:
    """A request to stop, made by a signal or by another thread. The run checks it between steps."""

    def __init__(self) -> None:
        self.signal_number = 0
        self.pause_toggles = 0  # how often a signal asked to pause or to continue
        self._by = ""
        self._also: Callable[[], None] = lambda: None

    def request(self, by: str = "request") -> None:
        """Request a stop, from any thread. Calls in flight are finished and recorded; the run ends as on SIGTERM."""
        if not self.signal_number:
            self._by = by
            self.signal_number = signal.SIGTERM

    def toggle_pause(self) -> None:
        """Ask a run that sends to pause, or to continue."""
        self.pause_toggles += 1

    def on_signal(self, number: int) -> None:
        """Request a stop because of a signal. SIGHUP (closed terminal) acts as SIGTERM; the first signal counts."""
        if not self.signal_number:
            self._by = signal.Signals(number).name
            self.signal_number = signal.SIGTERM if number == signal.SIGHUP else number

    def describe_wait(self, calls: int, seconds: float) -> str:
        """Return a text: the stop waits for calls, and what a second signal does."""
        again = "Ctrl-C again" if self.signal_number == signal.SIGINT else "a second signal"
        leaves = "it" if calls == 1 else "them"
        return f"stopping: waiting for {format_count(calls, 'call')} (up to {seconds:.0f} s); {again} leaves {leaves} in doubt"

    def is_set(self) -> bool:
        """Return whether a stop was requested."""
        return bool(self.signal_number)

    @contextmanager
    def add_check(self, check: Callable[[], None]) -> Iterator[None]:
        """Let every `check` inside the block also call this one, after those of outer blocks. It may raise."""
        before = self._also

        def both() -> None:
            before()
            check()

        self._also = both
        try:
            yield
        finally:
            self._also = before

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Let `check_current` in this thread check this token inside the block."""
        before = _current.set(self)
        try:
            yield
        finally:
            _current.reset(before)

    def check_between(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items and call `check` after each. Raises what `check` raises."""
        for item in items:
            yield item
            self.check()

    def wait(self, seconds: float) -> None:
        """Wait. Raises what `check` raises."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, LOOK_SECONDS))
        self.check()

    def check(self) -> None:
        """Raise Interrupted if a stop was requested, or whatever the added check raises."""
        if self.signal_number:
            raise Interrupted(
                f"Interrupted by {self._by or signal.Signals(self.signal_number).name}.",
                STOPS["interrupted"].advice,
                signal_number=self.signal_number,
            )
        self._also()
