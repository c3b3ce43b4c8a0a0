"""The third phase of a run: send every unsettled row through its lane, and sign users out."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from queue import SimpleQueue

from bulkreset.cancellation import SendProgress
from bulkreset.causes import STOPS
from bulkreset.clock import SINCE_BOOT, Clock
from bulkreset.cluster.cluster_runner import LINGER_SECONDS
from bulkreset.cognito.transport_factory import TransportKind, choose_transport
from bulkreset.departure import AllPermits
from bulkreset.errors import InputError, RecordError, RowLimit, Stopped
from bulkreset.input.page_reader import PageReader
from bulkreset.input.password_generator import PasswordGenerator
from bulkreset.input.password_policy import combine
from bulkreset.journal.rate_changes import RateChanges
from bulkreset.journal.run_state import Phase
from bulkreset.models import format_rows
from bulkreset.plan.input_binding import require_planned_input
from bulkreset.plan.preflight import Preflight
from bulkreset.report.redaction import Redaction
from bulkreset.run.context import RunContext
from bulkreset.run.lane_run import LaneRun, build_lanes
from bulkreset.run.recorder import Recorder
from bulkreset.run.run_monitor import RunMonitor
from bulkreset.send.coordinator import Coordinator
from bulkreset.send.generated_source import GeneratedSource
from bulkreset.send.input_source import InputSource, input_changed_error
from bulkreset.send.lane import Results
from bulkreset.send.row_limit import RowBudget
from bulkreset.statuses import SETTLED, count_of

CHECK_SECONDS = 0.25  # how often a run that sends looks whether its journal is still in place
SHUTDOWN_MARGIN_SECONDS = 5.0  # how long a stop waits beyond the time-outs


def apply(context: RunContext, preflight: Preflight) -> None:
    """Send until all rows are settled.

    Raises Interrupted, TimeLimit, RowLimit if the row limit leaves rows unsent, ServiceError, RecordError, GuardTripped.
    """
    journal = context.journal
    if context.job.report.redact:
        # Create the key before the first row is sent: the mirror gets it, and a damaged key is detected in time.
        Redaction.load(context.home.redaction_key)
    # Created before the fingerprint is compared, so that a later "unchanged" means the file that was compared.
    changed = context.rows.change_detector() if context.rows else str
    if context.rows:
        require_planned_input(context.rows, journal)
    journal.write.begin_sending()
    _wait_for_old_workers(context)
    journal.write.change(phase=Phase.APPLYING, cluster=context.cluster.name if context.cluster else None)
    journal.write.move_log_to_file()
    if context.mirror:
        context.mirror.start_generation()
    with context.sending.running():
        _send(context, preflight, changed)


def _wait_for_old_workers(context: RunContext) -> None:
    """Wait until no worker agent of a dead coordinator can send, so that each lane keeps to its rate."""
    if context.journal.state.was_killed and context.journal.state.cluster:
        until = time.monotonic() + LINGER_SECONDS
        while time.monotonic() < until:
            context.stop.check()
            time.sleep(0.1)


def _send(context: RunContext, preflight: Preflight, changed: Callable[[], str]) -> None:
    """Build the lanes and run them; record what each of them did."""
    job = context.job
    kind: TransportKind = choose_transport(job.pace.transport, (plan.ceiling for plan in preflight.lanes))
    if job.signs_out:
        context.journal.write.begin_signing_out()
    results: Results = SimpleQueue()
    rates = RateChanges()
    source = _source(context, preflight, results, changed)
    budget = RowBudget(job.guards.limit)
    permit = AllPermits(*([context.mirror.permit] if context.mirror else []))
    lanes = build_lanes(context, preflight, kind, source.lane_sources, budget, results, rates, permit)
    monitor = RunMonitor(
        job.guards,
        SINCE_BOOT,
        context.log,
        SendProgress(
            preflight.ready,
            preflight.pending,
            lanes=[lane.progress for lane in lanes],
            max_attempts=job.pace.max_attempts,
        ),
        {lane.number: lane.sign_outs for lane in lanes if lane.sign_outs},
        context.ui,
        (
            context.stop.check,
            _every(CHECK_SECONDS, context.clock, context.journal.require_in_place),
            *([context.mirror.check] if context.mirror else []),
        ),
    )
    permit.add(monitor)
    recorder = Recorder(context.journal, context.mirror, rates)
    patience = max(target.connect_timeout + target.read_timeout for target in job.targets) + SHUTDOWN_MARGIN_SECONDS
    coordinator = Coordinator(recorder, context.clock, results, monitor, patience, together=job.guards.scope == "run")
    context.log.info("sending_started", rows=preflight.ready, lanes=len(lanes), transport=kind)
    if context.cluster:
        groups = [lane.group(context.sessions) for lane in lanes]
        context.cluster.send(
            groups, results, lambda event, **fields: _log_cluster_event(context, event, **fields), permit
        )
    began = context.clock.now()
    try:
        with _frozen_heap():
            coordinator.run([lane_input for lane in lanes for lane_input in lane.inputs])
    finally:
        source.close()
        recorder.commit_rest()
        with suppress(RecordError):  # the end of the run, which comes next, cannot be recorded either
            _record_lanes(context, lanes, coordinator.stopped, context.clock.now() - began)
    limit = job.guards.limit or 0
    if budget.remaining == 0 and preflight.ready > limit:
        by, cause = ("guards.limit" if context.options.limit is None else "--limit"), STOPS["row_limit"]
        if _is_approved_limit(context):
            by, cause = "the approved dry run", STOPS["approved_limit"]
        raise RowLimit(
            f"Stopped after {format_rows(limit)}, as {by} asks. {preflight.ready - limit:,} left.", cause.advice
        )


def _is_approved_limit(context: RunContext) -> bool:
    """Return whether as many rows are settled as the approved dry run allows."""
    approved = context.journal.state.approved
    if approved is None or approved.limit is None:
        return False
    counts = context.journal.read.counts(dead=True)
    return count_of(counts, SETTLED) >= approved.limit


def _every(seconds: float, clock: Clock, check: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls `check`, but not again within `seconds`."""
    due = clock.now()

    def checked() -> None:
        nonlocal due
        if (now := clock.now()) >= due:
            due = now + seconds
            check()

    return checked


