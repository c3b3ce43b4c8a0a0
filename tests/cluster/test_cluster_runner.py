"""The cluster with local worker agents: a lost worker loses no row, nothing runs twice, and the rate holds."""

import math
import threading
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from bulkreset.cluster import cluster_runner, worker_agent
from bulkreset.cluster.cluster_runner import ClusterRunner
from bulkreset.cluster.protocol import EndSession, OpenLanes, SendRows, WorkerReport
from bulkreset.cluster.secret_envelope import SecretEnvelope
from bulkreset.cluster.worker_agent import WorkerAgent
from bulkreset.cognito.response import Response
from bulkreset.errors import Bug, ClusterError, ClusterLost, ServiceError, TargetError
from bulkreset.models import Row
from tests.cluster.in_process_cluster import (
    LEASE,
    PACE,
    SKEW,
    InProcessCluster,
    in_process_cluster,
    keep_the_rate,
    unix,
)
from tests.send.fakes import DOUBTFUL, FATAL, SET, THROTTLED
from tests.send.lanes import rows
from tests.waiting import wait_until


def lane_rows(lanes: int, each: int) -> list[list[Row]]:
    """Return rows for several lanes."""
    return [rows(1000 * number + 1, 1000 * number + each) for number in range(lanes)]


def worker_of(it: InProcessCluster) -> str:
    """Return the worker that has the only lane."""
    return next(name for name in it.cluster.names if it.cluster.open_lanes(name))


def hold_from(first: int) -> Callable[[int], bool]:
    """Return a function: whether a row's answer is held, which is so from that row of each lane on."""
    return lambda row: row % 1000 >= first


def test_every_row_is_sent_once_at_the_lane_s_rate() -> None:
    with in_process_cluster("a", "b") as it:
        it.run(lane_rows(3, 30), 60.0)
    assert it.journal.statuses() == {"set": 90}
    assert Counter(it.service.rows).most_common(1)[0][1] == 1
    assert {fields["worker"] for fields in it.events_named("worker_joined")} == {"a", "b"}
    assert all(keep_the_rate(it.slots(number), 60) for number in range(3))


def test_unpaced_lane_flows() -> None:
    with in_process_cluster("a") as it:
        it.run(lane_rows(1, 900), None)
    assert it.journal.statuses() == {"set": 900}


@pytest.mark.parametrize("how", ["dead", "cut"])
def test_lost_worker_s_rows_go_to_another_one_and_the_rate_holds(how: str) -> None:
    """A worker that is cut off continues until its lease ends; nobody else sends before that."""
    silent: list[float] = []
    with in_process_cluster("a", "b") as it:

        def lose(_cluster: ClusterRunner) -> None:
            wait_until(lambda: it.service.held)
            lost = worker_of(it)
            if how == "dead":
                it.cluster.kill(lost)
                return
            it.cluster.cut_off(lost)
            it.service.hold(hold_from(60))
            wait_until(lambda: it.service.held[-1] >= 60)
            it.service.let_go()
            it.clock.advance(LEASE)
            silent.append(it.clock.now() - LEASE)
            wait_until(lambda: it.events_named("worker_lost"))
            wait_until(it.listed_again())
            silent.append(it.clock.now())
            it.clock.advance(SKEW)

        it.service.hold(hold_from(40))
        it.run([rows(1, 150)], 60.0, lose)
        assert it.journal.statuses() == {"set": 150}
        twice = {row for row, times in Counter(it.service.rows).items() if times > 1}
        doubted = {outcome.row for outcome in it.journal.outcomes.values() if outcome.in_doubt}
        assert twice <= doubted
        assert 0 < len(doubted) <= 120, "two batches at most"
        (lost,) = it.events_named("worker_lost")
        assert lost["in_doubt"] == len(doubted)
        slots = it.slots()
        assert keep_the_rate(slots, 60)
        assert how == "dead" or not [slot for slot in slots if silent[0] < slot <= silent[1]], (
            "whoever may still be sending is waited for, by its clock"
        )


