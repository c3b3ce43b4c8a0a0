"""The preflight: what is about to happen, before anything does: who calls, which lanes, how many rows, how long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.quota import LISTING, AccountQuota
from bulkreset.cognito.read_calls import UnknownFact
from bulkreset.cognito.session import Caller, TargetSession
from bulkreset.errors import JobError, RunDirError
from bulkreset.job import Job
from bulkreset.job.target import is_aws

SIGN_OUT_QUOTA = 25.0  # UserUpdate calls per second of an account in a Region


@dataclass(frozen=True, slots=True)
class PlannedLane:
    """One account in one Region: the pools that share its quota, who says what that is, and the ceiling taken (None: unpaced)."""

    account: str
    region: str
    pools: tuple[str, ...]
    quota: float
    source: str
    ceiling: float | None


@dataclass(frozen=True, slots=True)
class Preflight:
    """Everything that the confirmation shows.

    `permanent` and `temporary` count the rows that will be sent so, `before` those whose users have each status as far as
    that is known. `unchecked` names the pools whose users were not looked up, and why; `gaps` what else is not known.
    `pending` counts the users who are set and still to be signed out; None where the job signs nobody out. `stranded` are
    those who could not recover from a password that nobody knows.
    """

    job: Job
    emulated: bool
    lanes: tuple[PlannedLane, ...]
    callers: Mapping[str, Caller]
    pools: Mapping[str, PoolFacts]
    endpoints: Mapping[str, str]
    counts: Mapping[str, int]
    permanent: int
    temporary: int
    status_before: Mapping[str, int]
    unchecked: Mapping[str, str]
    unknown: tuple[UnknownFact, ...]
    seconds: float | None
    approved: Mapping[str, str] | None = None
    unrecoverable: int = 0
    pending: int | None = None

    @property
    def ready(self) -> int:
        """How many rows will be sent."""
        return self.permanent + self.temporary

    @property
    def sends(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.ready or self.pending)

    def name_of(self, pool: str) -> str:
        """The pool's own name; its id where that is not known."""
        return self.pools[pool].name or pool


@dataclass(frozen=True, slots=True)
class AwsFacts:
    """What the enquiry brought, by user pool id."""

    callers: Mapping[str, Caller]
    pools: Mapping[str, PoolFacts]
    quotas: Mapping[str, AccountQuota]


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What the plan brought.

    `ready` counts the rows that will be sent: (pool, permanent, rows), `pending` by pool who is set and not signed out.
    """

    counts: Mapping[str, int]
    ready: Sequence[tuple[str, int, int]]
    status_before: Mapping[str, int]
    unchecked: Mapping[str, str]
    unknown: Sequence[UnknownFact] = ()
    pending: Mapping[str, int] = field(default_factory=dict)
    unrecoverable: int = 0


def build_preflight(
    job: Job,
    sessions: Mapping[str, TargetSession],
    asked: AwsFacts,
    planned: PlanFacts,
    approved: Mapping[str, str] | None = None,
) -> Preflight:
    """Put together what is known."""
    lanes = plan_lanes(job, sessions, asked.callers, asked.quotas)
    by_pool = {pool: sum(rows for named, _, rows in planned.ready if named == pool) for pool in sessions}
    told = [facts.unknown for facts in asked.pools.values()] + [
        gap for quota in asked.quotas.values() for gap in quota.unknown
    ]
    seconds = expected_seconds(lanes, by_pool)
    if job.signs_out and seconds is not None:
        leaving = [replace(lane, quota=SIGN_OUT_QUOTA, ceiling=sign_out_ceiling(job)) for lane in lanes]
        all_of_them = {pool: rows + planned.pending.get(pool, 0) for pool, rows in by_pool.items()}
        seconds = max(seconds, expected_seconds(leaving, all_of_them) or 0.0)  # they run side by side
    return Preflight(
        job=job,
        emulated=any(session.emulated for session in sessions.values()),
        lanes=lanes,
        callers=asked.callers,
        pools=asked.pools,
        endpoints={pool: session.endpoint for pool, session in sessions.items()},
        counts=planned.counts,
        permanent=sum(rows for _, permanent, rows in planned.ready if permanent),
        temporary=sum(rows for _, permanent, rows in planned.ready if not permanent),
        status_before=planned.status_before,
        unchecked=planned.unchecked,
        unknown=tuple(dict.fromkeys(gap for gap in (*told, *planned.unknown) if gap)),
        seconds=seconds,
        approved=approved,
        unrecoverable=planned.unrecoverable,
        pending=sum(planned.pending.values()) if job.signs_out else None,
    )


def plan_lanes(
    job: Job, sessions: Mapping[str, TargetSession], callers: Mapping[str, Caller], quotas: Mapping[str, AccountQuota]
) -> tuple[PlannedLane, ...]:
    """Group the pools by what shares a quota."""
    lanes = []
    for (account, region, *_), pools in group_by_quota(sessions, callers).items():
        quota = max((quotas[pool] for pool in pools), key=lambda found: not found.unknown)  # one that was told, if any
        rate = job.pace.rate
        ceiling = None if rate == "none" else quota.value * job.pace.share if rate == "auto" else float(rate)
        lanes.append(PlannedLane(account or "", region or "", pools, quota.value, quota.source, ceiling))
    return tuple(lanes)


def group_by_quota(
    sessions: Mapping[str, TargetSession], callers: Mapping[str, Caller]
) -> dict[tuple[str | None, ...], tuple[str, ...]]:
    """The pools by account and Region, or by the way to them where STS does not tell the account."""
    groups: dict[tuple[str | None, ...], tuple[str, ...]] = {}
    for pool, session in sessions.items():
        account = callers[pool].account
        target = session.target
        way = () if account else (target.profile, target.role_arn, target.endpoint_url)
        key = (account, session.region, *way)
        groups[key] = (*groups.get(key, ()), pool)
    return groups


def require_pace(job: Job, sessions: Mapping[str, TargetSession]) -> None:
    """Raise JobError where AWS's own endpoint would be called without a pace: real users share its quota."""
    for pool, session in sessions.items() if job.pace.rate == "none" else ():
        if is_aws(session.endpoint) and not session.emulated:
            raise JobError(
                f'pace.rate is "none", and {pool} is at AWS\'s own endpoint {session.endpoint}.',
                'Without a pace its real users would be throttled: give a rate, or "auto", which follows the quota.',
            )


