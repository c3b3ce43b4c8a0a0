"""The preflight: what is about to happen, before anything does: who calls, which lanes, how many rows, how long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from bulkreset.cognito.session import Caller, TargetSession
from bulkreset.errors import RunDirError
from bulkreset.job import Job

SIGN_OUT_QUOTA = 25.0  # UserUpdate calls per second of an account in a Region
ACCOUNT_QUOTA = 30.0  # UserAccountRecovery calls per second of an account in a Region; not adjustable


@dataclass(frozen=True, slots=True)
class LanePlan:
    """One account in one Region: the pools that share its quota, and the ceiling taken (None: unpaced)."""

    account: str
    region: str
    pools: tuple[str, ...]
    quota: float
    ceiling: float | None


@dataclass(frozen=True, slots=True)
class Preflight:
    """Everything that the confirmation shows. `permanent` and `temporary` count the rows that will be sent so.

    `pending` counts the users who are set and still to be signed out; None where the job signs nobody out.
    """

    job: Job
    emulated: bool
    lanes: tuple[LanePlan, ...]
    callers: Mapping[str, Caller]
    endpoints: Mapping[str, str]
    counts: Mapping[str, int]
    permanent: int
    temporary: int
    seconds: float | None
    pending: int | None = None

    @property
    def ready(self) -> int:
        """How many rows will be sent."""
        return self.permanent + self.temporary

    @property
    def sends(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.ready or self.pending)


def inspect(
    job: Job,
    sessions: Mapping[str, TargetSession],
    callers: Mapping[str, Caller],
    counts: Mapping[str, int],
    ready: Sequence[tuple[str, int, int]],
    pending: Mapping[str, int] = MappingProxyType({}),
) -> Preflight:
    """Put together what is known. `ready` counts the rows that will be sent: (pool, permanent, rows).

    `pending` counts by pool who is set and not signed out.
    """
    emulated = any(session.emulated for session in sessions.values())
    lanes = plan_lanes(job, sessions, callers, job.emulator.quota if emulated else ACCOUNT_QUOTA)
    by_pool = {pool: sum(rows for named, _, rows in ready if named == pool) for pool in sessions}
    seconds = expected_seconds(lanes, by_pool)
    if job.after.sign_out and seconds is not None:
        leaving = [replace(lane, quota=SIGN_OUT_QUOTA, ceiling=sign_out_ceiling(job)) for lane in lanes]
        all_of_them = {pool: rows + pending.get(pool, 0) for pool, rows in by_pool.items()}
        seconds = max(seconds, expected_seconds(leaving, all_of_them) or 0.0)  # they run side by side
    return Preflight(
        job=job,
        emulated=emulated,
        lanes=lanes,
        callers=callers,
        endpoints={pool: session.endpoint for pool, session in sessions.items()},
        counts=counts,
        permanent=sum(rows for _, permanent, rows in ready if permanent),
        temporary=sum(rows for _, permanent, rows in ready if not permanent),
        seconds=seconds,
        pending=sum(pending.values()) if job.after.sign_out else None,
    )


def plan_lanes(
    job: Job, sessions: Mapping[str, TargetSession], callers: Mapping[str, Caller], quota: float
) -> tuple[LanePlan, ...]:
    """Group the pools by what shares a quota: the account and the Region, or the way to them where STS does not say."""
    groups: dict[tuple[str | None, ...], list[str]] = {}
    for pool, session in sessions.items():
        account = callers[pool].account
        target = session.target
        way = () if account else (target.profile, target.role_arn, target.endpoint_url)
        groups.setdefault((account, session.region, *way), []).append(pool)
    rate = job.pace.rate
    ceiling = None if rate == "none" else quota * job.pace.share if rate == "auto" else float(rate)
    return tuple(
        LanePlan(account or "", region or "", tuple(pools), quota, ceiling)
        for (account, region, *_), pools in groups.items()
    )


def sign_out_ceiling(job: Job) -> float | None:
    """Sign-outs per second of a lane; None where nothing is paced. Their quota is another one than the passwords'."""
    return None if job.pace.rate == "none" else SIGN_OUT_QUOTA * job.pace.share


def expected_seconds(lanes: Sequence[LanePlan], ready: Mapping[str, int]) -> float | None:
    """How long the longest lane takes at its ceiling, or its quota where that is less; None where one is unpaced. `ready` counts rows by pool."""
    longest = 0.0
    for lane in lanes:
        if lane.ceiling is None:
            return None
        longest = max(longest, sum(ready.get(pool, 0) for pool in lane.pools) / min(lane.ceiling, lane.quota))
    return longest


def described(sessions: Mapping[str, TargetSession]) -> list[dict[str, Any]]:
    """The targets as journal and summary keep them."""
    return [
        {
            "user_pool_id": pool,
            "region": at.region,
            "endpoint": at.endpoint,
            "profile": at.target.profile,
            "role_arn": at.target.role_arn,
        }
        for pool, at in sessions.items()
    ]


def must_be_the_same_targets(found: Sequence[Mapping[str, Any]], planned: Sequence[Mapping[str, Any]]) -> None:
    """Raise RunDirError where a pool would now be reached in another Region or at another endpoint."""
    for now, then in zip(found, planned, strict=True):
        for key in ("region", "endpoint"):
            if now[key] != then[key]:
                raise RunDirError(
                    f"The {key} of {then['user_pool_id']} was {then[key]} when the run was begun and is {now[key]} now.",
                    "Set it back, or plan a new run.",
                )
