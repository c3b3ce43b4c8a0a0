"""Collects the facts shown before a run starts: caller, lanes, number of rows and expected duration."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime

from bulkreset.cognito.account import AccountDiscovery
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.quota import LISTING, AccountQuota
from bulkreset.cognito.read_calls import UnknownFact
from bulkreset.cognito.session import Caller, TargetSession, open_session
from bulkreset.errors import JobError, RunDirError
from bulkreset.job import GuardsConfig, Job
from bulkreset.job.file import job_from_journal
from bulkreset.job.target import is_aws
from bulkreset.journal.records import PlanMessage
from bulkreset.journal.run_state import ApprovalFacts, OriginFacts, RunState, TargetFacts
from bulkreset.plan.earlier_runs import OtherRun
from bulkreset.plan.user_lockout import PlannedRecovery
from bulkreset.send.guards import seconds_until
from bulkreset.send.timetable import Timetable, rows_until, seconds_to_send, timetable_of
from bulkreset.steps import Step


@dataclass(frozen=True, slots=True)
class PlannedLane:
    """One account in one Region, and the pools that share its quota.

    `quota` and `ceiling` (the rate used; None: unpaced) are calls per second. `source` says where the quota comes from.
    """

    account: str
    region: str
    pools: tuple[str, ...]
    quota: float
    source: str
    ceiling: float | None


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step after the password. It is taken in `pools`. For its pools in `unknown`, it may have nothing to remove.

    `users` counts all users of the step; `pending` counts those whose password is already set.
    """

    step: Step
    pools: tuple[str, ...]
    unknown: tuple[str, ...]
    users: int
    pending: int


@dataclass(frozen=True, slots=True)
class AwsFacts:
    """The facts that AWS returned, by user pool id."""

    callers: Mapping[str, Caller]
    pools: Mapping[str, PoolFacts]
    quotas: Mapping[str, AccountQuota]


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """The facts from the plan.

    `sendable` counts the rows to be sent, as (pool, permanent, rows). `status_before` counts them by their users'
    current status, if known. `unchecked` maps pools whose users were not looked up to the reason; `unknown` lists other
    missing facts. `pending_steps` counts the users whose password is set and who still need a step, by
    step and pool. `remarks` are about input files that may be incomplete. `earlier` are runs that have set passwords of
    this input. `suspects` are the passwords that look altered, by the kind of damage. `near_misses` are the rows
    without a user, by the cause. `origin` is the run that the input was extracted from. `passkeys` counts the users who
    have one, by pool; None if the job does not ask for it. `recovery_point` is the time to which `undo` restores, None
    before the first call.
    """

    counts: Mapping[str, int]
    sendable: Sequence[tuple[str, int, int]]
    status_before: Mapping[str, int]
    unchecked: Mapping[str, str]
    unknown: Sequence[UnknownFact] = ()
    pending_steps: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    recovery: PlannedRecovery = field(default_factory=PlannedRecovery)
    remarks: Sequence[str] = ()
    earlier: tuple[OtherRun, ...] = ()
    suspects: Sequence[PlanMessage] = ()
    near_misses: Sequence[PlanMessage] = ()
    origin: OriginFacts | None = None
    passkeys: Mapping[str, int] | None = None
    recovery_point: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight(PlanFacts):
    """Everything that the confirmation shows: the facts from the plan, and what follows from them and those of AWS.

    `seconds` is the expected duration, None if unknown. `steps` are those that the job asks for. `in_time` is
    about how many rows are sent until a time limit stops the run; None if none does.
    """

    job: Job
    emulated: bool
    lanes: tuple[PlannedLane, ...]
    callers: Mapping[str, Caller]
    pools: Mapping[str, PoolFacts]
    endpoints: Mapping[str, str]
    seconds: float | None
    approved: ApprovalFacts | None = None
    steps: tuple[PlannedStep, ...] = ()
    in_time: int | None = None

    @property
    def permanent(self) -> int:
        """Return how many rows will be sent with a permanent password."""
        return sum(rows for _, permanent, rows in self.sendable if permanent)

    @property
    def temporary(self) -> int:
        """Return how many rows will be sent with a temporary password."""
        return sum(rows for _, permanent, rows in self.sendable if not permanent)

    @property
    def ready(self) -> int:
        """Return how many rows will be sent."""
        return self.permanent + self.temporary

    @property
    def pending(self) -> int:
        """Return how many steps are pending for users whose password is already set."""
        return sum(planned.pending for planned in self.steps)

    @property
    def sends(self) -> bool:
        """Return whether there is anything to do."""
        return bool(self.ready or self.pending)

    def name_of(self, pool: str) -> str:
        """Return the pool's name, or its id if the name is unknown."""
        return self.pools[pool].name or pool


