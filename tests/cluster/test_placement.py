"""The states of a lane group, as one table: every pair of state and event is allowed or refused."""

from itertools import product

import pytest

from bulkreset.cluster.placement import GroupEvent, GroupState, TransitionRefused, next_state

W, G, O, M, C, H = "waiting", "opening", "open", "moving", "closing", "halted"  # noqa: E741  (columns of a table)
NO = ""
# For each event, the state after it in each state before it; NO is refused.
TABLE = {
    "before": (W, G, O, M, C, H),
    "assign": (G, NO, NO, NO, NO, NO),
    "opened": (NO, O, NO, NO, NO, H),
    "refused": (NO, W, NO, NO, NO, H),
    "move": (NO, NO, M, M, NO, NO),
    "drained": (NO, NO, NO, C, NO, NO),
    "closed": (NO, NO, NO, NO, W, H),
    "lost": (NO, W, W, W, W, H),
    "halt": (H, H, H, H, H, H),
    "emptied": (NO, NO, NO, NO, NO, H),
}


def test_table_has_every_state_and_every_event() -> None:
    assert set(TABLE["before"]) == set(GroupState)
    assert set(TABLE) - {"before"} == set(GroupEvent)


@pytest.mark.parametrize(("state", "event"), list(product(GroupState, GroupEvent)))
def test_every_pair_is_allowed_or_refused(state: GroupState, event: GroupEvent) -> None:
    after = TABLE[event][TABLE["before"].index(state)]
    if after:
        assert next_state(state, event) == after
        return
    with pytest.raises(TransitionRefused, match=f"{event} while {state}"):
        next_state(state, event)


def test_halted_lanes_never_send_again() -> None:
    assert {next_state(GroupState.HALTED, GroupEvent(event)) for event in ("opened", "closed", "lost", "emptied")} == {
        GroupState.HALTED
    }
