"""A quota admits the calls of its bucket, and never more in any window of time."""

from hypothesis import given
from hypothesis import strategies as st

from tests.sim import Simulator
from tests.sim.clients import POOL, cognito, set_password
from tests.sim.quota import Limit, Quotas, TokenBucket

THROTTLED = "TooManyRequestsException 400"


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_refused_call_takes_no_token() -> None:
    clock = Clock()
    bucket = TokenBucket(Limit(rate=2, bucket=1), clock)
    assert [bucket.take() for _ in range(3)] == [True, False, False]
    clock.now += 0.5
    assert [bucket.take() for _ in range(2)] == [True, False]


@given(
    rate=st.floats(1, 50),
    depth=st.floats(1, 50),
    gaps=st.lists(st.floats(0, 0.3), max_size=200),
)
def test_no_window_admits_more_than_depth_and_growth(rate: float, depth: float, gaps: list[float]) -> None:
    clock = Clock()
    bucket = TokenBucket(Limit(rate, depth), clock)
    admitted = []
    for gap in gaps:
        clock.now += gap
        if bucket.take():
            admitted.append(clock.now)
    for first, start in enumerate(admitted):
        for last, end in enumerate(admitted[first:], first):
            assert last - first + 1 <= depth + rate * (end - start) + 1e-6


def test_rate_can_change_while_running() -> None:
    clock = Clock()
    quotas = Quotas(clock)
    quotas.set("Any", Limit(rate=1, bucket=1))
    assert quotas.admit("Any", "1", "r")
    quotas.set("Any", Limit(rate=100, bucket=10))
    assert not quotas.admit("Any", "1", "r")
    clock.now += 0.1
    assert sum(quotas.admit("Any", "1", "r") for _ in range(20)) == 10
    quotas.set("Any", None)
    assert quotas.admit("Any", "1", "r")


def test_every_account_and_region_has_its_own(sim: Simulator) -> None:
    sim.configure(quota={"rate": 0, "bucket": 1}, accounts={"AKIDB": "210987654321"})
    here, account = cognito(sim.url), cognito(sim.url, "AKIDB")
    region = cognito(sim.url, region="eu-west-1")
    assert [set_password(here) for _ in range(2)] == ["ok", THROTTLED]
    assert set_password(account) == "ok"
    assert set_password(region) != THROTTLED
    assert sim.users(POOL)["ann"]["applied"] == 2


def test_operations_have_quotas_of_their_own(sim: Simulator) -> None:
    none = {"rate": 0, "bucket": 1}
    sim.configure(quota=[none | {"operation": "ListUsers"}])
    client = cognito(sim.url)
    client.list_users(UserPoolId=POOL)
    assert [set_password(client) for _ in range(3)] == ["ok"] * 3
    sim.configure(quota=none)
    assert [set_password(client) for _ in range(2)] == ["ok", THROTTLED]
    sim.configure(quota=None)
    assert set_password(client) == "ok"
