"""The control law: a lane's rate as a pure function of what was accepted, what was refused, and the time since."""

from dataclasses import dataclass, replace
from enum import StrEnum

BACKOFF = 0.07  # how far under the wall a first cut goes, as a share of it
MAX_BACKOFF = (
    0.5  # how far cuts on cuts go: the refill of a drained quota is waited for, then the wall is approached anew
)
ACCEPTED_SHARE = 0.98  # of the rate lately accepted: it holds what the quota had saved up as well
MIN_CUT = 0.7  # of the wall: what was accepted says little while calls are still slow to come back
UNMEASURED_SHARE = 0.9  # of the rate, where there is nothing to measure yet
REPEAT_SECONDS = 1.0  # seconds within which a cut follows on another one
RECOVERY_SECONDS = 6.0  # seconds from a cut until the rate is back at the wall
DOUBLING_SECONDS = 6.5  # seconds past the plateau until it is twice the wall
PROBING_SHARE = 1.02  # of the wall: from there on the lane asks for more than was let through
MIN_RATE = 0.5  # calls per second: a lane never stops asking


class RateState(StrEnum):
    """What a lane's rate is doing, and so the reason of its latest change."""

    CEILING = "at the ceiling"
    THROTTLED = "throttled"  # cut, and on its way back to the wall
    RECOVERED = "recovered"  # back at the wall
    PROBING = "probing"  # above the wall


@dataclass(frozen=True, slots=True)
class CubicRate:
    """A lane's pace. Rates are calls per second, times are seconds on the injected clock.

    `wall` is the rate that the service lately let through when it refused, None while it has refused nothing; `depth`
    how far under it the last cut went.
    """

    ceiling: float
    w_max: float | None = None
    cut_at: float = float("-inf")
    backoff: float = BACKOFF

    def rate(self, now: float) -> float:
        """The rate at `now`.

        After a cut it follows a cubic, as TCP CUBIC does: quickly up to just under the wall, slowly past it, and faster
        the longer nothing is refused, so that it stays near a quota that holds and soon finds one that grew.
        """
        if self.w_max is None:
            return self.ceiling
        since = now - self.cut_at
        if since < RECOVERY_SECONDS:
            share = 1 - self.backoff * (1 - since / RECOVERY_SECONDS) ** 3
        else:
            share = 1 + ((since - RECOVERY_SECONDS) / DOUBLING_SECONDS) ** 3
        return min(self.ceiling, max(MIN_RATE, self.w_max * share))

    def state(self, now: float) -> RateState:
        """What the rate is doing at `now`."""
        rate = self.rate(now)
        if self.w_max is None or rate >= self.ceiling:
            return RateState.CEILING
        if now - self.cut_at < RECOVERY_SECONDS:
            return RateState.THROTTLED
        return RateState.PROBING if rate >= self.w_max * PROBING_SHARE else RateState.RECOVERED

    def after_throttle(self, now: float, started: float, accepted: float | None) -> "CubicRate":
        """The pace after a refusal of a call that started at `started`; `accepted` is the rate lately let through.

        A call that started before the last cut tells nothing new: one cut per round trip, however many were refused.
        """
        if started <= self.cut_at:
            return self
        current = self.rate(now)
        follows = self.w_max is not None and now - self.cut_at < REPEAT_SECONDS
        before = self.w_max if follows and self.w_max is not None else current
        wall = min(before, accepted * ACCEPTED_SHARE) if accepted is not None else current * UNMEASURED_SHARE
        depth = min(MAX_BACKOFF, self.backoff * 2) if follows else BACKOFF
        return replace(self, w_max=max(wall, current * MIN_CUT, MIN_RATE), cut_at=now, backoff=depth)
