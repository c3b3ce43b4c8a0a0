"""The users' need of a quota, and the remaining rate for a run: pure functions of CloudWatch's data points."""

from collections.abc import Mapping, Sequence
from typing import Final

from bulkreset.cognito.usage import PERIOD, UsagePoint

USERS: Final = "users"
RECENT_SECONDS: Final = 3600.0  # only the users' peak in this time before now counts
DAY_SECONDS: Final = 86_400.0
# and the peak of the day before, from so long before this time of day to so long after it
AHEAD_SECONDS: Final = 3600.0
READ_SECONDS: Final = DAY_SECONDS + AHEAD_SECONDS  # seconds of data points that are needed
STALE_SECONDS: Final = 1800.0  # older data points say nothing about the present


def users_peak(points: Sequence[UsagePoint], ours: Mapping[int, float], now: float) -> float | None:
    """Return the users' peak in calls per second; None if there is no recent data point.

    `ours` has the run's own calls by period (Unix seconds // PERIOD); they are subtracted. A throttled call counts as
    well, because a user needed it.
    """
    if not any(now - point.at < STALE_SECONDS + PERIOD for point in points):
        return None
    peak = 0.0
    for point in points:
        if now - point.at < RECENT_SECONDS + PERIOD or abs(now - DAY_SECONDS - point.at) <= AHEAD_SECONDS:
            mine = ours.get(int(point.at // PERIOD), 0.0)
            peak = max(peak, (point.calls + point.throttled - mine) / PERIOD)
    return peak


def left_by_users(quota: float, peak: float, reserve: float) -> float:
    """Return the calls per second that a run may take: the quota less the users' peak and the reserve; at least 0."""
    return max(0.0, quota - peak - reserve)
