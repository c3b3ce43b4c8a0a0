"""The third phase of a run: send every row that is not done through its lane, and take the steps after it."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from datetime import datetime
from functools import partial

from bulkreset.cancellation import SendProgress
from bulkreset.causes import STOPS
from bulkreset.clock import SINCE_BOOT, Clock, now_ms
from bulkreset.cognito.transport import TransportKind, choose_transport
from bulkreset.errors import InputError, RecordError, RowLimit
from bulkreset.input.page_reader import PageReader
from bulkreset.input.password_generator import PasswordGenerator
from bulkreset.input.password_policy import combine
from bulkreset.journal.run_state import Phase
from bulkreset.log import Log
from bulkreset.models import Event, StateChanged, format_rows
from bulkreset.plan.input_binding import require_planned_input
from bulkreset.plan.preflight import Preflight
from bulkreset.report.redaction import Redaction
from bulkreset.run.context import RunContext
from bulkreset.run.lane_run import LaneRun, PasswordSource, build_lanes
from bulkreset.run.recorder import RateChanges, Recorder
from bulkreset.run.run_monitor import RunMonitor
from bulkreset.run.steering import LimitSource, Steering
from bulkreset.run.user_watch import UserWatch
from bulkreset.send.coordinator import Coordinator
from bulkreset.send.generated_source import GeneratedLaneSource
from bulkreset.send.guards import GuardMonitor
from bulkreset.send.input_source import InputSource, input_changed_error
from bulkreset.send.lane import Results
from bulkreset.send.operations import SetPassword
from bulkreset.send.row_limit import RowBudget
from bulkreset.send.sharing import LocalPresence, Presence, SharedLanes, lane_folder, state_folder
from bulkreset.send.timetable import TimetableLimit, timetable_of
from bulkreset.send_permit import AllPermits
from bulkreset.statuses import FINISHED, count_of
from bulkreset.steps import STEPS
from bulkreset.text import format_iso, lane_name

CHECK_SECONDS = 0.25  # seconds between two checks that the journal is still in place
OTHER_RUNS = "whether other runs send in the same account and Region"
SHUTDOWN_MARGIN_SECONDS = 5.0  # how long a stop waits beyond the time-outs


def apply(context: RunContext, preflight: Preflight) -> None:
    """Send until all rows are finished.

    Raises Interrupted, TimeLimit, RowLimit if the row limit leaves rows unsent, ServiceError, RecordError,
    GuardTripped.
    """
    journal = context.journal
    if context.job.report.redact:
        # Create the key before the first row is sent: the mirror gets it, and a damaged key is detected in time.
        Redaction.load(context.home.redaction_key)
    # Created before the comparison of fingerprints, so that a later "unchanged" means the compared file.
    changed = context.rows.change_detector() if context.rows else str
    if context.rows:
        require_planned_input(context.rows, journal)
    journal.write.begin_sending()
    if journal.state.was_killed and journal.state.cluster:
        # Then no worker agent of the dead coordinator can send, and each lane keeps to its rate.
        from bulkreset.cluster.cluster_runner import LINGER_SECONDS  # noqa: PLC0415  (most runs have no cluster)

        context.stop.wait(LINGER_SECONDS)
    journal.write.change(phase=Phase.APPLYING, cluster=context.cluster.name if context.cluster else None)
    _record_recovery_point(context, preflight)
    journal.write.move_log_to_file()
    if context.mirror:
        context.mirror.start_generation()
    with context.sending.running(), closing(_enter_lanes(context, preflight)) as shared:
        _send(context, preflight, changed, shared)


def _record_recovery_point(context: RunContext, preflight: Preflight) -> None:
    """Record the time to which `undo` restores: the full second before the first claim, by the service's clock.

    A resumed run keeps it. If the clocks differ, the earliest time counts: a later one could miss the first rows.
    """
    if context.journal.state.recovery_point:
        return
    ahead = min((facts.ahead or 0 for facts in preflight.pools.values()), default=0)
    point = (now_ms() + ahead) // 1000 * 1000
    context.journal.write.change(recovery_point=format_iso(point, "seconds"))


def _send(context: RunContext, preflight: Preflight, changed: Callable[[], str], shared: SharedLanes) -> None:
    """Build the lanes and run them; record the result of each."""
    job = context.job
    kind: TransportKind = choose_transport(job.pace.transport)
    results = Results()
    rates = RateChanges()
    sources_of_rows, close_sources = _source(context, preflight, results, changed)
    budget = RowBudget(job.guards.limit, "guards.limit" if context.options.limit is None else "--limit")
    permit = AllPermits(*([context.mirror.permit] if context.mirror else []))
    sources: list[LimitSource] = [context.control, shared, TimetableLimit(timetable_of(job.pace), time.time)]
    lanes = build_lanes(context, preflight, kind, sources_of_rows, budget, results, rates, permit)
    users = _user_watch(context, lanes)
    sources += [users] if users else []
    recorder = Recorder(context.journal, context.mirror, rates, context.telemetry.claim)
    steering = Steering(
        lanes,
        sources,
        context.clock,
        context.log,
        lambda: context.journal.state.lanes,
        recorder.commit,
        lambda: _new_orders(context, budget),
    )
    monitor = RunMonitor(
        GuardMonitor(job.guards, SINCE_BOOT, datetime.now, steering.is_paused),
        context.log,
        SendProgress(
            preflight.ready,
            {planned.step.name: planned.pending for planned in preflight.steps if planned.pools},
            lanes=[lane.progress for lane in lanes],
            max_attempts=job.pace.max_attempts,
        ),
        lanes,
        context.ui,
        context.stop,
        (
            _every(CHECK_SECONDS, context.clock, context.journal.require_in_place),
            *([context.mirror.check] if context.mirror else []),
            steering.check,
        ),
        users.count if users else None,
    )
    permit.add(monitor)
    patience = max(target.connect_timeout + target.read_timeout for target in job.targets) + SHUTDOWN_MARGIN_SECONDS
    coordinator = Coordinator(recorder, context.clock, results, monitor, patience, together=job.guards.scope == "run")
    context.log.info("sending_started", rows=preflight.ready, lanes=len(lanes), transport=kind)
    if context.cluster:
        groups = [lane.group(context.sessions, job) for lane in lanes]
        context.cluster.send(groups, results, partial(_log_cluster_event, context.log), permit)
    began = context.clock.now()
    context.control.look(at_once=True)  # an earlier order is in force for the first row
    try:
        with ExitStack() as spans, _frozen_heap(), users.following() if users else nullcontext():
            for lane in lanes:
                at = {"account": lane.plan.account, "region": lane.plan.region}
                spans.enter_context(context.telemetry.span("lane", **at, rows=lane.progress.total))
            coordinator.run([lane_input for lane in lanes for lane_input in lane.inputs])
    finally:
        close_sources()
        recorder.commit_rest()
        with suppress(RecordError):  # recording the end of the run, which comes next, fails as well
            seconds, stopped = context.clock.now() - began, coordinator.stopped
            facts = zip(lanes, context.journal.state.lanes, strict=True)
            context.journal.write.change(
                lanes=tuple(lane.facts(known, stopped.get(lane.number), seconds) for lane, known in facts)
            )
    if budget.remaining == 0 and preflight.ready > budget.taken:
        by, cause = budget.by, STOPS["row_limit"]
        if is_approved_limit(context):
            by, cause = "the approved dry run", STOPS["approved_limit"]
        raise RowLimit(
            f"Stopped after {format_rows(budget.taken)}, as {by} asks. {preflight.ready - budget.taken:,} left.",
            cause.advice,
        )


def is_approved_limit(context: RunContext) -> bool:
    """Return whether as many rows are finished as the approved dry run allows."""
    approved = context.journal.state.approved
    if approved is None or approved.limit is None:
        return False
    counts = context.journal.read.counts(dead=True)
    return count_of(counts, FINISHED) >= approved.limit


def _every(seconds: float, clock: Clock, check: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls `check`, but not again within `seconds`."""
    due = clock.now()

    def checked() -> None:
        nonlocal due
        if (now := clock.now()) >= due:
            due = now + seconds
            check()

    return checked


