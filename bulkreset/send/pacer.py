"""The pacer, which decides when a lane may send its next attempt."""

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from bulkreset.clock import Clock
from bulkreset.send.rate_control import BACKOFF, CubicRate, RateState

# How much longer than usual a call may take to open its connection, in slot intervals; then it asks for a new slot.
LATEST_SLOTS = 0.5
LATEST_SECONDS = 0.001  # the minimum of that: a clock does not wake more exactly
IDLE_SECONDS = 0.05
OPENING_SECONDS = 0.25  # the longest time to open a connection that still counts as usual
MEASURED_SECONDS = 2.0
MEASURED_AT_LEAST = 8
LOOK_AT_CEILING_SECONDS = 0.25  # how long a thread waits for a slot before it checks the ceiling again


@dataclass(frozen=True, slots=True)
class PacerState:
    """The state of a pacer, to resume on another clock. All times are seconds relative to the time it was read.

    `next_in` is the time until the next slot, never below 0; if `rate` is 0, the part of an interval. `cut_ago` is the
    time since the last rate cut. `accepted` has the age of each recently accepted call. `rate` is the current rate in
    calls per second, None without pacing.
    """

    rate: float | None
    next_in: float = 0.0
    w_max: float | None = None
    cut_ago: float = math.inf
    backoff: float = BACKOFF
    rate_state: RateState = RateState.CEILING
    accepted: tuple[float, ...] = ()

    def after_seconds(self, seconds: float) -> "PacerState":
        """Return the same state `seconds` later."""
        return replace(
            self,
            next_in=self.next_in if self.rate == 0 else max(0.0, self.next_in - seconds),
            cut_ago=self.cut_ago + seconds,
            accepted=tuple(ago + seconds for ago in self.accepted),
        )


