"""How users recover after a campaign: refuses a lockout, and reports who can recover and how long it takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bulkreset.cognito.forgot_password import COGNITO_MAIL, MAILS_A_DAY
from bulkreset.errors import JobError
from bulkreset.models import Recovery
from bulkreset.text import format_count, format_estimate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bulkreset.cognito.pool import PoolFacts
    from bulkreset.job import Job
    from bulkreset.plan.preflight import PlannedLane, Preflight

# Calls of the UserAccountRecovery quota that a user needs to recover.
SCRAMBLE_CALLS = 2  # ForgotPassword and ConfirmForgotPassword
TEMPORARY_CALLS = 1  # the answer to the challenge NEW_PASSWORD_REQUIRED

_ACCEPT = "campaign.accept_lockout = true"
_ORDER = (Recovery.EMAIL, Recovery.PHONE, Recovery.NONE, Recovery.UNKNOWN)
_WORDS = {
    Recovery.EMAIL: "by e-mail",
    Recovery.PHONE: "by SMS",
    Recovery.NONE: "NOT at all",
    Recovery.UNKNOWN: "unknown",
}


@dataclass(frozen=True, slots=True)
class PlannedRecovery:
    """What the plan found about the recovery of users.

    `by_pool` counts the rows to be sent with a permanent password, by pool and recovery. `skipped` counts users who are
    skipped because they could not recover. `absent` counts rows whose user is not in the pool.
    """

    by_pool: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    skipped: int = 0
    absent: int = 0

    @classmethod
    def of(cls, counts: Sequence[tuple[str, int, str, int]], codes: Mapping[str, int]) -> PlannedRecovery:
        """Return the findings in a journal's recovery counts and codes."""
        by_pool: dict[str, dict[str, int]] = {}
        for pool, permanent, recovery, rows in counts:
            if permanent:
                by_pool.setdefault(pool, {})[recovery] = rows
        return cls(by_pool, codes.get("unrecoverable", 0), codes.get("user_not_found", 0))

    def total(self, recovery: Recovery) -> int:
        """Return the number of rows to be sent whose users have this recovery."""
        return sum(found.get(recovery, 0) for found in self.by_pool.values())


def require_recoverable(job: Job, pools: Mapping[str, PoolFacts]) -> None:
    """Raise JobError if a scramble would lock out all users of a pool and the job does not accept it."""
    if not job.scrambles or job.campaign.accept_lockout:
        return
    for pool, facts in pools.items():
        if facts.unknown is None and (reason := facts.recovery.locks_out):
            raise JobError(
                f"A scramble would lock out every user of {facts.name or pool}: {reason}.",
                f"Use temporary passwords (permanent = false), change the pool, or accept it: {_ACCEPT}.",
            )


def recovery_lines(preflight: Preflight) -> Iterator[tuple[str, str]]:
    """Yield (label, text): what prevents users from recovering, who can recover, and how long it takes."""
    yield from _pool_state(preflight.pools)
    if preflight.job.scrambles and preflight.ready:
        yield from _ways_back(preflight)
        yield from _remains(preflight.pools, [planned.step.name for planned in preflight.steps])
    yield from _passkeys(preflight)
    yield from _returning(preflight)
    yield from _imports(preflight)


def returning_seconds(lane: PlannedLane, preflight: Preflight) -> float:
    """Return the seconds until the last user of a lane can have recovered, if users have its whole quota."""
    calls = SCRAMBLE_CALLS if preflight.job.scrambles else 0
    of_lane = [(permanent, rows) for pool, permanent, rows in preflight.sendable if pool in lane.pools]
    return sum(rows * (calls if permanent else TEMPORARY_CALLS) for permanent, rows in of_lane) / lane.quota


def _pool_state(pools: Mapping[str, PoolFacts]) -> Iterator[tuple[str, str]]:
    """Yield the effect of the pool's replicas and of a recovery in progress on the run."""
    for pool, facts in pools.items():
        name = "" if len(pools) == 1 else f" {facts.name or pool}:"
        if facts.restoring:
            yield (
                "WARNING",
                f"{name} a point-in-time recovery is in progress ({facts.restoring}): the pool accepts no writes until it ends".strip(),
            )
        if facts.replicas:
            regions = ", ".join(f"{one.region} ({one.role.lower()}, {one.status.lower()})" for one in facts.replicas)
            yield "Replicas", f"{name} {regions}: passwords are set in the primary Region only".strip()