def listing_rate(job: Job) -> float | None:
    """How many calls of ListUsers per second a lane makes; None where nothing is paced."""
    return None if job.pace.rate == "none" else LISTING * job.pace.share


def sign_out_ceiling(job: Job) -> float | None:
    """Sign-outs per second of a lane; None where nothing is paced. Their quota is another one than the passwords'."""
    return None if job.pace.rate == "none" else SIGN_OUT_QUOTA * job.pace.share


def expected_seconds(lanes: Sequence[PlannedLane], ready: Mapping[str, int]) -> float | None:
    """How long the longest lane takes at its ceiling, or its quota where that is less; None where one is unpaced. `ready` counts rows by pool."""
    longest = 0.0
    for lane in lanes:
        if lane.ceiling is None:
            return None
        longest = max(longest, sum(ready.get(pool, 0) for pool in lane.pools) / min(lane.ceiling, lane.quota))
    return longest


def describe_targets(
    sessions: Mapping[str, TargetSession], callers: Mapping[str, Caller] | None = None
) -> list[dict[str, Any]]:
    """The targets as journal and summary keep them; with the account where the callers are known."""
    found = [
        {
            "user_pool_id": pool,
            "region": at.region,
            "endpoint": at.endpoint,
            "profile": at.target.profile,
            "role_arn": at.target.role_arn,
        }
        for pool, at in sessions.items()
    ]
    return (
        [target | {"account": callers[target["user_pool_id"] or ""].account} for target in found] if callers else found
    )


def require_same_targets(found: Sequence[Mapping[str, Any]], planned: Sequence[Mapping[str, Any]]) -> None:
    """Raise RunDirError where a pool would now be reached in another Region or at another endpoint."""
    for now, then in zip(found, planned, strict=True):
        for key in ("region", "endpoint"):
            if now[key] != then[key]:
                raise RunDirError(
                    f"The {key} of {then['user_pool_id']} was {then[key]} when the run was begun and is {now[key]} now.",
                    "Set it back, or plan a new run.",
                )


def require_same_accounts(callers: Mapping[str, Caller], planned: Sequence[Mapping[str, Any]]) -> None:
    """Raise RunDirError where a pool would now be reached in another account, as far as both are known."""
    known = {target["user_pool_id"]: target.get("account") for target in planned}
    for pool, caller in callers.items():
        if known.get(pool) and caller.account and caller.account != known[pool]:
            raise RunDirError(
                f"The run was begun in account {known[pool]}, and these credentials are of {caller.account}.",
                "Use credentials of the account that the run was begun in.",
            )
