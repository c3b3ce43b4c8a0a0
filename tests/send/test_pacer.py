"""The pacer: evenly spaced slots for all requests, refusals and sleeps."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.clock import SystemClock
from bulkreset.send.pacer import (
    LATEST_SLOTS,
    LOOK_AT_CEILING_SECONDS,
    MEASURED_AT_LEAST,
    MEASURED_SECONDS,
    OPENING_SECONDS,
    Pacer,
    PacerState,
)
from bulkreset.send.rate_control import ACCEPTED_SHARE, BACKOFF, MIN_CUT, MIN_RATE, UNMEASURED_SHARE, RateState
from tests.send.fakes import FakeClock


def holds(times: Sequence[float], rate: float) -> bool:
    """Return whether in every window of w seconds there are at most rate·w + 1 of the times."""
    ordered = sorted(times)
    return all(
        last - first + 1 <= rate * (ordered[last] - ordered[first]) + 1 + 1e-6
        for first in range(len(ordered))
        for last in range(first, len(ordered))
    )


# Events of a lane: a late attempt, an idle gap, an accepted or a refused call (how long ago it left).
LATENESS = st.sampled_from([0.0, 0.0, 0.0, 0.001, 0.004, 0.03, 0.05, 0.06, 0.3, 5.0])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("attempt"), LATENESS),
        st.tuples(st.just("idle"), st.floats(0, 20)),
        st.tuples(st.just("accepted"), st.just(0.0)),
        st.tuples(st.just("refused"), st.floats(0, 5)),
    ),
    max_size=40,
)


@given(ceiling=st.floats(0.2, 300), steps=STEPS)
def test_no_window_holds_more_attempts_than_the_rate_allows(ceiling: float, steps: list[tuple[str, float]]) -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(ceiling, clock)
    left: list[float] = []
    for kind, amount in steps:
        if kind == "attempt":
            lateness = iter([amount])
            clock.late = lambda lateness=lateness: next(lateness, 0.0)  # type: ignore[misc]
            assert pacer.wait(stop)
            left.append(clock.now())
        elif kind == "idle":
            clock.advance(amount)
        elif kind == "accepted":
            pacer.on_accepted()
        else:
            pacer.on_throttled(clock.now() - amount)
        rate = pacer.rate()
        assert rate is not None
        assert min(MIN_RATE, ceiling) <= rate <= ceiling
    assert holds(left, ceiling)


@given(refusals=st.lists(st.integers(0, 20), max_size=8))
def test_after_a_cut_attempts_leave_at_the_new_rate(refusals: list[int]) -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(50, clock)
    left: list[tuple[float, float]] = []
    for attempts in refusals:
        pacer.on_throttled(clock.now())
        for _ in range(attempts):
            assert pacer.wait(stop)
            left.append((clock.now(), pacer.rate() or 0))
    for (first, rate), (second, _) in pairwise(left):
        assert second - first >= 1 / rate - 1e-9


@pytest.mark.parametrize("rate", [0.5, 3, 24, 300])
def test_attempts_leave_evenly_spaced_from_the_first_on(rate: float) -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(rate, clock)
    left = []
    for _ in range(50):
        assert pacer.wait(stop)
        left.append(clock.now())
    assert left[0] == 1000.0
    assert [second - first for first, second in pairwise(left)] == pytest.approx([1 / rate] * 49)


def test_unused_slots_are_not_saved() -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(10, clock)
    clock.advance(3600)
    left = []
    for _ in range(20):
        pacer.wait(stop)
        left.append(clock.now())
    assert left[-1] - left[0] == pytest.approx(1.9)


def test_slot_is_taken_late_and_the_next_one_comes_an_interval_later() -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(10, clock)
    lateness = iter([0.0, 60.0])
    clock.late = lambda: next(lateness, 0.0)
    left = []
    for _ in range(4):
        assert pacer.wait(stop)
        left.append(clock.now())
    assert left == pytest.approx([1000.0, 1060.1, 1060.2, 1060.3])


def test_slots_that_all_were_missed_do_not_leave_together() -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(100, clock)
    lateness = iter([0.0, 0.045])
    clock.late = lambda: next(lateness, 0.0)
    lines = [threading.Thread(target=pacer.wait, args=[stop]) for _ in range(7)]
    for line in lines:
        line.start()
    for line in lines:
        line.join()
    assert len(clock.woke) == 7
    assert holds(clock.woke, 100)


def test_threads_share_one_line_of_slots() -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(100, clock)
    threads = [threading.Thread(target=lambda: [pacer.wait(stop) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(clock.woke) == 400
    assert holds(clock.woke, 100)


def test_stop_wakes_every_thread_in_the_line() -> None:
    pacer, stop, woken = Pacer(0.0001, SystemClock()), threading.Event(), []
    assert pacer.wait(stop)
    threads = [threading.Thread(target=lambda: woken.append(pacer.wait(stop)), daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    stop.set()
    for thread in threads:
        thread.join(90)
    assert woken == [False] * 8


def test_without_a_rate_no_call_waits() -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(None, clock)
    assert pacer.rate() is None
    assert not pacer.is_idle()
    assert all(pacer.wait(stop) for _ in range(100))
    pacer.on_throttled(clock.now())
    assert pacer.rate() is None
    assert clock.waited == []
    stop.set()
    assert not pacer.wait(stop)


def test_lane_that_begins_paused_sends_when_it_gets_a_rate() -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(0, clock)
    assert pacer.state() == PacerState(0)

    def on_wait(_stop: threading.Event, _seconds: float) -> None:
        if len(clock.waited) == 3:
            pacer.set_ceiling(10)

    clock.on_wait = on_wait
    assert pacer.wait(stop)
    assert clock.now() == pytest.approx(1000 + 3 * LOOK_AT_CEILING_SECONDS)


def test_waiting_thread_sends_when_the_pacing_ends() -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(0.01, clock)
    assert pacer.wait(stop)
    clock.on_wait = lambda _stop, _seconds: pacer.set_ceiling(None)
    assert pacer.wait(stop)
    assert clock.now() < 1001


def test_stop_before_and_while_waiting_forbids_the_attempt() -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(0.001, clock)
    assert pacer.wait(stop)
    clock.on_wait = lambda event, _seconds: event.set()
    assert not pacer.wait(stop)
    assert clock.now() == 1000.0
    assert not Pacer(10, clock).wait(stop)


def test_stop_after_the_slot_came_forbids_the_attempt() -> None:
    clock, stop = FakeClock(), threading.Event()

    def set_late() -> float:
        stop.set()
        return 0.0

    clock.late = set_late
    assert not Pacer(10, clock).wait(stop)


def test_slot_that_passed_untaken_is_noticed() -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(10, clock)
    pacer.wait(stop)
    assert not pacer.is_idle()
    clock.advance(0.15)
    assert not pacer.is_idle()
    clock.advance(0.1)
    assert pacer.is_idle()


def test_slot_of_a_lane_that_was_cut_passes_later() -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(10, clock)
    pacer.on_throttled(clock.now())
    pacer.wait(stop)
    spacing = 1 / (10 * UNMEASURED_SHARE * (1 - BACKOFF))
    clock.advance(2 * spacing - 0.002)
    assert not pacer.is_idle()
    clock.advance(0.002)
    assert pacer.is_idle()


@pytest.mark.parametrize("rate", [None, 24])
def test_accepted_calls_are_forgotten_in_time(rate: float | None) -> None:
    clock = FakeClock()
    pacer = Pacer(rate, clock)
    for _ in range(10_000):
        clock.advance(0.1)
        pacer.on_accepted()
    assert len(pacer._accepted) <= MEASURED_SECONDS / 0.1 + 1


def noting(ceiling: float, clock: FakeClock) -> tuple[Pacer, list[tuple[float, str]]]:
    """Return a pacer, and the list of its reported changes."""
    changes: list[tuple[float, str]] = []
    return Pacer(ceiling, clock, lambda rate, why: changes.append((rate, why))), changes


def test_cut_depends_on_the_recently_accepted_rate() -> None:
    clock = FakeClock()
    pacer, changes = noting(25, clock)
    for _ in range(40):
        clock.advance(1 / 20)
        pacer.on_accepted()
    pacer.on_throttled(clock.now())
    assert pacer.rate() == pytest.approx(20 * ACCEPTED_SHARE * (1 - BACKOFF), rel=0.06)
    assert changes == [(pacer.rate(), "throttled")]


def test_fewest_calls_that_are_a_measure_in_a_part_of_a_second() -> None:
    clock = FakeClock()
    pacer, changes = noting(25, clock)
    for _ in range(MEASURED_AT_LEAST):
        pacer.on_accepted()
        clock.advance(1 / 20)
    pacer.on_throttled(clock.now())
    assert [rate for rate, _ in changes] == pytest.approx([20 * ACCEPTED_SHARE * (1 - BACKOFF)])


def test_calls_that_all_returned_at_this_moment_are_not_measure() -> None:
    clock = FakeClock()
    pacer, changes = noting(25, clock)
    for _ in range(2 * MEASURED_AT_LEAST):
        pacer.on_accepted()
    pacer.on_throttled(clock.now())
    assert [rate for rate, _ in changes] == pytest.approx([25 * UNMEASURED_SHARE * (1 - BACKOFF)])


def test_too_few_or_too_old_calls_are_no_measure() -> None:
    clock = FakeClock()
    (few, fews), (old, olds) = noting(100, clock), noting(100, clock)
    for pacer, count in ((few, MEASURED_AT_LEAST - 1), (old, 50)):
        for _ in range(count):
            pacer.on_accepted()
    clock.advance(0.1)
    few.on_throttled(clock.now())
    clock.advance(MEASURED_SECONDS)
    old.on_throttled(clock.now())
    assert fews == olds
    assert [why for _, why in fews] == ["throttled"]
    assert fews[0][0] == pytest.approx(100 * UNMEASURED_SHARE * (1 - BACKOFF))


@pytest.mark.parametrize(("calls", "ago", "rate"), [(8, 1.99, 50 * 0.7), (7, 1.99, 50 * 0.9), (8, 2.01, 50 * 0.9)])
def test_measure_in_figures(calls: int, ago: float, rate: float) -> None:
    """The other tests take these figures from the module; here they are written out."""
    clock = FakeClock()
    pacer = Pacer(50, clock)
    for _ in range(calls):
        pacer.on_accepted()
    clock.advance(ago)
    pacer.on_throttled(clock.now())
    assert pacer.state().w_max == pytest.approx(rate)


def test_refusals_of_one_round_trip_are_one_cut() -> None:
    clock = FakeClock()
    pacer, changes = noting(100, clock)
    clock.advance(1)
    for started in (0.9, 0.5, 0.1, 0.0):
        pacer.on_throttled(clock.now() - started)
    assert len(changes) == 1


@pytest.mark.parametrize(("quota", "ceiling"), [(30, 100), (5, 24), (100, 120), (30, 24)])
def test_lane_settles_just_under_the_quota(quota: float, ceiling: float) -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(ceiling, clock)
    tokens = depth = max(1.0, quota / 10)
    at, accepted, refused = clock.now(), 0, 0
    while clock.now() < 1300:
        pacer.wait(stop)
        tokens, at = min(depth, tokens + (clock.now() - at) * quota), clock.now()
        if tokens >= 1:
            tokens -= 1
            pacer.on_accepted()
            accepted += clock.now() >= 1060
        else:
            pacer.on_throttled(clock.now())
            refused += clock.now() >= 1060
    best = min(quota, ceiling) * 240
    assert accepted >= 0.9 * best
    assert refused <= 0.06 * accepted


def test_every_stage_is_reported_once_at_its_first_slot() -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer, changes = noting(50, clock)
    for _ in range(100):
        pacer.wait(stop)
        pacer.on_accepted()
    assert changes == []
    pacer.on_throttled(clock.now())
    while clock.now() < 1060:
        pacer.wait(stop)
        pacer.on_accepted()
    assert [why for _, why in changes] == ["throttled", "recovered", "probing", "at the ceiling"] or [
        why for _, why in changes
    ] == ["throttled", "recovered", "at the ceiling"]
    rates = [rate for rate, _ in changes]
    assert rates == sorted(rates)
    assert rates[-1] == 50


def cut(clock: FakeClock) -> Pacer:
    """Return a pacer of 50 calls per second with a slot taken, ten accepted calls, and a cut half a second ago."""
    pacer = Pacer(50, clock)
    for _ in range(10):
        pacer.on_accepted()
        clock.advance(0.05)
    pacer.on_throttled(clock.now())
    clock.advance(0.5)
    pacer.wait(threading.Event())
    return pacer


def figures(state: PacerState) -> list[float | None]:
    """Return all numbers of a state."""
    return [state.rate, state.next_in, state.w_max, state.cut_ago, state.backoff, *state.accepted]


def test_state_has_the_pace_as_times_from_now() -> None:
    clock = FakeClock()
    pacer = cut(clock)
    rate = pacer.rate()
    assert rate is not None
    clock.advance(1.25 / rate)
    state, brief = pacer.state(), pacer.state(brief=True)
    assert (state.rate, state.next_in, state.backoff, state.rate_state) == (
        pacer.rate(),
        0.0,
        BACKOFF,
        RateState.THROTTLED,
    )
    assert (state.w_max, state.cut_ago) == pytest.approx((50 * MIN_CUT, 0.5 + 1.25 / rate))
    assert state.accepted == pytest.approx([1.0 + 1.25 / rate - 0.05 * place for place in range(10)])
    assert brief == replace(state, accepted=())
    pacer.wait(threading.Event())
    assert pacer.state().next_in == pytest.approx(1 / rate, rel=0.01)


def test_state_omits_old_calls() -> None:
    clock = FakeClock()
    pacer = cut(clock)
    clock.advance(MEASURED_SECONDS)
    assert pacer.state().accepted == ()


def test_state_of_a_lane_without_a_rate_has_none() -> None:
    assert Pacer(None, FakeClock()).state() == PacerState(None)
    assert Pacer(24, FakeClock()).state() == PacerState(24)


@pytest.mark.parametrize(("way", "waited"), [(0.0, 0.02), (0.015, 0.005), (3.0, 0.0)])
def test_state_on_its_way_grows_older(way: float, waited: float) -> None:
    state = PacerState(10.0, 0.02, 12.0, 5.0, 0.14, RateState.RECOVERED, (0.5, 0.25))
    aged = state.after_seconds(way)
    assert aged.next_in == pytest.approx(waited)
    assert (aged.cut_ago, *aged.accepted) == pytest.approx((5.0 + way, 0.5 + way, 0.25 + way))
    assert replace(aged, next_in=0.02, cut_ago=5.0, accepted=(0.5, 0.25)) == state


def test_pace_is_handed_over_unchanged() -> None:
    pacer = Pacer(24, FakeClock())
    pacer.resume(state := PacerState(None, 0.02, 12.0, 5.0, 4 * BACKOFF, RateState.THROTTLED, (0.5, 0.25)))
    told = pacer.state()
    assert figures(replace(told, rate=None)) == pytest.approx(figures(state))
    assert (told.rate, told.rate_state) == (pacer.rate(), RateState.THROTTLED)


def test_pace_continues_unchanged_on_another_worker() -> None:
    """After the same calls and refusals: the same slots, cuts and phases, on a clock with another time."""
    here, there = FakeClock(), FakeClock(5.0)
    before = cut(here)
    after, changes = noting(50, there)
    after.resume(before.state())
    assert figures(after.state()) == pytest.approx(figures(before.state()))
    assert after.state().rate_state is before.state().rate_state
    stop, left = threading.Event(), []
    for pacer, clock in ((before, here), (after, there)):
        began = clock.now()
        pacer.on_throttled(began - 0.6)  # of a call from before the cut
        slots = []
        for number in range(400):
            assert pacer.wait(stop)
            slots.append(clock.now() - began)
            if number == 20:
                pacer.on_throttled(clock.now())
        left.append(slots)
    assert left[1] == pytest.approx(left[0])
    assert [why for _, why in changes][:2] == ["throttled", "recovered"]


def opening(pacer: Pacer, clock: FakeClock, seconds: float) -> bool:
    """Return whether a call that took so long to connect is late."""
    started = clock.now()
    clock.advance(seconds)
    return pacer.is_late(started, connected=True)


def test_call_is_late_if_its_connection_took_longer_than_usual() -> None:
    clock = FakeClock()
    pacer = Pacer(30.0, clock)
    for usual in (0.2, 0.1, 0.11, 0.1):
        assert not opening(pacer, clock, usual)
    assert opening(pacer, clock, 0.13)
    assert opening(pacer, clock, 5.0)
    assert opening(pacer, clock, 5.0)
    assert opening(pacer, clock, 5.0)


def test_usual_time_to_connect_is_forgotten_slowly_and_never_a_long_one() -> None:
    clock = FakeClock()
    pacer = Pacer(1000.0, clock)
    assert not opening(pacer, clock, 0.01)
    late = [opening(pacer, clock, 0.2) for _ in range(30)]
    assert late[:10] == [True] * 10
    assert not any(late[20:])
    assert all(opening(pacer, clock, 0.26) for _ in range(30))


def test_call_at_the_last_moment_is_not_late() -> None:
    clock = FakeClock()
    pacer = Pacer(4.0, clock)
    for seconds, connected in ((OPENING_SECONDS, False), (OPENING_SECONDS + LATEST_SLOTS / 4, True)):
        started = clock.now()
        clock.advance(seconds)
        assert clock.now() - started == seconds, "exact in binary"
        assert not pacer.is_late(started, connected=connected)
        clock.advance(2**-20)
        assert pacer.is_late(started, connected=connected)


def test_slot_that_passes_at_this_moment_is_not_unused() -> None:
    clock = FakeClock()
    pacer = Pacer(4.0, clock)
    clock.advance(0.25)
    assert not pacer.is_idle()
    clock.advance(2**-20)
    assert pacer.is_idle()


def test_call_on_a_lane_that_was_cut_is_late_after_half_a_slot_of_its_rate() -> None:
    clock = FakeClock()
    pacer = Pacer(4.0, clock)
    pacer.on_throttled(clock.now())
    started = clock.now()
    clock.advance(OPENING_SECONDS + LATEST_SLOTS / 4 + 2**-20)
    assert not pacer.is_late(started, connected=True)
    assert (pacer.rate() or 4.0) < 4


def test_lane_that_was_cut_and_has_recovered_may_lose_its_ceiling() -> None:
    clock = FakeClock()
    pacer = Pacer(4.0, clock)
    pacer.on_throttled(clock.now())
    clock.advance(600)
    assert pacer.wait(threading.Event())
    pacer.set_ceiling(None)
    assert pacer.rate() is None
    assert pacer.wait(threading.Event())


def test_call_on_a_lane_without_a_rate_is_never_late() -> None:
    clock = FakeClock()
    assert not opening(Pacer(None, clock), clock, 100.0)


@given(st.integers(2, 40), st.floats(0.5, 60.0), st.floats(1.0, 200.0))
def test_calls_with_connections_opened_at_once_are_not_sent_together(waiting: int, outage: float, rate: float) -> None:
    """Their threads took slots one after the other and all waited for the network: then each takes a new slot."""
    clock = FakeClock()
    pacer = Pacer(rate, clock)
    started = []
    for _ in range(waiting):
        assert pacer.wait(threading.Event())
        started.append(clock.now())
    clock.advance(OPENING_SECONDS + 1 / rate + outage)
    assert all(pacer.is_late(at, connected=True) for at in started)
    assert all(pacer.is_late(at, connected=False) for at in started)


@given(st.integers(1, 40), st.floats(0.3, 60.0), st.floats(1.0, 200.0))
def test_calls_delayed_by_a_stopped_process_are_not_sent_with_later_ones(
    waiting: int, stopped: float, rate: float
) -> None:
    """Threads with a slot are stopped before they send; then each takes a new slot, on its open connection."""
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(rate, clock)
    left: list[float] = []
    held: list[float] = []
    for number in range(2 * waiting):
        assert pacer.wait(stop)
        at = clock.now()
        assert not pacer.is_late(at, connected=False)
        (left if number < waiting else held).append(at)
    clock.advance(stopped)
    for at in [*held, *held]:
        assert pacer.is_late(at, connected=False)
        assert pacer.wait(stop)
        left.append(clock.now())
        assert not pacer.is_late(clock.now(), connected=False)
    assert holds(left, rate)


@pytest.mark.parametrize(
    ("rate", "next_in", "ceiling", "expected"),
    [
        (10.0, 0.05, 10.0, 0.05),
        (10.0, 0.05, 5.0, 0.1),
        (10.0, 0.05, 20.0, 0.05),
        (None, 0.02, 0.5, 0.02),
        (0.0, 0.5, 0.2, 2.5),
    ],
    ids=["same rate", "slower", "faster, and no earlier", "unpaced before", "paused before: a part of an interval"],
)
def test_next_slot_of_a_state_keeps_its_part_of_an_interval(
    rate: float | None, next_in: float, ceiling: float, expected: float
) -> None:
    pacer = Pacer(ceiling, FakeClock())
    pacer.resume(PacerState(rate, next_in))
    assert pacer.state().next_in == pytest.approx(expected)


@pytest.mark.parametrize(("next_in", "expected"), [(0.0, 0.0), (0.02, 0.1)])
def test_paused_lane_waits_a_whole_interval_if_its_state_had_a_slot_to_come(next_in: float, expected: float) -> None:
    pacer = Pacer(0.0, FakeClock())
    pacer.resume(PacerState(10.0, next_in))
    pacer.set_ceiling(10.0)
    assert pacer.state().next_in == pytest.approx(expected)


def test_change_of_the_ceiling_keeps_one_interval_at_most() -> None:
    pacer = Pacer(10.0, FakeClock())
    pacer.resume(PacerState(5.0, 0.2))
    pacer.set_ceiling(20.0)
    assert pacer.state().next_in == pytest.approx(0.05)


def test_lane_without_a_pace_keeps_nothing_of_an_interval() -> None:
    pacer = Pacer(None, FakeClock())
    pacer.resume(PacerState(10.0, 0.5))
    pacer.set_ceiling(10.0)
    assert pacer.state().next_in == 0.0


@pytest.mark.parametrize(("rate", "later"), [(0.0, 0.5), (1.0, 0.0)], ids=["paused", "paced"])
def test_slot_of_a_paused_lane_does_not_come_closer(rate: float, later: float) -> None:
    assert PacerState(rate, 0.5).after_seconds(3.0).next_in == later


def test_pace_that_was_lifted_keeps_nothing_of_an_interval() -> None:
    clock = FakeClock()
    pacer, stop = Pacer(10.0, clock), threading.Event()
    pacer.wait(stop)
    pacer.set_ceiling(None)
    pacer.set_ceiling(10.0)
    assert pacer.state().next_in == 0.0
    assert pacer.wait(stop)
    assert clock.now() == 1000.0


def test_stage_that_a_new_ceiling_begins_is_not_reported() -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer, changes = noting(50, clock)
    pacer.on_throttled(clock.now())
    clock.advance(13)
    pacer.wait(stop)
    assert changes[-1] == (50, "at the ceiling")
    changes.clear()
    pacer.set_ceiling(500)  # now the lane probes
    pacer.wait(stop)
    assert changes == []
