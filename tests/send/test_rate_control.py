"""Rate control: never above the ceiling, never zero, one cut for each round trip, and recovery."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.send.rate_control import (
    ACCEPTED_SHARE,
    BACKOFF,
    DOUBLING_SECONDS,
    MAX_BACKOFF,
    MIN_RATE,
    PROBING_SHARE,
    RECOVERY_SECONDS,
    REPEAT_SECONDS,
    UNMEASURED_SHARE,
    CubicRate,
    RateState,
)

CEILINGS = st.floats(0.01, 1000)
# Events: seconds later, a refused call that took so long, with so many calls accepted recently.
EVENTS = st.lists(
    st.tuples(st.floats(0, 100), st.floats(0, 40), st.none() | st.floats(0, 2000)), min_size=1, max_size=40
)


@given(ceiling=CEILINGS, events=EVENTS, later=st.floats(0, 1e6))
def test_rate_stays_between_floor_and_ceiling(
    ceiling: float, events: list[tuple[float, float, float | None]], later: float
) -> None:
    pace, now = CubicRate(ceiling), 0.0
    for wait, took, accepted in events:
        now += wait
        assert min(MIN_RATE, ceiling) <= pace.rate(now) <= ceiling
        pace = pace.after_throttle(now, now - took, accepted)
        assert min(MIN_RATE, ceiling) <= pace.rate(now) <= ceiling
    assert min(MIN_RATE, ceiling) <= pace.rate(now + later) <= ceiling


@given(ceiling=CEILINGS, events=EVENTS)
def test_refusal_never_speeds_up(ceiling: float, events: list[tuple[float, float, float | None]]) -> None:
    pace, now = CubicRate(ceiling), 0.0
    for wait, took, accepted in events:
        now += wait
        slower = pace.after_throttle(now, now - took, accepted)
        assert slower.rate(now) <= pace.rate(now) + 1e-9
        pace = slower


def test_rate_without_refusals_is_the_ceiling() -> None:
    assert [CubicRate(24).rate(now) for now in (-5.0, 0.0, 1e9)] == [24, 24, 24]


def test_one_early_refusal_does_not_collapse_the_rate() -> None:
    pace = CubicRate(24).after_throttle(10.0, 9.9, None)
    assert pace.rate(10.0) == pytest.approx(24 * UNMEASURED_SHARE * (1 - BACKOFF))
    assert pace.rate(10.0 + RECOVERY_SECONDS) > 0.8 * 24


def test_refusal_cuts_to_just_below_the_accepted_rate() -> None:
    pace = CubicRate(40).after_throttle(10.0, 9.9, 30.0)
    assert pace.rate(10.0) == pytest.approx(30 * ACCEPTED_SHARE * (1 - BACKOFF))
    assert pace.rate(10.0 + RECOVERY_SECONDS) == pytest.approx(30 * ACCEPTED_SHARE)


def test_cuts_lower_the_rate_to_the_accepted_rate() -> None:
    pace, rates = CubicRate(100), []
    for second in range(10, 20):
        pace = pace.after_throttle(float(second), second - 0.1, 20.0)
        rates.append(pace.rate(float(second)))
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 60
    assert 10 < rates[-1] < 20


def test_measured_rate_above_the_own_one_is_not_believed() -> None:
    assert CubicRate(24).after_throttle(10.0, 9.9, 500.0).rate(10.0) == pytest.approx(24 * (1 - BACKOFF))


@given(started=st.floats(0, 10), accepted=st.none() | st.floats(0, 100))
def test_refusal_of_a_call_from_before_the_cut_changes_nothing(started: float, accepted: float | None) -> None:
    cut = CubicRate(24).after_throttle(10.0, 9.9, None)
    assert cut.after_throttle(10.5, started, accepted) is cut
    assert cut.after_throttle(10.5, 10.2, accepted) is not cut


def test_rate_only_rises_while_nothing_is_refused() -> None:
    pace = replace(CubicRate(1000), w_max=30.0, cut_at=0.0)
    rates = [pace.rate(second / 4) for second in range(2000)]
    assert rates == sorted(rates)
    assert rates[-1] == 1000


@pytest.mark.parametrize("ceiling", [0.01, 0.3, 0.5])
def test_ceiling_under_the_floor_holds(ceiling: float) -> None:
    pace = CubicRate(ceiling)
    for second in range(1, 10):
        pace = pace.after_throttle(float(second), second - 0.1, 0.0)
        assert pace.rate(float(second)) == ceiling


def test_repeated_cuts_go_deeper_and_recover_to_the_same_w_max() -> None:
    pace = CubicRate(100).after_throttle(10.0, 9.9, 50.0).after_throttle(12.0, 11.9, 50.0)
    wall, rates = 50 * ACCEPTED_SHARE, [pace.rate(12.0)]
    for count in range(1, 8):
        now = 12.0 + count * REPEAT_SECONDS / 2
        pace = pace.after_throttle(now, now - 0.1, 50.0)
        rates.append(pace.rate(now))
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(wall * (1 - MAX_BACKOFF), rel=0.01)
    assert pace.rate(now + RECOVERY_SECONDS) == pytest.approx(wall, rel=0.01)


def test_second_cut_goes_twice_as_deep() -> None:
    pace = CubicRate(100).after_throttle(10.0, 9.9, 80.0).after_throttle(10.5, 10.4, 80.0)
    assert pace.rate(10.5) == pytest.approx(80 * ACCEPTED_SHARE * (1 - 2 * BACKOFF))


def test_law_in_figures() -> None:
    """The other tests take the curve's figures from the module; here they are written out."""
    unmeasured = CubicRate(200).after_throttle(0.0, -1.0, None)
    assert [unmeasured.rate(now) for now in (0.0, 3.0, 6.0, 9.25)] == pytest.approx([167.4, 178.425, 180.0, 200.0])
    wide = replace(CubicRate(1000), w_max=100.0, cut_at=0.0)
    assert wide.rate(12.5) == pytest.approx(200.0)
    assert [wide.state(now) for now in (5.99, 6.0, 7.7, 7.8)] == ["throttled", "recovered", "recovered", "probing"]
    assert CubicRate(200).after_throttle(0.0, -1.0, 30.0).rate(0.0) == pytest.approx(130.2)
    measured = CubicRate(200).after_throttle(0.0, -1.0, 150.0)
    assert measured.rate(0.0) == pytest.approx(150 * 0.98 * 0.93)
    assert [measured.after_throttle(now, now, 150.0).backoff for now in (0.99, 1.01)] == [0.14, 0.07]
    assert replace(measured, backoff=0.4).after_throttle(0.5, 0.5, 150.0).backoff == 0.5
    assert CubicRate(200, w_max=0.1, cut_at=0.0).rate(0.0) == 0.5


