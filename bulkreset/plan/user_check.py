"""Compares every row that would be sent with the users of its pool, before anything is sent."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from bulkreset.clock import Clock
from bulkreset.cognito.list_users import PoolUser, UserLister
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.read_calls import UnknownFact
from bulkreset.cognito.session import TargetSession
from bulkreset.job import Job
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_state import Phase
from bulkreset.models import Recovery, RejectCode, SkipReason, Status
from bulkreset.plan.parallel_calls import listing_pacers
from bulkreset.plan.similar_names import NOT_FOUND, NOT_LISTED
from bulkreset.plan.user_search import UserSearch
from bulkreset.plan.user_store import ABSENT, UNKNOWN, UNLISTED, RowFinding, UserStore

_ABSENT = {ABSENT: NOT_FOUND, UNLISTED: NOT_LISTED}
_SAID = {
    SkipReason.PROTECTED: "the job protects this user",
    SkipReason.FEDERATED: "the user signs in through an identity provider",
    SkipReason.DISABLED: "the user is disabled",
    SkipReason.PASSWORDLESS: "no user of the pool can sign in with a password, and a password can never be removed",
    SkipReason.UNCONFIRMED: "the user never confirmed the account",
    SkipReason.UNRECOVERABLE: "the pool cannot send this user a code to recover the account",
}


class UserCheck:
    """The user check of one plan.

    `protected` has the names that the job protects, case-folded. Each entry of `lanes` lists pools that share a pace.
    """

    def __init__(
        self,
        job: Job,
        sessions: Mapping[str, TargetSession],
        pools: Mapping[str, PoolFacts],
        lanes: Sequence[Sequence[str]],
        protected: AbstractSet[str],
        clock: Clock,
    ) -> None:
        self._job = job
        self._sessions = sessions
        self._pools = pools
        self._lanes = lanes
        self._protected = protected
        self._clock = clock

    def run(
        self, journal: Journal, scratch: Path, seen: Callable[[int, int], None], listed: UserStore | None = None
    ) -> list[UnknownFact]:
        """Look up the user of every ready row, store the findings in the journal and end its phase CHECKING.

        `scratch` is the file of the store; it stays if the search is stopped, so that a resumed search continues there.
        `seen` is called with (calls made, calls expected) and may raise to stop. `listed` is the open store if the rows
        are the users listed in it; they are not looked up again. Returns the gaps of pools whose users cannot be listed
        (denied or fatal). Raises ServiceError if a search was interrupted.
        """
        unchecked = {pool: reason for pool in self._pools if (reason := self._reason_not_checked(pool))}
        checked = {pool: facts for pool, facts in self._pools.items() if pool not in unchecked}
        listers = {pool: UserLister(self._sessions[pool], facts) for pool, facts in checked.items()}
        gaps: dict[str, UnknownFact] = {}
        if listers:
            with listed or UserStore(scratch) as store:
                # If a pool could not be checked in an earlier execution but can be now, fill the store again.
                ready = {pool for pool, _, _ in journal.read.sendable_counts() if pool in listers}
                if not store.is_filled or not all(store.names(pool) for pool in ready):
                    sought = ((row, pool, name) for row, pool, name in journal.read.rows_to_check() if pool in listers)
                    store.fill(sought, lambda pool, name: self._pools[pool].fold(name))
                    if listed:
                        store.match_listed()
                pacers = listing_pacers(self._job, self._lanes, self._clock)
                gaps = UserSearch(listers, pacers, store, self._clock, self.skip_reason).run(seen)
                unchecked |= {pool: f"ListUsers was denied ({gap.code})" for pool, gap in gaps.items()}
                findings = (
                    (it.row, *_decide(it, scrambled=self._job.scrambles), it.status, it.recovery, it.username)
                    for it in store.findings()
                )
                journal.write.store_findings(findings, phase=Phase.COMPARING, unchecked=unchecked)
                store.discard()
        else:
            journal.write.change(phase=Phase.COMPARING, unchecked=unchecked)
        return list(gaps.values())

    def _reason_not_checked(self, pool: str) -> str:
        """Return why a pool's users are not looked up, or "" if they are."""
        if self._sessions[pool].emulated:
            return "the emulator has every user of the input"
        if not self._job.plan.check_users:
            return "the job asks for no check (plan.check_users)"
        gap = self._pools[pool].unknown
        return f"the pool could not be read (DescribeUserPool: {gap.code})" if gap else ""

    def skip_reason(self, user: PoolUser, facts: PoolFacts) -> str:
        """Return why the job skips the user, or "" if it does not. The most serious reason comes first."""
        if self._protected and any(name.casefold() in self._protected for name in user.names):
            return SkipReason.PROTECTED
        kinds = {
            SkipReason.FEDERATED: user.federated,
            SkipReason.DISABLED: not user.enabled,
            SkipReason.PASSWORDLESS: facts.passwordless,
            SkipReason.UNCONFIRMED: user.status == "UNCONFIRMED",
            SkipReason.UNRECOVERABLE: user.recovery is Recovery.NONE,
        }
        return next((kind for kind, holds in kinds.items() if holds and kind in self._job.skips), "")


def _decide(found: RowFinding, *, scrambled: bool) -> tuple[str, str, str]:
    """Return status, code and message of a row. A message without a code is a warning."""
    if found.is_absent:
        message = f"{_ABSENT[found.kind]}: {found.cause}" if found.cause else _ABSENT[found.kind]
        return Status.REJECTED.value, RejectCode.USER_NOT_FOUND.value, message
    if found.kind and found.kind != UNKNOWN.kind:
        return Status.SKIPPED.value, found.kind, _SAID[SkipReason(found.kind)]
    locked_out = scrambled and found.recovery == Recovery.NONE
    return Status.READY.value, "", f"locked out: {_SAID[SkipReason.UNRECOVERABLE]}" if locked_out else ""
