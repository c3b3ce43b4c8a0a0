"""The ceiling of a lane: the lowest limit, changed while threads wait for a slot."""

import threading
from collections.abc import Sequence
from itertools import cycle, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.send.pacer import LOOK_AT_CEILING_SECONDS, Pacer
from bulkreset.send.rate_ceiling import Limit, lowest
from tests.send.fakes import FakeClock


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([24.0], 0),
        ([24.0, 5.0, 7.0], 1),
        ([24.0, None], 0),
        ([None, None], 0),
        ([None, 5.0], 1),
        ([24.0, 100.0], 0),  # no limit raises a lane above its job's rate
        ([24.0, 24.0], 0),
        ([24.0, 5.0, 5.0], 1),
        ([24.0, 0.0, 5.0], 1),
    ],
)
def test_the_lowest_limit_counts(rates: Sequence[float | None], expected: int) -> None:
    limits = [Limit(rate, str(number)) for number, rate in enumerate(rates)]
    assert lowest(limits) == limits[expected]


CEILINGS = st.sampled_from([0.0, 0.2, 3.0, 24.0, 200.0])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("attempts"), st.integers(1, 5)),
        st.tuples(st.just("idle"), st.floats(0, 8)),
        st.tuples(st.just("ceiling"), CEILINGS),
        st.tuples(st.just("throttled"), st.just(0.0)),
        st.tuples(st.just("moved"), st.floats(0, 3)),
    ),
    min_size=2,
    max_size=30,
)
LATENESS = st.lists(st.sampled_from([0.0, 0.0, 0.001, 0.02, 0.3]), min_size=1, max_size=7)


def allowed(rates: Sequence[tuple[float, float]], since: float, until: float) -> float:
    """The integral of the rate, which only rises between two of these moments: the later rate counts."""
    return sum(
        max(rate, later if later_at > at else 0.0) * max(0.0, min(later_at, until) - max(at, since))
        for (at, rate), (later_at, later) in pairwise([*rates, (float("inf"), 0.0)])
    )


@given(first=CEILINGS, steps=STEPS, lateness=LATENESS)
def test_no_window_over_changes_has_more_attempts_than_the_integral_of_the_rate_and_one(
    first: float, steps: list[tuple[str, float]], lateness: list[float]
) -> None:
    """Threads wake late, the ceiling changes, calls are throttled, and the lane moves to another worker."""
    clock, stop = FakeClock(), threading.Event()
    late = cycle(lateness)
    clock.late = lambda: next(late)
    pacer = Pacer(24, clock)
    pacer.set_ceiling(first)
    rates, left = [(clock.now(), pacer.rate() or 0.0)], []
    for kind, amount in steps:
        if kind == "idle":
            clock.advance(amount)
        elif kind == "ceiling":
            pacer.set_ceiling(amount)
        elif kind == "throttled":
            pacer.on_throttled(clock.now())
        elif kind == "moved":
            state = pacer.state()
            clock.advance(amount)
            there = Pacer(pacer.ceiling, clock)
            there.resume(state.after_seconds(amount))
            pacer = there
        elif pacer.ceiling:
            for _ in range(int(amount)):
                assert pacer.wait(stop)
                left.append(clock.now())
                rates.append((clock.now(), pacer.rate() or 0.0))
        rates.append((clock.now(), pacer.rate() or 0.0))

    for number, since in enumerate(left):
        for count, until in enumerate(left[number:], start=1):
            assert count <= allowed(rates, since, until) + 1 + 1e-6


def test_a_changed_ceiling_holds_for_who_waits_already() -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(0.001, clock)
    assert pacer.wait(stop)
    began = clock.now()

    def hurry(_stop: threading.Event, _seconds: float) -> None:
        if clock.now() > began + 1:
            pacer.set_ceiling(10)

    clock.on_wait = hurry
    assert pacer.wait(stop)
    assert clock.now() - began <= 1 + 2 * LOOK_AT_CEILING_SECONDS + 0.1


def test_no_call_is_sent_with_a_ceiling_of_0_and_a_stop_ends_the_wait() -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(10, clock)
    assert pacer.wait(stop)
    pacer.set_ceiling(0)
    assert pacer.rate() == 0
    assert not pacer.is_idle()
    began = clock.now()
    clock.on_wait = lambda stop, _seconds: stop.set() if clock.now() > began + 3600 else None
    assert not pacer.wait(stop)
    assert clock.now() > began + 3600


def test_rest_of_an_interval_remains_after_a_pause() -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(1, clock)
    assert pacer.wait(stop)
    clock.advance(0.25)
    pacer.set_ceiling(0)
    state = pacer.state()
    assert (state.rate, state.next_in) == (0, 0.75)
    clock.advance(1000)
    pacer.set_ceiling(10)
    began = clock.now()
    assert pacer.wait(stop)
    assert clock.now() - began == pytest.approx(0.075)


def test_a_lane_without_a_pace_gets_one_and_loses_it_again() -> None:
    clock, stop = FakeClock(), threading.Event()
    pacer = Pacer(None, clock)
    assert all(pacer.wait(stop) for _ in range(3))
    pacer.set_ceiling(2)
    began = clock.now()
    assert all(pacer.wait(stop) for _ in range(3))
    assert clock.now() - began == pytest.approx(1.0)
    pacer.set_ceiling(None)
    assert pacer.rate() is None
    assert all(pacer.wait(stop) for _ in range(3))
    assert clock.now() - began == pytest.approx(1.0)


def test_a_paused_state_is_continued_elsewhere_with_a_whole_interval() -> None:
    clock, stop = FakeClock(), threading.Event()
    there, here = Pacer(1, clock), Pacer(0, clock)
    assert there.wait(stop)
    there.set_ceiling(0)
    here.resume(there.state())
    here.set_ceiling(1)
    began = clock.now()
    assert here.wait(stop)
    assert clock.now() - began == pytest.approx(1.0)