def build_preflight(
    job: Job,
    sessions: Mapping[str, TargetSession],
    asked: AwsFacts,
    planned: PlanFacts,
    approved: ApprovalFacts | None = None,
) -> Preflight:
    """Return the preflight, built from the facts of AWS, the plan and the approval."""
    lanes = plan_lanes(job, sessions, asked.callers, asked.quotas)
    by_pool = {pool: sum(rows for named, _, rows in planned.sendable if named == pool) for pool in sessions}
    gaps = [gap for pool in asked.pools.values() for gap in (pool.unknown, *pool.gaps)] + [
        gap for quota in asked.quotas.values() for gap in quota.unknown
    ]
    timetable, now = timetable_of(job.pace), datetime.now()  # noqa: DTZ005  (stop_at is a local time)
    start = now.timestamp()
    seconds = expected_seconds(lanes, by_pool, timetable, start)
    steps = []
    for step in job.steps:
        known = {pool: True if at.emulated else step.is_there(asked.pools[pool]) for pool, at in sessions.items()}
        pools = tuple(pool for pool, there in known.items() if there is not False)
        pending = {pool: planned.pending_steps.get(step.name, {}).get(pool, 0) for pool in pools}
        users = {pool: by_pool[pool] + pending[pool] for pool in pools}
        unknown = tuple(pool for pool in pools if known[pool] is None)
        steps.append(PlannedStep(step, pools, unknown, sum(users.values()), sum(pending.values())))
        if seconds is not None:  # passwords and steps run in parallel
            following = [replace(lane, quota=step.quota, ceiling=step_ceiling(job, step)) for lane in lanes]
            seconds = max(seconds, expected_seconds(following, users, timetable, start) or 0.0)
    facts = {one.name: getattr(planned, one.name) for one in fields(planned)}
    facts["unknown"] = tuple(dict.fromkeys(gap for gap in (*gaps, *planned.unknown) if gap))
    return Preflight(
        **facts,
        job=job,
        emulated=any(session.emulated for session in sessions.values()),
        lanes=lanes,
        callers=asked.callers,
        pools=asked.pools,
        endpoints={pool: session.endpoint for pool, session in sessions.items()},
        seconds=seconds,
        approved=approved,
        steps=tuple(steps),
        in_time=_in_time(lanes, by_pool, timetable, now, job.guards) if seconds is not None else None,
    )


def plan_lanes(
    job: Job, sessions: Mapping[str, TargetSession], callers: Mapping[str, Caller], quotas: Mapping[str, AccountQuota]
) -> tuple[PlannedLane, ...]:
    """Return the lanes. Pools that share a quota are one lane."""
    lanes = []
    for (account, region, *_), pools in group_by_quota(sessions, callers).items():
        # Prefer a quota that AWS returned.
        quota = max((quotas[pool] for pool in pools), key=lambda found: not found.unknown)
        rate = job.pace.rate
        ceiling = None if rate == "none" else quota.value * job.pace.share if rate == "auto" else float(rate)
        lanes.append(PlannedLane(account or "", region or "", pools, quota.value, quota.source, ceiling))
    return tuple(lanes)


def group_by_quota(
    sessions: Mapping[str, TargetSession], callers: Mapping[str, Caller]
) -> dict[tuple[str | None, ...], tuple[str, ...]]:
    """Return the pools by account and Region.

    If STS does not return the account, pools are grouped by Region, profile, role and endpoint.
    """
    groups: dict[tuple[str | None, ...], tuple[str, ...]] = {}
    for pool, session in sessions.items():
        account = callers[pool].account
        target = session.target
        way = () if account else (target.profile, target.role_arn, target.endpoint_url)
        key = (account, session.region, *way)
        groups[key] = (*groups.get(key, ()), pool)
    return groups


def require_pace(job: Job, sessions: Mapping[str, TargetSession]) -> None:
    """Raise JobError if an AWS endpoint would be called without a pace; real users share its quota."""
    for pool, session in sessions.items() if job.pace.rate == "none" else ():
        if is_aws(session.endpoint) and not session.emulated:
            raise JobError(
                f'pace.rate is "none", and {pool} is at AWS\'s own endpoint {session.endpoint}.',
                'Without a pace its real users would be throttled: give a rate, or "auto", which follows the quota.',
            )


