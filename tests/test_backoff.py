"""Retries: until success, until attempts or time are used up, or until a stop; every wait uses the clock."""

import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest

from bulkreset.backoff import FIRST_WAIT, retrying
from tests.send.fakes import FakeClock


def failing(times: int) -> Iterator[str]:
    """Fail so many times, then return "done"."""
    for number in range(times):
        yield f"failed {number + 1}"
    while True:
        yield "done"


def failed(outcome: object) -> bool:
    return isinstance(outcome, str) and outcome.startswith("failed")


def test_ends_with_the_first_result_that_is_good() -> None:
    clock = FakeClock()
    start = clock.now()
    assert retrying(failed, longest_wait=2, attempts=5, clock=clock)(next, failing(3)) == "done"
    assert 0 < clock.now() - start <= FIRST_WAIT * (1 + 2 + 4)


def test_returns_the_last_result_or_raises_the_last_error() -> None:
    assert retrying(failed, longest_wait=2, attempts=3, clock=FakeClock())(next, failing(9)) == "failed 3"
    errors = iter([ValueError("first"), ValueError("second"), ValueError("third")])

    def fail() -> None:
        raise next(errors)

    with pytest.raises(ValueError, match="second"):
        retrying(lambda it: isinstance(it, ValueError), longest_wait=2, attempts=2, clock=FakeClock())(fail)


def test_other_errors_are_raised_at_once() -> None:
    with pytest.raises(StopIteration):
        retrying(failed, longest_wait=2, clock=FakeClock())(next, iter(()))


def test_no_attempt_begins_after_the_time_is_over() -> None:
    clock = FakeClock()
    begun: list[float] = []

    def fail() -> str:
        begun.append(clock.now())
        return "failed"

    start = clock.now()
    assert retrying(failed, longest_wait=4, patience=30, clock=clock)(fail) == "failed"
    assert len(begun) > 7
    assert all(at - start <= 30 for at in begun)
    assert all(after - before <= 4 for before, after in pairwise(begun))


def test_no_attempt_begins_after_a_stop() -> None:
    halt, asked = threading.Event(), failing(9)
    halt.set()
    assert retrying(failed, longest_wait=2, clock=FakeClock(), halt=halt)(next, asked) == "failed 1"
    assert next(asked) == "failed 2"
