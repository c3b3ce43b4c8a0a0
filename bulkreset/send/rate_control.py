"""The control law: a lane's rate as a pure function of what was accepted, what was refused, and the time since."""

from dataclasses import dataclass, replace
from enum import StrEnum

DEPTH = 0.07  # how far under the wall a first cut goes, as a share of it
DEEPEST = 0.5  # how far cuts on cuts go: the refill of a drained quota is waited for, then the wall is approached anew
MARGIN = 0.98  # of the rate lately accepted: it holds what the quota had saved up as well
LARGEST_STEP = 0.7  # of the wall: what was accepted says little while calls are still slow to come back
EARLY = 0.9  # of the rate, where there is nothing to measure yet
AGAIN = 1.0  # seconds within which a cut follows on another one
PLATEAU = 6.0  # seconds from a cut until the rate is back at the wall
DOUBLED = 6.5  # seconds past the plateau until it is twice the wall
PROBING = 1.02  # of the wall: from there on the lane asks for more than was let through
FLOOR = 0.5  # calls per second: a lane never stops asking


class Stage(StrEnum):
    """What a lane's rate is doing, and so the reason of its latest change."""

    CEILING = "at the ceiling"
    THROTTLED = "throttled"  # cut, and on its way back to the wall
    RECOVERED = "recovered"  # back at the wall
    PROBING = "probing"  # above the wall


@dataclass(frozen=True, slots=True)
class LanePace:
    """A lane's pace. Rates are calls per second, times are seconds on the injected clock.

    `wall` is the rate that the service lately let through when it refused, None while it has refused nothing; `depth`
    how far under it the last cut went.
    """

    ceiling: float
    wall: float | None = None
    cut_at: float = float("-inf")
    depth: float = DEPTH

    def rate(self, now: float) -> float:
        """The rate at `now`.

        After a cut it follows a cubic, as TCP CUBIC does: quickly up to just under the wall, slowly past it, and faster
        the longer nothing is refused, so that it stays near a quota that holds and soon finds one that grew.
        """
        if self.wall is None:
            return self.ceiling
        since = now - self.cut_at
        if since < PLATEAU:
            share = 1 - self.depth * (1 - since / PLATEAU) ** 3
        else:
            share = 1 + ((since - PLATEAU) / DOUBLED) ** 3
        return min(self.ceiling, max(FLOOR, self.wall * share))

    def stage(self, now: float) -> Stage:
        """What the rate is doing at `now`."""
        rate = self.rate(now)
        if self.wall is None or rate >= self.ceiling:
            return Stage.CEILING
        if now - self.cut_at < PLATEAU:
            return Stage.THROTTLED
        return Stage.PROBING if rate >= self.wall * PROBING else Stage.RECOVERED

    def refused(self, now: float, started: float, accepted: float | None) -> "LanePace":
        """The pace after a refusal of a call that started at `started`; `accepted` is the rate lately let through.

        A call that started before the last cut tells nothing new: one cut per round trip, however many were refused.
        """
        if started <= self.cut_at:
            return self
        current = self.rate(now)
        follows = self.wall is not None and now - self.cut_at < AGAIN
        before = self.wall if follows and self.wall is not None else current
        wall = min(before, accepted * MARGIN) if accepted is not None else current * EARLY
        depth = min(DEEPEST, self.depth * 2) if follows else DEPTH
        return replace(self, wall=max(wall, current * LARGEST_STEP, FLOOR), cut_at=now, depth=depth)
