"""The current state of a user that a run set, judged from the journal's row and the user found now."""

from enum import StrEnum
from typing import Any, NamedTuple

from bulkreset.clock import DAY_MS
from bulkreset.journal.records import SetRow
from bulkreset.plan.user_store import RowFinding
from bulkreset.text import format_iso, spreadsheet_safe

COLUMNS = ("row", "user_pool_id", "username", "state", "user_status", "set_at", "modified_at", "expires_at")

# Milliseconds by which this machine's clock may differ from the service's: AWS rejects signatures that differ more.
_SLACK = 300_000
_TEMPORARY = "FORCE_CHANGE_PASSWORD"
_OWN = "CONFIRMED"


class UserState(StrEnum):
    """The current state of a set row. All states except `changed` and `agrees` need attention."""

    WAITING = "waiting"  # the temporary password is valid and not used yet
    EXPIRING = "expiring"  # the temporary password expires soon
    EXPIRED = "expired"  # the temporary password has expired: only an administrator can help
    CHANGED = (
        "changed"  # temporary password: the user has chosen a new one; permanent password: the user was changed since
    )
    AGREES = "agrees"  # permanent password, and the user was not changed since
    UNTOUCHED = "untouched"  # the user was last changed before the run, which contradicts the report
    DIFFERS = "differs"  # the user's status is not the one that the set password causes
    GONE = "gone"  # the user is no longer in the pool


DONE = frozenset({UserState.CHANGED, UserState.AGREES})
SHORT = frozenset({UserState.EXPIRING, UserState.EXPIRED})  # these users need a new temporary password


class VerifiedUser(NamedTuple):
    """One verified row. Times are Unix milliseconds; `expires_at` is None for a permanent password."""

    row: int
    pool: str
    username: str
    state: UserState
    status: str
    set_at: int
    modified_at: int | None
    expires_at: int | None

    def values(self) -> dict[str, Any]:
        """Return the values by report column, with ISO times. A missing value is None."""
        found = (self.row, self.pool, self.username, self.state.value, self.status or None)
        times = (None if at is None else format_iso(at) for at in (self.set_at, self.modified_at, self.expires_at))
        return dict(zip(COLUMNS, (*found, *times), strict=True))

    def cells(self) -> list[Any]:
        """Return the cells of the report's line. No cell can run as a spreadsheet formula."""
        return [spreadsheet_safe(value) if isinstance(value, str) else value for value in self.values().values()]


def classify(row: SetRow, found: RowFinding, temporary_days: int, now: int, within_days: float) -> VerifiedUser:
    """Return the current state of one set row; `now` is Unix milliseconds.

    A temporary password is valid for `temporary_days`, and expiring in its last `within_days`. If an earlier call set
    it and the last call was refused, its days began before the last call, and at the latest when the user was last
    changed.
    """
    untouched = found.modified is not None and found.modified < row.started_at - _SLACK
    begun = row.finished_at if found.modified is None or untouched else min(row.finished_at, found.modified)
    expires = None if row.permanent else begun + temporary_days * DAY_MS
    if found.is_absent:
        state = UserState.GONE
    elif untouched and found.status in {_TEMPORARY, _OWN}:
        state = UserState.UNTOUCHED  # the current password does not come from this run
    elif found.status == _TEMPORARY and expires is not None:
        state = _unused_state(expires, now, within_days)
    elif found.status != _OWN:
        state = UserState.DIFFERS
    else:
        state = _confirmed_state(row, found.modified)
    return VerifiedUser(row.row, row.pool, row.username, state, found.status, begun, found.modified, expires)


def _unused_state(expires: int, now: int, within_days: float) -> UserState:
    if now >= expires:
        return UserState.EXPIRED
    return UserState.EXPIRING if now >= expires - within_days * DAY_MS else UserState.WAITING


def _confirmed_state(row: SetRow, modified: int | None) -> UserState:
    """Return the state of a CONFIRMED user: with their own password, or the permanent one that was set."""
    if not row.permanent:
        return UserState.CHANGED
    return UserState.CHANGED if modified is not None and modified > row.finished_at + _SLACK else UserState.AGREES
