"""The coordinator's side of lanes on cluster workers. It keeps all state that must survive the loss of a worker."""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Self, TypeVar

from bulkreset.clock import Clock, SystemClock
from bulkreset.cluster.assignments import EventListener, LaneAssignments
from bulkreset.cluster.dask_cluster import SKEW_SECONDS, DaskCluster, WorkerLost, WorkerRejected, clock_differs
from bulkreset.cluster.protocol import LEASE_SECONDS, EndSession, InvalidMessage, WorkerReport
from bulkreset.cluster.remote_lane import LaneGroup, RemoteLane, SessionState, WorkerSession
from bulkreset.cluster.secret_envelope import SecretEnvelope
from bulkreset.errors import Bug, BulkresetError, ClusterError, ClusterLost, place_of
from bulkreset.job import PaceConfig
from bulkreset.send.lane import LaneKey, Results
from bulkreset.send.operations import Operation, T
from bulkreset.send_permit import AllPermits, Deadline, SendPermit

TURN_SECONDS: Final = 0.1  # between two exchanges with a worker that has rows
IDLE_SECONDS: Final = 1.0  # between two exchanges with a worker that has none
AGAIN_SECONDS: Final = 0.2  # before retrying an exchange that was not answered
GOVERN_SECONDS: Final = 0.5
MAX_INVALID_ANSWERS: Final = 3  # useless answers of a worker, after which it gets no more lanes in this run
NOBODY_SECONDS: Final = 60.0  # how long to wait for a worker if there is none
LINGER_SECONDS: Final = LEASE_SECONDS + SKEW_SECONDS  # after this time the agents of a dead coordinator send no more
R = TypeVar("R")


