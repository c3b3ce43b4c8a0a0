"""The lease: an outpost that hears nothing starts no attempt; and a pacer's state holds its rate on another clock."""

import threading
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bulkreset.cluster.envelope import SecretEnvelope
from bulkreset.cluster.protocol import LEASE_SECONDS
from bulkreset.cluster.worker_agent import ABANDONED_SECONDS, LeasedPacer, WorkerAgent, WorkerLease
from bulkreset.send.pacer import Pacer, PacerState
from tests.send.fakes import FakeClock


def test_no_slot_is_taken_without_a_lease() -> None:
    clock, stop = FakeClock(), threading.Event()
    lease = WorkerLease(clock, clock.now)
    pacer = LeasedPacer(10.0, clock, lambda *_: None, lease)
    lease.renew(clock.now() + 1.0)
    clock.on_wait = lambda stop, _seconds: stop.set() if clock.now() > 1003 else None
    taken = [clock.now() for _ in range(40) if pacer.wait(stop)]
    assert 9 <= len(taken) <= 11
    assert taken[-1] < 1001.2
    assert stop.is_set()


def test_lease_is_never_longer_than_its_end_is_away() -> None:
    """A worker's clock that is set while the lease runs does not lengthen it."""
    clock, unix = FakeClock(), FakeClock(1e9)
    lease = WorkerLease(clock, unix.now)
    lease.renew(unix.now() + 2.0)
    assert lease.holds()
    unix.advance(-60.0)
    clock.advance(2.1)
    assert not lease.holds()
    lease.renew(unix.now() - 5.0)  # an order that was late
    assert not lease.holds()
    lease.renew(unix.now() + 60.0)  # an end that was told before the clock was set
    assert lease.holds()
    clock.advance(LEASE_SECONDS + 0.1)
    assert not lease.holds()


def test_outpost_is_abandoned_by_a_coordinator_that_died() -> None:
    clock = FakeClock()
    outpost = WorkerAgent(clock, clock.now)
    outpost.exchange(1, clock.now() + 5.0, SecretEnvelope.pack([]))
    assert not outpost.is_abandoned()
    clock.advance(5.0 + ABANDONED_SECONDS + 0.1)
    assert outpost.is_abandoned()


def test_same_turn_once_more_is_answered_and_not_obeyed_again() -> None:
    clock = FakeClock()
    outpost = WorkerAgent(clock, clock.now)
    first = outpost.exchange(1, clock.now() + 5.0, SecretEnvelope.pack([]))
    assert outpost.exchange(1, clock.now() + 5.0, SecretEnvelope(b"nonsense")) is first
    assert outpost.exchange(2, clock.now() + 5.0, SecretEnvelope(b"nonsense")) is not first


@given(
    st.floats(5, 200),
    st.lists(st.tuples(st.integers(1, 12), st.floats(0, 0.5), st.booleans()), min_size=1, max_size=8),
    st.floats(-1e6, 1e6),
)
def test_pace_that_moves_between_clocks_keeps_every_slot_s_distance(
    rate: float, legs: Sequence[tuple[int, float, bool]], offset: float
) -> None:
    """Each leg: so many calls on one clock, so long a way to the next, and whether the last call was throttled."""
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
