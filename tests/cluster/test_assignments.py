"""The places: what a lost worker had is opened elsewhere no sooner than the rate allows, whatever it has sent."""

from queue import SimpleQueue
from typing import Any

import pytest

from bulkreset.cluster.assignments import Places
from bulkreset.cluster.dask_cluster import SKEW_SECONDS
from bulkreset.cluster.protocol import Report
from bulkreset.cluster.remote_lane import FleetLane, Post, Unit
from bulkreset.job import Pace, Target
from bulkreset.send.lane import Place
from bulkreset.send.operations import SetPassword
from tests.send.fakes import POOL, FakeClock

SHORT = 0.01  # seconds


class Nobody:
    """A carrier that carries nothing."""

    def __getattr__(self, _name: str) -> Any:  # noqa: ANN401  (any method of it)
        return lambda *_: None


@pytest.mark.parametrize("rate", [0.5, 4.0])
@pytest.mark.parametrize("dead", [True, False])
def test_place_of_a_lost_worker_is_opened_one_slot_of_its_slowest_lane_after_the_worker_can_send_no_more(
    rate: float, *, dead: bool
) -> None:
    clock = FakeClock()
    places = Places(clock)
    first, second = places.posts["a"], places.posts["b"] = Post("a", "1"), Post("b", "2")
    place = Place()
    lanes = [FleetLane[Any](Nobody(), SetPassword({}), place, own, Pace(), lambda *_: None) for own in (9 * rate, rate)]
    unit = Unit(place, "", [Target(user_pool_id=POOL, region="eu-west-1")], emulated=True, lanes=lanes, weight=1.0)
    places.add([unit], SimpleQueue(), lambda *_, **__: None)
    assert unit.post is first
    places.heed(first, Report(0.0, opened=[(0, "boto3")]))
    first.until = clock.now() + 3.0
    free = places.lose(first, dead=dead)
    assert free == (clock.now() if dead else first.until + SKEW_SECONDS)
    clock.advance(free - clock.now() + 1 / rate - SHORT)
    places.allot()
    assert unit.post is None
    clock.advance(2 * SHORT)
    places.allot()
    assert unit.post is second