def _record_lanes(
    context: RunContext, lanes: Sequence[LaneRun], stopped: Mapping[int, Stopped], seconds: float
) -> None:
    facts = zip(lanes, context.journal.state.lanes, strict=True)
    context.journal.write.change(
        lanes=tuple(lane.facts(known, stopped.get(lane.number), seconds) for lane, known in facts)
    )


def _source(
    context: RunContext, preflight: Preflight, results: Results, changed: Callable[[], str]
) -> InputSource | GeneratedSource:
    """Return the source of the lanes' rows: the input, or the journal if passwords are generated."""
    job, journal = context.job, context.journal.read
    lanes: list[tuple[str, ...]] = [plan.pools for plan in preflight.lanes]
    if context.rows and not job.generates:
        return InputSource(
            PageReader(context.rows), journal, lanes, lambda: _require_unchanged(changed), lambda: results.put(None)
        )
    if not job.generates:  # there is no row to send, and none may get a generated password
        lanes = [() for _ in lanes]
    policies = {pool: combine(job.password.policy, facts.policy) for pool, facts in preflight.pools.items()}
    return GeneratedSource(journal, lanes, PasswordGenerator(policies, job.password.length), context.passwords)


def _require_unchanged(changed: Callable[[], str]) -> None:
    try:
        what = changed()
    except InputError as error:
        raise input_changed_error(error.message) from None
    if what:
        raise input_changed_error(f"{what} is not what was planned.")


def _log_cluster_event(context: RunContext, event: str, **fields: object) -> None:
    """Log a worker that joined, was lost or was rejected."""
    (context.log.info if event == "worker_joined" else context.log.warning)(event, **fields)


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
