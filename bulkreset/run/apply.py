"""Pass 2, the apply: every row that is still to be sent, or to be signed out, taken through its lane."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from bulkreset.cancellation import LaneProgress, Progress, Stop, Ui
from bulkreset.cluster.cluster_runner import Fleet
from bulkreset.cluster.remote_lane import FleetLane, Unit
from bulkreset.cognito.boto3_transport import BotoTransport
from bulkreset.cognito.session import TargetSession
from bulkreset.cognito.transport_factory import CARRIES, Kind, choose, open_transport
from bulkreset.errors import InputError, Stopped, TimeLimit
from bulkreset.input.input_set import Inputs
from bulkreset.input.password_generator import Generator
from bulkreset.input.password_policy import stricter
from bulkreset.job import Job
from bulkreset.journal.journal import Journal
from bulkreset.journal.rate_changes import Rates
from bulkreset.journal.sealed_passwords import Handout
from bulkreset.log import Log
from bulkreset.models import Outcome, RateChange, SignedOut, Status, in_rows
from bulkreset.plan.preflight import LanePlan, Preflight, sign_out_ceiling
from bulkreset.report.summary import stopped_by
from bulkreset.send.clock import Clock
from bulkreset.send.coordinator import Coordinator, Feed
from bulkreset.send.generated_source import Campaign, Made
from bulkreset.send.guards import Tripwires
from bulkreset.send.input_source import Source, Supply, has_changed
from bulkreset.send.lane import AnyLane, Lane, Place, Results
from bulkreset.send.operations import Errand, SetPassword, SignOut, Told
from bulkreset.send.pacer import Pacer
from bulkreset.send.row_limit import Budget, Gated, Rationed
from bulkreset.send.sign_out_source import Leavers

if TYPE_CHECKING:  # a run without one does not import it
    from bulkreset.mirror.mirror import Mirror

MARGIN_SECONDS = 5.0  # what a stop waits beyond the time-outs
UNPACED_WEIGHT = float(CARRIES["boto3"])  # what a lane without a pace counts for where lanes are shared out


@dataclass(frozen=True, slots=True)
class Means:
    """What a run has besides where its job asks for it: who takes made passwords, a mirror of the journal, workers elsewhere."""

    handout: Handout | None = None
    mirror: "Mirror | None" = None
    fleet: Fleet | None = None


class Apply:
    """Sends what the journal has not settled."""

    def __init__(
        self,
        job: Job,
        rows: Inputs | None,
        sessions: Mapping[str, TargetSession],
        journal: Journal,
        log: Log,
        clock: Clock,
        means: "Means | None" = None,
    ) -> None:
        means = means or Means()
        self._job = job
        self._fleet = means.fleet
        self._rows = rows
        self._handout = means.handout
        self._sessions = sessions
        self._journal = journal
        self._mirror = means.mirror
        self._ledger = means.mirror or journal
        self._log = log
        self._clock = clock
        # Taken before the fingerprint is compared: a file that is still the same later is the one that was compared.
        self._changed = rows.watched() if rows else str
        self._results: Results = SimpleQueue()
        self._rates = Rates()
        self._lanes: list[tuple[AnyLane, Supply | Made]] = []
        self._stopped: Mapping[int, Stopped] = {}

    def run(self, preflight: Preflight, ui: Ui, stop: Stop) -> None:
        """Send until all is settled. Raises what stops it: Interrupted, a guard's error, ServiceError, RecordError."""
        job, plans = self._job, preflight.lanes
        kind: Kind = choose(job.pace.transport, (plan.ceiling for plan in plans))
        if job.signs_out:
            self._journal.begin_signing_out()
        source = self._source(preflight)
        supplies: Sequence[Supply | Made] = source.supplies
        budget = Budget(job.guards.stop_after)
        feeds: list[Feed] = []
        shown: list[LaneProgress] = []
        leavers: dict[int, Leavers] = {}
        for number, (plan, supply) in enumerate(zip(plans, supplies, strict=True)):
            name = f"Account {plan.account}, {plan.region}" if plan.account else f"{plan.region}, {plan.pools[0]}"
            place = Place(number, name if len(plans) > 1 else "")
            sends = SetPassword({pool: open_transport(kind, self._sessions[pool]) for pool in self._from_here(plan)})
            lane = self._lane(plan, place, sends, plan.ceiling, CARRIES[kind])
            sets = Feed(lane, Rationed(self._gated(supply), budget))
            feeds.append(sets)
            self._lanes.append((sets.lane, supply))
            at = f"{plan.account} {plan.region}".strip()
            shown.append(LaneProgress(at, supply.rows, plan.ceiling, sets.lane.pacer.rate))
            if job.signs_out:
                leavers[number] = Leavers(self._journal, plan.pools, self._clock)
                leaves = SignOut({pool: BotoTransport.of(self._sessions[pool]) for pool in self._from_here(plan)})
                lane = self._lane(plan, place, leaves, sign_out_ceiling(job), CARRIES["boto3"])
                feeds.append(Feed(lane, leavers[number], after=sets))
        progress = Progress(preflight.ready, preflight.pending, lanes=shown)
        watch = _Watch(self._job, self._clock, self._log, progress, leavers, ui, stop)
        if self._mirror:
            watch.also(self._mirror.check)
        self._log.info("sending_started", rows=preflight.ready, lanes=len(plans), transport=kind)
        if self._fleet:
            self._fleet.send(self._units(plans, feeds), self._results, self._of_the_fleet)
        patience = max(target.connect_timeout + target.read_timeout for target in job.targets) + MARGIN_SECONDS
        together = job.guards.stop == "run"
        coordinator = Coordinator(self, self._clock, self._results, watch, patience, together=together)
        self._stopped = coordinator.stopped
        try:
            with _settled_heap():
                coordinator.run(feeds)
        finally:
            source.close()
            if rest := self._rates.rest():
                self._ledger.record([], [], rates=rest)
        if budget.left == 0 and preflight.ready > (job.guards.stop_after or 0):
            sent = job.guards.stop_after or 0
            raise TimeLimit(f"stop_after is reached: {in_rows(sent)} {'was' if sent == 1 else 'were'} sent this time.")

    def _source(self, preflight: Preflight) -> Source | Campaign:
        """Where the lanes' rows come from: the input, or the journal where the passwords are made."""
        job = self._job
        lanes: list[tuple[str, ...]] = [plan.pools for plan in preflight.lanes]
        if self._rows and not job.generates:
            return Source(self._rows, self._journal, lanes, self._unchanged, lambda: self._results.put(None))
        if not job.generates:  # there is no row to send, and none may get a made password
            lanes = [() for _ in lanes]
        policies = {pool: stricter(job.password.policy, facts.policy) for pool, facts in preflight.pools.items()}
        return Campaign(self._journal, lanes, Generator(policies, job.password.length), self._handout)

    def _gated(self, supply: Supply | Made) -> Supply | Made | Gated:
        return Gated(supply, self._mirror.ready) if self._mirror else supply

    def record(self, claims: Sequence[int], outcomes: Sequence[Outcome], signed_out: Sequence[SignedOut] = ()) -> None:
        """Commit, with the changes of rates that are due. Raises RecordError where that is not possible."""
        self._ledger.record(claims, outcomes, signed_out, self._rates.due(time.time_ns() // 1_000_000))

    def secure(self) -> None:
        """Have in the mirror, where there is one, what is committed. Raises RecordError, Busy where its lease is lost."""
        if self._mirror:
            self._mirror.secure()

    def figures(self, seconds: float) -> list[dict[str, Any]]:
        """Each lane's part of the execution, which sent for so long, in the preflight's order, as LaneSummary has it."""
        return [
            {
                "rate": round(lane.attempts / seconds, 2),
                "rows": supply.rows,
                "stopped_by": stopped_by(self._stopped.get(number)),
            }
            for number, (lane, supply) in enumerate(self._lanes)
        ]

    def _from_here(self, plan: LanePlan) -> Sequence[str]:
        """The pools to which calls go from this process: none, where the lanes are on a fleet."""
        return () if self._fleet else plan.pools

    def _units(self, plans: Sequence[LanePlan], feeds: Sequence[Feed]) -> list[Unit]:
        """The lanes by place, as a fleet takes them, with the Regions and endpoints that were confirmed."""
        units = []
        for number, plan in enumerate(plans):
            lanes: list[FleetLane[Any]] = [
                feed.lane for feed in feeds if feed.lane.place.number == number and isinstance(feed.lane, FleetLane)
            ]
            sessions = [self._sessions[pool] for pool in plan.pools]
            targets = [
                at.target.model_copy(update={"region": at.region, "endpoint_url": at.endpoint}) for at in sessions
            ]
            weight = sum(lane.rate or UNPACED_WEIGHT for lane in lanes)
            emulated = any(at.emulated for at in sessions)
            units.append(Unit(lanes[0].place, plan.account, targets, emulated, lanes, weight))
        return units

    def _of_the_fleet(self, event: str, **fields: object) -> None:
        """Tell of workers that come and go."""
        (self._log.info if event == "worker_joined" else self._log.warning)(event, **fields)

    def _lane(self, plan: LanePlan, place: Place, errand: Errand[Any], ceiling: float | None, carries: int) -> AnyLane:
        sets = isinstance(errand, SetPassword)

        def changed(rate: float, why: str) -> None:
            rate = round(rate, 2)
            at = {"account": plan.account, "region": plan.region}
            self._log.info("rate_changed", **at, call=errand.call, rate=rate, reason=str(why))
            if sets:
                self._rates.add(RateChange(time.time_ns() // 1_000_000, **at, rate=rate, reason=str(why)))

        if self._fleet:
            return self._fleet.lane(errand, place, ceiling, self._job.pace, changed)
        pacer = Pacer(ceiling, self._clock, changed)
        return Lane(errand, pacer, self._job.pace, self._clock, self._results, place, carries)

    def _unchanged(self) -> None:
        try:
            changed = self._changed()
        except InputError as error:
            raise has_changed(error.message) from None
        if changed:
            raise has_changed(f"{changed} is not what was planned.")


@contextmanager
def _settled_heap() -> Iterator[None]:
    """Spare the collector what is there already.

    The clients of forty targets are 200,000 objects: to go through them takes 0.2 s, in which every thread stands still,
    and the calls that had a slot meanwhile leave in a bunch. What a program that calls us has frozen stays so.
    """
    frozen = gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen:
            gc.unfreeze()


class _Watch:
    """Shows, logs and counts what is committed; says who must stop."""

    def __init__(
        self, job: Job, clock: Clock, log: Log, progress: Progress, leavers: Mapping[int, Leavers], ui: Ui, stop: Stop
    ) -> None:
        self._guards = Tripwires(job.guards, clock, datetime.now)
        self._log = log
        self._progress = progress
        self._leavers = leavers
        self._ui = ui
        self._stop = stop
        self._also: Callable[[], None] = lambda: None

    def also(self, check: Callable[[], None]) -> None:
        """Have something else look, too, which may raise."""
        self._also = check

    def check(self) -> None:
        """Raise where all sending must stop."""
        self._stop.check()
        self._guards.check()
        self._also()

    def hear(self, place: Place, told: Told) -> None:
        """Hear what has come back, before it is committed."""
        if isinstance(told, Outcome):
            self._guards.add([told], place.number)

    def observe(self, told: Sequence[tuple[AnyLane, Told]]) -> None:
        """Hear what is committed."""
        for lane, outcome in told:
            if isinstance(outcome, SignedOut):
                self._leavers[lane.place.number].settled(outcome)
                self._progress.left(outcome)
                if outcome.done is False:
                    self._log.info("sign_out_failed", row=outcome.row, code=outcome.code, attempts=outcome.attempts)
                continue
            self._progress.add([outcome], lane.place.number)
            if outcome.status is not Status.READY:
                self._log_row(outcome)
        self._ui.sending(self._progress)

    def stopped(self, place: Place, error: Stopped) -> None:
        """Say at once that a lane has stopped, where others go on."""
        self._progress.lanes[place.number].stopped = True
        if place.name:
            self._log.warning("lane_stopped", reason=type(error).__name__, message=error.message, advice=error.advice)

    def tripped(self, place: Place) -> Stopped | None:
        """Why nothing more may be sent to a place."""
        return self._guards.tripped(place.number)

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
