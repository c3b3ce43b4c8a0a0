"""Formats the preflight as lines of text, shown before a confirmation and in every dry run."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from bulkreset.cognito.feature_plans import NO_RECOVERY_TIER, WINDOW_SECONDS
from bulkreset.input.password_policy import describe
from bulkreset.input.suspect_password import SUSPECT
from bulkreset.job.target import is_aws
from bulkreset.plan.similar_names import cause_in
from bulkreset.plan.user_lockout import recovery_lines
from bulkreset.statuses import describe_counts
from bulkreset.steps import SIGN_OUT
from bulkreset.text import format_count, format_estimate, format_limit, format_local_time

if TYPE_CHECKING:  # keeps the import of this module cheap for callers that need only a helper
    from collections.abc import Iterator, Sequence

    from bulkreset.job import GuardsConfig, SelectConfig
    from bulkreset.job.waves import WavesConfig
    from bulkreset.journal.records import PlanMessage
    from bulkreset.journal.run_state import OriginFacts
    from bulkreset.plan.preflight import PlannedLane, Preflight

SHOWN = 5  # pools and lanes that are listed; the rest is only counted
SHORT = 600  # seconds: the end of a shorter run is shown with its second
LABEL = 12  # width in columns of the label that starts each line


def preflight_lines(preflight: Preflight) -> str:
    """Return the preflight as text, one fact per line."""
    return "\n".join(f"{label:<{LABEL}}{text}" for label, text in preflight_facts(preflight))


def preflight_facts(preflight: Preflight) -> Iterator[tuple[str, str]]:
    """Yield the preflight as (label, text); the label is "" if a line continues the one before."""
    job = preflight.job
    yield "Job", job.name + (" (EMULATED: nothing real is touched)" if preflight.emulated else "")
    if preflight.approved:
        yield "Approved", f"{preflight.approved.run_dir}, planned {preflight.approved.finished_at}"
    yield from _pools(preflight)
    if job.input.from_pool:
        yield "Input", f"the users of the {'pools' if len(job.targets) > 1 else 'pool'}: {_selected(job.input.select)}"
    if preflight.origin:
        yield from _origin(preflight.origin)
    for remark in preflight.remarks[:SHOWN]:
        yield "Input", remark
    yield "Rows", describe_counts(preflight.counts, dry_run=True) or "none"
    for run in preflight.earlier[:SHOWN]:
        yield "Run before", f"{run}; this run would set them again"
    yield from _suspects(preflight)
    yield from _near_misses(preflight)
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
    yield from recovery_lines(preflight)
    if preflight.sends:
        yield from _sending(preflight)
    yield from _gaps(preflight)


def _pools(preflight: Preflight) -> Iterator[tuple[str, str]]:
    verified = {target.user_pool_id: target.verify_ssl for target in preflight.job.targets}
    warned = {
        pool: f"{endpoint}: {', '.join(warnings)}"
        for pool, endpoint in preflight.endpoints.items()
        if not preflight.emulated and (warnings := endpoint_warnings(endpoint, verified=verified[pool]))
    }
    shown, rest = [*preflight.endpoints][:SHOWN], [*preflight.endpoints][SHOWN:]
    for pool in shown:
        caller, facts = preflight.callers[pool], preflight.pools[pool]
        region = next(lane.region for lane in preflight.lanes if pool in lane.pools)
        named = f"{facts.name} ({pool})" if facts.name and facts.name != pool else pool
        yield "User pool", f"{named}, {region}, account {caller.account or f'unknown: {caller.problem}'}"
        if caller.arn:
            yield "Caller", caller.arn
        if pool in warned:
            yield "Endpoint", warned[pool]
        if facts.policy and (rules := describe(facts.policy)):
            yield "Policy", rules
        if facts.history:
            yield (
                "History",
                f"The pool refuses the last {facts.history} passwords of a user. That is known only when they are sent",
            )
    if rest:
        yield "", f"and {len(rest)} more user pools"
    for text in dict.fromkeys(warned[pool] for pool in rest if pool in warned):
        yield "Endpoint", text


def _selected(select: SelectConfig) -> str:
    """Return which users are selected as rows, in words."""
    chosen = [
        f"status {' or '.join(select.statuses)}" if select.statuses else "",
        f"in the group {' or '.join(select.groups)}" if select.groups else "",
        f"created before {select.created_before:%Y-%m-%d %H:%M %Z}" if select.created_before else "",
        f"not in {select.not_in}" if select.not_in else "",
    ]
    return ", ".join(filter(None, chosen)) or "ALL of them"


def _origin(origin: OriginFacts) -> Iterator[tuple[str, str]]:
    """Yield the run that the input was extracted from, and whether its users were set since."""
    edited = ", edited since" if origin.edited else ""
    yield "Origin", f"{format_count(origin.rows, 'row')} ({', '.join(origin.only)}) of the run {origin.run_dir}{edited}"
    if origin.already_set:
        users = (
            "1 ready row is of a user" if origin.already_set == 1 else f"{origin.already_set:,} ready rows are of users"
        )
        yield (
            "WARNING",
            f"{users} already set, or perhaps set, by that run or another run of this extract (first: row {origin.first})",
        )


def _suspects(preflight: Preflight) -> Iterator[tuple[str, str]]:
    """Yield which passwords look altered or hashed, with row numbers."""
    for found in preflight.suspects:
        why = found.message.removeprefix(SUSPECT)
        yield "WARNING", f"{format_count(found.number, 'password')} to check: {why} ({_named_rows(found)})"
    if preflight.suspects and preflight.job.input.on_suspect_password == "warn":  # noqa: S105  (a mode)
        yield "", 'They are sent as they are; input.on_suspect_password = "reject" rejects these rows'


def _near_misses(preflight: Preflight) -> Iterator[tuple[str, str]]:
    """Yield why rows have no user, if a cause is known, with row numbers."""
    causes = [(found, cause_in(found.message)) for found in preflight.near_misses]
    if any(cause for _, cause in causes):
        for found, cause in causes:
            yield (
                "Not found",
                f"{format_count(found.number, 'row')}: {cause or 'no cause is known'} ({_named_rows(found)})",
            )


def _named_rows(found: PlanMessage) -> str:
    """Return the row numbers, such as "rows 3, 4 and 12 more"."""
    rows = ", ".join(map(str, found.rows))
    more = found.number - len(found.rows)
    return f"{'row' if found.number == 1 else 'rows'} {rows}{f' and {more:,} more' if more else ''}"


def _users(preflight: Preflight) -> Iterator[tuple[str, str]]:
    """Yield the known facts about the users whose password will be set."""
    if preflight.status_before:
        known = sorted(preflight.status_before.items(), key=lambda found: -found[1])
        noun = "pool" if len(preflight.pools) == 1 else "pools"
        text = ", ".join(f"{rows:,} {status}" for status, rows in known)
        yield "Users", f"{sum(preflight.status_before.values()):,} found in the {noun}: {text}"
        if preflight.status_before.get("UNCONFIRMED") and preflight.permanent:
            yield "", "A permanent password confirms UNCONFIRMED users"
    for reason in sorted(set(preflight.unchecked.values())):
        pools = [pool for pool, why in preflight.unchecked.items() if why == reason]
        where = "" if len(pools) == len(preflight.pools) else f" in {_some(pools)}"
        yield "Users", f"NOT checked{where}: {reason}"
    optional = [pool for pool, facts in preflight.pools.items() if facts.optional and not facts.passwordless]
    if optional and preflight.ready:
        yield (
            "Passwordless",
            f"{_some(optional)}: users may sign in without a password. A user without one gets one, and cannot lose it again",
        )


def _made(preflight: Preflight) -> Iterator[tuple[str, str]]:
    """Yield how passwords are generated and stored."""
    job = preflight.job
    if job.scrambles:
        yield (
            "Passwords",
            f"generated, {job.password.length} characters, kept NOWHERE: users recover with forgot-password",
        )
    else:
        number = len(job.password.recipients)
        where = job.password.folder or "the run directory"
        yield "Passwords", f"generated, encrypted for {format_count(number, 'recipient')}, in {where}"


def _sending(preflight: Preflight) -> Iterator[tuple[str, str]]:
    if preflight.ready:
        active = "a monthly active user" if preflight.ready == 1 else "monthly active users"
        yield "Billing", f"Up to {format_count(preflight.ready, 'user')} will count as {active} (billed)"
    yield from _steps(preflight)
    yield from _undo(preflight)
    for lane in preflight.lanes[:SHOWN]:
        yield "Pace", _pace(lane, several=len(preflight.lanes) > 1, auto=preflight.job.pace.rate == "auto")
    if len(preflight.lanes) > SHOWN:
        yield "", f"and {len(preflight.lanes) - SHOWN} more account Regions"
    if entries := preflight.job.pace.timetable:
        limits = [
            f"from {entry.begin} {_limit(entry.rate)}" for entry in sorted(entries, key=lambda entry: entry.begin)
        ]
        yield "Timetable", f"{', '.join(limits)} ({preflight.job.pace.timezone or 'the time of this machine'})"
    if preflight.job.cluster.is_asked_for:
        yield "Cluster", preflight.job.cluster.scheduler or f"{preflight.job.cluster.local} processes here"
    if preflight.seconds is not None:
        now = datetime.now().astimezone()
        ends = now + timedelta(seconds=preflight.seconds)
        done = format_local_time(ends, now, seconds=preflight.seconds < SHORT)
        # A step that lists needs a call for each item, and it is not known how many items a user has.
        about = "at least" if any(it.step.listing and it.users for it in preflight.steps) else "about"
        yield "Duration", f"{about} {format_estimate(preflight.seconds)} (done at {done} at the earliest)"
    if preflight.in_time is not None:
        yield "", f"A time limit stops it after about {format_count(preflight.in_time, 'row')}; resume sends the rest"
    if preflight.job.waves.rows and preflight.ready:
        yield "Waves", _waves(preflight.job.waves, preflight.ready)
    yield "Guards", ". ".join(_guards(preflight.job.guards)) or "none"


def _steps(preflight: Preflight) -> Iterator[tuple[str, str]]:
    """Yield the steps for the users after their password is set."""
    if SIGN_OUT not in [planned.step for planned in preflight.steps]:
        yield "Sign-out", "Users stay signed in (existing sessions are not ended)"
    for planned in preflight.steps:
        step = planned.step
        theirs = "the password is" if planned.users == 1 else "their passwords are"
        if planned.pools:
            yield step.label, f"{format_count(planned.users, 'user')}, {step.cost}, after {theirs} set"
        without = [pool for pool in preflight.pools if pool not in planned.pools]
        if without:
            yield "" if planned.pools else step.label, f"Not in {_some(without)}: {step.absent}"
        if planned.unknown:
            yield "", f"Not known whether it is needed in {_some(planned.unknown)}: it is tried for each user"
        if step.listing and planned.pools:
            yield "", f"Calls for each user: 1, and 1 for each of the {step.items}"


def _waves(waves: WavesConfig, ready: int) -> str:
    number = math.ceil(ready / (waves.rows or ready))
    needs = [f"{waves.recovered} of the last one's users have recovered"]
    needs += [f"{format_limit(waves.after)} have passed"] if waves.after else []
    stops = f"; stops if more than {waves.max_expired} of them let their password expire" if waves.max_expired else ""
    return f"{format_count(number, 'wave')} of up to {waves.rows:,} rows, one in each execution, when {' and '.join(needs)}{stops}"


def _undo(preflight: Preflight) -> Iterator[tuple[str, str]]:
    """Yield until when the run can be undone, by the pools' feature plans."""
    if preflight.emulated or not preflight.ready:
        return
    pools: dict[str, list[str]] = {}
    for pool, facts in preflight.pools.items():
        pools.setdefault(facts.tier, []).append(pool)
    now = datetime.now().astimezone()
    start = datetime.fromisoformat(preflight.recovery_point) if preflight.recovery_point else now  # of the first call
    ends = {
        tier: start.astimezone() + timedelta(seconds=WINDOW_SECONDS[tier]) for tier in pools if tier in WINDOW_SECONDS
    }
    for tier, named in pools.items():
        where = "" if len(pools) == 1 else f"{_some(named)}: "
        if tier == NO_RECOVERY_TIER:
            yield "Undo", f"{where}CANNOT be undone: the feature plan Lite has no point-in-time recovery"
        elif tier in ends:
            until = f"{format_local_time(ends[tier], now)} (feature plan {tier.title()})"
            if ends[tier] > now:
                yield "Undo", f"{where}can be undone from 15 minutes after the run's start until {until}"
            else:
                yield "Undo", f"{where}CANNOT be undone any more: it could be until {until}"
        else:
            yield "Undo", f"{where}not known whether it can be undone: the feature plan of the pool is not known"
    if any(end > now for end in ends.values()):
        yield (
            "",
            "bulkreset undo RUN_DIR restores the whole pool: it reverts every change since the run's start, not only the run's",
        )


