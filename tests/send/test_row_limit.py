"""The row limit: no more rows over all lanes, and the end of a lane at the limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset.send.coordinator import LaneInput
from bulkreset.send.lane import LaneKey
from bulkreset.send.row_limit import LimitedSource, RowBudget
from tests.send.fakes import REFUSED, SET
from tests.send.lanes import Bench, Given, rows


def test_without_a_limit_every_row_is_claimed() -> None:
    source = LimitedSource(Given(range(7)), RowBudget(None))
    assert source.take(5) == [0, 1, 2, 3, 4]
    assert not source.ended
    assert source.take(5) == [5, 6]
    assert source.ended


def test_no_more_rows_are_claimed_than_remain() -> None:
    budget = RowBudget(5)
    source = LimitedSource(Given(range(100)), budget)
    assert source.take(3) == [0, 1, 2]
    assert not source.ended
    assert source.take(3) == [3, 4]
    assert source.ended
    assert source.take(3) == []
    assert budget.remaining == 0


def test_several_lanes_share_it() -> None:
    budget = RowBudget(5)
    one, two = LimitedSource(Given("abcdef"), budget), LimitedSource(Given("uvwxyz"), budget)
    assert [one.take(2), two.take(2), one.take(2), two.take(2)] == [["a", "b"], ["u", "v"], ["c"], []]
    assert one.ended
    assert two.ended


def test_rows_that_end_before_it_leave_the_rest_to_the_others() -> None:
    budget = RowBudget(5)
    one, two = LimitedSource(Given("a"), budget), LimitedSource(Given("uvwxyz"), budget)
    assert one.take(3) == ["a"]
    assert one.ended
    assert two.take(9) == ["u", "v", "w", "x"]


def test_dropped_rows_are_dropped_in_the_reader_too() -> None:
    source = Given("abc")
    LimitedSource(source, RowBudget(2)).discard_rest()
    assert source.dropped


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=4),
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9))),
)
def test_together_they_never_take_more(sizes: list[int], left: int, turns: list[tuple[int, int]]) -> None:
    budget = RowBudget(left)
    lanes = [LimitedSource(Given(range(size)), budget) for size in sizes]
    taken = sum(len(lanes[lane % len(lanes)].take(most)) for lane, most in turns)
    assert taken + (budget.remaining or 0) == left
    assert taken <= min(left, sum(sizes))


@pytest.mark.parametrize("ration", [1, 130, 400])
def test_coordinator_sends_the_limit_of_rows_and_ends(ration: int) -> None:
    bench = Bench(lambda number: REFUSED if number % 7 == 0 else SET)
    budget = RowBudget(ration)
    parts = [rows(1, 300), rows(301, 600)]
    bench.run_inputs(
        [
            LaneInput(bench.lane(key=LaneKey(number, f"Lane {number}")), LimitedSource(Given(part), budget))
            for number, part in enumerate(parts)
        ]
    )
    assert len(bench.service.received) == len(bench.ledger.claimed) == ration
    assert set(bench.ledger.statuses().values()) <= {"set", "failed"}
    assert bench.threads_ended


def test_shut_gate_gives_nothing_and_ends_nothing() -> None:
    is_open = False
    source = LimitedSource(Given(range(3)), RowBudget(None), lambda: is_open)
    assert source.take(5) == []
    assert not source.ended
    is_open = True
    assert source.take(5) == [0, 1, 2]
    assert source.ended
