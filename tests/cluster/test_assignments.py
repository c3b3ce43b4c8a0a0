"""The assignments: lanes of a lost worker are opened on another one no sooner than the rate allows."""

import time
from dataclasses import replace
from typing import Any

import pytest

from bulkreset.cluster.assignments import LaneAssignments
from bulkreset.cluster.dask_cluster import SKEW_SECONDS
from bulkreset.cluster.protocol import (
    ORDERS,
    InvalidMessage,
    ListingPace,
    OpenLanes,
    SendRows,
    SetCeiling,
    WorkerReport,
    pack,
    unpack,
)
from bulkreset.cluster.remote_lane import LaneGroup, RemoteLane, WorkerSession
from bulkreset.job import PaceConfig, Target
from bulkreset.models import Row
from bulkreset.send.lane import LaneKey, Results
from bulkreset.send.operations import SetPassword
from bulkreset.send.pacer import PacerState
from tests.send.fakes import POOL, FakeClock, row

SHORT = 0.01  # seconds


class _Nobody:
    """A runner without lanes."""

    def __getattr__(self, _name: str) -> Any:  # noqa: ANN401  (any method of it)
        return lambda *_: None


NOBODY: Any = _Nobody()


@pytest.mark.parametrize("rate", [0.5, 4.0])
@pytest.mark.parametrize("dead", [True, False])
def test_lanes_of_a_lost_worker_are_opened_one_slot_after_it_can_send_no_more(rate: float, *, dead: bool) -> None:
    clock = FakeClock()
    assignments = LaneAssignments(clock)
    first, second = assignments.posts["a"], assignments.posts["b"] = WorkerSession("a", "1"), WorkerSession("b", "2")
    key = LaneKey()
    lanes = [
        RemoteLane[Any](NOBODY, SetPassword({}), key, own, PaceConfig(), lambda *_: None) for own in (9 * rate, rate)
    ]
    group = LaneGroup(key, "", [Target(user_pool_id=POOL, region="eu-west-1")], emulated=True, lanes=lanes, weight=1.0)
    assignments.add([group], Results(), lambda *_, **__: None)
    assert group.worker is first
    assignments.apply_report(first, WorkerReport(0.0, opened=[(0, "boto3")]))
    first.lease_ends = clock.now() + 3.0
    free = assignments.on_worker_lost(first, dead=dead)
    assert free == (clock.now() if dead else first.lease_ends + SKEW_SECONDS)
    clock.advance(free - clock.now() + 1 / rate - SHORT)
    assignments.rebalance()
    assert group.worker is None
    clock.advance(2 * SHORT)
    assignments.rebalance()
    assert group.worker is second


def test_doubt_of_a_lost_worker_s_row_begins_when_the_worker_got_it_or_earlier() -> None:
    clock = FakeClock()
    assignments = LaneAssignments(clock)
    first, second = assignments.posts["a"], assignments.posts["b"] = WorkerSession("a", "1"), WorkerSession("b", "2")
    key = LaneKey()
    lane = RemoteLane[Any](NOBODY, SetPassword({}), key, None, PaceConfig(), lambda *_: None)
    target = Target(user_pool_id=POOL, region="eu-west-1")
    group = LaneGroup(
        key, "", [target], emulated=True, lanes=[lane], weight=1.0, look_up=ListingPace(2.5), not_before=0.0
    )
    assignments.add([group], Results(), lambda *_, **__: None)
    assignments.apply_report(first, WorkerReport(0.0, opened=[(0, "boto3")]))
    before = time.time_ns() // 1_000_000
    assignments.put(lane, [row(1), replace(row(2, doubted=True), doubted_since=7, canonical="sub-2")])
    after = time.time_ns() // 1_000_000
    assignments.on_worker_lost(first, dead=True)
    assert (lane.away, lane.away_since) == ({}, {})
    assignments.rebalance()
    assignments.apply_report(second, WorkerReport(0.0, opened=[(0, "boto3")]))
    orders = unpack(ORDERS, pack(ORDERS, second.orders))
    (opened,) = (order for order in orders if isinstance(order, OpenLanes))
    assert opened.look_up == ListingPace(2.5)
    (sent,) = (order for order in orders if isinstance(order, SendRows))
    fresh, doubted = sent.rows
    assert isinstance(fresh, Row)
    assert isinstance(doubted, Row)
    assert fresh.was_in_doubt
    assert before <= (fresh.doubted_since or 0) <= after
    assert (doubted.was_in_doubt, doubted.doubted_since, doubted.canonical) == (True, 7, "sub-2")


def test_changed_ceiling_is_sent_to_the_worker_of_the_lane_and_to_a_new_one() -> None:
    assignments = LaneAssignments(FakeClock())
    first = assignments.posts["a"] = WorkerSession("a", "1")
    lanes = [RemoteLane[Any](NOBODY, SetPassword({}), LaneKey(), 9.0, PaceConfig(), lambda *_: None) for _ in "ab"]
    target = Target(user_pool_id=POOL, region="eu-west-1")
    group = LaneGroup(lanes[0].key, "", [target], emulated=True, lanes=lanes, weight=1.0)
    assignments.add([group], Results(), lambda *_, **__: None)

    lanes[1].set_ceiling(0.0)
    assignments.set_ceiling(lanes[1])
    assert not any(isinstance(order, SetCeiling) for order in first.orders)  # it has not opened it yet
    assignments.apply_report(first, WorkerReport(0.0, opened=[(0, "boto3")]))
    assert first.orders[-1] == SetCeiling((0, 1), 0.0)
    assert lanes[1].capacity() == 0

    lanes[1].set_ceiling(4.0)
    assignments.set_ceiling(lanes[1])
    assert first.orders[-1] == SetCeiling((0, 1), 4.0)
    # A report from before the change, or while idle, is valid; more than the job allows is not.
    for rate in (9.0, 0.0, 4.0):
        assignments.apply_report(first, WorkerReport(0.0, states=[((0, 1), PacerState(rate))]))
    with pytest.raises(InvalidMessage):
        assignments.apply_report(first, WorkerReport(0.0, states=[((0, 1), PacerState(10.0))]))
    with pytest.raises(InvalidMessage):
        assignments.apply_report(first, WorkerReport(0.0, states=[((0, 1), PacerState(None))]))
