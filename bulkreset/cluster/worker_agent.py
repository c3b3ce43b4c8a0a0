"""The worker agent runs one coordinator's lanes on one cluster worker. It sends and reports, and stores nothing."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from queue import Empty, Queue
from typing import Any, Final, TypeVar

from bulkreset.clock import SINCE_BOOT, Clock, SystemClock
from bulkreset.cluster.protocol import (
    INFO,
    LEASE_SECONDS,
    PROTOCOL,
    REPORT,
    CloseLanes,
    EndSession,
    HaltLanes,
    LaneAddress,
    OpenFailed,
    OpenLanes,
    RowReport,
    SendRows,
    SetCeiling,
    WorkerInfo,
    WorkerOrder,
    WorkerReport,
    pack,
)
from bulkreset.cluster.secret_envelope import SecretEnvelope, register_envelope
from bulkreset.cognito.response import Response
from bulkreset.cognito.session import TargetSession, emulated_session, open_session
from bulkreset.cognito.transport import TransportKind, choose_transport
from bulkreset.errors import BulkresetError, TargetError, place_of
from bulkreset.job import Target
from bulkreset.process_hardening import harden_process, quiet_loggers
from bulkreset.send.lane import Lane, LaneKey, LaneOpener, LaneProtocol, Results, WorkerCrashed
from bulkreset.send.operations import LaneFailed, Operation, SetPassword
from bulkreset.send.pacer import Pacer
from bulkreset.send.worker import GATE_SECONDS
from bulkreset.send_permit import Deadline
from bulkreset.steps import BY_CALL

HANDLER: Final = "bulkreset_exchange"
INFO_HANDLER: Final = "bulkreset_info"
# seconds after a lease's end, after which the coordinator counts as gone and its rows are dropped
ABANDONED_SECONDS = 30.0
OPENERS = 4  # lane groups opened at the same time: each may wait for STS
_NOISY_LOGGERS = ("boto3", "botocore", "urllib3", "s3transfer", "awscrt")  # at DEBUG these print request bodies

T = TypeVar("T")


class WorkerLease:
    """The time until which attempts may be started: the worker's permit to send.

    A worker that loses the coordinator must stop before another worker gets its lanes. The end is given in the Unix
    time of `unix` and measured on two clocks that count sleep: `since_boot` and `unix`. The coordinator's silence is
    measured with `clock`, which does not count sleep: a coordinator that slept too is not gone.
    """

    def __init__(self, clock: Clock, unix: Callable[[], float] = time.time, since_boot: Clock | None = None) -> None:
        self._clock = clock
        self._unix = unix
        self._deadline = Deadline(since_boot or clock, unix)
        self._until = clock.now()

    def renew(self, until: float) -> None:
        """Extend the lease to `until`, a Unix time, but at most by LEASE_SECONDS from now."""
        seconds = min(until - self._unix(), LEASE_SECONDS)
        self._until = max(self._until, self._clock.now() + seconds)
        if seconds > self._deadline.seconds_left():
            self._deadline.set(seconds)

    def seconds_left(self) -> float:
        """Return for how many more seconds attempts may be started; 0 or less if the lease is over."""
        return self._deadline.seconds_left()

    def seconds_since_end(self) -> float:
        """Return the seconds since the lease ended, not counting sleep; negative while it is valid."""
        return self._clock.now() - self._until


class LeasedPacer(Pacer):
    """A pacer for lookups with slots only while the lease is valid, so that lanes keep their rate when they move."""

    def __init__(self, ceiling: float | None, clock: Clock, lease: WorkerLease) -> None:
        super().__init__(ceiling, clock)
        self._lease = lease

    def wait(self, stop: threading.Event) -> bool:
        """Wait for a slot while the lease is valid. Returns False if `stop` is set first."""
        while super().wait(stop):
            if self._lease.seconds_left() > 0:
                return True
            if self._clock.wait(stop, GATE_SECONDS):
                return False
        return False


@dataclass(slots=True)
class _OpenGroup:
    """A lane group that is open on this worker."""

    key: LaneKey
    lanes: list[Lane[Any]]


class WorkerAgent:
    """Takes orders and returns reports, one exchange after the other. An exchange never blocks."""

    def __init__(self, clock: Clock | None = None, unix: Callable[[], float] = time.time) -> None:
        self._clock = clock or SystemClock()
        self._unix = unix
        self._lease = WorkerLease(self._clock, unix, clock or SINCE_BOOT)
        self._results = Results()
        self._groups: dict[int, _OpenGroup] = {}
        self._changes: Queue[tuple[LaneAddress, float, str]] = Queue()
        self._opening: dict[int, Future[tuple[_OpenGroup, TransportKind]]] = {}
        self._opener = ThreadPoolExecutor(OPENERS, thread_name_prefix="opener")
        self._halting: set[int] = set()
        self._turn = -1
        self._packed = b""
        self.closed = threading.Event()

    def exchange(self, turn: int, lease: float, envelope: SecretEnvelope) -> bytes:
        """Carry out the orders and return a packed report. A repeated turn gets the same report again."""
        if turn == self._turn:
            return self._packed
        self._lease.renew(lease)
        self._turn, self._packed, report = turn, b"", WorkerReport(self._unix())
        try:
            for order in envelope.unpack():
                self._handle_order(order, report)
            self._fill_report(report)
        except Exception as error:  # noqa: BLE001  (a bug: raised again by the coordinator)
            report.bug = place_of(error)
        self._packed = pack(REPORT, (report,))
        return self._packed

    def is_abandoned(self) -> bool:
        """Return whether the coordinator has been silent so long that it counts as gone."""
        return self._lease.seconds_since_end() > ABANDONED_SECONDS

    def close(self) -> None:
        """Stop all lanes and drop the unsent rows."""
        self._cease()
        for group in self._groups.values():
            for lane in group.lanes:
                lane.return_unsent()
        self._opener.shutdown(wait=False, cancel_futures=True)
        for group in self._groups.values():
            for lane in group.lanes:
                lane.close()

    def _cease(self) -> None:
        self.closed.set()
        for group in self._groups.values():
            group.key.stop.set()

    def _handle_order(self, order: WorkerOrder, report: WorkerReport) -> None:
        match order:
            case OpenLanes():
                self._opening[order.group] = self._opener.submit(self._open, order)
            case SendRows((number, index), rows):
                self._groups[number].lanes[index].put(rows)
            case SetCeiling((number, index), ceiling):
                if group := self._groups.get(number):
                    group.lanes[index].set_ceiling(ceiling)
            case HaltLanes(number):
                self._halt(number)
            case CloseLanes(number):
                self._retire(number, report)
            case EndSession():
                self._cease()  # before the answer: after it the coordinator may give the lanes to another worker
                threading.Thread(target=self.close, name="closing", daemon=True).start()

    def _halt(self, number: int) -> None:
        self._halting.add(number)
        if group := self._groups.get(number):
            group.key.stop.set()
            for lane in group.lanes:
                lane.return_unsent()

    def _retire(self, number: int, report: WorkerReport) -> None:
        """Close a lane group and report its pacer states. No row is outstanding, so no call can follow."""
        group = self._groups.pop(number)
        group.key.stop.set()
        report.retired.append((number, [lane.pacer.state() for lane in group.lanes]))
        for lane in group.lanes:
            lane.close()

    def _open(self, order: OpenLanes) -> tuple[_OpenGroup, TransportKind]:
        """Open a lane group. It runs on an opener thread because creating a session takes time."""
        sessions = {target.user_pool_id: _session(target, order) for target in order.targets}
        kind = choose_transport(order.pace.transport)
        if kind == "crt" and not find_spec("awscrt"):
            raise TargetError("It lacks the extra crt, which the job's pace.transport needs.", "Install it there.")
        key = LaneKey(order.group)
        opener = LaneOpener(sessions, kind, key, order.pace, self._clock, self._results, self._lease)
        listing = LeasedPacer(order.look_up.ceiling, self._clock, self._lease) if order.look_up else None
        lanes: list[Lane[Any]] = []
        for index, wanted in enumerate(order.lanes):
            step = None if wanted.call == SetPassword.call else BY_CALL[wanted.call]
            operation: Operation[Any] = opener.take_step(step) if step else opener.set_password(listing)
            changed = partial(self._on_rate_change, (order.group, index))
            lanes.append(opener.open(operation, wanted.ceiling, changed, wanted.state))
        return _OpenGroup(key, lanes), kind

    def _on_rate_change(self, lane: LaneAddress, rate: float, why: str) -> None:
        self._changes.put((lane, rate, str(why)))

    def _fill_report(self, report: WorkerReport) -> None:
        self._report_opened(report)
        report.changes.extend(_drain(self._changes))
        addresses: dict[LaneProtocol[Any], LaneAddress] = {
            lane: (number, index) for number, group in self._groups.items() for index, lane in enumerate(group.lanes)
        }
        for lane, result in filter(None, _drain(self._results)):
            lane.on_result(result)
            if isinstance(result, WorkerCrashed):
                report.bug = report.bug or place_of(result.error)
            elif lane in addresses:
                outcome, error = (result.outcome, result.error) if isinstance(result, LaneFailed) else (result, None)
                fatal = error if isinstance(error, Response) else None
                report.results.append(RowReport(addresses[lane], outcome, fatal))
        for group in self._groups.values():
            for lane in group.lanes:
                if lane.in_flight:
                    lane.ensure_workers()
                report.states.append((addresses[lane], lane.pacer.state(brief=True)))
        for number in list(self._halting):
            halted = self._groups.get(number)
            if halted is None or not any(lane.in_flight for lane in halted.lanes):
                self._halting.remove(number)
                report.halted.append(number)

    def _report_opened(self, report: WorkerReport) -> None:
        for number in [number for number, opening in self._opening.items() if opening.done()]:
            opening = self._opening.pop(number)
            match opening.exception():
                case None:
                    self._groups[number], kind = opening.result()
                    report.opened.append((number, kind))
                case BulkresetError() as error:
                    report.failed.append(OpenFailed(number, error.message, error.advice))
                case bug:
                    report.bug = place_of(bug)


def _drain(queue: Queue[T]) -> Iterator[T]:
    with suppress(Empty):
        while True:
            yield queue.get_nowait()


def _session(target: Target, order: OpenLanes) -> TargetSession:
    """Return the worker's own session for a pool. Raises TargetError if there is none, or it is for another account."""
    if order.emulated:
        return emulated_session(target, target.region or "", target.endpoint_url or "")
    session = open_session(target)
    account = session.caller().account if order.account else ""
    if account not in {"", order.account}:
        raise TargetError(
            f"Its credentials are for account {account}, and the run is for account {order.account}.",
            "Give it credentials of that account, then resume.",
        )
    return session


