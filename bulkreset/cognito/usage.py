"""Reads from CloudWatch how many calls of a category an account had in a Region: the run's and the users'."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from bulkreset.cognito.read_calls import ReadCallError, call_read
from bulkreset.cognito.response import Disposition
from bulkreset.cognito.session import TargetSession

PERIOD: Final = 300  # seconds of a data point; AWS publishes one every five minutes
ACTION: Final = "cloudwatch:GetMetricData"
_METRICS: Final = {"calls": "CallCount", "throttled": "ThrottleCount"}


@dataclass(frozen=True, slots=True)
class UsagePoint:
    """The calls of PERIOD seconds from `at` (Unix seconds): all, and the throttled ones."""

    at: float
    calls: float
    throttled: float = 0.0


def read_usage(session: TargetSession, category: str, start: float, end: float) -> list[UsagePoint]:
    """Return the points of a quota category from `start` to `end`, the oldest first; periods without calls have none.

    Raises ReadCallError, and TargetError if no client can be made.
    """
    client = session.side_client("cloudwatch")
    # A search finds the metric whatever service name its dimensions have.
    search = 'SUM(SEARCH(\'Namespace="AWS/Usage" MetricName="{}" Resource="{}" Type="API"\', \'Sum\', {}))'
    answer = call_read(
        client.get_metric_data,
        MetricDataQueries=[
            {"Id": name, "Expression": search.format(metric, category, PERIOD)} for name, metric in _METRICS.items()
        ],
        StartTime=datetime.fromtimestamp(start, UTC),
        EndTime=datetime.fromtimestamp(end, UTC),
        ScanBy="TimestampAscending",
    )
    found = answer.get("MetricDataResults")
    if not isinstance(found, list):
        raise ReadCallError("UnreadableResponse", Disposition.AMBIGUOUS)
    series = {name: dict(_values(found, name)) for name in _METRICS}
    return [UsagePoint(at, calls, series["throttled"].get(at, 0.0)) for at, calls in sorted(series["calls"].items())]


def _values(found: Iterable[Any], name: str) -> Iterable[tuple[float, float]]:
    """Yield (time, value) of one query. Invalid numbers and times are left out."""
    for result in found:
        if isinstance(result, Mapping) and result.get("Id") == name:
            pairs = zip(result.get("Timestamps") or (), result.get("Values") or (), strict=False)
            yield from (
                (at.timestamp(), float(value)) for at, value in pairs if isinstance(at, datetime) and value >= 0
            )