def test_interrupted_connection_loses_and_repeats_nothing() -> None:
    with in_process_cluster("a") as it:
        it.cluster.lose_answers = {1, 2, 3, 5, 8}

        def cut(_cluster: ClusterRunner) -> None:
            wait_until(lambda: not it.cluster.lose_answers)
            it.cluster.cut_off("a")
            it.service.let_go()
            for seconds in (0, LEASE / 2):
                it.clock.advance(seconds)
                refused = it.cluster.refused
                wait_until(lambda: it.cluster.refused >= refused + 2)  # noqa: B023  (waited for here)
            it.cluster.cut.clear()

        it.service.hold(hold_from(20))
        it.run([rows(1, 100)], 80.0, cut)
    assert sorted(it.service.rows) == list(range(1, 101))
    assert it.journal.statuses() == {"set": 100}
    assert it.events_named("worker_lost") == []
    assert not any(outcome.in_doubt for outcome in it.journal.outcomes.values())


def test_throttled_lane_moves_with_its_pace() -> None:
    """After a cut the worker is lost.

    The lane continues below the rate at which it was throttled, not at its ceiling.
    """
    refused = threading.Event()

    def answer(row: Row) -> Response:
        if row.number == 60 and not refused.is_set():
            refused.set()
            return THROTTLED
        return SET

    with in_process_cluster("a", "b", answer=answer) as it:
        found: list[float] = []

        def lose(_cluster: ClusterRunner) -> None:
            (lane,) = it.lanes
            found.append(wait_until(lambda: (lane.state and lane.state.w_max) or 0.0))
            it.cluster.kill(worker_of(it))

        it.service.hold(hold_from(61))
        it.run([rows(1, 100)], 60.0, lose)
        (lane,) = it.lanes
        assert lane.state is not None
        assert [lane.state.w_max] == found
        assert found[0] < 60
        assert math.isfinite(lane.state.cut_ago), "who goes on was not throttled, and knows when the other one was"
    assert it.journal.statuses() == {"set": 100}


