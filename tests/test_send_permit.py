"""The permit to send: it ends on the first of two clocks, and each call checks it right before it is sent."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkreset import send_permit
from bulkreset.send_permit import AllPermits, Deadline, Departure, WithheldError, departing, require_departure
from tests.send.fakes import FakeClock

FOREVER = AllPermits()


class FixedPermit:
    """A permit for so many more seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def seconds_left(self) -> float:
        """Return the given seconds."""
        return self.seconds


@given(st.floats(0.1, 1e5), st.floats(0, 2e5), st.floats(-2e5, 2e5))
def test_deadline_is_over_on_the_first_of_its_clocks(seconds: float, boot: float, unix: float) -> None:
    """A sleep moves both clocks, a move to another host only the second one.

    A clock that is set back lengthens nothing.
    """
    since_boot, wall = FakeClock(50.0), FakeClock(1e9)
    deadline = Deadline(since_boot, wall.now)
    assert deadline.seconds_left() <= 0
    deadline.set(seconds)
    since_boot.advance(boot)
    wall.advance(unix)
    assert deadline.seconds_left() == pytest.approx(seconds - max(boot, unix), abs=1e-3)
    assert deadline.has_passed_since_boot() is (since_boot.now() > 50.0 + seconds)


def test_deadline_counts_from_its_creation() -> None:
    clock = FakeClock()
    deadline = Deadline(clock, clock.now)
    asked = deadline.now()
    clock.advance(7)  # a sleep while the answer was on its way
    deadline.set(10, asked)
    assert deadline.seconds_left() == 3


def test_joined_permits_allow_only_the_common_part() -> None:
    both = AllPermits(FixedPermit(5))
    assert FOREVER.seconds_left() == float("inf")
    both.add(FixedPermit(3))
    assert both.seconds_left() == 3


def test_call_leaves_only_with_a_permit_and_in_time() -> None:
    require_departure(connected=True)  # a call that needs no permit
    with departing(Departure(FOREVER, lambda *, connected: connected)):
        require_departure(connected=False)
        with pytest.raises(WithheldError):
            require_departure(connected=True)
    with departing(Departure(FixedPermit(0))), pytest.raises(WithheldError):
        require_departure(connected=False)
    require_departure(connected=True)


def test_departure_is_of_one_thread() -> None:
    """A call of another thread, such as a read for the preflight, needs no permit."""
    found: list[str] = []

    def other() -> None:
        require_departure(connected=True)
        found.append("left")

    with departing(Departure(FixedPermit(-1))):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found == ["left"]


def test_check_that_took_long_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process was stopped between the answer of the permit and the end of the check."""
    clock = FakeClock()
    monkeypatch.setattr(send_permit, "SINCE_BOOT", clock)
    seconds = iter([5.0, 0.0])

    class Slow:
        def seconds_left(self) -> float:
            clock.advance(6)
            return next(seconds)

    with pytest.raises(WithheldError):
        Departure(Slow()).require(connected=False)