def _pace(lane: PlannedLane, *, several: bool, auto: bool) -> str:
    name = f"{lane.account} {lane.region}".strip() if several else lane.region
    if lane.ceiling is None:
        return f"{name}: no limit"
    share = f"{100 * lane.ceiling / lane.quota:.3g} % of the quota of" if auto else "quota:"
    above = "; MORE than the quota: AWS will refuse calls" if lane.ceiling > lane.quota else ""
    return f"{name}: {lane.ceiling:g} calls/s ({share} {lane.quota:g}/s; source: {lane.source}{above})"


def _limit(rate: float | str) -> str:
    return "no limit of its own" if rate == "auto" else f"at most {rate:g} calls/s" if rate else "nothing"


def _guards(guards: GuardsConfig) -> Iterator[str]:
    """Yield the limits as sentences without their full stop."""
    if stops := "; ".join(_stops(guards)):
        yield f"Stops {stops}"
    if guards.max_rows is not None:
        yield f"At most {format_count(guards.max_rows, 'row')}"
    if names := len(guards.protected.usernames):
        yield f"{format_count(names, 'protected user')}"
    if guards.protected.groups:
        yield f"Protected groups: {', '.join(guards.protected.groups)}"


def _stops(guards: GuardsConfig) -> Iterator[str]:
    """Yield when the run stops, each as the end of a sentence."""
    most, in_a_row = guards.max_failures, guards.max_refused_in_a_row
    if most is not None:
        rows = (
            f"{most.rstrip('%')} % of rows fail"
            if isinstance(most, str)
            else f"{format_count(most, 'row')} {'fails' if most == 1 else 'fail'}"
        )
        yield f"if more than {rows}" + (f", or {in_a_row:,} in a row" if in_a_row else "")
    elif in_a_row:
        yield f"if {format_count(in_a_row, 'row')} in a row {'fails' if in_a_row == 1 else 'fail'}"
    if guards.max_duration is not None:
        yield f"after {format_limit(guards.max_duration)}"
    if guards.stop_at is not None:
        yield f"at {guards.stop_at} {datetime.now().astimezone():%Z}"
    if guards.limit is not None:
        yield f"after {format_count(guards.limit, 'row')}"


def _gaps(preflight: Preflight) -> Iterator[tuple[str, str]]:
    """Yield the unknown facts, and the IAM statements that would allow reading them."""
    for gap in preflight.unknown:
        yield "Not known", f"{gap.what}: {gap.action} {'was denied' if gap.denied else 'failed'} ({gap.code})"
    denied = [gap for gap in preflight.unknown if gap.denied]
    for resource in dict.fromkeys(gap.resource for gap in denied):
        actions = sorted({gap.action for gap in denied if gap.resource == resource})
        yield "Allow", json.dumps({"Effect": "Allow", "Action": actions, "Resource": resource})


def endpoint_warnings(endpoint: str, *, verified: bool) -> list[str]:
    """Return warnings about an endpoint. `verified`: its certificate is verified."""
    found = {
        "not AWS's own": not is_aws(endpoint),
        "NOT ENCRYPTED": endpoint.startswith("http:"),
        "its certificate is NOT VERIFIED": endpoint.startswith("https:") and not verified,
    }
    return [words for words, applies in found.items() if applies]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
