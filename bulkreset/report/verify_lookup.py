"""The lookup and classification of all users that a run set. It calls only ListUsers."""

from collections.abc import Callable, Iterator, Mapping

from bulkreset.causes import advice_for
from bulkreset.clock import Clock
from bulkreset.cognito.list_users import UserLister
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.read_calls import UnknownFact
from bulkreset.errors import BulkresetError, RecordError, ServiceError, TargetError
from bulkreset.journal.journal import Journal
from bulkreset.journal.records import SetRow
from bulkreset.plan.user_search import UserSearch
from bulkreset.plan.user_store import UserStore
from bulkreset.report.user_state import VerifiedUser, classify
from bulkreset.send.pacer import Pacer

AGAIN = "verify again"


def require_described_pools(pools: Mapping[str, PoolFacts]) -> None:
    """Raise TargetError if describing a pool was denied, ServiceError if it failed otherwise."""
    for pool, facts in pools.items():
        if facts.unknown:
            raise _missing_permission_error(f"The user pool {pool} could not be described", facts.unknown)


def look_up_set_users(
    journal: Journal,
    listers: Mapping[str, UserLister],
    pacers: Mapping[str, Pacer],
    store: UserStore,
    clock: Clock,
    seen: Callable[[int, int], None],
    since: int = 0,
) -> None:
    """Find the user of every row that was set at `since` or later (Unix milliseconds).

    Calls `seen(calls made, estimated calls)`, which may raise to stop.

    Raises TargetError if listing users was denied, ServiceError if the listing failed, RecordError if the lookup cannot
    be stored.
    """

    def fold(pool: str, name: str) -> str:
        return listers[pool].facts.fold(name)

    try:
        # Use the canonical username if the plan found it: an alias may have moved to another user or been removed.
        sought = ((row.row, row.pool, row.canonical) for row in _set_rows(journal, since) if row.pool in listers)
        store.fill(sought, fold)
        gaps = UserSearch(listers, pacers, store, clock, lambda _user, _facts: "").run(seen)
    except ServiceError as error:
        raise ServiceError(error.code, error.message, advice_for(error.code, "ListUsers", AGAIN)) from None
    except RecordError as error:
        raise RecordError(error.message, f"Check the disk's space and rights, then {AGAIN}.") from None
    for pool, gap in gaps.items():
        raise _missing_permission_error(f"The users of {pool} could not be listed", gap)


def verified_users(
    journal: Journal, store: UserStore, pools: Mapping[str, PoolFacts], now: int, within_days: float, since: int = 0
) -> Iterator[VerifiedUser]:
    """Yield the current state of every row that was looked up, in input order and in constant memory.

    `now` and `since` are Unix milliseconds; `since` is that of the lookup.
    """
    found = store.findings()
    match = next(found, None)
    for row in _set_rows(journal, since):
        # A live run may have set more rows since the lookup began: these have no finding.
        if match is not None and match.row == row.row:
            yield classify(row, match, pools[row.pool].temporary_days, now, within_days)
            match = next(found, None)


def _set_rows(journal: Journal, since: int) -> Iterator[SetRow]:
    return (row for row in journal.read.set_rows() if row.finished_at >= since)


def _missing_permission_error(what: str, gap: UnknownFact) -> BulkresetError:
    message = f"{what}: {gap.code.rstrip('.')}."
    if gap.denied:
        return TargetError(message, f"Allow {gap.action} on {gap.resource} in the IAM policy, then {AGAIN}.")
    return ServiceError(gap.code, message, advice_for(gap.code, gap.action.partition(":")[2], AGAIN))
