"""Permission to send a call now: deadlines that count sleep, and a check right before the request is written."""

import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from bulkreset.clock import SINCE_BOOT, Clock

CHECK_SECONDS = 0.05  # the longest time that a check of a permit is valid


class Moment(NamedTuple):
    """One point in time on both clocks of a Deadline, in seconds."""

    boot: float
    unix: float


class Deadline:
    """The end of a time limit, on two clocks. It is over when either of them says so.

    After a stop of the process or a sleep of the machine, the clock since boot shows how long it was. After a move to
    another host, only the wall clock may show it. A wall clock that is set back does not move the end. A new deadline
    is over.
    """

    def __init__(self, clock: Clock = SINCE_BOOT, unix: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._unix = unix
        self._ends = self.now()

    def now(self) -> Moment:
        """Return the current time on both clocks."""
        return Moment(self._clock.now(), self._unix())

    def set(self, seconds: float, since: Moment | None = None) -> None:
        """Let it end `seconds` after `since` (default: now)."""
        boot, unix = since or self.now()
        self._ends = Moment(boot + seconds, unix + seconds)  # one assignment: other threads read it

    def seconds_left(self) -> float:
        """Return the seconds until the end; 0 or less if it is over."""
        ends, now = self._ends, self.now()
        return min(ends.boot - now.boot, ends.unix - now.unix)

    def has_passed_since_boot(self) -> bool:
        """Return whether it is over on the clock since boot alone."""
        return self._clock.now() > self._ends.boot


class SendPermit(Protocol):
    """Until when a process may send."""

    def seconds_left(self) -> float:
        """Return for how many more seconds calls may leave; 0 or less if none may."""


class AllPermits:
    """Several permits as one: calls may leave while each of them allows it. Without permits they always may."""

    def __init__(self, *permits: SendPermit) -> None:
        self._permits = permits

    def add(self, permit: SendPermit) -> None:
        """Add a permit."""
        self._permits = (*self._permits, permit)

    def seconds_left(self) -> float:
        """Return the least of the permits' seconds; infinity without any."""
        left = math.inf
        for permit in self._permits:
            left = min(left, permit.seconds_left())  # one min() with a default takes ten times as long
        return left


class WithheldError(Exception):
    """The call may not leave now. Nothing of it was sent."""


class LateCheck(Protocol):
    """Whether the slot of a call is too old."""

    def __call__(self, *, connected: bool) -> bool:
        """Return whether it is. `connected`: a connection was just opened for the call."""


def never_late(*, connected: bool) -> bool:  # noqa: ARG001  (the name that a LateCheck has)
    """Return False: the call has no slot, or may be late."""
    return False


@dataclass(frozen=True, slots=True)
class Departure:
    """One call that is about to leave, with its permit and the age check of its slot."""

    permit: SendPermit
    is_late: LateCheck = never_late

    def require(self, *, connected: bool) -> None:
        """Raise WithheldError if the call may not leave. `connected`: a connection was just opened for it."""
        if self.is_late(connected=connected):
            raise WithheldError
        self.require_permit()

    def require_permit(self) -> None:
        """Raise WithheldError if no call may leave now.

        The last step is one look at a clock. If the check itself took long, the process may have been stopped in it,
        and the permit is checked again.
        """
        began, now = -math.inf, SINCE_BOOT.now()
        while now - began > CHECK_SECONDS:
            began = now
            if self.permit.seconds_left() <= 0:
                raise WithheldError
            now = SINCE_BOOT.now()


_current: ContextVar[Departure | None] = ContextVar("departure", default=None)


class departing:  # noqa: N801  (used as a function; contextlib's context managers take several times as long)
    """Let `require_departure` in this thread check `departure` inside the block."""

    def __init__(self, departure: Departure) -> None:
        self._departure = departure

    def __enter__(self) -> None:
        """Begin."""
        self._before = _current.set(self._departure)

    def __exit__(self, *_error: object) -> None:
        """End."""
        _current.reset(self._before)


def current_departure() -> Departure | None:
    """Return the departure of this thread's call, for a check on another thread; None if the call needs no permit."""
    return _current.get()


def require_departure(*, connected: bool) -> None:
    """Raise WithheldError if the call of this thread may not leave. Do nothing for calls that need no permit.

    Transports call it right before they write the request: signing, resolving a name and opening a connection take
    time, in which a machine may be suspended. `connected`: a connection was just opened for the call.
    """
    if departure := _current.get():
        departure.require(connected=connected)
