"""The fleet: lanes that run on the workers of a cluster, and everything of them that must not be lost with a worker."""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Self, TypeVar

from bulkreset.cognito.choice import CARRIES, Kind
from bulkreset.dispatch.errand import Errand, T, Tally
from bulkreset.dispatch.lane import Crash, Place, Result, Results
from bulkreset.dispatch.pacer import PacerState
from bulkreset.dispatch.worker import Settled
from bulkreset.errors import Bug, BulkresetError, FleetError, FleetLost, ServiceError, Stopped, place_of
from bulkreset.fleet.balance import placed
from bulkreset.fleet.cluster import SKEW_SECONDS, Cluster, Lost, Unfit, clock_differs
from bulkreset.fleet.orders import (
    LEASE_SECONDS,
    Batch,
    Close,
    Failed,
    Halt,
    LaneOrder,
    Open,
    Report,
    Retire,
)
from bulkreset.fleet.parcel import Parcel
from bulkreset.fleet.remote import FleetLane, Post, Unit
from bulkreset.job import Pace
from bulkreset.rows import Row

TURN_SECONDS: Final = 0.1  # between two exchanges with a worker that has rows
IDLE_SECONDS: Final = 1.0  # with one that has none
AGAIN_SECONDS: Final = 0.2  # between two tries to reach one that does not answer
GOVERN_SECONDS: Final = 0.5
NOBODY_SECONDS: Final = 60.0  # how long a worker is waited for while there is none
LINGER_SECONDS: Final = LEASE_SECONDS + SKEW_SECONDS  # after this no outpost sends whose coordinator has died
R = TypeVar("R")
Tell = Callable[..., None]


