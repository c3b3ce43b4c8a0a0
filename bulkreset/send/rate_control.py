"""Rate control: a lane's rate as a pure function of accepted calls, throttled calls and time."""

from dataclasses import dataclass, replace
from enum import StrEnum

BACKOFF = 0.07  # how far below w_max a first cut goes, as a share of w_max
MAX_BACKOFF = 0.5  # the same for repeated cuts, at most: wait until a drained quota refills, then approach w_max again
ACCEPTED_SHARE = 0.98  # share of the recently accepted rate, which also contains the saved-up burst of the quota
MIN_CUT = 0.7  # share of the current rate, the lowest w_max: few calls count as accepted while answers are slow
UNMEASURED_SHARE = 0.9  # share of the current rate, if there is no measurement yet
REPEAT_SECONDS = 1.0  # seconds after a cut within which the next one is a repeated cut
RECOVERY_SECONDS = 6.0  # seconds from a cut until the rate is back at w_max
DOUBLING_SECONDS = 6.5  # seconds from then until the rate is twice w_max
PROBING_SHARE = 1.02  # share of w_max: from there on the lane sends more than was accepted
MIN_RATE = 0.5  # calls per second: a lane never stops sending


class RateState(StrEnum):
    """The phase of a lane's rate, which is also the reason of its latest change."""

    CEILING = "at the ceiling"
    THROTTLED = "throttled"  # cut, and rising back to w_max
    RECOVERED = "recovered"  # back at w_max
    PROBING = "probing"  # above w_max


@dataclass(frozen=True, slots=True)
class CubicRate:
    """The rate curve of a lane. Rates are calls per second, times are seconds on the injected clock.

    `w_max` is the rate that the service recently accepted when it throttled; None if it has not throttled yet.
    `backoff` is how far below w_max the last cut went, as a share of w_max.
    """

    ceiling: float
    w_max: float | None = None
    cut_at: float = float("-inf")
    backoff: float = BACKOFF

    def rate(self, now: float) -> float:
        """Return the rate at `now`.

        After a cut it follows a cubic curve, as TCP CUBIC does: it rises quickly to just below w_max, passes it slowly,
        then rises faster the longer no call is throttled. So it stays near a stable quota and soon finds a higher one.
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
        """Return the phase of the rate at `now`."""
        rate = self.rate(now)
        if self.w_max is None or rate >= self.ceiling:
            return RateState.CEILING
        if now - self.cut_at < RECOVERY_SECONDS:
            return RateState.THROTTLED
        return RateState.PROBING if rate >= self.w_max * PROBING_SHARE else RateState.RECOVERED

    def after_throttle(self, now: float, started: float, accepted: float | None) -> "CubicRate":
        """Return the curve after a throttled call that started at `started`; `accepted` is the recently accepted rate.

        `accepted` is None if unknown. A call that started before the last cut changes nothing, so there is one cut per
        round trip, however many calls were throttled.
        """
        if started <= self.cut_at:
            return self
        current = self.rate(now)
        follows = self.w_max is not None and now - self.cut_at < REPEAT_SECONDS
        before = self.w_max if follows and self.w_max is not None else current
        wall = min(before, accepted * ACCEPTED_SHARE) if accepted is not None else current * UNMEASURED_SHARE
        depth = min(MAX_BACKOFF, self.backoff * 2) if follows else BACKOFF
        return replace(self, w_max=max(wall, current * MIN_CUT, MIN_RATE), cut_at=now, backoff=depth)
