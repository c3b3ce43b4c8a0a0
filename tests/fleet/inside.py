"""A fleet inside the test: outposts that can be cut off, killed and poisoned, and a service that notes when calls start."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import pytest

from bulkreset.cognito.answer import Answer
from bulkreset.dispatch.clock import SystemClock
from bulkreset.dispatch.coordinator import Coordinator, Feed
from bulkreset.dispatch.errand import SetPassword, Told
from bulkreset.dispatch.lane import AnyLane, Place, Results
from bulkreset.errors import Stopped
from bulkreset.fleet import fleet as fleets
from bulkreset.fleet import outpost as outposts
from bulkreset.fleet.cluster import Lost, Unfit
from bulkreset.fleet.fleet import Fleet
from bulkreset.fleet.orders import Report
from bulkreset.fleet.outpost import Outpost
from bulkreset.fleet.parcel import Parcel
from bulkreset.fleet.remote import FleetLane, Unit
from bulkreset.job import Pace, Target
from bulkreset.rows import Outcome, Row, SignedOut
from tests.dispatch.fakes import POOL, SET
from tests.dispatch.lanes import Given

LEASE = 0.6
SKEW = 0.2


class Service:
    """A transport of all outposts: which row was called when, and by whose worker."""

    def __init__(self, answer: Callable[[Row], Answer], seconds: float) -> None:
        self.started: list[float] = []
        self.rows: list[int] = []
        self._answer = answer
        self._seconds = seconds

    def set_password(self, row: Row) -> Answer:
        self.started.append(time.monotonic())
        self.rows.append(row.number)
        time.sleep(self._seconds)
        return self._answer(row)


class InsideCluster:
    """A cluster whose workers are objects. `cut` workers are not reached, `dead` ones have ended, `unfit` are refused."""

    name = "inside"

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.gone = False
        self.cut: set[str] = set()
        self.dead: set[str] = set()
        self.unfit: dict[str, str] = {}
        self.ahead: dict[str, float] = {}  # seconds by which clocks were set
        self.lose_answers: set[int] = set()  # of these turns the first one is lost
        self.sessions: dict[str, Outpost] = {}
        self.of: dict[str, list[Outpost]] = {name: [] for name in names}

    async def connect(self) -> None:
        pass

    async def workers(self) -> Sequence[str]:
        if self.gone:
            raise Lost
        return [name for name in self.names if name not in self.dead]

    async def greet(self, worker: str, session: str) -> None:
        if worker in self.unfit:
            raise Unfit(self.unfit[worker])
        if worker in self.cut:
            raise Lost
        self.sessions[session] = Outpost()
        self.of.setdefault(worker, []).append(self.sessions[session])

    async def exchange(self, worker: str, session: str, turn: int, lease: float, parcel: Parcel) -> Report:
        await asyncio.sleep(0)
        if worker in self.cut | self.dead:
            raise OSError
        report = self.sessions[session].exchange(turn, lease, parcel)
        report.unix += self.ahead.get(worker, 0.0)
        if turn in self.lose_answers:
            self.lose_answers.remove(turn)
            raise OSError
        return report

    def is_dead(self, worker: str) -> bool:
        return worker in self.dead

    def kill(self, worker: str) -> None:
        """As kill -9 does: no attempt starts any more, nothing comes back."""
        self.dead.add(worker)
        for outpost in self.of[worker]:
            outpost.close()

    def carried(self, worker: str) -> int:
        """How many places are open there."""
        return sum(len(outpost._sites) for outpost in self.of.get(worker, []) if not outpost.closed.is_set())

    async def close(self) -> None:
        pass


@dataclass
class Book:
    """A ledger in memory, and the watch of a run."""

    claimed: list[int] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    given_back: int = 0
    errors: list[Stopped] = field(default_factory=list)
    check: Callable[[], None] = lambda: None

    def record(self, claims: Sequence[int], outcomes: Sequence[Outcome], signed_out: Sequence[SignedOut] = ()) -> None:
        del signed_out
        assert not set(claims) & set(self.claimed), "a row was claimed twice"
        self.claimed += claims
        for outcome in outcomes:
            assert outcome.row not in self.outcomes, "a row was settled twice"
            self.outcomes[outcome.row] = outcome

    def hear(self, _place: Place, _told: Told) -> None:
        pass

    def secure(self) -> None:
        pass

    def observe(self, told: Sequence[tuple[AnyLane, Told]]) -> None:
        pass

    def stopped(self, _place: Place, error: Stopped) -> None:
        self.errors.append(error)

    def tripped(self, _place: Place) -> Stopped | None:
        return None

    def statuses(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for outcome in self.outcomes.values():
            found[outcome.status.value] = found.get(outcome.status.value, 0) + 1
        return found


class Inside:
    """A coordinator, a fleet and its outposts, in this process."""

    def __init__(self, cluster: InsideCluster, answer: Callable[[Row], Answer], seconds: float) -> None:
        self.cluster = cluster
        self.service = Service(answer, seconds)
        self.book = Book()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.lanes: list[FleetLane[Any]] = []

    def run(
        self, rows: Sequence[Sequence[Row]], rate: float | None, during: Callable[[Fleet], None] | None = None
    ) -> None:
        """Send these rows, one place for each list; `during` runs on a thread beside it."""
        results: Results = SimpleQueue()
        with Fleet(self.cluster) as fleet:
            feeds, units = [], []
            for number, given in enumerate(rows):
                place = Place(number, f"Place {number}" if len(rows) > 1 else "")
                lane = fleet.lane(SetPassword({}), place, rate, Pace(max_attempts=3, max_wait=0.2), lambda *_: None)
                self.lanes.append(lane)
                feeds.append(Feed(lane, Given(given)))
                target = Target(user_pool_id=POOL, region="eu-west-1")
                units.append(Unit(place, "", [target], emulated=True, lanes=[lane], weight=rate or 700.0))
            fleet.send(units, results, lambda event, **fields: self.events.append((event, fields)))
            beside = threading.Thread(target=during or (lambda _fleet: None), args=(fleet,))
            beside.start()
            try:
                Coordinator(self.book, SystemClock(), results, self.book, patience=8.0).run(feeds)
            finally:
                beside.join()

    def told(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]


@contextmanager
def inside(
    *workers: str, answer: Callable[[Row], Answer] = lambda _row: SET, seconds: float = 0.02
) -> Iterator[Inside]:
    """A fleet of these workers, with short leases."""
    with pytest.MonkeyPatch.context() as patch:
        it = Inside(InsideCluster(*workers), answer, seconds)
        patch.setattr(fleets, "LEASE_SECONDS", LEASE)
        patch.setattr(fleets, "SKEW_SECONDS", SKEW)
        patch.setattr(fleets, "LINGER_SECONDS", LEASE + SKEW)
        patch.setattr(fleets, "GOVERN_SECONDS", 0.1)
        patch.setattr(fleets, "AGAIN_SECONDS", 0.05)
        patch.setattr(fleets, "NOBODY_SECONDS", 1.0)
        patch.setattr(outposts, "open_transport", lambda _kind, _session: it.service)
        patch.setattr(outposts, "_session", lambda _target, _order: None)
        yield it


def slots_hold(started: Sequence[float], rate: float, late: float = 0.25) -> bool:
    """Whether no window of w seconds has more than rate·w + 1 starts; `late` is what a busy machine may delay one by."""
    times = sorted(started)
    for first in range(len(times)):
        for last in range(first + 1, len(times)):
            if last - first + 1 > rate * (times[last] - times[first] + late) + 1:
                return False
    return True
