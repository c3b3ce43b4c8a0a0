"""A cluster inside the test: worker agents that can be cut off and killed, and a service that holds calls."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, cast

import pytest

from bulkreset.cluster import assignments, cluster_runner, worker_agent
from bulkreset.cluster.cluster_runner import ClusterRunner
from bulkreset.cluster.dask_cluster import DaskCluster, WorkerLost, WorkerRejected
from bulkreset.cluster.protocol import REPORT, WorkerReport, unpack
from bulkreset.cluster.remote_lane import LaneGroup, RemoteLane
from bulkreset.cluster.secret_envelope import SecretEnvelope
from bulkreset.cluster.worker_agent import WorkerAgent
from bulkreset.cognito.response import Response
from bulkreset.errors import Stopped
from bulkreset.job import PaceConfig, Target
from bulkreset.models import Claimed, Event, Outcome, Row
from bulkreset.send.coordinator import Coordinator, LaneInput
from bulkreset.send.lane import LaneKey, LaneProtocol, Results
from bulkreset.send.operations import OperationResult, SetPassword
from bulkreset.send_permit import SendPermit
from tests.clocks import ForwardClock
from tests.send.fakes import POOL, SET
from tests.send.lanes import Given
from tests.waiting import LOOK_SECONDS

# Seconds that pass only if a test moves the clock, so that no lease ends by itself on a slow machine.
LEASE = 36_000.0
SKEW = 6_000.0
PACE = PaceConfig(workers=4, max_attempts=3, max_wait=0.2)  # at most this many calls of a lane are held
TINY = 1e-5  # the clock has large numbers
SPEED = 10.0  # of the clock: lanes and rate limiters wait a tenth of the time that they see


class SlotClock(ForwardClock):
    """The machine's clock, SPEED times as fast. It records until when each thread waited last.

    That is the slot of a paced call. The machine decides when the call then leaves; the rate limiter decides the distance
    of slots.
    """

    def __init__(self) -> None:
        super().__init__(lambda: SPEED * time.monotonic())
        self._of = threading.local()

    def now(self) -> float:
        """Return seconds since a fixed time."""
        self._of.now = super().now()
        return float(self._of.now)

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Wait until `stop` is set or this time has passed. Return whether `stop` was set."""
        self._of.slot = self._of.now + seconds  # the caller has just computed the seconds from `now`
        while (left := self._of.slot - super().now()) > 0:
            if stop.wait(min(left / SPEED, LOOK_SECONDS)):
                return True
        return stop.is_set()

    def slot(self) -> float:
        """Return until when this thread waited last."""
        return float(getattr(self._of, "slot", 0.0))


def unix() -> float:
    """Return the Unix time of all processes. It does not advance: clocks differ only if a test sets one."""
    return 1e9


class Service:
    """The transport of all worker agents. It records rows and slots, and holds the answers that `holds` selects."""

    def __init__(self, answer: Callable[[Row], Response], clock: SlotClock) -> None:
        self.slots: list[float] = []
        self.rows: list[int] = []
        self.held: list[int] = []
        self._holds: Callable[[int], bool] = lambda _row: False
        self._answer = answer
        self._clock = clock
        self._turn = threading.Condition()

    def hold(self, which: Callable[[int], bool]) -> None:
        """Hold the answers for these rows only."""
        with self._turn:
            self._holds = which
            self._turn.notify_all()

    def let_go(self) -> None:
        """Release all answers."""
        self.hold(lambda _row: False)

    def set_password(self, row: Row) -> Response:
        with self._turn:
            self.slots.append(self._clock.slot())
            self.rows.append(row.number)
            if self._holds(row.number):
                self.held.append(row.number)
            self._turn.wait_for(lambda: not self._holds(row.number))
        return self._answer(row)