def test_lane_that_was_refused_for_long_comes_back_from_the_floor_at_once() -> None:
    pace = CubicRate(100)
    for second in range(10, 60):
        pace = pace.after_throttle(float(second), second - 0.1, 0.0)
    assert pace.rate(59.0) == MIN_RATE
    assert pace.rate(59.0 + RECOVERY_SECONDS + DOUBLING_SECONDS) == pytest.approx(2 * MIN_RATE)


def test_rate_doubles_after_the_plateau_in_the_documented_time() -> None:
    pace = replace(CubicRate(1000), w_max=30.0, cut_at=0.0)
    assert pace.rate(RECOVERY_SECONDS + DOUBLING_SECONDS) == pytest.approx(60)


def test_half_of_the_way_back_is_seven_eighths_of_the_cut() -> None:
    pace = replace(CubicRate(1000), w_max=30.0, cut_at=0.0)
    assert pace.rate(RECOVERY_SECONDS / 2) == pytest.approx(30 * (1 - BACKOFF / 8))
    assert pace.rate(RECOVERY_SECONDS + DOUBLING_SECONDS / 2) == pytest.approx(30 * (1 + 1 / 8))


@pytest.mark.parametrize(
    ("since", "stage"),
    [
        (0.0, RateState.THROTTLED),
        (RECOVERY_SECONDS / 2, RateState.THROTTLED),
        (RECOVERY_SECONDS - 0.001, RateState.THROTTLED),
        (RECOVERY_SECONDS, RateState.RECOVERED),
        (RECOVERY_SECONDS + 1.7, RateState.RECOVERED),
        (RECOVERY_SECONDS + 1.8, RateState.PROBING),
        (RECOVERY_SECONDS + DOUBLING_SECONDS, RateState.PROBING),
        (RECOVERY_SECONDS + 9.6, RateState.PROBING),
        (RECOVERY_SECONDS + 9.7, RateState.CEILING),
        (1e6, RateState.CEILING),
    ],
)
def test_stages_after_a_cut(since: float, stage: RateState) -> None:
    assert replace(CubicRate(120), w_max=28.0, cut_at=1000.0).state(1000.0 + since) is stage


def test_later_refusal_measures_the_wall_anew() -> None:
    pace = replace(CubicRate(1000), w_max=30.0, cut_at=0.0)
    now = RECOVERY_SECONDS + DOUBLING_SECONDS
    assert pace.after_throttle(now, now - 0.1, 50.0).w_max == pytest.approx(50 * ACCEPTED_SHARE)


def test_lane_that_was_never_throttled_is_at_the_ceiling() -> None:
    assert CubicRate(24).state(-5.0) is CubicRate(24).state(1e9) is RateState.CEILING


def test_wall_at_the_ceiling_is_not_probed_beyond() -> None:
    pace = replace(CubicRate(24), w_max=24.0, cut_at=0.0)
    assert [pace.state(since) for since in (0.0, RECOVERY_SECONDS - 1, RECOVERY_SECONDS, 100.0)] == [
        RateState.THROTTLED,
        RateState.THROTTLED,
        RateState.CEILING,
        RateState.CEILING,
    ]


@given(ceiling=CEILINGS, wall=st.floats(MIN_RATE, 1000), times=st.lists(st.floats(0, 100), max_size=30).map(sorted))
def test_stages_are_in_order_and_describe_the_rate(ceiling: float, wall: float, times: list[float]) -> None:
    pace = replace(CubicRate(ceiling), w_max=wall, cut_at=0.0)
    order = [RateState.THROTTLED, RateState.RECOVERED, RateState.PROBING, RateState.CEILING]
    stages = [pace.state(now) for now in times]
    assert [order.index(stage) for stage in stages] == sorted(order.index(stage) for stage in stages)
    for now, stage in zip(times, stages, strict=True):
        rate = pace.rate(now)
        assert (stage is RateState.CEILING) == (rate == ceiling)
        if stage is RateState.THROTTLED:
            assert rate <= max(wall, MIN_RATE)
        if stage is RateState.RECOVERED:
            assert wall <= rate < wall * PROBING_SHARE
        if stage is RateState.PROBING:
            assert rate >= wall * PROBING_SHARE
