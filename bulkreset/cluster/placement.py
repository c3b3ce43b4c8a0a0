"""The states of a lane group on the coordinator, and the one table of its transitions."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class GroupState(StrEnum):
    """Where the lanes of a group are."""

    WAITING = "waiting"  # no worker has them
    OPENING = "opening"  # a worker is ordered to open them
    OPEN = "open"  # the worker takes rows
    MOVING = "moving"  # they move to another worker when this one has no rows left
    CLOSING = "closing"  # the worker is ordered to close them
    HALTED = "halted"  # no more attempts may start


class GroupEvent(StrEnum):
    """What changes the state of a lane group."""

    ASSIGN = "assign"  # a worker is chosen and ordered to open them
    OPENED = "opened"  # the worker has opened them
    REFUSED = "refused"  # the worker cannot open them
    MOVE = "move"  # another worker should have them
    DRAINED = "drained"  # the worker has no rows left, and is ordered to close them
    CLOSED = "closed"  # the worker has closed them
    LOST = "lost"  # the worker is lost
    HALT = "halt"  # the run or a fatal answer stops them
    EMPTIED = "emptied"  # the worker has returned the rows of halted lanes


_S, _E = GroupState, GroupEvent
# Every pair that is not here is refused.
TRANSITIONS: Final[Mapping[tuple[GroupState, GroupEvent], GroupState]] = {
    (_S.WAITING, _E.ASSIGN): _S.OPENING,
    (_S.WAITING, _E.HALT): _S.HALTED,
    (_S.OPENING, _E.OPENED): _S.OPEN,
    (_S.OPENING, _E.REFUSED): _S.WAITING,
    (_S.OPENING, _E.LOST): _S.WAITING,
    (_S.OPENING, _E.HALT): _S.HALTED,
    (_S.OPEN, _E.MOVE): _S.MOVING,
    (_S.OPEN, _E.LOST): _S.WAITING,
    (_S.OPEN, _E.HALT): _S.HALTED,
    (_S.MOVING, _E.MOVE): _S.MOVING,
    (_S.MOVING, _E.DRAINED): _S.CLOSING,
    (_S.MOVING, _E.LOST): _S.WAITING,
    (_S.MOVING, _E.HALT): _S.HALTED,
    (_S.CLOSING, _E.CLOSED): _S.WAITING,
    (_S.CLOSING, _E.LOST): _S.WAITING,
    (_S.CLOSING, _E.HALT): _S.HALTED,
    # The worker may have carried out an earlier order before it reads the order to halt.
    (_S.HALTED, _E.OPENED): _S.HALTED,
    (_S.HALTED, _E.REFUSED): _S.HALTED,
    (_S.HALTED, _E.CLOSED): _S.HALTED,
    (_S.HALTED, _E.LOST): _S.HALTED,
    (_S.HALTED, _E.HALT): _S.HALTED,
    (_S.HALTED, _E.EMPTIED): _S.HALTED,
}


class TransitionRefused(Exception):
    """An event that cannot happen in this state: a bug here, or a false report from a worker."""


def next_state(state: GroupState, event: GroupEvent) -> GroupState:
    """Return the state after `event`. Raises TransitionRefused."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise TransitionRefused(f"{event} while {state}") from None
