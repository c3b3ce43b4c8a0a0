"""The check of the directory: every row that would be sent compared with the users of its pool, before anything is sent."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from pathlib import Path

from bulkreset.cognito.list_users import Directory, User
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.read_calls import Gap
from bulkreset.cognito.session import TargetSession
from bulkreset.job import Job
from bulkreset.journal.journal import Journal
from bulkreset.models import Code, Kind, Status
from bulkreset.plan.paged_reader import listing_pacers
from bulkreset.plan.user_lookup import ABSENT, UNKNOWN, Found, Lookup, Match
from bulkreset.plan.user_search import Search
from bulkreset.send.clock import Clock

_BATCH = 5_000  # users
UNREACHABLE = "could not recover"  # begins the warning of a ready row

_SAID = {
    Kind.PROTECTED: "the job protects this user",
    Kind.FEDERATED: "the user signs in through an identity provider",
    Kind.DISABLED: "the user is disabled",
    Kind.PASSWORDLESS: "the pool lets nobody in by password, and one that is set can never be removed",
    Kind.UNCONFIRMED: "the user never confirmed the account",
    Kind.UNRECOVERABLE: "the user has no verified e-mail address or phone number to recover by",
}


class Check:
    """The check of one plan. `protected` has the names that the job protects, case-folded; `lanes` the pools that share a pace."""

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
        self,
        journal: Journal,
        scratch: Path,
        seen: Callable[[int, int], None],
        known: Mapping[str, Iterable[Match]] | None = None,
    ) -> tuple[dict[str, str], list[Gap]]:
        """Look every ready row's user up and take what it says into the journal.

        `scratch` is the lookup's file: left behind where the search is stopped, so that it goes on from there; `seen` is
        told of calls made, of how many, and may raise to stop. Of the users in `known`, by pool, nothing is asked. Returns the pools that were not checked, with the reason,
        and the gaps of those whose users may not be listed. Raises ServiceError where a search broke off.
        """
        unchecked = {pool: reason for pool in self._pools if (reason := self._reason_against(pool))}
        directories = {
            pool: Directory(self._sessions[pool], facts) for pool, facts in self._pools.items() if pool not in unchecked
        }
        gaps: dict[str, Gap] = {}
        if directories:
            with Lookup(scratch) as lookup:
                # A pool that could not be asked in an earlier execution, and can be now, is filled in.
                ready = {pool for pool, _, _ in journal.ready() if pool in directories}
                if not lookup.is_filled or not all(lookup.names(pool) for pool in ready):
                    sought = ((row, pool, name) for row, pool, name in journal.sought() if pool in directories)
                    lookup.fill(sought, lambda pool, name: self._pools[pool].fold(name))
                    for pool in directories.keys() & (known or {}).keys():
                        _take_over(lookup, pool, iter((known or {})[pool]))
                pacers = listing_pacers(self._job, self._lanes, self._clock)
                gaps = Search(directories, pacers, lookup, self._clock, self.kind_of).run(seen)
                unchecked |= {pool: f"ListUsers was refused ({gap.code})" for pool, gap in gaps.items()}
                journal.note_checked(self._findings(lookup, scrambled=self._job.scrambles), unchecked=unchecked)
                lookup.discard()
        else:
            journal.note(unchecked=unchecked)
        return unchecked, list(gaps.values())

    def _reason_against(self, pool: str) -> str:
        """Why a pool's users are not looked up; "" where they are."""
        if self._sessions[pool].emulated:
            return "the emulator has every user of the input"
        if not self._job.plan.check_users:
            return "the job asks for no check"
        gap = self._pools[pool].gap
        return (
            f"how the pool compares names is not known: DescribeUserPool was not answered ({gap.code})" if gap else ""
        )

    def kind_of(self, user: User, facts: PoolFacts) -> str:
        """What sets the user apart, as far as the job leaves such users alone; the gravest first."""
        if self._protected and any(name.casefold() in self._protected for name in user.names):
            return Kind.PROTECTED
        kinds = {
            Kind.FEDERATED: user.federated,
            Kind.DISABLED: not user.enabled,
            Kind.PASSWORDLESS: facts.passwordless,
            Kind.UNCONFIRMED: user.status == "UNCONFIRMED",
            Kind.UNRECOVERABLE: not user.reachable,
        }
        return next((kind for kind, holds in kinds.items() if holds and kind in self._job.plan.skip), "")

    @staticmethod
    def _findings(lookup: Lookup, *, scrambled: bool) -> Iterator[tuple[int, str, str, str, str, str]]:
        """What the plan makes of each row of which something is known now, in input order, as the journal takes it."""
        for found in lookup.found():
            yield found.row, *_verdict(found, scrambled=scrambled), found.status, found.username


def _take_over(lookup: Lookup, pool: str, users: Iterator[Match]) -> None:
    """Note a pool's users as if they had just been swept."""
    some = list(islice(users, _BATCH))
    while some:
        following = list(islice(users, _BATCH))
        lookup.note_page(pool, some, None, swept=not following)
        some = following


def _verdict(found: Found, *, scrambled: bool) -> tuple[str, str, str]:
    """Status, code and message; a message alone is a warning."""
    if found.kind == ABSENT:
        return Status.REJECTED.value, Code.USER_NOT_FOUND.value, "the pool has no user whom this names"
    if found.kind and found.kind != UNKNOWN.kind:
        return Status.SKIPPED.value, found.kind, _SAID[Kind(found.kind)]
    return (
        Status.READY.value,
        "",
        "" if found.reachable or not scrambled else f"{UNREACHABLE}: {_SAID[Kind.UNRECOVERABLE]}",
    )
