"""The control law: a lane's rate as a pure function of what was accepted, what was refused, and the time since."""

from dataclasses import dataclass, replace

CUT = 0.95  # just under what was lately accepted
DEEPEST_CUT = 0.7  # at once: what was accepted says little while calls are still slow to come back
EARLY_CUT = 0.8  # before there is a rate to measure
PLATEAU = 3.5  # seconds from a cut until the rate is back where it was cut
FLOOR = 0.5  # calls per second: a lane never stops asking


@dataclass(frozen=True, slots=True)
class Pace:
    """A lane's pace. Rates are calls per second, times are seconds on the injected clock.

    `wall` is the rate at which the service last refused, None while it has refused nothing.
    """

    ceiling: float
    wall: float | None = None
    cut_at: float = float("-inf")

    def rate(self, now: float) -> float:
        """The rate at `now`.

        After a cut it rises along a cubic, as TCP CUBIC does: quickly back to just under the wall, slowly past it, and
        faster the longer nothing is refused, so that it stays near a quota that holds and soon finds one that grew.
        """
        if self.wall is None:
            return self.ceiling
        rise = 1 + (1 - CUT) * ((now - self.cut_at) / PLATEAU - 1) ** 3
        return min(self.ceiling, max(FLOOR, self.wall * rise))

    def refused(self, now: float, started: float, accepted: float | None) -> "Pace":
        """The pace after a refusal of a call that started at `started`; `accepted` is the rate lately let through.

        A call that started before the last cut tells nothing new: one cut per round trip, however many were refused.
        """
        if started <= self.cut_at:
            return self
        current = self.rate(now)
        wall = min(current, accepted) if accepted is not None else current * EARLY_CUT / CUT
        return replace(self, wall=max(wall, current * DEEPEST_CUT, FLOOR), cut_at=now)