class Fleet:
    """Runs lanes on a cluster. What it knows is its thread's alone; the coordinator's thread only leaves word there."""

    def __init__(self, cluster: Cluster) -> None:
        self.name = cluster.name
        self.size = 0
        self._cluster = cluster
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fleet", daemon=True)
        self._posts: dict[str, Post] = {}
        self._unfit: dict[str, str] = {}
        self._units: dict[int, Unit] = {}
        self._results: Results | None = None
        self._event: Tell = lambda _event, **_fields: None
        self._failure: BulkresetError | None = None
        self._nobody_since: float | None = None
        self._governing: asyncio.Task[None] | None = None
        self._parting: list[float] = []

    # ---- the coordinator's side

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._wait_for(self._begin())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self._wait_for(self._end())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=IDLE_SECONDS)
            if not self._thread.is_alive():
                self._loop.close()

    def lane(
        self,
        errand: Errand[T],
        place: Place,
        ceiling: float | None,
        pace: Pace,
        changed: Callable[[float, str], None],
    ) -> FleetLane[T]:
        """A lane, which gets a worker when its place is added."""
        return FleetLane(self, errand, place, ceiling, pace, changed)

    def send(self, units: Sequence[Unit], results: Results, tell: Tell) -> None:
        """Begin: places get their workers. `tell` hears of events, on another thread."""
        self.soon(self._send, units, results, tell)

    def check(self) -> None:
        """Raise what forbids going on: FleetLost."""
        if self._failure:
            raise self._failure

    def soon(self, do: Callable[..., None], *args: object) -> None:
        """Have it done by the fleet's thread, in the order of the calls."""
        self._loop.call_soon_threadsafe(self._safely, do, *args)

    def _wait_for(self, what: Coroutine[Any, Any, R]) -> R:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result()

    # ---- from here on: the fleet's thread

    async def _begin(self) -> None:
        """Connect, and look at every worker there is. Raises FleetError."""
        await self._cluster.connect()
        until = time.monotonic() + NOBODY_SECONDS
        while not (found := await self._seen()):
            if time.monotonic() > until:
                raise FleetError(f"The fleet ({self.name}) has no worker.", "Start some, then run again.")
            await asyncio.sleep(GOVERN_SECONDS)
        await asyncio.gather(*(self._welcome(worker) for worker in found))
        if self._unfit:
            worker, why = min(self._unfit.items())
            raise FleetError(f"The worker {worker} cannot be used: {why}.", "Mend it or take it away, then run again.")
        self._governing = asyncio.create_task(self._govern())

    async def _seen(self) -> Sequence[str]:
        try:
            return await self._cluster.workers()
        except Lost:
            raise FleetError(
                f"The fleet ({self.name}) has no scheduler any more.", "Start it, then run again."
            ) from None

    async def _welcome(self, worker: str) -> None:
        """Make a post of a worker, if it is fit for one."""
        session = (
            uuid.uuid4().hex
        )  # another one each time: a worker that was lost may still have the lanes of the last one
        try:
            await self._cluster.greet(worker, session)
        except Unfit as unfit:
            self._unfit[worker] = str(unfit)
            self._event("worker_refused", worker=worker, problem=str(unfit))
        except Lost:
            return
        else:
            post = self._posts[worker] = Post(worker, session)
            post.task = asyncio.create_task(self._serve(post))
            self.size = len(self._posts)
            self._event("worker_joined", worker=worker)

    async def _end(self) -> None:
        """Have the outposts closed, and wait for the end of those leases of which nobody knows."""
        if self._governing:
            self._governing.cancel()
        for post in self._posts.values():
            post.orders.append(Close())
            post.is_over = True
            post.wake.set()
        tasks = [post.task for post in self._posts.values() if post.task]
        if tasks:
            await asyncio.wait(tasks, timeout=LINGER_SECONDS)
        rest = max(self._parting, default=0.0) - time.monotonic()
        if rest > 0:
            await asyncio.sleep(rest)
        await self._cluster.close()

    def _safely(self, do: Callable[..., None], *args: object) -> None:
        try:
            do(*args)
        except Exception as error:  # noqa: BLE001  (a bug: raised again by the coordinator)
            self._crash(error)

    def _crash(self, error: BaseException) -> None:
        """Have the coordinator raise it."""
        lane = next((lane for unit in self._units.values() for lane in unit.lanes), None)
        if lane is None:
            self._failure = Bug(f"A bug: {place_of(error)}.", "Please report this line.")
        else:
            self._settle(lane, Crash(error))

    def _send(self, units: Sequence[Unit], results: Results, tell: Tell) -> None:
        self._results, self._event = results, tell
        self._units = {unit.place.number: unit for unit in units}
        for post in self._posts.values():
            self._event("worker_joined", worker=post.worker)
        self._place()

    def put(self, lane: FleetLane[Any], rows: Sequence[Any]) -> None:
        """Rows for a lane."""
        lane.waiting.extend(rows)
        unit = self._units[lane.place.number]
        if unit.is_halted:
            self._give_back(lane, unit.stopped)
        else:
            self._ship(unit)

    def halt(self, number: int) -> None:
        """No attempt more at a place."""
        unit = self._units.get(number)
        if unit is None or unit.is_halted:
            return
        unit.is_halted = True
        for lane in unit.lanes:
            self._give_back(lane)
        if unit.post:
            unit.post.orders.append(Halt(number))
            unit.post.wake.set()

    def _give_back(self, lane: FleetLane[Any], fatal: Stopped | None = None) -> None:
        """What waits was not sent, because of what is `fatal` where the place is stopped from here."""
        while lane.waiting:
            what = lane.waiting.popleft()
            outcome = lane.errand.settle(what, lane.errand.begin(what), lane.pace.max_attempts)
            self._settle(lane, Settled(outcome, fatal=fatal))

    def _settle(self, lane: FleetLane[Any], result: Result) -> None:
        if self._results:
            self._results.put((lane, result))

    # ---- an outpost

    async def _serve(self, post: Post) -> None:
        """One exchange after the other, until it is over or the worker is lost."""
        try:
            while True:
                last = post.is_over
                before, report = time.time(), await self._exchange(post)
                self._heed(post, report)
                if last:
                    return
                if wrong := clock_differs(before, report.unix, time.time()):
                    await self._dismiss(post, wrong)
                await self._pause(post)
        except Lost as lost:
            self._lose(post, dead=lost.dead)
        except Exception as error:  # noqa: BLE001  (a bug: raised again by the coordinator)
            self._lose(post, dead=False)
            self._crash(error)

    async def _exchange(self, post: Post) -> Report:
        """One turn; where it is not answered, the same again until its lease is over. Raises Lost."""
        parcel, post.orders = Parcel.of(post.orders), []
        post.wake.clear()
        post.turn += 1
        lease, post.until = time.time() + LEASE_SECONDS, time.monotonic() + LEASE_SECONDS
        while (left := post.until - time.monotonic()) > 0:
            try:
                turn = self._cluster.exchange(post.worker, post.session, post.turn, lease, parcel)
                return await asyncio.wait_for(turn, left)
            except (OSError, TimeoutError):
                if self._cluster.is_dead(post.worker):
                    raise Lost(dead=True) from None
                await asyncio.sleep(AGAIN_SECONDS)
        raise Lost

    async def _dismiss(self, post: Post, why: str) -> None:
        """Close an outpost whose leases cannot be relied on any more: what it has is in doubt. Raises Lost."""
        self._unfit[post.worker] = why
        self._event("worker_refused", worker=post.worker, problem=why)
        post.orders = [Close()]
        await self._exchange(post)  # what comes back unsent is not given back: another worker gets it
        raise Lost(dead=True)

    async def _pause(self, post: Post) -> None:
        """A turn's time, or until an order is urgent."""
        busy = any(lane.away for unit in self._carried(post) for lane in unit.lanes)
        try:
            await asyncio.wait_for(post.wake.wait(), TURN_SECONDS if busy or post.orders else IDLE_SECONDS)
        except TimeoutError:
            return

    def _carried(self, post: Post) -> list[Unit]:
        return [unit for unit in self._units.values() if unit.post is post]

    def _heed(self, post: Post, report: Report) -> None:
        """Take what an outpost tells."""
        if report.bug:
            what = f"A bug on the worker {post.worker}: {report.bug}."
            self._crash(Bug(what, "What the run had done is in its journal: resume it, and report this line."))
        for (place, number), result in report.results:
            lane = self._units[place].lanes[number]
            if lane.away.pop(result.outcome.row, None) is not None:
                self._settle(lane, result)
        self._pace(report)
        for failed in report.failed:
            self._fail(post, failed)
        for place, kind in report.opened:
            self._opened(self._units[place], kind)
        for place, states in report.retired:
            self._retired(self._units[place], states)
        for place in report.halted:
            for lane in self._units[place].lanes:
                self._take_back(self._units[place], lane)
        for unit in self._carried(post):
            self._retire(unit)

    def _pace(self, report: Report) -> None:
        now = time.monotonic()
        for (place, number), state in report.states:
            lane = self._units[place].lanes[number]
            lane.state, lane.state_at, lane.rate = state, now, state.rate
        for (place, number), rate, why in report.changes:
            self._units[place].lanes[number].changed(rate, why)

    def _opened(self, unit: Unit, kind: Kind) -> None:
        unit.is_open = True
        for lane in unit.lanes:
            lane.carries = CARRIES[kind if lane.errand.claimed else "boto3"]
        if unit.is_halted and unit.post:
            unit.post.orders.append(Halt(unit.place.number))
        self._ship(unit)

    def _ship(self, unit: Unit) -> None:
        """Send what waits on its way, if somebody is there to send it to."""
        if unit.post is None or not unit.is_open or unit.is_retiring:
            return
        for number, lane in enumerate(unit.lanes):
            if lane.waiting:
                rows = list(lane.waiting)
                lane.waiting.clear()
                lane.away |= {row.number: row for row in rows}
                unit.post.orders.append(Batch((unit.place.number, number), rows))
        if not any(lane.away for other in self._carried(unit.post) if other is not unit for lane in other.lanes):
            unit.post.wake.set()

    def _lose(self, post: Post, *, dead: bool) -> None:
        """A worker is gone: what it had is in doubt, and goes to another one when this one can no longer send."""
        self._posts.pop(post.worker, None)
        self.size = len(self._posts)
        now = time.monotonic()
        free = now if dead else post.until + SKEW_SECONDS
        self._parting.append(free)
        units = self._carried(post)
        doubted = sum(len(lane.away) for unit in units for lane in unit.lanes if lane.errand.claimed)
        if not post.is_over:
            self._event("worker_lost", worker=post.worker, lanes=len(units), in_doubt=doubted)
        for unit in units:
            unit.post = unit.bound_for = None
            unit.is_open = unit.is_retiring = False
            # One slot later than the last attempt that may have left: the rate holds over both.
            unit.not_before = free + max((1 / lane.rate for lane in unit.lanes if lane.rate), default=0.0)
            for lane in unit.lanes:
                lane.is_moving = False
                self._take_back(unit, lane)

    def _take_back(self, unit: Unit, lane: FleetLane[Any]) -> None:
        """What was with a lost worker: nobody knows what became of it."""
        away, lane.away = list(lane.away.values()), {}
        if not unit.is_halted:
            lane.waiting.extendleft(
                replace(what, doubted=True) if isinstance(what, Row) else what for what in reversed(away)
            )
            return
        for what in away:
            outcome = lane.errand.settle(what, Tally(doubted=True), lane.pace.max_attempts)
            self._settle(lane, Settled(outcome))

    def _fail(self, post: Post, failed: Failed) -> None:
        """A place could not be opened: elsewhere perhaps; else it is stopped."""
        unit = self._units[failed.place]
        unit.post = unit.bound_for = None
        unit.failed_at.add(post.worker)
        post.is_fit = False
        self._event("worker_refused", worker=post.worker, problem=failed.message)
        if self._posts.keys() - unit.failed_at:
            self._place()
            return
        unit.stopped = ServiceError("TargetError", f"The worker {post.worker} says: {failed.message}", failed.advice)
        unit.is_halted = True
        for lane in unit.lanes:
            self._give_back(lane, unit.stopped)

    # ---- which worker has which place

    async def _govern(self) -> None:
        """Look for workers that have joined, and for places that need one."""
        while True:
            await asyncio.sleep(GOVERN_SECONDS)
            try:
                found = await self._cluster.workers()
                self._unfit = {worker: why for worker, why in self._unfit.items() if worker in found}
                await asyncio.gather(
                    *(
                        self._welcome(worker)
                        for worker in found
                        if worker not in self._posts.keys() | self._unfit.keys()
                    )
                )
                self._place()
                self._miss()
            except Lost:
                self._failure = self._failure or FleetLost(
                    f"The scheduler of the fleet ({self.name}) is lost.",
                    "What it had is in doubt; resume goes on, with a cluster or without one (--fleet none).",
                )
            except Exception as error:  # noqa: BLE001  (a bug: raised again by the coordinator)
                self._crash(error)

    def _miss(self) -> None:
        """Give up where nobody has been there for long."""
        if self._posts or not self._units:
            self._nobody_since = None
            return
        self._nobody_since = self._nobody_since or time.monotonic()
        if time.monotonic() - self._nobody_since > NOBODY_SECONDS:
            self._failure = FleetLost(
                f"The fleet ({self.name}) has had no worker for {NOBODY_SECONDS:g} s.",
                "Start some, then resume, or resume without them (--fleet none).",
            )

    def _place(self) -> None:
        """Give places their workers; move those for which another one is better."""
        units = {number: unit for number, unit in self._units.items() if not unit.is_halted}
        fit = {worker for worker, post in self._posts.items() if post.is_fit and not post.is_over} or set(self._posts)
        carried = {
            number: (unit.bound_for or unit.post).worker  # type: ignore[union-attr]
            for number, unit in units.items()
            if unit.bound_for or unit.post
        }
        now = time.monotonic()
        found = placed({number: unit.weight for number, unit in units.items()}, carried, fit)
        for number, worker in found.items():
            unit, post = units[number], self._posts[worker]
            if unit.post is None:
                if worker in unit.failed_at:
                    post = next((post for post in self._posts.values() if post.worker not in unit.failed_at), post)
                if now >= unit.not_before:
                    self._open(unit, post, found)
            elif unit.post is not post and unit.is_open:
                unit.bound_for = post
                for lane in unit.lanes:
                    lane.is_moving = True
                self._retire(unit)

    def _open(self, unit: Unit, post: Post, found: Mapping[int, str]) -> None:
        unit.post = post
        now = time.monotonic()
        orders = [
            LaneOrder(
                lane.errand.call, lane.pacer.ceiling, lane.state.aged(now - lane.state_at) if lane.state else None
            )
            for lane in unit.lanes
        ]
        together = [
            lane.pacer.ceiling
            for number, worker in found.items()
            if worker == post.worker
            for lane in self._units[number].lanes
            if lane.errand.claimed
        ]
        pace = unit.lanes[0].pace
        post.orders.append(Open(unit.place.number, unit.account, unit.targets, unit.emulated, orders, pace, together))
        post.wake.set()

    def _retire(self, unit: Unit) -> None:
        """Close a place that is bound for another worker, once nothing of it is away."""
        if unit.post and unit.bound_for and not unit.is_retiring and not any(lane.away for lane in unit.lanes):
            unit.is_retiring = True
            unit.post.orders.append(Retire(unit.place.number))
            unit.post.wake.set()

    def _retired(self, unit: Unit, states: Sequence[PacerState]) -> None:
        now = time.monotonic()
        unit.post, unit.bound_for = None, None
        unit.is_open = unit.is_retiring = False
        for lane, state in zip(unit.lanes, states, strict=True):
            lane.state, lane.state_at, lane.is_moving = state, now, False
        self._place()
