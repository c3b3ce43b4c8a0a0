"""Yield to users: read their calls from CloudWatch, and leave the remaining rate to the run."""

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from bulkreset.cognito.read_calls import ReadCallError
from bulkreset.cognito.response import Disposition
from bulkreset.cognito.session import TargetSession
from bulkreset.cognito.usage import PERIOD, UsagePoint, read_usage
from bulkreset.log import open_log
from bulkreset.models import Outcome, Status, StepOutcome
from bulkreset.run.user_watch import UserWatch
from bulkreset.send.operations import SetPassword
from bulkreset.send.rate_ceiling import Limit
from bulkreset.send.user_demand import left_by_users, users_peak
from bulkreset.steps import SIGN_OUT

NOW = 1_800_000_000.0  # a whole number of periods
HOUR, DAY = 3600.0, 86_400.0
LANE = "123456789012/eu-west-1"


def point(ago: float, rate: float, throttled: float = 0.0) -> UsagePoint:
    """Return a data point of so many calls per second."""
    return UsagePoint(NOW - ago, rate * PERIOD, throttled * PERIOD)


@pytest.mark.parametrize(
    ("points", "ours", "expected"),
    [
        ([], {}, None),
        ([point(600, 4)], {}, 4.0),
        ([point(900, 9), point(600, 4)], {}, 9.0),
        ([point(600, 24)], {600: 20.0}, 4.0),
        ([point(600, 24)], {600: 24.5}, 0.0),  # a call may have been counted in the next period
        ([point(600, 24)], {900: 20.0}, 24.0),
        ([point(600, 4, 2)], {}, 6.0),
        # The last hour counts, the time before it does not; the same hour of the day before does.
        ([point(600, 1), point(HOUR, 7)], {}, 7.0),
        ([point(600, 1), point(2 * HOUR, 7)], {}, 1.0),
        ([point(600, 1), point(DAY + HOUR, 7)], {}, 7.0),
        ([point(600, 1), point(DAY - HOUR, 8)], {}, 8.0),
        ([point(600, 1), point(DAY + HOUR + PERIOD, 7), point(DAY - HOUR - PERIOD, 7)], {}, 1.0),
        # No recent data: the rate is unknown.
        ([point(HOUR, 7), point(DAY, 7)], {}, None),
    ],
)
def test_peak(points: Sequence[UsagePoint], ours: Mapping[float, float], expected: float | None) -> None:
    periods = {int((NOW - ago) // PERIOD): rate * PERIOD for ago, rate in ours.items()}
    assert users_peak(points, periods, NOW) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(("peak", "left"), [(0.0, 27.0), (20.0, 7.0), (27.0, 0.0), (100.0, 0.0)])
def test_rate_that_users_leave(peak: float, left: float) -> None:
    assert left_by_users(30.0, peak, 3.0) == left


class CloudWatch:
    """A session whose CloudWatch gives these answers, and the watch of one lane."""

    def __init__(self, points: Sequence[UsagePoint] | ReadCallError) -> None:
        self.points, self.out, self.now, self.asked = points, io.StringIO(), NOW, list[str]()
        log = open_log(self.out, "id", None)
        calls = [SetPassword.call, SIGN_OUT.call]
        sessions = {LANE: cast("TargetSession", None)}
        self.watch = UserWatch(sessions, calls, 3.0, log, self._read, lambda: self.now)

    def _read(self, _session: TargetSession, category: str, start: float, end: float) -> Sequence[UsagePoint]:
        assert (end, end - start) == (self.now, DAY + HOUR)
        self.asked.append(category)
        if isinstance(self.points, ReadCallError):
            raise self.points
        return self.points

    def limits(self, call: str = SetPassword.call) -> list[Limit]:
        """Return the limit of the lane."""
        return list(self.watch.limits(LANE, call, 30.0))


def test_own_calls_are_subtracted() -> None:
    it = CloudWatch([point(600, 24)])
    with it.watch.following():
        assert it.limits() == [Limit(3.0, "users")]
        at = round((NOW - 450) * 1000)
        for _ in range(20 * PERIOD // 4):
            it.watch.count(LANE, SetPassword.call, Outcome(1, Status.SET, attempts=4, finished_at=at))
        it.watch.count(LANE, SetPassword.call, Outcome(1, Status.READY))
        it.watch.count("other", SetPassword.call, Outcome(1, Status.SET, attempts=4, finished_at=at))
        assert it.limits() == [Limit(23.0, "users")]
        assert list(it.watch.limits("other", SetPassword.call, 30.0)) == []
    assert sorted(it.asked) == ["UserAccountRecovery", "UserUpdate"]


def test_sign_outs_have_their_own_users() -> None:
    it = CloudWatch([point(0, 24)])
    it.watch.ask()
    for _ in range(10 * PERIOD):
        it.watch.count(LANE, SIGN_OUT.call, StepOutcome("sign_out", 1, done=True, attempts=1))
    assert it.limits(SIGN_OUT.call) == [Limit(13.0, "users")]
    assert it.limits(SetPassword.call) == [Limit(3.0, "users")]


@pytest.mark.parametrize(
    ("points", "problem"),
    [([], "no data"), (ReadCallError("AccessDenied", Disposition.FATAL), "AccessDenied")],
)
def test_without_data_or_permission_nothing_is_limited_and_that_is_reported_once(
    points: Sequence[UsagePoint] | ReadCallError, problem: str
) -> None:
    it = CloudWatch(points)
    for _ in range(3):
        it.watch.ask()
    assert it.limits() == []
    assert it.out.getvalue().count("info_unavailable") == 2  # for each category
    assert problem in it.out.getvalue()
    assert "cloudwatch:GetMetricData" in it.out.getvalue()


def test_last_value_applies_until_it_is_stale() -> None:
    it = CloudWatch([point(600, 10)])
    it.watch.ask()
    it.points = ReadCallError("Throttling", Disposition.THROTTLED)
    it.now += 600
    it.watch.ask()
    assert it.limits() == [Limit(17.0, "users")]
    it.now += 1800
    assert it.limits() == []


class Client:
    """A CloudWatch client."""

    def __init__(self, answer: Any) -> None:  # noqa: ANN401
        self.answer, self.given = answer, dict[str, Any]()

    def get_metric_data(self, **given: Any) -> Any:  # noqa: ANN401
        """Record the request."""
        self.given = given
        return self.answer


class Session:
    """A session with this client."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def side_client(self, service: str) -> Client:
        """Return the client: only CloudWatch is asked for."""
        assert service == "cloudwatch"
        return self.client


def test_question_and_answer() -> None:
    first, second = (datetime.fromtimestamp(NOW - ago, UTC) for ago in (600, 300))
    client = Client(
        {
            "MetricDataResults": [
                {"Id": "calls", "Timestamps": [second, first], "Values": [7.0, 5.0]},
                {"Id": "throttled", "Timestamps": [first], "Values": [2.0]},
            ]
        }
    )
    found = read_usage(cast("TargetSession", Session(client)), "UserUpdate", NOW - 600, NOW)
    assert found == [UsagePoint(NOW - 600, 5.0, 2.0), UsagePoint(NOW - 300, 7.0, 0.0)]
    calls, throttled = (query["Expression"] for query in client.given["MetricDataQueries"])
    assert 'MetricName="CallCount" Resource="UserUpdate"' in calls
    assert 'MetricName="ThrottleCount"' in throttled


@pytest.mark.parametrize("answer", [None, {}, {"MetricDataResults": None}, {"MetricDataResults": "?"}])
def test_invalid_answer(answer: object) -> None:
    with pytest.raises(ReadCallError):
        read_usage(cast("TargetSession", Session(Client(answer))), "UserUpdate", NOW - 600, NOW)


def test_strange_values_are_left_out() -> None:
    answer = {"MetricDataResults": ["?", {"Id": "calls", "Timestamps": ["now"], "Values": [7.0]}, {"Id": "calls"}]}
    assert read_usage(cast("TargetSession", Session(Client(answer))), "UserUpdate", NOW - 600, NOW) == []