def _enter_lanes(context: RunContext, preflight: Preflight) -> SharedLanes:
    """Announce the run in its lanes: on this machine, and to runs with the same mirror prefix.

    Raises Busy if another run is there and the job says so. The emulator's quota is the run's own.
    """
    pace, name = context.job.pace, str(context.home.path.absolute())
    shared = SharedLanes(pace.shared, pace.share, context.log)
    try:
        for plan in preflight.lanes if not context.service else ():
            lane = lane_name(plan.account, plan.region)
            presences: list[Presence] = []
            try:
                presences.append(LocalPresence(state_folder() / "lanes" / lane_folder(lane), name))
            except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
                problem = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
                context.log.warning(
                    "info_unavailable", what=OTHER_RUNS, action="a file in bulkreset/lanes", problem=problem
                )
            if context.mirror:
                presences.append(context.mirror.enter_lane(lane, name))
            shared.enter(lane, presences)
    except BaseException:
        shared.close()
        raise
    return shared


def _user_watch(context: RunContext, lanes: Sequence[LaneRun]) -> UserWatch | None:
    """Return the source of the limit that leaves users their part of the quota, if the job asks for it.

    The emulator has no other users.
    """
    pace = context.job.pace
    if not pace.yield_to_users or context.service:
        return None
    calls = [SetPassword.call, *(STEPS[name].call for name in context.journal.state.steps)]
    sessions = {lane.name: context.sessions[lane.plan.pools[0]] for lane in lanes}
    return UserWatch(sessions, calls, pace.reserve, context.log)