class FakeCluster:
    """A cluster whose workers are objects.

    `cut` workers are unreachable, `dead` ones have ended, `unfit` ones are refused. `lies` begin when
    events are heard: nobody would hear of a worker that is dropped before.
    """

    name = "in_process_cluster"

    def __init__(self, clock: SlotClock, *names: str) -> None:
        self.clock = clock
        self.names = list(names)
        self.gone = False
        self.is_heard = False
        self.leases: list[float] = []  # the end of each granted lease, in Unix time
        self.cut: set[str] = set()
        self.dead: set[str] = set()
        self.unfit: dict[str, str] = {}
        self.ahead: dict[str, float] = {}  # seconds by which clocks were set forward
        self.lies: dict[str, Callable[[Any], object]] = {}  # replaces a worker's reports
        self.lose_answers: set[int] = set()  # turns whose first answer is lost
        self.sessions: dict[str, WorkerAgent] = {}
        self.of: dict[str, list[WorkerAgent]] = {name: [] for name in names}
        self.listings = 0  # how often the workers were listed
        self.refused = 0  # exchanges with unreachable workers
        self._one = threading.Lock()  # nobody is cut off or killed in the middle of an exchange

    async def connect(self) -> None:
        pass

    async def workers(self) -> Sequence[str]:
        if self.gone:
            raise WorkerLost
        self.listings += 1
        return [name for name in self.names if name not in self.dead]

    async def handshake(self, worker: str, session: str) -> None:
        if worker in self.unfit:
            raise WorkerRejected(self.unfit[worker])
        if worker in self.cut:
            raise WorkerLost
        self.sessions[session] = WorkerAgent(self.clock, unix)
        self.of.setdefault(worker, []).append(self.sessions[session])

    async def exchange(
        self, worker: str, session: str, turn: int, lease: float, envelope: SecretEnvelope
    ) -> WorkerReport:
        await asyncio.sleep(0)
        with self._one:
            if worker in self.cut | self.dead:
                self.refused += 1
                raise OSError
            self.leases.append(lease)
            packed: object = self.sessions[session].exchange(turn, lease, envelope)
        if worker in self.lies and self.is_heard:
            packed = self.lies[worker](packed)
        report = unpack(REPORT, packed)[0]
        report = replace(report, unix=report.unix + self.ahead.get(worker, 0.0))
        if turn in self.lose_answers:
            self.lose_answers.remove(turn)
            raise OSError
        return report

    def is_dead(self, worker: str) -> bool:
        return worker in self.dead

    def kill(self, worker: str) -> None:
        """Kill a worker, as kill -9 does: no attempt starts any more, nothing comes back."""
        with self._one:
            for agent in self.of[worker]:
                agent.close()
            self.dead.add(worker)

    def cut_off(self, worker: str) -> None:
        """Cut a worker's network: it continues, but nobody hears from it."""
        with self._one:
            self.cut.add(worker)

    def stopped(self, number: int) -> bool:
        """Return whether a lane is open somewhere, and no attempt starts there any more."""
        groups = [agent._groups.get(number) for found in self.of.values() for agent in found]
        stops = [group.key.stop.is_set() for group in groups if group]
        return bool(stops) and all(stops)

    def open_lanes(self, worker: str) -> int:
        """Return how many lanes are open on a worker."""
        return sum(len(agent._groups) for agent in self.of.get(worker, []) if not agent.closed.is_set())

    async def close(self) -> None:
        pass