def listing_rate(job: Job) -> float | None:
    """Return the ListUsers calls per second of a lane, or None if the job is unpaced."""
    return None if job.pace.rate == "none" else LISTING * job.pace.share


def step_ceiling(job: Job, step: Step) -> float | None:
    """Return the calls per second of a step in a lane, or None if the job is unpaced.

    The steps of one quota category share it equally.
    """
    sharing = sum(other.category == step.category for other in job.steps)
    return None if job.pace.rate == "none" else step.quota * job.pace.share / sharing


def expected_seconds(
    lanes: Sequence[PlannedLane], ready: Mapping[str, int], timetable: Timetable, start: float
) -> float | None:
    """Return the seconds that the slowest lane takes from `start` (Unix seconds), at the lowest of its limits.

    The limits are its ceiling, its quota and the timetable. `ready` counts rows by pool. Returns None if a lane is
    unpaced, or takes longer than a timetable is computed.
    """
    longest = 0.0
    for lane in lanes:
        rows = sum(ready.get(pool, 0) for pool in lane.pools)
        if lane.ceiling is None:
            return None
        seconds = seconds_to_send(rows, min(lane.ceiling, lane.quota), timetable, start)
        if seconds is None:
            return None
        longest = max(longest, seconds)
    return longest


def _in_time(
    lanes: Sequence[PlannedLane], ready: Mapping[str, int], timetable: Timetable, now: datetime, guards: GuardsConfig
) -> int | None:
    """Return about how many rows are sent until `stop_at` or `max_duration`; None if all of them are."""
    limits = [guards.max_duration, seconds_until(guards.stop_at, now) if guards.stop_at else None]
    known = [seconds for seconds in limits if seconds is not None]
    if not known:
        return None
    start = now.timestamp()
    sent = 0
    for lane in lanes:
        rows = sum(ready.get(pool, 0) for pool in lane.pools)
        rate = lane.quota if lane.ceiling is None else min(lane.ceiling, lane.quota)
        sent += min(rows, int(rows_until(start + min(known), rate, timetable, start)))
    return sent if sent < sum(ready.values()) else None


def describe_targets(
    sessions: Mapping[str, TargetSession], callers: Mapping[str, Caller] | None = None
) -> tuple[TargetFacts, ...]:
    """Return the targets as the journal stores them, with the account if `callers` is given."""
    return tuple(
        TargetFacts(
            user_pool_id=pool,
            region=at.region,
            endpoint=at.endpoint,
            profile=at.target.profile,
            role_arn=at.target.role_arn,
            account=(callers[pool].account or "") if callers else "",
        )
        for pool, at in sessions.items()
    )


def require_same_targets(found: Sequence[TargetFacts], planned: Sequence[TargetFacts]) -> None:
    """Raise RunDirError if a pool's Region or endpoint differs from the plan."""
    for now, then in zip(found, planned, strict=True):
        for key in ("region", "endpoint"):
            was, new = getattr(then, key), getattr(now, key)
            if was != new:
                raise RunDirError(
                    f"The {key} of {then.user_pool_id} was {was} when the run was begun and is {new} now.",
                    "Set it back, or plan a new run.",
                )


def reopen_targets(state: RunState, pools: Collection[str]) -> tuple[Job, dict[str, TargetSession], AccountDiscovery]:
    """Return the job of a run, a session for each of `pools`, and what AWS says about them now.

    Raises RunDirError if a target is not the one of the run, TargetError if a session cannot be opened.
    """
    job = job_from_journal(state.job, {})
    sessions = {at.user_pool_id: open_session(at) for at in job.targets if at.user_pool_id in pools}
    planned = [target for target in state.targets if target.user_pool_id in pools]
    require_same_targets(describe_targets(sessions), planned)
    account = AccountDiscovery(sessions, with_quotas=False)
    require_same_accounts(account.callers(), planned)
    return job, sessions, account


def require_same_accounts(callers: Mapping[str, Caller], planned: Sequence[TargetFacts]) -> None:
    """Raise RunDirError if a pool's account differs from the plan. Unknown accounts are not compared."""
    known = {target.user_pool_id: target.account for target in planned}
    for pool, caller in callers.items():
        if known.get(pool) and caller.account and caller.account != known[pool]:
            raise RunDirError(
                f"The run was begun in account {known[pool]}, and these credentials are of {caller.account}.",
                "Use credentials of the account that the run was begun in.",
            )
