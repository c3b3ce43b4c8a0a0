"""The follow-through: what has become, since a run, of each user whom it set."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bulkreset.cognito.directory import Directory
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.session import TargetSession
from bulkreset.dispatch.clock import Clock
from bulkreset.dispatch.pacer import Pacer
from bulkreset.errors import TargetError
from bulkreset.record.journal import Journal, Settled
from bulkreset.record.lookup import ABSENT, Found, Lookup
from bulkreset.search import Search

_DAY = 86_400_000  # milliseconds
_SLACK = 5_000  # milliseconds by which this machine's clock and the service's may differ
_UNCHANGED = "FORCE_CHANGE_PASSWORD"


class State(StrEnum):
    """What a set row is now. All but `changed` and `agrees` are left to be looked after."""

    WAITING = "waiting"  # the temporary password is still good, and not used
    EXPIRING = "expiring"  # it will not be good much longer
    EXPIRED = "expired"  # only an administrator can help
    CHANGED = "changed"  # the user has a password of their own
    AGREES = "agrees"  # a permanent password, and nobody has changed the user since
    UNTOUCHED = "untouched"  # the user was last changed before the run: the report says otherwise
    DIFFERS = "differs"  # the user's status is not what a set password leaves behind
    GONE = "gone"  # the pool has no such user any more


DONE = frozenset({State.CHANGED, State.AGREES})


@dataclass(frozen=True, slots=True)
class Followed:
    """One set row. Times are Unix milliseconds; `expires_at` is None for a permanent password."""

    row: int
    pool: str
    username: str
    state: State
    status: str
    set_at: int
    modified_at: int | None
    expires_at: int | None


def follow(
    journal: Journal,
    sessions: Mapping[str, TargetSession],
    pools: Mapping[str, PoolFacts],
    pacers: Mapping[str, Pacer],
    clock: Clock,
    now: int,
    within_days: float,
    seen: Callable[[int, int], None],
) -> Iterator[Followed]:
    """Look every set row's user up and say what it is now, in input order; in constant memory.

    `now` is Unix milliseconds, `within_days` how soon an expiring password expires. Raises TargetError where the users may
    not be listed, ServiceError where the listing broke off.
    """
    for pool, facts in pools.items():
        if facts.gap:
            raise TargetError(
                f"The user pool {pool} could not be described: {facts.gap.code}.", f"Allow {facts.gap.action}."
            )
    # Only names are in it, and the run directory may be one that nobody writes to any more.
    with tempfile.TemporaryDirectory() as folder, Lookup(Path(folder) / "lookup.sqlite") as lookup:
        lookup.fill(
            ((row.row, row.pool, row.username) for row in journal.settled()), lambda pool, name: pools[pool].fold(name)
        )
        directories = {pool: Directory(sessions[pool], facts) for pool, facts in pools.items()}
        gaps = Search(directories, pacers, lookup, clock, lambda _user, _facts: "").run(seen)
        for pool, gap in gaps.items():
            raise TargetError(
                f"The users of {pool} could not be listed: {gap.code}.", f"Allow {gap.action} on the pool."
            )
        found = lookup.found()
        for row in journal.settled():
            match = next(found)
            days = pools[row.pool].temporary_days
            yield judge(row, match, days, now, within_days)


def judge(row: Settled, found: Found, temporary_days: int, now: int, within_days: float) -> Followed:
    """What one set row is now; a pure function of the journal's row and the user as it was found."""
    expires = None if row.permanent else row.finished_at + temporary_days * _DAY
    if found.kind == ABSENT:
        state = State.GONE
    elif expires is None:
        state = _permanent(row, found)
    elif found.status != _UNCHANGED:
        state = State.CHANGED if found.status == "CONFIRMED" else State.DIFFERS
    elif now >= expires:
        state = State.EXPIRED
    else:
        state = State.EXPIRING if now >= expires - within_days * _DAY else State.WAITING
    return Followed(row.row, row.pool, row.username, state, found.status, row.finished_at, found.modified, expires)


def _permanent(row: Settled, found: Found) -> State:
    if found.status != "CONFIRMED":
        return State.DIFFERS
    if found.modified is None:
        return State.AGREES
    if found.modified < row.started_at - _SLACK:
        return State.UNTOUCHED
    return State.CHANGED if found.modified > row.finished_at + _SLACK else State.AGREES


def left(rows: Sequence[Followed]) -> list[Followed]:
    """Those that somebody must look after."""
    return [row for row in rows if row.state not in DONE]
