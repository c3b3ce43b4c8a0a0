"""Builds the lanes of one execution: for each, what it sends, where the rows come from, and its progress."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bulkreset.cancellation import LaneProgress
from bulkreset.clock import now_ms
from bulkreset.cognito.session import TargetSession
from bulkreset.cognito.transport import MAX_RATE, TransportKind
from bulkreset.errors import Stopped
from bulkreset.job import Job
from bulkreset.journal.run_state import LaneFacts
from bulkreset.models import RateChange
from bulkreset.plan.preflight import (
    PlannedLane,
    Preflight,
    listing_rate,
    step_ceiling,
)
from bulkreset.run.context import RunContext
from bulkreset.run.recorder import RateChanges
from bulkreset.send.coordinator import LaneInput
from bulkreset.send.generated_source import GeneratedLaneSource
from bulkreset.send.input_source import LaneRowSource
from bulkreset.send.lane import LaneKey, LaneOpener, LaneProtocol, Results
from bulkreset.send.operations import Operation, SetPassword
from bulkreset.send.pacer import Pacer
from bulkreset.send.row_limit import LimitedSource, RowBudget
from bulkreset.send.step_source import StepSource
from bulkreset.send_permit import SendPermit
from bulkreset.steps import STEPS
from bulkreset.text import lane_name

if TYPE_CHECKING:  # most runs have no cluster
    from bulkreset.cluster.remote_lane import LaneGroup

UNPACED_WEIGHT = float(MAX_RATE["boto3"])  # weight of a lane without a rate when lanes are assigned to workers

PasswordSource = LaneRowSource | GeneratedLaneSource


@dataclass(frozen=True, slots=True)
class LaneRun:
    """A planned lane in this execution. `steps` has the sources of the steps after the password, by name.

    `inputs` are those of the passwords, then of the steps. `paces` has the quota and the job's own ceiling of each, in
    calls per second.
    """

    plan: PlannedLane
    inputs: Sequence[LaneInput]
    paces: Sequence[tuple[float, float | None]]
    source: PasswordSource
    steps: Mapping[str, StepSource]
    progress: LaneProgress

    @property
    def key(self) -> LaneKey:
        """Return the key that the lane's operations share."""
        return self.inputs[0].lane.key

    @property
    def name(self) -> str:
        """Return "ACCOUNT/REGION", as `bulkreset control --lane` names the lane."""
        return lane_name(self.plan.account, self.plan.region)

    @property
    def number(self) -> int:
        """Return the number of the lane in the preflight's order."""
        return self.key.number

    def facts(self, known: LaneFacts, stopped: Stopped | None, seconds: float) -> LaneFacts:
        """Return the lane's facts, after this execution sent for `seconds`."""
        rate = round(self.inputs[0].lane.attempts / seconds, 2)
        stopped_by = stopped.describe() if stopped else None
        return known.model_copy(update={"rate": rate, "rows": self.source.rows, "stopped_by": stopped_by})

    def group(self, sessions: Mapping[str, TargetSession], job: Job) -> "LaneGroup":
        """Return the lane as a group for the cluster, with the confirmed Regions and endpoints."""
        from bulkreset.cluster.protocol import ListingPace  # noqa: PLC0415  (as above)
        from bulkreset.cluster.remote_lane import LaneGroup, RemoteLane  # noqa: PLC0415  (as above)

        lanes: list[RemoteLane[Any]] = [it.lane for it in self.inputs if isinstance(it.lane, RemoteLane)]
        targets = [
            at.target.model_copy(update={"region": at.region, "endpoint_url": at.endpoint})
            for at in (sessions[pool] for pool in self.plan.pools)
        ]
        weight = sum(lane.rate or UNPACED_WEIGHT for lane in lanes)
        emulated = any(sessions[pool].emulated for pool in self.plan.pools)
        look_up = None if job.generates else ListingPace(listing_rate(job))
        return LaneGroup(self.key, self.plan.account, targets, emulated, lanes, weight, look_up)