def _ways_back(preflight: Preflight) -> Iterator[tuple[str, str]]:
    found = preflight.recovery
    known = [(way, found.total(way)) for way in _ORDER]
    if any(rows for _, rows in known):
        yield "Recovery", ", ".join(f"{rows:,} {_WORDS[way]}" for way, rows in known if rows)
    if found.skipped:
        users = format_count(found.skipped, "user is", "users are")
        yield "", f"{users} skipped: the pool cannot send them a code (code unrecoverable in the report)"
    if stranded := found.total(Recovery.NONE):
        users = format_count(stranded, "user cannot", "users cannot")
        yield "WARNING", f"{users} recover without an administrator: accepted by {_ACCEPT}"
    if unknown := found.total(Recovery.UNKNOWN):
        users = format_count(unknown, "user", "users")
        yield (
            "WARNING",
            f"whether {users} can recover is unknown: it depends on their MFA, which ListUsers does not show",
        )
    for pool in preflight.unchecked if not preflight.emulated else ():
        yield "WARNING", f"whether the users of {pool} can recover is unknown: they were not looked up"
    for pool, facts in preflight.pools.items():
        if facts.unknown is None and pool not in preflight.unchecked:
            yield from _messages(pool, facts, found.by_pool.get(pool, {}), several=len(preflight.pools) > 1)


def _remains(pools: Mapping[str, PoolFacts], steps: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield what an attacker may have left in a pool that neither a new password nor a sign-out removes."""
    for pool, facts in pools.items():
        left = {  # by the step that removes it
            "forget_devices": (facts.has_devices, "remembered devices, which skip MFA (after.forget_devices)"),
            "delete_totp": (
                facts.has_totp,
                "authenticators (after.delete_totp; the user must then register a new one)",
            ),
            "revoke_sessions": (facts.has_sessions, "tracked sessions (after.revoke_sessions)"),
            "": (facts.passkeys, "passkeys (no administrator can delete them, only the user: say so in your message)"),
        }
        if found := [what for step, (there_is, what) in left.items() if there_is and step not in steps]:
            name = f"{facts.name or pool}: " if len(pools) > 1 else ""
            yield "Remains", f"{name}this run does not remove {', '.join(found)}"


def _passkeys(preflight: Preflight) -> Iterator[tuple[str, str]]:
    """Yield how many users have a passkey, if they were counted."""
    for pool, users in (preflight.passkeys or {}).items():
        name = f"{preflight.name_of(pool)}: " if len(preflight.pools) > 1 else ""
        have = "user has a passkey" if users == 1 else "users have a passkey"
        text = f"{name}{users:,} {have}. No administrator can delete it, only the user: say so in your message"
        yield "Passkeys", text if users else f"{name}no user has a passkey"


def _messages(pool: str, facts: PoolFacts, users: Mapping[str, int], *, several: bool) -> Iterator[tuple[str, str]]:
    """Yield the limits on the messages that a pool can send."""
    name = f"{facts.name or pool}: " if several else ""
    mails = users.get(Recovery.EMAIL, 0)
    if days := _mail_days(facts, users):
        yield (
            "WARNING",
            (
                f"{name}{mails:,} users need an e-mail, and Cognito's own mail account sends about {MAILS_A_DAY} a day: "
                f"{days:,} days. Configure Amazon SES for the pool first"
            ),
        )
    if users.get(Recovery.PHONE) and facts.recovery.sms_problem:
        yield "WARNING", f"{name}the pool's SMS configuration cannot send to everybody: {facts.recovery.sms_problem}"


def _mail_days(facts: PoolFacts, users: Mapping[str, int]) -> int:
    """Return how many days Cognito's own mail account needs for the pool's users; 0 if one day is enough."""
    mails = users.get(Recovery.EMAIL, 0)
    return -(-mails // MAILS_A_DAY) if facts.recovery.mail_account == COGNITO_MAIL and mails > MAILS_A_DAY else 0


def _returning(preflight: Preflight) -> Iterator[tuple[str, str]]:
    """Yield how long it takes until the last user has recovered, for the slowest lane."""
    lane = max(preflight.lanes, key=lambda lane: returning_seconds(lane, preflight), default=None)
    seconds = returning_seconds(lane, preflight) if lane else 0.0
    if lane is None or not seconds:
        return
    each = SCRAMBLE_CALLS if preflight.job.scrambles else TEMPORARY_CALLS
    left = 0.0 if lane.ceiling is None else max(0.0, lane.quota - lane.ceiling)
    yield (
        "Coming back",
        (
            f"{format_count(each, 'call')} of the same quota for each user: the last user can recover after about "
            f"{format_estimate(seconds)} if users need all of the quota ({lane.quota:g}/s)"
        ),
    )
    yield (
        "",
        f"while the run sends, users have {left:g} calls/s"
        if lane.ceiling is not None
        else "an unpaced run leaves nothing for users",
    )
    found = preflight.recovery.by_pool if preflight.job.scrambles else {}
    if days := max((_mail_days(facts, found.get(pool, {})) for pool, facts in preflight.pools.items()), default=0):
        yield "", f"the mail account is slower: the last user gets an e-mail after about {days:,} days"


def _imports(preflight: Preflight) -> Iterator[tuple[str, str]]:
    rows = sum(preflight.counts.values())
    if preflight.recovery.absent * 2 > rows:
        yield (
            "New users",
            (
                f"{preflight.recovery.absent:,} of {format_count(rows, 'row')} name no user of the pool. For new users, a user "
                "import with password hashes (CreateUserImportJob) is better: they keep their passwords"
            ),
        )
