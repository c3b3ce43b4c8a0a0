"""The state of a user is a pure function of the journal's row and the pool's user."""

import pytest

from bulkreset.journal.records import SetRow
from bulkreset.plan.user_store import ABSENT, RowFinding
from bulkreset.report.user_state import COLUMNS, DONE, UserState, VerifiedUser, classify

POOL = "eu-west-1_Here00001"
DAY = 86_400_000
SET = 1_000 * DAY  # when the row was set
MINUTE = 60_000


def state_of(
    status: str, *, permanent: int = 0, modified: int | None = SET, now: int = SET + DAY, kind: str = ""
) -> VerifiedUser:
    """Return the state for a row that was set at SET, in a pool whose temporary passwords are valid for seven days."""
    row = SetRow(1, POOL, "ann", "ann", permanent, SET - 100, SET)
    return classify(row, RowFinding(1, "ann", status, kind, modified), 7, now, 1.0)


@pytest.mark.parametrize(
    ("status", "modified", "now", "state"),
    [
        ("FORCE_CHANGE_PASSWORD", SET, SET, UserState.WAITING),
        ("FORCE_CHANGE_PASSWORD", None, SET + 6 * DAY - 1, UserState.WAITING),
        ("FORCE_CHANGE_PASSWORD", SET, SET + 6 * DAY, UserState.EXPIRING),
        ("FORCE_CHANGE_PASSWORD", SET, SET + 7 * DAY - 1, UserState.EXPIRING),
        ("FORCE_CHANGE_PASSWORD", SET, SET + 7 * DAY, UserState.EXPIRED),
        ("FORCE_CHANGE_PASSWORD", SET - DAY, SET, UserState.UNTOUCHED),
        ("FORCE_CHANGE_PASSWORD", SET - MINUTE, SET + 7 * DAY - MINUTE, UserState.EXPIRED),
        ("FORCE_CHANGE_PASSWORD", SET + DAY, SET + 7 * DAY - 1, UserState.EXPIRING),
        ("CONFIRMED", SET + DAY, SET + 9 * DAY, UserState.CHANGED),
        ("CONFIRMED", SET + 1, SET + MINUTE, UserState.CHANGED),
        ("CONFIRMED", None, SET + DAY, UserState.CHANGED),
        ("CONFIRMED", SET - 4 * MINUTE, SET + DAY, UserState.CHANGED),  # its clock is ahead
        ("CONFIRMED", SET - DAY, SET + DAY, UserState.UNTOUCHED),
        ("RESET_REQUIRED", SET + DAY, SET + DAY, UserState.DIFFERS),
        ("UNCONFIRMED", SET + DAY, SET + DAY, UserState.DIFFERS),
        ("", None, SET + DAY, UserState.DIFFERS),
    ],
)
def test_temporary_password(status: str, modified: int | None, now: int, state: UserState) -> None:
    found = state_of(status, modified=modified, now=now)
    assert found.state is state
    begun = SET if modified is None or state is UserState.UNTOUCHED else min(SET, modified)
    assert (found.set_at, found.expires_at) == (begun, begun + 7 * DAY)


def test_days_of_a_password_that_an_earlier_call_has_set_do_not_count_from_the_refused_one() -> None:
    """The answer was lost and the run killed; three days later resume found that the password had been set."""
    row = SetRow(1, POOL, "ann", "ann", 0, SET - 3 * DAY, SET)
    found = classify(row, RowFinding(1, "ann", "FORCE_CHANGE_PASSWORD", "", SET - 3 * DAY + 50), 7, SET + 5 * DAY, 1.0)
    assert (found.state, found.expires_at) == (UserState.EXPIRED, SET + 4 * DAY + 50)


@pytest.mark.parametrize(
    ("status", "modified", "state"),
    [
        ("CONFIRMED", SET, UserState.AGREES),
        ("CONFIRMED", None, UserState.AGREES),
        ("CONFIRMED", SET - 4 * MINUTE, UserState.AGREES),
        ("CONFIRMED", SET + 4 * MINUTE, UserState.AGREES),
        ("CONFIRMED", SET + 6 * MINUTE, UserState.CHANGED),
        ("CONFIRMED", SET - 6 * MINUTE, UserState.UNTOUCHED),
        ("FORCE_CHANGE_PASSWORD", SET + DAY, UserState.DIFFERS),
        ("RESET_REQUIRED", SET + DAY, UserState.DIFFERS),
    ],
)
def test_permanent_password(status: str, modified: int | None, state: UserState) -> None:
    found = state_of(status, permanent=1, modified=modified, now=SET + 100 * DAY)
    assert found.state is state
    assert found.expires_at is None


@pytest.mark.parametrize("permanent", [0, 1])
def test_missing_user_is_gone(permanent: int) -> None:
    assert state_of("", permanent=permanent, modified=None, kind=ABSENT).state is UserState.GONE


def test_some_days_may_be_none() -> None:
    row = SetRow(1, POOL, "ann", "ann", 0, SET, SET)
    found = RowFinding(1, "ann", "FORCE_CHANGE_PASSWORD", "", SET)
    assert classify(row, found, 1, SET + DAY - 1, 0).state is UserState.WAITING
    assert classify(row, found, 1, SET + DAY, 0).state is UserState.EXPIRED


def test_only_users_who_need_no_help_are_done() -> None:
    assert set(UserState) - DONE == {"waiting", "expiring", "expired", "untouched", "differs", "gone"}


def test_line_has_times_in_words_and_no_formula() -> None:
    found = VerifiedUser(7, POOL, "=cmd()", UserState.EXPIRED, "FORCE_CHANGE_PASSWORD", 1_000, None, 86_401_001)
    assert ",".join(COLUMNS) == "row,user_pool_id,username,state,user_status,set_at,modified_at,expires_at"
    assert found.cells() == [
        *(7, POOL, "'=cmd()", "expired", "FORCE_CHANGE_PASSWORD"),
        *("1970-01-01T00:00:01.000Z", None, "1970-01-02T00:00:01.001Z"),
    ]
    assert found.values()["username"] == "=cmd()"