class Pacer:
    """Evenly spaced slots for one lane, shared by its threads. `ceiling` is calls per second, None for no pacing.

    `on_change` gets the rate and the reason of a change: at each cut, and at the first slot of each later RateState.

    Any window of w seconds has at most rate·w + 1 slots; if the rate changes in it, at most 1 more than the integral of
    the rate. A slot is the moment at which it is taken, and the next one comes an interval later: what a thread wakes
    late is lost, not made up for. Only the first waiting thread holds a slot. Unused slots are not saved, so there is
    never a burst. The state lock is never held while waiting.

    A call leaves later than its slot if its connection takes longer to open than usual, or if the process is stopped in
    between. After a network failure or a stop, many such calls would leave at once: `is_late` says which ones must wait
    for a new slot.

    `set_ceiling` applies at once, and so does a cut: the remaining part of the interval before the next slot is kept at
    the new rate. With a ceiling of 0 nothing leaves.
    """

    def __init__(
        self, ceiling: float | None, clock: Clock, on_change: Callable[[float, str], None] = lambda _rate, _why: None
    ) -> None:
        self.ceiling = ceiling
        self._clock = clock
        self._on_change = on_change
        self._rate_curve = CubicRate(math.inf if ceiling is None else ceiling)
        self._rate_state = RateState.CEILING
        self._turn = threading.Lock()  # the queue of threads: the holder has the next slot
        self._lock = threading.Lock()
        self._next = math.inf if ceiling == 0 else clock.now()
        self._accepted: deque[float] = deque()
        self._opening = OPENING_SECONDS  # the shortest recent time to open a connection; it rises again slowly
        self._left = 0.0  # while the ceiling is 0: the remaining part of the interval before the next slot

    def rate(self) -> float | None:
        """Return the current rate in calls per second; None without pacing."""
        return None if self.ceiling is None else self._rate_curve.rate(self._clock.now())

    def state(self, *, brief: bool = False) -> PacerState:
        """Return the current state. If another pacer resumes from it, no more calls may leave through this one.

        `brief` leaves out the recently accepted calls.
        """
        with self._lock:
            now, pace = self._clock.now(), self._rate_curve
            self._drop_old(now)
            return PacerState(
                None if self.ceiling is None else pace.rate(now),
                self._left if self.ceiling == 0 else max(0.0, self._next - now),
                pace.w_max,
                now - pace.cut_at,
                pace.backoff,
                self._rate_state,
                () if brief else tuple(now - at for at in self._accepted),
            )

    def resume(self, state: PacerState) -> None:
        """Continue from a state. No slot comes earlier here than it would on the other pacer."""
        with self._lock:
            now = self._clock.now()
            self._rate_curve = replace(
                self._rate_curve, w_max=state.w_max, cut_at=now - state.cut_ago, backoff=state.backoff
            )
            rate = self.rate()
            if rate == 0:
                self._left = 1.0 if state.next_in else 0.0
            elif rate is None or state.rate is None:
                self._next = now + state.next_in
            else:  # the rate may be another one now
                self._next = now + state.next_in * max(1.0, (state.rate or 1.0) / rate)
            self._rate_state = state.rate_state
            self._accepted = deque(now - ago for ago in state.accepted)

    def set_ceiling(self, ceiling: float | None) -> None:
        """Change the maximum rate: calls per second, 0 to send nothing, None for no pacing."""
        with self._lock:
            now = self._clock.now()
            before = self.rate()
            if self.ceiling != 0:
                self._left = min(1.0, max(0.0, self._next - now) * (before or 0.0))
            self.ceiling = ceiling
            self._rate_curve = replace(self._rate_curve, ceiling=math.inf if ceiling is None else ceiling)
            rate = self.rate()
            self._next = now if rate is None else now + self._left / rate if rate else math.inf
            # Without a cut the state stays, and the caller reports the change.
            if self._rate_state is not RateState.THROTTLED:
                self._rate_state = self._rate_curve.state(now)

    def is_idle(self) -> bool:
        """Return whether a slot has passed unused."""
        with self._lock:
            now = self._clock.now()
            return bool(self.ceiling) and now - self._next > max(IDLE_SECONDS, 1 / self._rate_curve.rate(now))

    def wait(self, stop: threading.Event) -> bool:
        """Wait for a slot. Return False if `stop` was set first; then nothing may be sent."""
        if self.ceiling is None:
            return not stop.is_set()
        with self._turn:
            while True:
                left = self._next - self._clock.now()
                if self._clock.wait(stop, min(left, LOOK_AT_CEILING_SECONDS)):
                    return False
                with self._lock:
                    if self.ceiling is None:
                        return True
                    now = self._clock.now()
                    if self._next > now:  # the ceiling has changed, or may change
                        continue
                    rate = self._rate_curve.rate(now)
                    self._next = now + 1 / rate
                    before, self._rate_state = self._rate_state, self._rate_curve.state(now)
                    after = self._rate_state
                    break
            if after is not before:
                self._on_change(rate, after)
            return True

    def is_late(self, started: float, *, connected: bool) -> bool:
        """Return whether a call that took its slot at `started` leaves too late.

        `connected`: it opened a connection.
        """
        if self.ceiling is None:
            return False
        if not connected:
            return self._clock.now() - started > OPENING_SECONDS
        with self._lock:
            now = self._clock.now()
            took, usual = now - started, self._opening
            self._opening = min(OPENING_SECONDS, max(took, LATEST_SECONDS), usual * 1.25)
            return took > usual + max(LATEST_SLOTS / self._rate_curve.rate(now), LATEST_SECONDS)

    def on_accepted(self) -> None:
        """Record that the service did not throttle a call, whatever its result."""
        if self.ceiling is None:
            return
        with self._lock:
            now = self._clock.now()
            self._accepted.append(now)
            self._drop_old(now)

    def on_throttled(self, started: float) -> None:
        """Cut the rate for a throttled call sent at `started` (pacer's clock), if sent after the last cut."""
        if self.ceiling is None:
            return
        with self._lock:
            now = self._clock.now()
            before = self._rate_curve
            self._rate_curve = before.after_throttle(now, started, self._accepted_rate(now))
            cut = self._rate_curve is not before
            rate = self._rate_curve.rate(now)
            if cut:
                self._rate_state = RateState.THROTTLED
                if rate:  # a paused lane has no next slot
                    self._next = now + max(0.0, self._next - now) * before.rate(now) / rate
        if cut:
            self._on_change(rate, RateState.THROTTLED)

    def _accepted_rate(self, now: float) -> float | None:
        """Return the recently accepted calls per second; None if too few calls are known."""
        self._drop_old(now)
        span = now - self._accepted[0] if self._accepted else 0.0
        return len(self._accepted) / span if len(self._accepted) >= MEASURED_AT_LEAST and span > 0 else None

    def _drop_old(self, now: float) -> None:
        while self._accepted and self._accepted[0] < now - MEASURED_SECONDS:
            self._accepted.popleft()