# ---- functions that the coordinator runs on a worker through Dask

_SESSIONS: Final[dict[str, WorkerAgent]] = {}


def start_agent(session: str, *, ours: bool, dask_worker: Any) -> None:  # noqa: ANN401  (a class of Dask's)
    """Prepare the worker's process, create an agent for a coordinator's session, and answer its exchanges from now on.

    `ours`: the coordinator started the process and alone ends it.
    """
    harden_process(for_good=False)
    quiet_loggers(_NOISY_LOGGERS)
    if ours and threading.current_thread() is threading.main_thread():
        # The terminal's signals are for the coordinator, which ends this process later.
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    if ours:  # its streams are the coordinator's terminal, so hide what Dask prints there at its end
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        os.close(nowhere)
    register_envelope()
    agent = _SESSIONS[session] = WorkerAgent()
    dask_worker.handlers.update({HANDLER: _exchange, INFO_HANDLER: _info})
    threading.Thread(target=_reap_abandoned, args=(session, agent), name="agent", daemon=True).start()


def _info() -> dict[str, bytes]:
    return {"info": pack(INFO, (WorkerInfo(PROTOCOL, time.time(), os.getpid()),))}


def _exchange(session: str, turn: int, lease: float, envelope: SecretEnvelope) -> dict[str, bytes | None]:
    agent = _SESSIONS.get(session)
    return {"report": agent.exchange(turn, lease, envelope) if agent else None}


def _reap_abandoned(session: str, agent: WorkerAgent) -> None:
    """End a session when its coordinator is gone."""
    while not agent.closed.wait(1.0):
        if agent.is_abandoned():
            agent.close()
    _SESSIONS.pop(session, None)