def test_lanes_move_to_a_worker_that_joins_and_lose_no_slot_s_distance() -> None:
    """Two batches of each lane, with 50 rows each, are with a worker; the rest is not assigned yet."""
    with in_process_cluster("a") as it:

        def join(_cluster: ClusterRunner) -> None:
            wait_until(lambda: {row // 1000 for row in it.service.held} == {0, 1, 2, 3})
            it.cluster.names.append("b")
            wait_until(lambda: sum(lane.is_moving for lane in it.lanes) == 2)
            it.service.hold(hold_from(101))
            wait_until(lambda: it.cluster.open_lanes("b") == 2 and it.cluster.open_lanes("a") == 2)

        it.service.hold(hold_from(20))
        it.run(lane_rows(4, 120), 50.0, join)
    assert it.journal.statuses() == {"set": 480}
    assert max(Counter(it.service.rows).values()) == 1
    assert not any(outcome.in_doubt for outcome in it.journal.outcomes.values())
    assert all(keep_the_rate(it.slots(number), 50) for number in range(4))


def test_unfit_worker_at_the_start_refuses_the_run() -> None:
    with in_process_cluster("a", "b") as it:
        it.cluster.unfit["b"] = "it has bulkreset 9.9.9, and this is bulkreset 0.1.0"
        with pytest.raises(ClusterError, match=r"The worker b cannot be used: it has bulkreset 9\.9\.9") as caught:
            it.run([rows(1, 5)], 40.0)
        assert caught.value.exit_code == 2
    assert it.service.rows == []


def test_unfit_worker_that_joins_later_gets_no_lane() -> None:
    with in_process_cluster("a") as it:

        def join(_cluster: ClusterRunner) -> None:
            it.cluster.unfit["b"] = "its clock is 3.0 s from this one"
            it.cluster.names.append("b")
            wait_until(lambda: it.events_named("worker_refused"))

        it.service.hold(hold_from(10))
        it.run(lane_rows(2, 40), 80.0, join)
    assert it.journal.statuses() == {"set": 80}
    assert it.events_named("worker_refused") == [{"worker": "b", "problem": "its clock is 3.0 s from this one"}]
    assert it.cluster.of.get("b", []) == []


@pytest.mark.parametrize("ahead", [5.0, -5.0])
def test_worker_with_a_changed_clock_is_dropped(ahead: float) -> None:
    """If the clock is ahead, its leases end too early and its lanes stand still; if it is behind, they end too late."""
    with in_process_cluster("a", "b") as it:

        def set_clock(_cluster: ClusterRunner) -> None:
            wait_until(lambda: it.service.held)
            it.cluster.ahead[worker_of(it)] = ahead
            wait_until(lambda: it.events_named("worker_refused"))

        it.service.hold(hold_from(20))
        it.run([rows(1, 100)], 80.0, set_clock)
        assert keep_the_rate(it.slots(), 80)
    assert it.journal.statuses() == {"set": 100}
    (refused,) = it.events_named("worker_refused")
    assert "its clock is 5.0 s from this one" in refused["problem"]


def test_no_worker_at_all_refuses_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_runner, "NOBODY_SECONDS", 0.0)
    with in_process_cluster() as it, pytest.raises(ClusterError, match="has no worker"):
        it.run([rows(1, 5)], 40.0)


@pytest.mark.parametrize("what", ["scheduler", "workers"])
def test_without_scheduler_or_workers_the_run_stops_resumable(what: str) -> None:
    with in_process_cluster("a") as it:

        def lose(cluster: ClusterRunner) -> None:
            wait_until(lambda: it.service.held)
            if what == "scheduler":
                it.cluster.gone = True
            else:
                it.cluster.kill("a")
                wait_until(lambda: cluster._nobody_since)
                it.clock.advance(cluster_runner.NOBODY_SECONDS)
            wait_until(lambda: cluster._failure)

        it.service.hold(hold_from(10))
        with pytest.raises(ClusterLost, match=r"is lost|has had no worker") as caught:
            it.run([rows(1, 400)], 40.0, lose)
        assert caught.value.exit_code == 3
    settled = set(it.journal.outcomes)
    assert settled == set(it.journal.claimed), "what was claimed has an outcome"
    assert set(it.journal.statuses()) <= {"set", "ready", "in_doubt"}
    sent = set(it.service.rows)
    assert {row for row, outcome in it.journal.outcomes.items() if outcome.status == "ready"}.isdisjoint(sent)


def test_stop_starts_no_more_attempts_and_records_calls_in_flight() -> None:
    """Each of two lanes has as many calls in flight as it has threads."""
    with in_process_cluster("a", "b") as it:

        class Enough(Exception):
            pass

        def check() -> None:
            if len(it.service.held) == 2 * (PACE.workers or 0):
                raise Enough

        def see_it_stop(_cluster: ClusterRunner) -> None:
            wait_until(lambda: it.cluster.stopped(0) and it.cluster.stopped(1))

        it.journal.check = check
        it.service.hold(hold_from(15))
        with pytest.raises(Enough):
            it.run(lane_rows(2, 100), 80.0, see_it_stop)
        sent = len(it.service.rows)
        assert it.journal.statuses()["set"] == sent
        assert set(it.journal.statuses()) == {"set", "ready"}
        assert sent == 2 * 14 + 2 * (PACE.workers or 0)


class Permit:
    """A send permit that the test controls."""

    left = 3600.0

    def seconds_left(self) -> float:
        """Return what the test has set."""
        return self.left


def test_workers_of_a_run_that_lost_its_permit_send_nothing_more() -> None:
    """The coordinator slept and another process continues the run: its workers get no new lease when it wakes."""
    permit, lost = Permit(), list[float]()
    with in_process_cluster("a") as it:

        class Enough(Exception):
            pass

        def sleep(_cluster: ClusterRunner) -> None:
            wait_until(lambda: len(it.service.rows) >= 10)
            permit.left = -1.0
            lost.append(it.clock.now())
            it.clock.advance(Permit.left + 1)
            exchanges = len(it.cluster.leases)
            wait_until(lambda: len(it.cluster.leases) >= exchanges + 5)
            lost.append(it.clock.now())

        def check() -> None:
            if len(lost) == 2:
                raise Enough

        it.journal.check = check
        with pytest.raises(Enough):
            it.run(lane_rows(1, 2000), 200.0, sleep, permit)
    assert max(it.slots()) <= lost[0]
    assert it.cluster.leases[0] == unix()  # a worker without lanes has no lease
    assert max(it.cluster.leases) == unix() + Permit.left
    assert it.journal.statuses().keys() == {"set", "ready"}


def test_closed_worker_agent_has_stopped_before_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the answer its lanes are given to another worker."""
    monkeypatch.setattr(WorkerAgent, "close", lambda _self: None)  # close() does nothing at first
    with in_process_cluster("a") as it:
        agent = WorkerAgent(it.clock, it.clock.now)
        order = OpenLanes(0, "", [], emulated=True, lanes=[], pace=PACE)
        agent.exchange(1, it.clock.now(), SecretEnvelope.pack([order]))
        turns = count(2)

        def opened() -> Any:  # noqa: ANN401  (an open group)
            agent.exchange(next(turns), it.clock.now(), SecretEnvelope.pack([]))
            return agent._groups.get(0)

        group = wait_until(opened)
        assert not group.key.stop.is_set()
        agent.exchange(next(turns), it.clock.now(), SecretEnvelope.pack([EndSession()]))
        assert group.key.stop.is_set()
        assert agent.closed.is_set()


def test_fatal_answer_stops_only_its_lane() -> None:
    with in_process_cluster("a", "b", answer=lambda row: FATAL if row.number == 1010 else SET) as it:

        def see_it_stop(_cluster: ClusterRunner) -> None:
            wait_until(lambda: it.cluster.stopped(1))

        it.service.hold(lambda row: row > 1010)
        with pytest.raises(ServiceError, match="Lane 1: Cognito answered AccessDeniedException"):
            it.run(lane_rows(2, 40), 80.0, see_it_stop)
    statuses = Counter((row // 1000, outcome.status.value) for row, outcome in it.journal.outcomes.items())
    assert statuses[0, "set"] == 40
    assert statuses[1, "set"] < 10 + (PACE.workers or 0), "what was in flight comes back"
    assert max(Counter(it.service.rows).values()) == 1


@pytest.mark.parametrize("where", ["call", "batch"])
def test_bug_on_a_worker_ends_the_run_and_is_not_carried_round(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(row: Row) -> Response:
        if where == "call" and row.number == 20:
            raise KeyError(row.password.reveal())
        return SET

    if where == "batch":
        follow = WorkerAgent._handle_order

        def poisoned(self: WorkerAgent, order: object, report: WorkerReport) -> None:
            if isinstance(order, SendRows) and any(row.number == 20 for row in order.rows):
                raise KeyError([row.password.reveal() for row in order.rows if isinstance(row, Row)])
            follow(self, order, report)  # type: ignore[arg-type]  # the patched method takes a WorkerOrder

        monkeypatch.setattr(WorkerAgent, "_handle_order", poisoned)
    with in_process_cluster("a", "b", answer=answer) as it:
        with pytest.raises(Bug) as caught:
            it.run([rows(1, 300)], 60.0)
        assert caught.value.exit_code == 70
        assert "KeyError at " in str(caught.value)
        assert "Hidden" not in str(caught.value)
    assert it.service.rows.count(20) == (where == "call")
    assert set(it.journal.outcomes) == set(it.journal.claimed)
    assert it.journal.outcomes[20].status == "in_doubt"


def test_only_a_lane_that_no_worker_can_open_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    with in_process_cluster("a", "b") as it:

        def session(_target: object, order: object) -> None:
            if order.group == 1:  # type: ignore[attr-defined]
                raise TargetError("No AWS credentials were found.", "Sign in.")

        monkeypatch.setattr(worker_agent, "_session", session)
        with pytest.raises(ServiceError, match=r"Lane 1: The worker [ab] says: No AWS credentials were found\."):
            it.run(lane_rows(2, 30), 60.0)
    assert {row // 1000 for row in it.service.rows} == {0}
    assert len(it.service.rows) == 30
    assert len(it.events_named("worker_refused")) == 2


def test_lost_answers_of_the_service_stay_in_doubt_across_workers() -> None:
    def answer(row: Row) -> Response:
        return DOUBTFUL if row.number <= 3 else SET

    with in_process_cluster("a", answer=answer) as it:
        it.run([rows(1, 30)], 60.0)
    assert it.journal.statuses() == {"set": 27, "in_doubt": 3}
    assert {outcome.attempts for row, outcome in it.journal.outcomes.items() if row <= 3} == {3}


def test_event_loop_is_closed_although_its_thread_ends_late(monkeypatch: pytest.MonkeyPatch) -> None:
    with in_process_cluster("a") as it:
        monkeypatch.setattr(cluster_runner, "IDLE_SECONDS", 0.0)
        with ClusterRunner(it.cluster, it.clock, unix) as cluster:  # type: ignore[arg-type]
            pass
        wait_until(cluster._loop.is_closed)