def _new_orders(context: RunContext, budget: RowBudget) -> list[Event]:
    """Return the events of new orders, and lower the budget if one of them limits the rows."""
    if (rows := context.control.row_limit) is not None:
        budget.lower(rows, "bulkreset control --limit")
    new = context.control.take_new()
    return [StateChanged({"control": (*context.journal.state.control, *new)})] if new else []


def _source(
    context: RunContext, preflight: Preflight, results: Results, changed: Callable[[], str]
) -> tuple[Sequence[PasswordSource], Callable[[], None]]:
    """Return the lanes' sources of rows, and what closes them.

    They read the input, or the journal if passwords are generated.
    """
    job, journal = context.job, context.journal.read
    lanes: list[tuple[str, ...]] = [plan.pools for plan in preflight.lanes]
    if context.rows and not job.generates:
        source = InputSource(
            PageReader(context.rows), journal, lanes, lambda: _require_unchanged(changed), lambda: results.put(None)
        )
        return source.lane_sources, source.close
    if not job.generates:  # no row is sent, and no row may get a generated password
        lanes = [() for _ in lanes]
    policies = {pool: combine(job.password.policy, facts.policy) for pool, facts in preflight.pools.items()}
    generator = PasswordGenerator(policies, job.password.length)
    return [GeneratedLaneSource(journal, pools, generator, context.passwords) for pools in lanes], lambda: None


def _require_unchanged(changed: Callable[[], str]) -> None:
    try:
        what = changed()
    except InputError as error:
        raise input_changed_error(error.message) from None
    if what:
        raise input_changed_error(f"{what} is not what was planned.")


def _log_cluster_event(log: Log, event: str, **fields: object) -> None:
    """Log a worker that joined, was lost or was rejected."""
    (log.info if event == "worker_joined" else log.warning)(event, **fields)


@contextmanager
def _frozen_heap() -> Iterator[None]:
    """Exclude the existing objects from garbage collection during the block.

    The clients of forty targets are 200,000 objects. Scanning them stops every thread for 0.2 s, and then the calls
    that had a slot in that time leave all at once. Objects that the calling program has frozen stay frozen.
    """
    frozen = gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen:
            gc.unfreeze()
