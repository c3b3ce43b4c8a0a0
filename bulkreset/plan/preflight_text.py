"""Formats the preflight as lines of text, shown before a confirmation and in every dry run."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from bulkreset.input.password_policy import describe
from bulkreset.job.target import is_aws
from bulkreset.text import format_count, format_duration, format_local_time

if TYPE_CHECKING:  # keeps the import of this module cheap for callers that need only a helper
    from collections.abc import Iterator, Sequence

    from bulkreset.job import GuardsConfig, Job, SelectConfig
    from bulkreset.plan.preflight import PlannedLane, Preflight

SHOWN = 5  # pools and lanes that are listed; the rest is only counted
LABEL = 12  # width in columns of the label that starts each line
_INDENT = " " * LABEL


def preflight_lines(preflight: Preflight) -> str:
    """Return the preflight as text, one fact per line."""
    return "\n".join(f"{label:<12}{text}" for label, text in _facts(preflight))


def _facts(preflight: Preflight) -> Iterator[tuple[str, str]]:
    job = preflight.job
    yield "Job", job.name + (" (EMULATED: nothing real is touched)" if preflight.emulated else "")
    if preflight.approved:
        yield "Approved", f"{preflight.approved['run_dir']}, planned {preflight.approved['finished_at']}"
    yield from _pools(preflight)
    if job.input.from_pool:
        yield "Input", f"the users of the {'pools' if len(job.targets) > 1 else 'pool'}: {_selected(job.input.select)}"
    for remark in preflight.remarks:
        yield "Input", remark
    yield "Rows", ", ".join(f"{rows:,} {status}" for status, rows in sorted(preflight.counts.items()))
    yield from _users(preflight)
    if preflight.temporary:
        days = {facts.temporary_days for facts in preflight.pools.values() if facts.unknown is None}
        until = f"until then; they expire after {format_count(min(days), 'day')}" if days else "until then"
        must = "each user must choose a new password at the next sign-in, and cannot use forgot-password"
        yield "Temporary", f"{preflight.temporary:,}: {must} {until}"
    if preflight.permanent:
        yield "Permanent", f"{preflight.permanent:,}"
    if job.generates:
        yield from _made(preflight)
    if preflight.sends:
        yield from _sending(preflight)
    yield from _gaps(preflight)


def _pools(preflight: Preflight) -> Iterator[tuple[str, str]]:
    for pool, endpoint in list(preflight.endpoints.items())[:SHOWN]:
        caller, facts = preflight.callers[pool], preflight.pools[pool]
        region = next(lane.region for lane in preflight.lanes if pool in lane.pools)
        named = f"{facts.name} ({pool})" if facts.name and facts.name != pool else pool
        yield "User pool", f"{named}, {region}, account {caller.account or f'unknown: {caller.problem}'}"
        if caller.arn:
            yield "Caller", caller.arn
        if not preflight.emulated and (warnings := _warnings(endpoint, preflight.job, pool)):
            yield "Endpoint", f"{endpoint}: {', '.join(warnings)}"
        if facts.policy and (rules := describe(facts.policy)):
            yield "Policy", rules
        if facts.history:
            yield "History", f"the pool refuses the last {facts.history} passwords of a user: unknown until applied"
    rest = list(preflight.endpoints.items())[SHOWN:]
    if rest:
        yield "", f"and {len(rest)} more user pools"
    warned = (
        {} if preflight.emulated else {endpoint: _warnings(endpoint, preflight.job, pool) for pool, endpoint in rest}
    )
    for endpoint, warnings in warned.items():
        if warnings:
            yield "Endpoint", f"{endpoint}: {', '.join(warnings)}"


def _selected(select: SelectConfig) -> str:
    """Return which users are selected as rows, in words."""
    chosen = [
        f"status {' or '.join(select.statuses)}" if select.statuses else "",
        f"in the group {' or '.join(select.groups)}" if select.groups else "",
        f"created before {select.created_before:%Y-%m-%d %H:%M %Z}" if select.created_before else "",
        f"not in {select.not_in}" if select.not_in else "",
    ]
    return ", ".join(filter(None, chosen)) or "ALL of them"


def _users(preflight: Preflight) -> Iterator[tuple[str, str]]:
    """Yield the known facts about the users whose password will be set."""
    if preflight.status_before:
        known = sorted(preflight.status_before.items(), key=lambda found: -found[1])
        yield "Users", "looked up; those to be set are " + ", ".join(f"{rows:,} {status}" for status, rows in known)
        if preflight.status_before.get("UNCONFIRMED") and preflight.permanent:
            yield "", "a permanent password confirms the UNCONFIRMED ones"
    for reason in sorted(set(preflight.unchecked.values())):
        pools = [pool for pool, why in preflight.unchecked.items() if why == reason]
        where = "" if len(pools) == len(preflight.pools) else f" in {_some(pools)}"
        yield "Users", f"NOT looked up{where}: {reason}"
    optional = [pool for pool, facts in preflight.pools.items() if facts.optional and not facts.passwordless]
    if optional and preflight.ready:
        yield (
            "Passwordless",
            f"{_some(optional)} lets users in without a password, too: who had none cannot lose it again",
        )


def _made(preflight: Preflight) -> Iterator[tuple[str, str]]:
    """Yield how passwords are generated and stored, and a warning if users could not recover."""
    job = preflight.job
    if job.scrambles:
        yield (
            "Passwords",
            f"generated, {job.password.length} characters, kept NOWHERE: users come back through forgot-password",
        )
    else:
        number = len(job.password.recipients)
        where = job.password.folder or "the run directory"
        yield "Passwords", f"generated, encrypted to {number} recipient{'s' * (number > 1)}, in {where}"
    if preflight.unrecoverable:
        users = format_count(preflight.unrecoverable, "user has", "users have")
        advice = 'plan.skip = ["unrecoverable", …] leaves them alone'
        yield "WARNING", f"{users} no verified e-mail address or phone number: they could not recover; {advice}"


def _sending(preflight: Preflight) -> Iterator[tuple[str, str]]:
    if preflight.ready:
        active = "becomes a monthly active user" if preflight.ready == 1 else "become monthly active users"
        yield "Billing", f"up to {format_count(preflight.ready, 'user')} {active}"
    if preflight.pending is None:
        yield "Sign-out", "nobody is signed out: sessions live on"
    else:
        leaving = preflight.pending + preflight.ready
        theirs = "the password is" if leaving == 1 else "their passwords are"
        yield "Sign-out", f"{format_count(leaving, 'user')}, from every device, once {theirs} set"
    for lane in preflight.lanes[:SHOWN]:
        yield "Pace", _pace(lane, several=len(preflight.lanes) > 1)
    if len(preflight.lanes) > SHOWN:
        yield "", f"and {len(preflight.lanes) - SHOWN} more lanes"
    if preflight.job.cluster.is_asked_for:
        yield "Cluster", preflight.job.cluster.scheduler or f"{preflight.job.cluster.local} processes here"
    if preflight.seconds is not None:
        now = datetime.now().astimezone()
        ends = now + timedelta(seconds=preflight.seconds)
        yield (
            "Duration",
            f"about {format_duration(preflight.seconds)}, until {format_local_time(ends, now)} at the earliest",
        )
    yield "Guards", ", ".join(_guards(preflight.job.guards)) or "none"


def _pace(lane: PlannedLane, *, several: bool) -> str:
    name = f"{lane.account} {lane.region}".strip() if several else lane.region
    if lane.ceiling is None:
        return f"{name}: unpaced"
    return f"{name}: {lane.ceiling:g} calls/s of the quota's {lane.quota:g}/s ({lane.source})"


def _guards(guards: GuardsConfig) -> Iterator[str]:
    if guards.max_rows is not None:
        yield f"at most {format_count(guards.max_rows, 'row')}"
    if guards.max_failures is not None:
        yield f"stops beyond {_failures(guards.max_failures)}"
    if guards.max_refused_in_a_row:
        yield f"stops at {_failures(guards.max_refused_in_a_row)} in a row"
    if guards.max_duration is not None:
        whole = guards.max_duration % 60 == 0 or guards.max_duration < 60  # noqa: PLR2004  (seconds per minute)
        yield f"stops after {format_duration(guards.max_duration) if whole else f'{guards.max_duration:g} s'}"
    if guards.stop_at is not None:
        yield f"stops at {guards.stop_at}"
    if guards.limit is not None:
        yield f"stops after {format_count(guards.limit, 'row')}"
    if names := len(guards.protected.usernames):
        yield f"{names:,} protected {'users' if names > 1 else 'user'}"
    if guards.protected.groups:
        yield f"protected groups {', '.join(guards.protected.groups)}"


def _failures(most: object) -> str:
    """Return the limit of failures, a number or a percentage, in words."""
    return f"{most} failure{'' if most == 1 else 's'}"


def _gaps(preflight: Preflight) -> Iterator[tuple[str, str]]:
    """Yield the facts that are not known, and the IAM statements that would allow to read them."""
    for gap in preflight.unknown:
        yield "Not known", f"{gap.what}: {gap.action} {'was denied' if gap.denied else 'failed'} ({gap.code})"
    denied = [gap for gap in preflight.unknown if gap.denied]
    for resource in dict.fromkeys(gap.resource for gap in denied):
        actions = sorted({gap.action for gap in denied if gap.resource == resource})
        yield "Allow", json.dumps({"Effect": "Allow", "Action": actions, "Resource": resource})


def _warnings(endpoint: str, job: Job, pool: str) -> list[str]:
    """Return warnings about the endpoint that receives the passwords."""
    verified = next(target.verify_ssl for target in job.targets if target.user_pool_id == pool)
    found = {
        "not AWS's own": not is_aws(endpoint),
        "NOT ENCRYPTED": endpoint.startswith("http:"),
        "its certificate is NOT VERIFIED": endpoint.startswith("https:") and not verified,
    }
    return [words for words, said in found.items() if said]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
