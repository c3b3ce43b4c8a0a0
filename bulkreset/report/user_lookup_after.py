"""The follow-through: every user whom a run set, found again by ListUsers alone and judged."""

from collections.abc import Callable, Iterator, Mapping

from bulkreset.cognito.list_users import Directory
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.read_calls import Gap
from bulkreset.cognito.response import advice
from bulkreset.errors import BulkresetError, RecordError, ServiceError, TargetError
from bulkreset.journal.journal import Journal
from bulkreset.plan.user_lookup import Lookup
from bulkreset.plan.user_search import Search
from bulkreset.report.user_state import Fate, judge
from bulkreset.send.clock import Clock
from bulkreset.send.pacer import Pacer

AGAIN = "verify again"


def must_be_known(pools: Mapping[str, PoolFacts]) -> None:
    """Raise TargetError where a pool may not be described, ServiceError where that was not answered."""
    for pool, facts in pools.items():
        if facts.gap:
            raise _missing(f"The user pool {pool} could not be described", facts.gap)


def look_up(
    journal: Journal,
    directories: Mapping[str, Directory],
    pacers: Mapping[str, Pacer],
    lookup: Lookup,
    clock: Clock,
    seen: Callable[[int, int], None],
) -> None:
    """Find the user of every set row; `seen` is told of calls made, of about how many, and may raise to stop.

    Raises TargetError where users may not be listed, ServiceError where the listing broke off.
    """

    def fold(pool: str, name: str) -> str:
        return directories[pool].facts.fold(name)

    try:
        # By the user's own name where the plan learned it: an alias may be another's by now, or nobody's.
        sought = ((row.row, row.pool, row.canonical) for row in journal.settled() if row.pool in directories)
        lookup.fill(sought, fold)
        gaps = Search(directories, pacers, lookup, clock, lambda _user, _facts: "").run(seen)
    except ServiceError as error:
        raise ServiceError(error.code, error.message, advice(error.code, "ListUsers", AGAIN)) from None
    except RecordError as error:
        raise RecordError(error.message, f"Check the disk's space and rights, then {AGAIN}.") from None
    for pool, gap in gaps.items():
        raise _missing(f"The users of {pool} could not be listed", gap)


def fates(
    journal: Journal, lookup: Lookup, pools: Mapping[str, PoolFacts], now: int, within_days: float
) -> Iterator[Fate]:
    """What every row whose user was looked up is now, in input order and in constant memory; `now` is Unix milliseconds."""
    found = lookup.found()
    match = next(found, None)
    for row in journal.settled():
        # A run that goes on has set rows since the look-up began.
        if match is not None and match.row == row.row:
            yield judge(row, match, pools[row.pool].temporary_days, now, within_days)
            match = next(found, None)


def _missing(what: str, gap: Gap) -> BulkresetError:
    said = f"{what}: {gap.code.rstrip('.')}."
    if gap.denied:
        return TargetError(said, f"Allow {gap.action} on {gap.resource} in the IAM policy, then {AGAIN}.")
    return ServiceError(gap.code, said, advice(gap.code, gap.action.partition(":")[2], AGAIN))