@dataclass
class MemoryJournal:
    """An in-memory journal writer, and the observer of a run."""

    claimed: list[int] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    returned: int = 0
    errors: list[Stopped] = field(default_factory=list)
    check: Callable[[], None] = lambda: None

    def commit(self, events: Sequence[Event], claims: Sequence[Claimed] = ()) -> None:
        claimed = [claim.row for claim in claims]
        outcomes = [event for event in events if isinstance(event, Outcome)]
        assert not set(claimed) & set(self.claimed), "a row was claimed twice"
        self.claimed += claimed
        for outcome in outcomes:
            assert outcome.row not in self.outcomes, "a row was settled twice"
            self.outcomes[outcome.row] = outcome

    def on_result(self, _place: LaneKey, _result: OperationResult) -> None:
        pass

    def ensure_mirrored(self) -> None:
        pass

    def on_committed(self, events_named: Sequence[tuple[LaneProtocol[Any], OperationResult]]) -> None:
        pass

    def on_lane_stopped(self, _place: LaneKey, error: Stopped) -> None:
        self.errors.append(error)

    def on_stopping(self, _calls: int, _seconds: float) -> None:
        pass

    def violation(self, _place: LaneKey) -> Stopped | None:
        return None

    def statuses(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for outcome in self.outcomes.values():
            found[outcome.status.value] = found.get(outcome.status.value, 0) + 1
        return found


class InProcessCluster:
    """A coordinator, a cluster and its worker agents, in this process."""

    def __init__(self, workers: Sequence[str], answer: Callable[[Row], Response]) -> None:
        self.clock = SlotClock()
        self.cluster = FakeCluster(self.clock, *workers)
        self.service = Service(answer, self.clock)
        self.journal = MemoryJournal()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.lanes: list[RemoteLane[Any]] = []

    def run(
        self,
        rows: Sequence[Sequence[Row]],
        rate: float | None,
        during: Callable[[ClusterRunner], None] | None = None,
        permit: SendPermit | None = None,
    ) -> None:
        """Send these rows, with one lane key for each list. `during` runs on another thread meanwhile."""
        results = Results()
        with ClusterRunner(cast("DaskCluster", self.cluster), self.clock, unix) as cluster:
            lane_inputs, groups = [], []
            for number, given in enumerate(rows):
                key = LaneKey(number, f"Lane {number}" if len(rows) > 1 else "")
                lane = cluster.lane(SetPassword({}), key, rate, PACE, lambda *_: None)
                self.lanes.append(lane)
                lane_inputs.append(LaneInput(lane, Given(given)))
                target = Target(user_pool_id=POOL, region="eu-west-1")
                groups.append(LaneGroup(key, "", [target], emulated=True, lanes=[lane], weight=rate or 700.0))
            cluster.send(groups, results, self._tell, permit)
            with ThreadPoolExecutor(1) as pool:
                beside = pool.submit(during or (lambda _cluster: None), cluster)
                beside.add_done_callback(lambda _done: self.service.let_go())
                try:
                    Coordinator(self.journal, self.clock, results, self.journal).run(lane_inputs)
                finally:
                    beside.result()

    def _tell(self, event: str, **fields: Any) -> None:  # noqa: ANN401  (of any event)
        self.cluster.is_heard = True  # the first event: a worker has joined
        self.events.append((event, fields))

    def events_named(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]

    def slots(self, number: int = 0) -> list[float]:
        """Return the slots of a lane, sorted; its rows are those of a thousand."""
        found = zip(self.service.slots, self.service.rows, strict=True)
        return sorted(slot for slot, row in found if row // 1000 == number)

    def listed_again(self, times: int = 3) -> Callable[[], bool]:
        """Return a function: whether the workers were listed so many times more, and could get lanes."""
        before = self.cluster.listings
        return lambda: self.cluster.listings >= before + times


@contextmanager
def in_process_cluster(
    *workers: str, answer: Callable[[Row], Response] = lambda _row: SET
) -> Iterator[InProcessCluster]:
    """Start a cluster of these workers."""
    with pytest.MonkeyPatch.context() as patch:
        it = InProcessCluster(workers, answer)
        patch.setattr(cluster_runner, "LEASE_SECONDS", LEASE)
        patch.setattr(worker_agent, "LEASE_SECONDS", LEASE)
        patch.setattr(assignments, "SKEW_SECONDS", SKEW)
        patch.setattr(cluster_runner, "LINGER_SECONDS", LEASE + SKEW)
        patch.setattr(cluster_runner, "GOVERN_SECONDS", 0.01)
        patch.setattr(cluster_runner, "TURN_SECONDS", 0.01)
        patch.setattr(cluster_runner, "IDLE_SECONDS", 0.05)
        patch.setattr(cluster_runner, "AGAIN_SECONDS", 0.005)
        patch.setattr("bulkreset.send.lane.open_transport", lambda _kind, _session: it.service)
        patch.setattr(worker_agent, "_session", lambda _target, _order: None)
        try:
            yield it
        finally:
            it.service.let_go()


def keep_the_rate(slots: Sequence[float], rate: float) -> bool:
    """Return whether all slots are at least as far apart as the rate requires."""
    return all(later - slot >= 1 / rate - TINY for slot, later in pairwise(slots))