class ClusterRunner:
    """Runs lanes on a cluster. Only its own thread uses its state; the coordinator's thread only schedules calls on it.

    Leases are measured with `clock`; their ends are sent to workers in the Unix time of `unix`.
    """

    def __init__(self, cluster: DaskCluster, clock: Clock | None = None, unix: Callable[[], float] = time.time) -> None:
        self.name = cluster.name
        self._clock = clock or SystemClock()
        self._unix = unix
        self._cluster = cluster
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="cluster", daemon=True)
        self._assignments = LaneAssignments(self._clock)
        self._unfit: dict[str, str] = {}
        self._dropped: set[str] = set()
        self._failure: BulkresetError | None = None
        self._nobody_since: float | None = None
        self._governing: asyncio.Task[None] | None = None
        self._parting: list[float] = []
        self._permit: SendPermit = Deadline()  # ended: before they have a lane, workers have no lease

    # ---- called on the coordinator's thread

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._wait_for(self._connect())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self._wait_for(self._disconnect())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=IDLE_SECONDS)

    def lane(
        self,
        operation: Operation[T],
        key: LaneKey,
        ceiling: float | None,
        pace: PaceConfig,
        changed: Callable[[float, str], None],
    ) -> RemoteLane[T]:
        """Return a new lane. It gets a worker when its lane group is passed to `send`."""
        return RemoteLane(self, operation, key, ceiling, pace, changed)

    def send(
        self, groups: Sequence[LaneGroup], results: Results, on_event: EventListener, permit: SendPermit | None = None
    ) -> None:
        """Assign the lane groups to workers and start. `on_event` is called with events, on the cluster thread.

        No worker's lease is longer than `permit` allows.
        """
        self._permit = permit or AllPermits()
        self._call_soon(self._assignments.add, groups, results, on_event)

    def put(self, lane: RemoteLane[Any], rows: Sequence[Any]) -> None:
        """Queue rows for a lane."""
        self._call_soon(self._assignments.put, lane, rows)

    def halt(self, number: int) -> None:
        """Stop starting attempts in a lane group."""
        self._call_soon(self._assignments.halt, number)

    def set_ceiling(self, lane: RemoteLane[Any]) -> None:
        """Tell the lane's worker its ceiling."""
        self._call_soon(self._assignments.set_ceiling, lane)

    def check(self) -> None:
        """Raise the error that prevents continuing, if there is one: ClusterLost, or Bug."""
        if self._failure:
            raise self._failure

    def _call_soon(self, do: Callable[..., None], *args: object) -> None:
        """Schedule `do(*args)` on the cluster thread. Calls keep their order."""
        self._loop.call_soon_threadsafe(self._guarded, do, *args)

    def _wait_for(self, what: Coroutine[Any, Any, R]) -> R:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result()

    # ---- from here on: called on the cluster thread

    def _run_loop(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _connect(self) -> None:
        """Connect, and check every worker. Raises ClusterError if there is no worker, or one cannot be used."""
        await self._cluster.connect()
        until = self._clock.now() + NOBODY_SECONDS
        while not (found := await self._live_workers()):
            if self._clock.now() > until:
                raise ClusterError(f"The cluster ({self.name}) has no worker.", "Start some, then run again.")
            await asyncio.sleep(GOVERN_SECONDS)
        await asyncio.gather(*(self._register(worker) for worker in found))
        if self._unfit:
            worker, why = min(self._unfit.items())
            raise ClusterError(f"The worker {worker} cannot be used: {why}.", "Fix or remove it, then run again.")
        self._governing = asyncio.create_task(self._monitor())

    async def _live_workers(self) -> Sequence[str]:
        try:
            return await self._cluster.workers()
        except WorkerLost:
            raise ClusterError(
                f"The cluster ({self.name}) has no scheduler any more.", "Start it, then run again."
            ) from None

    async def _register(self, worker: str) -> None:
        """Open a session with a worker and start serving it, unless the worker is rejected or lost."""
        session = uuid.uuid4().hex  # new each time: a lost worker may still have the lanes of its last session
        try:
            await self._cluster.handshake(worker, session)
        except WorkerRejected as unfit:
            self._refuse(worker, str(unfit))
        except WorkerLost:
            return
        else:
            post = self._assignments.posts[worker] = WorkerSession(worker, session)
            post.task = asyncio.create_task(self._serve(post))
            self._assignments.event("worker_joined", worker=worker)

    def _refuse(self, worker: str, why: str) -> None:
        self._unfit[worker] = why
        self._assignments.event("worker_refused", worker=worker, problem=why)

    async def _disconnect(self) -> None:
        """End all sessions, and wait until the leases of lost workers have expired."""
        if self._governing:
            self._governing.cancel()
        for post in self._assignments.posts.values():
            post.state = SessionState.ENDING
            post.order(EndSession())
        tasks = [post.task for post in self._assignments.posts.values() if post.task]
        if tasks:
            await asyncio.wait(tasks, timeout=LINGER_SECONDS)
        rest = max(self._parting, default=0.0) - self._clock.now()
        if rest > 0:
            await asyncio.sleep(rest)
        await self._cluster.close()

    def _guarded(self, do: Callable[..., None], *args: object) -> None:
        try:
            do(*args)
        except Exception as error:  # noqa: BLE001  (a bug: raised again by the coordinator)
            self._crash(error)

    def _crash(self, error: BaseException) -> None:
        if not self._assignments.crash(error):
            bug = Bug(f"A bug: {place_of(error)}.", "Please report this line.")
            self._failure = error if isinstance(error, Bug) else bug

    # ---- one worker agent

    async def _serve(self, post: WorkerSession) -> None:
        """Run one exchange after the other until the session is over or the worker is lost."""
        try:
            while True:
                last = post.state is SessionState.ENDING
                before, report = self._unix(), await self._exchange(post)
                if report.bug:
                    self._crash(_remote_bug(post, report.bug))
                if last:
                    return
                if wrong := clock_differs(before, report.unix, self._unix()):
                    await self._drop_worker(post, wrong)
                await self._pause(post)
        except WorkerLost as lost:
            self._parting.append(self._assignments.on_worker_lost(post, dead=lost.dead))
        except Exception as error:  # noqa: BLE001  (a bug: raised again by the coordinator)
            self._parting.append(self._assignments.on_worker_lost(post, dead=False))
            self._crash(error)

    async def _exchange(self, post: WorkerSession, *, is_used: bool = True) -> WorkerReport:
        """Run one exchange, and apply its report if `is_used`. Retry it until the lease ends if there is no answer.

        Raises WorkerLost if the lease ends, the worker's process is dead, or it has sent too many useless answers.
        """
        envelope, post.orders = SecretEnvelope.pack(post.orders), []
        post.wake.clear()
        post.turn += 1
        lease = self._unix() + max(0.0, min(LEASE_SECONDS, self._permit.seconds_left()))
        post.lease_ends = self._clock.now() + LEASE_SECONDS
        while (left := post.lease_ends - self._clock.now()) > 0:
            try:
                turn = self._cluster.exchange(post.worker, post.session, post.turn, lease, envelope)
                report = await asyncio.wait_for(turn, left)
                if is_used:
                    self._assignments.apply_report(post, report)
            except InvalidMessage as error:
                self._count_invalid_answer(post, error)
                await asyncio.sleep(AGAIN_SECONDS)
            except (OSError, TimeoutError):
                if self._cluster.is_dead(post.worker):
                    raise WorkerLost(dead=True) from None
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return report
        raise WorkerLost

    def _count_invalid_answer(self, post: WorkerSession, error: InvalidMessage) -> None:
        """Count a useless answer. The last one raises WorkerLost, and the worker gets no more lanes.

        Its lanes move when its lease ends, because nobody knows whether it still sends.
        """
        post.invalid_answers += 1
        if post.invalid_answers >= MAX_INVALID_ANSWERS:
            self._dropped.add(post.worker)
            self._refuse(post.worker, f"it answered {post.invalid_answers} times what cannot be used: {error}")
            raise WorkerLost

    async def _drop_worker(self, post: WorkerSession, why: str) -> None:
        """End the session of a worker whose clock is wrong, because its leases are unreliable.

        Always raises WorkerLost: its rows are in doubt.
        """
        self._refuse(post.worker, why)
        post.orders = [EndSession()]
        await self._exchange(post, is_used=False)  # unsent rows are not returned: another worker gets them
        raise WorkerLost(dead=True)

    async def _pause(self, post: WorkerSession) -> None:
        """Wait until the next exchange is due or an order is urgent."""
        busy = self._assignments.has_rows(post)
        try:
            await asyncio.wait_for(post.wake.wait(), TURN_SECONDS if busy or post.orders else IDLE_SECONDS)
        except TimeoutError:
            return

    # ---- the cluster

    async def _monitor(self) -> None:
        """Register new workers and rebalance, every GOVERN_SECONDS."""
        while True:
            await asyncio.sleep(GOVERN_SECONDS)
            try:
                found = await self._cluster.workers()
                self._unfit = {worker: why for worker, why in self._unfit.items() if worker in found}
                await asyncio.gather(
                    *(
                        self._register(worker)
                        for worker in found
                        if worker not in self._assignments.posts.keys() | self._unfit.keys() | self._dropped
                    )
                )
                self._assignments.rebalance()
                self._check_no_workers()
            except WorkerLost:
                self._failure = self._failure or ClusterLost(
                    f"The scheduler of the cluster ({self.name}) is lost.",
                    "Its rows are in doubt. Resume continues, with a cluster or without one (--cluster none).",
                )
            except Exception as error:  # noqa: BLE001  (a bug: raised again by the coordinator)
                self._crash(error)

    def _check_no_workers(self) -> None:
        """Record ClusterLost if there has been no worker for NOBODY_SECONDS."""
        if self._assignments.posts or not self._assignments:
            self._nobody_since = None
            return
        self._nobody_since = self._nobody_since or self._clock.now()
        if self._clock.now() - self._nobody_since > NOBODY_SECONDS:
            self._failure = ClusterLost(
                f"The cluster ({self.name}) has had no worker for {NOBODY_SECONDS:g} s.",
                "Start some, then resume, or resume without them (--cluster none).",
            )


def _remote_bug(post: WorkerSession, place: str) -> Bug:
    return Bug(
        f"A bug on the worker {post.worker}: {place}.",
        "What the run had done is in its journal: resume it, and report this line.",
    )
