"""Who watches a run and may stop it: progress, questions, signals."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from bulkreset.errors import Interrupted
from bulkreset.models import Outcome, SignOutOutcome, Status

if TYPE_CHECKING:  # what a command can do without is not loaded for it
    from bulkreset.plan.preflight import Preflight


Item = TypeVar("Item")


@dataclass(slots=True)
class LaneProgress:
    """How far one lane is. `pace` tells its calls per second right now, None without pacing, as `ceiling` is then."""

    name: str
    total: int
    ceiling: float | None
    pace: Callable[[], float | None]
    counts: Counter[Status] = field(default_factory=Counter)
    throttled: int = 0
    stopped: bool = False

    @property
    def settled(self) -> int:
        """Rows that this execution need not come back to."""
        return self.counts.total() - self.counts[Status.READY]

    @property
    def remaining(self) -> int:
        """Rows that are still to be sent."""
        return 0 if self.stopped else max(0, self.total - self.settled)


@dataclass(slots=True)
class SendProgress:
    """How far the sending is: rows by outcome, and attempts; `lanes` in the preflight's order.

    `pending` counts who was to be signed out when it began, None where nobody is; `gone` who was, or could not be.
    """

    total: int
    pending: int | None = None
    since: float = field(default_factory=time.monotonic)
    counts: Counter[Status] = field(default_factory=Counter)
    attempts: int = 0
    throttled: int = 0
    signed_out: int = 0
    sign_out_failed: int = 0
    lanes: Sequence[LaneProgress] = ()

    @property
    def to_sign_out(self) -> int:
        """How many users are to be signed out, those who were included."""
        return 0 if self.pending is None else self.pending + self.counts[Status.SET]

    @property
    def settled(self) -> int:
        """Rows that this run need not come back to."""
        return self.counts.total() - self.counts[Status.READY]

    def add(self, outcomes: Sequence[Outcome], lane: int | None = None) -> None:
        """Count some outcomes, of a lane where its number is told."""
        for outcome in outcomes:
            self.counts[outcome.status] += 1
            self.attempts += outcome.attempts
            self.throttled += outcome.throttled
            if lane is not None:
                self.lanes[lane].counts[outcome.status] += 1
                self.lanes[lane].throttled += outcome.throttled

    def add_sign_out(self, outcome: SignOutOutcome) -> None:
        """Count a sign-out."""
        self.signed_out += outcome.done is not None
        self.sign_out_failed += outcome.done is False
        self.throttled += outcome.throttled


class UserInterface(Protocol):
    """A terminal, a log, nobody."""

    def on_run_started(self, run_id: str) -> None:
        """Take note which run goes on."""

    def on_rows_read(self, rows: int) -> None:
        """So many rows have been read."""

    def on_lookup_progress(self, made: int, calls: int) -> None:
        """So many calls have been made to look the users up, of about so many."""

    def notice(self, text: str) -> None:
        """Something worth knowing before it goes on."""

    def show_preflight(self, preflight: "Preflight") -> None:
        """What is about to happen."""

    def confirm(self, preflight: "Preflight") -> bool:
        """Whether it may."""

    def on_send_progress(self, progress: SendProgress) -> None:
        """Some rows have been settled."""


class CancelToken:
    """A request to stop, made by a signal or by another thread; looked at between one thing and the next."""

    def __init__(self) -> None:
        self.signal_number = 0
        self._by = ""
        self._also: Callable[[], None] = lambda: None

    def request(self) -> None:
        """Ask for a stop, from any thread: what is in flight is finished and recorded. Ends the run as SIGTERM would."""
        self._by = "request"
        self.signal_number = self.signal_number or signal.SIGTERM

    def on_signal(self, number: int) -> None:
        """Ask for a stop because of a signal. A closed terminal asks for the same as a polite kill; the first one counts."""
        if not self.signal_number:
            self._by = signal.Signals(number).name
            self.signal_number = signal.SIGTERM if number == signal.SIGHUP else number

    def is_set(self) -> bool:
        """Whether a stop was asked for."""
        return bool(self.signal_number)

    @contextmanager
    def add_check(self, check: Callable[[], None]) -> Iterator[None]:
        """Have something else looked at within the block, wherever this is, which may raise."""
        self._also, before = check, self._also
        try:
            yield
        finally:
            self._also = before

    def check_between(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, looked at between one and the next. Raises as `check` does."""
        for item in items:
            yield item
            self.check()

    def check(self) -> None:
        """Raise Interrupted where a stop was asked for, or what else forbids going on."""
        if self.signal_number:
            raise Interrupted(
                f"Stopped by {self._by or signal.Signals(self.signal_number).name}.",
                "What was in flight is recorded.",
                signal_number=self.signal_number,
            )
        self._also()
