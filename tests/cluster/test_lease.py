"""A worker agent without messages starts no attempt, and a rate limiter keeps its rate on another clock."""

import threading
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bulkreset.cluster.protocol import LEASE_SECONDS
from bulkreset.cluster.secret_envelope import SecretEnvelope
from bulkreset.cluster.worker_agent import ABANDONED_SECONDS, WorkerAgent, WorkerLease
from bulkreset.job import PaceConfig
from bulkreset.models import Outcome, Status
from bulkreset.send.operations import SetPassword
from bulkreset.send.pacer import Pacer, PacerState
from bulkreset.send.worker import Worker
from tests.send.fakes import POOL, SET, FakeClock, Scripted, row


def test_no_attempt_is_sent_without_a_lease() -> None:
    clock, stop = FakeClock(), threading.Event()
    lease = WorkerLease(clock, clock.now)
    transport = Scripted(clock, [SET])
    worker = Worker(SetPassword({POOL: transport}), Pacer(10.0, clock), PaceConfig(), clock, stop, lease)
    lease.renew(clock.now() + 1.0)
    clock.on_wait = lambda stop, _seconds: stop.set() if clock.now() > 1003 else None
    statuses = [worker.send(row(number)) for number in range(40)]
    assert 9 <= len(transport.sent) <= 11
    assert transport.sent[-1] < 1001.0
    assert stop.is_set()
    assert [one.status for one in statuses if isinstance(one, Outcome)].count(Status.READY) == 40 - len(transport.sent)


def test_lease_never_lasts_beyond_its_end() -> None:
    """Setting a worker's clock while the lease runs does not lengthen it."""
    clock, unix = FakeClock(), FakeClock(1e9)
    lease = WorkerLease(clock, unix.now)
    lease.renew(unix.now() + 2.0)
    assert lease.seconds_left() > 0
    unix.advance(-60.0)
    clock.advance(2.1)
    assert lease.seconds_left() <= 0
    lease.renew(unix.now() - 5.0)  # a late order
    assert lease.seconds_left() <= 0
    lease.renew(unix.now() + 60.0)  # an end that was sent before the clock was set
    assert lease.seconds_left() > 0
    clock.advance(LEASE_SECONDS + 0.1)
    assert lease.seconds_left() <= 0


def test_lease_ends_while_the_machine_sleeps_although_its_coordinator_is_alive() -> None:
    """The first clock stops during sleep; the other two continue. A migrated machine shows it only on the last one."""
    for boot_seconds in (60.0, 0.0):
        clock, boot, unix = FakeClock(), FakeClock(5000.0), FakeClock(1e9)
        lease = WorkerLease(clock, unix.now, boot)
        lease.renew(unix.now() + 10.0)
        boot.advance(boot_seconds)
        unix.advance(60.0)
        assert lease.seconds_left() <= 0
        assert lease.seconds_since_end() < 0
        lease.renew(unix.now() + 10.0)
        assert lease.seconds_left() > 0


def test_worker_agent_is_abandoned_by_a_dead_coordinator() -> None:
    clock = FakeClock()
    agent = WorkerAgent(clock, clock.now)
    agent.exchange(1, clock.now() + 5.0, SecretEnvelope.pack([]))
    assert not agent.is_abandoned()
    clock.advance(5.0 + ABANDONED_SECONDS + 0.1)
    assert agent.is_abandoned()


def test_same_turn_once_more_is_answered_and_not_obeyed_again() -> None:
    clock = FakeClock()
    agent = WorkerAgent(clock, clock.now)
    first = agent.exchange(1, clock.now() + 5.0, SecretEnvelope.pack([]))
    assert agent.exchange(1, clock.now() + 5.0, SecretEnvelope(b"nonsense")) is first
    assert agent.exchange(2, clock.now() + 5.0, SecretEnvelope(b"nonsense")) is not first


@given(
    st.floats(5, 200),
    st.lists(st.tuples(st.integers(1, 12), st.floats(0, 0.5), st.booleans()), min_size=1, max_size=8),
    st.floats(-1e6, 1e6),
)
def test_pace_that_moves_between_clocks_keeps_every_slot_s_distance(
    rate: float, legs: Sequence[tuple[int, float, bool]], offset: float
) -> None:
    """Each leg: calls on one clock, seconds to the next clock, and whether the last call was throttled."""
    moment, started, state = 0.0, list[float](), PacerState(rate)
    for number, (calls, way, throttled) in enumerate(legs):
        clock = FakeClock(1e7 + offset * (number + 1))
        began = clock.now()
        pacer = Pacer(rate, clock)
        pacer.resume(state)
        for _ in range(calls):
            assert pacer.wait(threading.Event())
            started.append(moment + clock.now() - began)
            if throttled:
                pacer.on_throttled(clock.now())
            else:
                pacer.on_accepted()
        state = pacer.state()
        moment += clock.now() - began + way
    assert all(later - at >= 1 / rate - 1e-6 for at, later in pairwise(started))
    after = Pacer(rate, FakeClock())
    after.resume(state)
    told = after.state()
    assert (told.w_max, told.backoff, told.rate_state) == (state.w_max, state.backoff, state.rate_state)
    assert told.rate is not None
    assert abs(told.rate - (state.rate or 0)) < 1e-6