def build_lanes(
    context: RunContext,
    preflight: Preflight,
    kind: TransportKind,
    sources: Sequence[PasswordSource],
    budget: RowBudget,
    results: Results,
    rates: RateChanges,
    permit: SendPermit,
) -> list[LaneRun]:
    """Return the lanes in the preflight's order. All of them share `budget`; `rates` gets their rate changes.

    Lanes in this process send only while `permit` allows it.
    """
    steps = context.journal.state.steps
    order = context.journal.read.step_order(steps) if steps else ""
    if steps:
        context.journal.write.begin_steps(order)
    several = len(preflight.lanes) > 1
    builder = _LaneBuilder(context, kind, budget, results, rates, permit, order, several=several)
    return [
        builder.build(number, plan, source)
        for number, (plan, source) in enumerate(zip(preflight.lanes, sources, strict=True))
    ]


@dataclass(frozen=True, slots=True)
class _LaneBuilder:
    context: RunContext
    kind: TransportKind
    budget: RowBudget
    results: Results
    rates: RateChanges
    permit: SendPermit
    step_order: str
    several: bool

    def build(self, number: int, plan: PlannedLane, source: PasswordSource) -> LaneRun:
        """Return a lane with its steps."""
        context = self.context
        name = f"Account {plan.account}, {plan.region}" if plan.account else f"{plan.region}, {plan.pools[0]}"
        key = LaneKey(number, name if self.several else "")
        # A cluster's workers have their own sessions.
        sessions = {} if context.cluster else {pool: context.sessions[pool] for pool in plan.pools}
        opener = LaneOpener(sessions, self.kind, key, context.job.pace, context.clock, self.results, self.permit)
        # A generated password is not known again.
        listing = None if context.job.generates else Pacer(listing_rate(context.job), context.clock)
        lane = self._lane(plan, opener, opener.set_password(listing), plan.ceiling)
        gate = [context.mirror.can_claim] if context.mirror else []
        inputs = [LaneInput(lane, LimitedSource(source, self.budget, *gate))]
        shown = f"{plan.account} {plan.region}".strip()
        progress = LaneProgress(shown, source.rows, plan.ceiling, lane.pacer.rate, retrying=lane.retrying)
        paces: list[tuple[float, float | None]] = [(plan.quota, plan.ceiling)]
        steps: dict[str, StepSource] = {}
        for name, found in context.journal.state.steps.items():
            if taken := [pool for pool in plan.pools if pool in found]:
                step, pending = STEPS[name], partial(context.journal.read.step_tasks, self.step_order, name)
                steps[name] = StepSource(pending, taken, context.clock)
                ceiling = step_ceiling(context.job, step)
                lane = self._lane(plan, opener, opener.take_step(step), ceiling)
                inputs.append(LaneInput(lane, steps[name], after=inputs[-1]))
                paces.append((step.quota, ceiling))
        return LaneRun(plan, inputs, paces, source, steps, progress)

    def _lane(
        self, plan: PlannedLane, opener: LaneOpener, operation: Operation[Any], ceiling: float | None
    ) -> LaneProtocol[Any]:
        changed, cluster = self._rate_listener(plan, operation), self.context.cluster
        if cluster:
            return cluster.lane(operation, opener.key, ceiling, opener.pace, changed)
        return opener.open(operation, ceiling, changed)

    def _rate_listener(self, plan: PlannedLane, operation: Operation[Any]) -> Callable[[float, str], None]:
        """Return a function that logs a new rate, and keeps it for the journal if passwords are set at it."""

        def changed(rate: float, why: str) -> None:
            rate = round(rate, 2)
            at = {"account": plan.account, "region": plan.region}
            self.context.log.info("rate_changed", **at, call=operation.call, rate=rate, reason=str(why))
            if isinstance(operation, SetPassword):
                self.rates.add(RateChange(now_ms(), **at, rate=rate, reason=str(why)))

        return changed
