"""The first phase of a run: plan all rows, and show what would be done."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bulkreset.cancellation import lookup_listener
from bulkreset.cognito.account import AccountDiscovery
from bulkreset.cognito.read_calls import UnknownFact
from bulkreset.errors import BulkresetError
from bulkreset.input.suspect_password import SUSPECT
from bulkreset.journal.journal import Journal
from bulkreset.journal.origin import find_origin, record_extract
from bulkreset.journal.run_dir import RUNS, RunDir
from bulkreset.journal.run_state import LaneFacts, OriginFacts
from bulkreset.plan.earlier_runs import find_earlier_runs
from bulkreset.plan.parallel_calls import listing_pacers
from bulkreset.plan.passkeys import count_passkeys
from bulkreset.plan.preflight import (
    AwsFacts,
    PlanFacts,
    Preflight,
    build_preflight,
    describe_targets,
    group_by_quota,
    require_same_accounts,
)
from bulkreset.plan.preflight_text import preflight_facts
from bulkreset.plan.similar_names import ABSENT_USER
from bulkreset.plan.user_lockout import PlannedRecovery, require_recoverable
from bulkreset.run.context import RunContext
from bulkreset.steps import REVOKE_SESSIONS

ROWS_NAMED = 10  # rows that the preflight names for each problem


def plan(context: RunContext) -> Preflight:
    """Plan the rows if the journal has no complete plan, and return what the run is about to do."""
    context.log.info(
        "run_started",
        job=context.job.name,
        mode=context.journal.state.mode,
        targets=[target.model_dump() for target in describe_targets(context.sessions)],
    )
    quota = context.job.emulator.quota if context.service else None
    job = context.job
    asks_sessions = job.scrambles or REVOKE_SESSIONS in job.steps  # else it does not matter whether a pool tracks them
    discovery = AccountDiscovery(context.sessions, quota, with_sessions=asks_sessions)
    require_recoverable(job, discovery.pools())
    gaps = () if context.journal.state.is_planned else _plan_rows(context, discovery)
    preflight = _preflight(context, discovery, [*gaps, *_count_passkeys(context, discovery)])
    context.ui.show_preflight(preflight)
    return preflight


def _count_passkeys(context: RunContext, discovery: AccountDiscovery) -> Sequence[UnknownFact]:
    """Count the users who have a passkey, once, if the job asks for it. Returns the gaps."""
    journal = context.journal
    if not context.job.plan.count_passkeys or context.service or journal.state.passkeys is not None:
        return ()
    lanes = group_by_quota(context.sessions, discovery.callers())
    pacers = listing_pacers(context.job, [*lanes.values()], context.clock)
    seen = lookup_listener(context.ui, context.stop)
    counts, gaps = count_passkeys(journal.read, context.sessions, pacers, seen)
    journal.write.change(passkeys=counts)
    return gaps


def _plan_rows(context: RunContext, discovery: AccountDiscovery) -> Sequence[UnknownFact]:
    from bulkreset.plan.planner import Planner  # noqa: PLC0415  (imports pandas, which a resumed run does not need)

    planner = Planner(context.job, context.sessions, context.journal, discovery, context.ui, context.stop)
    gaps = planner.run(context.rows, context.service, context.home)
    journal = context.journal
    journal.write.change(origin=_origin(context))
    context.log.info("plan_finished", rows=journal.state.rows, counts=context.counts(), codes=journal.read.codes())
    return gaps


def _origin(context: RunContext) -> OriginFacts | None:
    """Return the run that the input was extracted from, if any, and record in its directory that this run uses it."""
    state = context.journal.state
    if not state.input.path or state.emulated:
        return None
    folders = [*dict.fromkeys([context.home.path.absolute().parent, RUNS.absolute()])]
    found = find_origin(state.input.path, state.input.sha256, folders)
    if found is None:
        return None
    run_dir, lines = found
    made = max((one for one in lines if not one.used_by), key=lambda one: one.at)
    own = str(context.home.path.absolute())
    runs = [run_dir, *(Path(one.used_by) for one in lines if one.used_by not in {"", own})]
    journals = [journal for run in dict.fromkeys(runs) if (journal := RunDir(run).journal).is_file()]
    try:
        origin = Journal.state_in(RunDir(run_dir).journal)
        already_set, first = context.journal.read.already_set(journals)
    except BulkresetError as error:  # the origin only helps; if it is damaged, the run continues
        context.log.warning("origin_unreadable", problem=error.message)
        return None
    if not state.is_dry_run:
        with suppress(OSError):  # the directory may be read-only
            record_extract(run_dir, replace(made, used_by=own))
    return OriginFacts(
        run_dir=str(run_dir),
        run_id=origin.run_id,
        only=made.only,
        rows=made.rows,
        edited=made.sha256 != state.input.sha256,
        already_set=already_set,
        first=first,
    )


def _preflight(context: RunContext, discovery: AccountDiscovery, gaps: Sequence[UnknownFact]) -> Preflight:
    """Return what the run is about to do, including the facts that could not be read. Log and record it."""
    journal, log = context.journal, context.log
    asked = AwsFacts(discovery.callers(), discovery.pools(), discovery.quotas())
    for pool, caller in asked.callers.items():
        if caller.problem:
            log.warning("account_unknown", service="sts", user_pool_id=pool, problem=caller.problem)
    require_same_accounts(asked.callers, journal.state.targets)
    planned = PlanFacts(
        context.counts(),
        journal.read.sendable_counts(),
        journal.read.status_before_counts(),
        journal.state.unchecked,
        gaps,
        {
            step.name: {pool: found.pending for pool, found in journal.read.step_counts(step.column).items()}
            for step in context.job.steps
        },
        PlannedRecovery.of(journal.read.recovery_counts(), journal.read.codes()),
        journal.state.input.remarks,
        () if context.service else find_earlier_runs(journal.state, context.home.path),
        journal.read.plan_messages(SUSPECT, ROWS_NAMED),
        journal.read.plan_messages(ABSENT_USER, ROWS_NAMED),
        journal.state.origin,
        journal.state.passkeys,
        journal.state.recovery_point,
    )
    preflight = build_preflight(context.job, context.sessions, asked, planned, journal.state.approved)
    for gap in preflight.unknown:
        log.warning("info_unavailable", what=gap.what, action=gap.action, problem=gap.code)
    known = {target.user_pool_id: target.account for target in journal.state.targets}
    lanes = tuple(
        LaneFacts(account=at.account, region=at.region, quota=at.quota, ceiling=at.ceiling, pools=at.pools)
        for at in preflight.lanes
    )
    confirmed = journal.state.preflight if journal.state.confirmation else ()
    journal.write.change(
        preflight=confirmed or tuple(preflight_facts(preflight)),
        steps={it.step.name: it.pools for it in preflight.steps if it.pools},
        # If there is nothing to send, keep the figures of the execution that has sent.
        lanes=lanes if preflight.sends or len(lanes) != len(journal.state.lanes) else journal.state.lanes,
        targets=tuple(
            target if target.account else target.model_copy(update={"account": known[target.user_pool_id]})
            for target in describe_targets(context.sessions, asked.callers)
        ),
        temporary_days={pool: it.temporary_days for pool, it in asked.pools.items() if it.unknown is None},
        executions=journal.state.replacing_execution(
            callers={pool: caller.arn for pool, caller in asked.callers.items() if caller.arn}
        ),
    )
    return preflight
