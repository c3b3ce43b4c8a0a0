"""Pass 2: send every unsettled row through its lane, and sign users out."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from bulkreset.cancellation import CancelToken, LaneProgress, SendProgress, UserInterface
from bulkreset.causes import STOPS
from bulkreset.clock import Clock
from bulkreset.cluster.cluster_runner import ClusterRunner
from bulkreset.cluster.remote_lane import LaneGroup, RemoteLane
from bulkreset.cognito.boto3_transport import BotoTransport
from bulkreset.cognito.session import TargetSession
from bulkreset.cognito.transport_factory import MAX_RATE, TransportKind, choose_transport, open_transport
from bulkreset.errors import InputError, RowLimit, Stopped
from bulkreset.input.input_set import InputSet
from bulkreset.input.page_reader import PageReader
from bulkreset.input.password_generator import PasswordGenerator
from bulkreset.input.password_policy import combine
from bulkreset.job import Job
from bulkreset.journal.generated_passwords import PasswordArchive
from bulkreset.journal.journal import Journal
from bulkreset.journal.rate_changes import RateChanges
from bulkreset.log import Log
from bulkreset.models import Outcome, RateChange, SignOutOutcome, Status, format_rows
from bulkreset.plan.preflight import PlannedLane, Preflight, sign_out_ceiling
from bulkreset.report.summary import describe_error
from bulkreset.send.coordinator import Coordinator, LaneInput
from bulkreset.send.generated_source import GeneratedLaneSource, GeneratedSource
from bulkreset.send.guards import GuardMonitor
from bulkreset.send.input_source import InputSource, LaneRowSource, input_changed_error
from bulkreset.send.lane import Lane, LaneKey, LaneProtocol, Results
from bulkreset.send.operations import Operation, OperationResult, SetPassword, SignOut
from bulkreset.send.pacer import Pacer
from bulkreset.send.row_limit import GatedSource, LimitedSource, RowBudget
from bulkreset.send.sign_out_source import SignOutSource

if TYPE_CHECKING:  # a run without one does not import it
    from bulkreset.mirror.mirror import JournalMirror

RETRIES_SHOWN_SECONDS = 0.5  # how often the progress is shown while rows are retried and none settles
SHUTDOWN_MARGIN_SECONDS = 5.0  # how long a stop waits beyond the time-outs
UNPACED_WEIGHT = float(MAX_RATE["boto3"])  # weight of a lane without a rate when lanes are assigned to workers


@dataclass(frozen=True, slots=True)
class RunResources:
    """Optional parts of a run, None if unused: archive of generated passwords, journal mirror, and cluster."""

    archive: PasswordArchive | None = None
    mirror: "JournalMirror | None" = None
    cluster: ClusterRunner | None = None


class Apply:
    """Sends the rows that the journal has not settled."""

    def __init__(
        self,
        job: Job,
        rows: InputSet | None,
        sessions: Mapping[str, TargetSession],
        journal: Journal,
        log: Log,
        clock: Clock,
        means: "RunResources | None" = None,
    ) -> None:
        means = means or RunResources()
        self._job = job
        self._cluster = means.cluster
        self._rows = rows
        self._archive = means.archive
        self._sessions = sessions
        self._journal = journal
        self._mirror = means.mirror
        self._ledger = means.mirror or journal
        self._log = log
        self._clock = clock
        # Created before the fingerprint is compared, so that a later "unchanged" means the file that was compared.
        self._changed = rows.change_detector() if rows else str
        self._results: Results = SimpleQueue()
        self._rates = RateChanges()
        self._lanes: list[tuple[LaneProtocol, LaneRowSource | GeneratedLaneSource]] = []
        self._stopped: Mapping[int, Stopped] = {}

    def run(
        self, preflight: Preflight, ui: UserInterface, stop: CancelToken, *, limited_by: str = "guards.limit"
    ) -> None:
        """Send until all rows are settled. Raises Interrupted, TimeLimit, ServiceError, RecordError, GuardTripped.

        Raises RowLimit if the row limit leaves rows unsent; `limited_by` is the key or flag that sets the limit.
        """
        job, plans = self._job, preflight.lanes
        kind: TransportKind = choose_transport(job.pace.transport, (plan.ceiling for plan in plans))
        if job.signs_out:
            self._journal.begin_signing_out()
        source = self._source(preflight)
        supplies: Sequence[LaneRowSource | GeneratedLaneSource] = source.lane_sources
        budget = RowBudget(job.guards.limit)
        feeds: list[LaneInput] = []
        shown: list[LaneProgress] = []
        leavers: dict[int, SignOutSource] = {}
        for number, (plan, supply) in enumerate(zip(plans, supplies, strict=True)):
            name = f"Account {plan.account}, {plan.region}" if plan.account else f"{plan.region}, {plan.pools[0]}"
            place = LaneKey(number, name if len(plans) > 1 else "")
            sends = SetPassword({pool: open_transport(kind, self._sessions[pool]) for pool in self._local_pools(plan)})
            lane = self._lane(plan, place, sends, plan.ceiling, MAX_RATE[kind])
            sets = LaneInput(lane, LimitedSource(self._gate_on_mirror(supply), budget))
            feeds.append(sets)
            self._lanes.append((sets.lane, supply))
            at = f"{plan.account} {plan.region}".strip()
            shown.append(LaneProgress(at, supply.rows, plan.ceiling, sets.lane.pacer.rate, retrying=sets.lane.retrying))
            if job.signs_out:
                leavers[number] = SignOutSource(self._journal, plan.pools, self._clock)
                leaves = SignOut({pool: BotoTransport.of(self._sessions[pool]) for pool in self._local_pools(plan)})
                lane = self._lane(plan, place, leaves, sign_out_ceiling(job), MAX_RATE["boto3"])
                feeds.append(LaneInput(lane, leavers[number], after=sets))
        progress = SendProgress(preflight.ready, preflight.pending, lanes=shown, max_attempts=job.pace.max_attempts)
        watch = RunMonitor(self._job, self._clock, self._log, progress, leavers, ui, stop)
        if self._mirror:
            watch.add_check(self._mirror.check)
        self._log.info("sending_started", rows=preflight.ready, lanes=len(plans), transport=kind)
        if self._cluster:
            self._cluster.send(self._lane_groups(plans, feeds), self._results, self._log_cluster_event)
        patience = max(target.connect_timeout + target.read_timeout for target in job.targets) + SHUTDOWN_MARGIN_SECONDS
        together = job.guards.scope == "run"
        coordinator = Coordinator(self, self._clock, self._results, watch, patience, together=together)
        self._stopped = coordinator.stopped
        try:
            with _frozen_heap():
                coordinator.run(feeds)
        finally:
            source.close()
            if rest := self._rates.take_rest():
                self._ledger.commit([], [], rates=rest)
        limit = job.guards.limit or 0
        if budget.remaining == 0 and preflight.ready > limit:
            raise RowLimit(
                f"Stopped after {format_rows(limit)}, as {limited_by} asks. {preflight.ready - limit:,} left.",
                STOPS["row_limit"].advice,
            )

    def _source(self, preflight: Preflight) -> InputSource | GeneratedSource:
        """Return the source of the lanes' rows: the input, or the journal if passwords are generated."""
        job = self._job
        lanes: list[tuple[str, ...]] = [plan.pools for plan in preflight.lanes]
        if self._rows and not job.generates:
            pages = PageReader(self._rows)
            return InputSource(pages, self._journal, lanes, self._require_unchanged, lambda: self._results.put(None))
        if not job.generates:  # there is no row to send, and none may get a generated password
            lanes = [() for _ in lanes]
        policies = {pool: combine(job.password.policy, facts.policy) for pool, facts in preflight.pools.items()}
        return GeneratedSource(self._journal, lanes, PasswordGenerator(policies, job.password.length), self._archive)

    def _gate_on_mirror(
        self, supply: LaneRowSource | GeneratedLaneSource
    ) -> LaneRowSource | GeneratedLaneSource | GatedSource:
        return GatedSource(supply, self._mirror.can_claim) if self._mirror else supply

    def commit(
        self, claims: Sequence[int], outcomes: Sequence[Outcome], signed_out: Sequence[SignOutOutcome] = ()
    ) -> None:
        """Commit claims, outcomes and the rate changes that are due. Raises RecordError if that fails."""
        self._ledger.commit(claims, outcomes, signed_out, self._rates.take_due(time.time_ns() // 1_000_000))

    def ensure_mirrored(self) -> None:
        """Upload committed changes to the mirror, if there is one. Raises RecordError, Busy if its lease is lost."""
        if self._mirror:
            self._mirror.flush()

    def lane_results(self, seconds: float) -> list[dict[str, Any]]:
        """Return each lane's figures as LaneSummary fields, in the preflight's order.

        `seconds` is how long this execution sent.
        """
        return [
            {
                "rate": round(lane.attempts / seconds, 2),
                "rows": supply.rows,
                "stopped_by": describe_error(self._stopped.get(number)),
            }
            for number, (lane, supply) in enumerate(self._lanes)
        ]

    def _local_pools(self, plan: PlannedLane) -> Sequence[str]:
        """Return the pools called from this process: none if the lanes are on a cluster."""
        return () if self._cluster else plan.pools

    def _lane_groups(self, plans: Sequence[PlannedLane], feeds: Sequence[LaneInput]) -> list[LaneGroup]:
        """Return the lanes as lane groups for the cluster, with the confirmed Regions and endpoints."""
        units = []
        for number, plan in enumerate(plans):
            lanes: list[RemoteLane[Any]] = [
                feed.lane for feed in feeds if feed.lane.key.number == number and isinstance(feed.lane, RemoteLane)
            ]
            sessions = [self._sessions[pool] for pool in plan.pools]
            targets = [
                at.target.model_copy(update={"region": at.region, "endpoint_url": at.endpoint}) for at in sessions
            ]
            weight = sum(lane.rate or UNPACED_WEIGHT for lane in lanes)
            emulated = any(at.emulated for at in sessions)
            units.append(LaneGroup(lanes[0].key, plan.account, targets, emulated, lanes, weight))
        return units

    def _log_cluster_event(self, event: str, **fields: object) -> None:
        """Log a worker that joined, was lost or was rejected."""
        (self._log.info if event == "worker_joined" else self._log.warning)(event, **fields)

    def _lane(
        self, plan: PlannedLane, place: LaneKey, errand: Operation[Any], ceiling: float | None, carries: int
    ) -> LaneProtocol:
        sets = isinstance(errand, SetPassword)

        def changed(rate: float, why: str) -> None:
            rate = round(rate, 2)
            at = {"account": plan.account, "region": plan.region}
            self._log.info("rate_changed", **at, call=errand.call, rate=rate, reason=str(why))
            if sets:
                self._rates.add(RateChange(time.time_ns() // 1_000_000, **at, rate=rate, reason=str(why)))

        if self._cluster:
            return self._cluster.lane(errand, place, ceiling, self._job.pace, changed)
        pacer = Pacer(ceiling, self._clock, changed)
        return Lane(errand, pacer, self._job.pace, self._clock, self._results, place, carries)

    def _require_unchanged(self) -> None:
        try:
            changed = self._changed()
        except InputError as error:
            raise input_changed_error(error.message) from None
        if changed:
            raise input_changed_error(f"{changed} is not what was planned.")


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


class RunMonitor:
    """Shows, logs and counts committed results, and decides which lane groups must stop."""

    def __init__(
        self,
        job: Job,
        clock: Clock,
        log: Log,
        progress: SendProgress,
        leavers: Mapping[int, SignOutSource],
        ui: UserInterface,
        stop: CancelToken,
    ) -> None:
        self._guards = GuardMonitor(job.guards, clock, datetime.now)
        self._log = log
        self._progress = progress
        self._leavers = leavers
        self._ui = ui
        self._stop = stop
        self._also: Callable[[], None] = lambda: None
        self._clock = clock
        self._shown_at = clock.now()

    def add_check(self, check: Callable[[], None]) -> None:
        """Add a function for `check` to call; it may raise."""
        self._also = check

    def check(self) -> None:
        """Raise if all sending must stop."""
        self._stop.check()
        self._guards.check()
        self._also()
        if self._clock.now() >= self._shown_at + RETRIES_SHOWN_SECONDS and self._progress.retrying():
            self._show()  # no row may settle for a long time

    def on_result(self, place: LaneKey, told: OperationResult) -> None:
        """Pass a result to the guards before it is committed."""
        if isinstance(told, Outcome):
            self._guards.add([told], place.number)

    def on_committed(self, told: Sequence[tuple[LaneProtocol, OperationResult]]) -> None:
        """Count, log and show committed results."""
        for lane, outcome in told:
            if isinstance(outcome, SignOutOutcome):
                self._leavers[lane.key.number].on_settled(outcome)
                self._progress.add_sign_out(outcome)
                if outcome.done is False:
                    self._log.info("sign_out_failed", row=outcome.row, code=outcome.code, attempts=outcome.attempts)
                continue
            self._progress.add([outcome], lane.key.number)
            if outcome.status.facts.settled:
                self._log_row(outcome)
        self._show()

    def _show(self) -> None:
        self._shown_at = self._clock.now()
        self._ui.on_send_progress(self._progress)

    def on_lane_stopped(self, place: LaneKey, error: Stopped) -> None:
        """Log a stopped lane group at once if the run has others."""
        self._progress.lanes[place.number].stopped = True
        if place.name:
            self._log.warning("lane_stopped", reason=type(error).__name__, message=error.message, advice=error.advice)

    def violation(self, place: LaneKey) -> Stopped | None:
        """Return the error that stops a lane group, or None if it may continue."""
        return self._guards.violation(place.number)

    def _log_row(self, outcome: Outcome) -> None:
        write = self._log.debug if outcome.status is Status.SET else self._log.info
        write(
            "row_settled",
            row=outcome.row,
            status=outcome.status.value,
            code=outcome.code,
            attempts=outcome.attempts,
            request_id=outcome.request_id,
        )
