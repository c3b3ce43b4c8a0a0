"""The outpost: the lanes of one coordinator on one worker of the cluster, which sends and reports, and writes nothing down."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from bulkreset.cluster.envelope import Parcel
from bulkreset.cluster.protocol import (
    LEASE_SECONDS,
    PROTOCOL,
    Address,
    Batch,
    Close,
    Failed,
    Greeting,
    Halt,
    Open,
    Order,
    Report,
    Retire,
)
from bulkreset.cognito.boto3_transport import BotoTransport
from bulkreset.cognito.session import TargetSession, emulated_session, open_session
from bulkreset.cognito.transport_factory import CARRIES, Kind, choose, open_transport
from bulkreset.errors import BulkresetError, TargetError, place_of
from bulkreset.hardening import hold_down, seclude
from bulkreset.job import Target
from bulkreset.send.clock import Clock, SystemClock
from bulkreset.send.lane import AnyLane, Crash, Lane, Place, Result, Results
from bulkreset.send.operations import Errand, SetPassword, SignOut
from bulkreset.send.pacer import Pacer

HANDLER: Final = "bulkreset_exchange"
ABANDONED_SECONDS = 30.0  # after a lease's end: then the coordinator is gone, and so is what it has sent
OPENERS = 4  # places that are opened at once: each may wait for STS
GATE_SECONDS = 0.1  # between two looks whether there is a lease again
_LOUD = ("boto3", "botocore", "urllib3", "s3transfer", "awscrt")  # at DEBUG these print request bodies

T = TypeVar("T")


class Lease:
    """Until when attempts may be started: who loses the coordinator must not go on when another has the lanes.

    `unix` tells the time in which an end is given, `clock` the seconds until then.
    """

    def __init__(self, clock: Clock, unix: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._unix = unix
        self._until = clock.now()

    def renew(self, until: float) -> None:
        """Extend it to a moment in Unix time, and never further than it is away now: this clock may be set meanwhile."""
        self._until = max(self._until, self._clock.now() + min(until - self._unix(), LEASE_SECONDS))

    def holds(self) -> bool:
        """Whether an attempt may be started."""
        return self.over_for() < 0

    def over_for(self) -> float:
        """Seconds since its end; below 0 while it holds."""
        return self._clock.now() - self._until


class LeasedPacer(Pacer):
    """A pacer whose slots are good while the lease holds."""

    def __init__(
        self, ceiling: float | None, clock: Clock, on_change: Callable[[float, str], None], lease: Lease
    ) -> None:
        super().__init__(ceiling, clock, on_change)
        self._lease = lease

    def wait(self, stop: threading.Event) -> bool:
        """Wait for a slot in a time for which there is a lease."""
        while super().wait(stop):
            if self._lease.holds():
                return True
            if self._clock.wait(stop, GATE_SECONDS):
                return False
        return False


@dataclass(slots=True)
class _Site:
    """A place that is open here."""

    place: Place
    lanes: list[Lane[Any]]


class Outpost:
    """Takes orders and gives reports, one exchange after the other; neither waits for anything."""

    def __init__(self, clock: Clock | None = None, unix: Callable[[], float] = time.time) -> None:
        self._clock = clock or SystemClock()
        self._unix = unix
        self._lease = Lease(self._clock, unix)
        self._results: Results = SimpleQueue()
        self._sites: dict[int, _Site] = {}
        self._addresses: dict[Lane[Any], Address] = {}
        self._news: SimpleQueue[Callable[[Report], None]] = SimpleQueue()
        self._opener = ThreadPoolExecutor(OPENERS, thread_name_prefix="opener")
        self._halting: set[int] = set()
        self._turn = -1
        self._report = Report(unix())
        self.closed = threading.Event()

    def exchange(self, turn: int, lease: float, parcel: Parcel) -> Report:
        """Follow the orders, and tell what has happened. The same turn once more is answered with the same report."""
        if turn == self._turn:
            return self._report
        self._lease.renew(lease)
        self._turn, self._report = turn, Report(self._unix())
        try:
            for order in parcel.opened():
                self._follow(order)
            self._tell(self._report)
        except Exception as error:  # noqa: BLE001  (a bug: raised again by the coordinator)
            self._report.bug = place_of(error)
        return self._report

    def is_abandoned(self) -> bool:
        """Whether nobody has asked for so long that nobody will."""
        return self._lease.over_for() > ABANDONED_SECONDS

    def close(self) -> None:
        """Stop all lanes, and forget what was not sent."""
        self._cease()
        for site in self._sites.values():
            for lane in site.lanes:
                lane.give_back()
        self._opener.shutdown(wait=False, cancel_futures=True)
        for site in self._sites.values():
            for lane in site.lanes:
                lane.close()

    def _cease(self) -> None:
        """Start no attempt more."""
        self.closed.set()
        for site in self._sites.values():
            site.place.stop.set()

    def _follow(self, order: Order) -> None:
        match order:
            case Open():
                self._opener.submit(self._open, order)
            case Batch((place, number), rows):
                self._sites[place].lanes[number].put(rows)
            case Halt(place):
                self._halt(place)
            case Retire(place):
                self._retire(place)
            case Close():
                self._cease()  # before the answer: whoever has that may give the lanes to another worker
                threading.Thread(target=self.close, name="closing", daemon=True).start()

    def _halt(self, place: int) -> None:
        self._halting.add(place)
        if site := self._sites.get(place):
            site.place.stop.set()
            for lane in site.lanes:
                lane.give_back()

    def _retire(self, place: int) -> None:
        """Tell the pace only when no call can leave any more: nothing is outstanding."""
        site = self._sites.pop(place)
        site.place.stop.set()
        self._report.retired.append((place, [lane.pacer.state() for lane in site.lanes]))
        for lane in site.lanes:
            self._addresses.pop(lane, None)
            lane.close()

    def _open(self, order: Open) -> None:
        """On a thread of its own: to make a session takes its time."""
        try:
            site, kind = self._opened(order)
        except BulkresetError as error:
            failed = Failed(order.place, error.message, error.advice)
            self._news.put(lambda report: report.failed.append(failed))
        except BaseException as error:  # noqa: BLE001  (a bug: raised again by the coordinator)
            bug = place_of(error)
            self._news.put(lambda report: setattr(report, "bug", bug))
        else:
            self._news.put(lambda report: self._admit(report, order.place, site, kind))

    def _admit(self, report: Report, number: int, site: _Site, kind: Kind) -> None:
        self._sites[number] = site
        self._addresses |= {lane: (number, at) for at, lane in enumerate(site.lanes)}
        report.opened.append((number, kind))

    def _opened(self, order: Open) -> tuple[_Site, Kind]:
        sessions = {target.user_pool_id: _session(target, order) for target in order.targets}
        kind = choose(order.pace.transport, order.ceilings)
        if kind == "crt" and not find_spec("awscrt"):
            raise TargetError("It has not the extra crt, which the job's pace.transport asks for.", "Install it there.")
        place = Place(order.place)
        lanes: list[Lane[Any]] = []
        for number, wanted in enumerate(order.lanes):
            errand: Errand[Any]
            if wanted.call == SetPassword.call:
                errand = SetPassword({pool: open_transport(kind, session) for pool, session in sessions.items()})
                carries = CARRIES[kind]
            else:
                errand = SignOut({pool: BotoTransport.of(session) for pool, session in sessions.items()})
                carries = CARRIES["boto3"]
            pacer = LeasedPacer(wanted.ceiling, self._clock, self._telling((order.place, number)), self._lease)
            if wanted.state:
                pacer.resume(wanted.state)
            lanes.append(Lane(errand, pacer, order.pace, self._clock, self._results, place, carries))
        return _Site(place, lanes), kind

    def _telling(self, lane: Address) -> Callable[[float, str], None]:
        def changed(rate: float, why: str) -> None:
            self._news.put(lambda report: report.changes.append((lane, rate, str(why))))

        return changed

    def _tell(self, report: Report) -> None:
        for news in _all_in(self._news):
            news(report)
        for found in _all_in(self._results):
            if found:
                self._tell_of(report, *found)
        for lane, address in self._addresses.items():
            if lane.outstanding:
                lane.staff()
            report.states.append((address, lane.pacer.state(brief=True)))
        for place in list(self._halting):
            site = self._sites.get(place)
            if site is None or not any(lane.outstanding for lane in site.lanes):
                self._halting.remove(place)
                report.halted.append(place)

    def _tell_of(self, report: Report, lane: AnyLane, result: Result) -> None:
        lane.took_back(result)
        if isinstance(result, Crash):
            report.bug = place_of(result.error)
        elif isinstance(lane, Lane) and lane in self._addresses:
            report.results.append((self._addresses[lane], result))


def _all_in(queue: "SimpleQueue[T]") -> Iterator[T]:
    """What waits in a queue."""
    with suppress(Empty):
        while True:
            yield queue.get_nowait()


def _session(target: Target, order: Open) -> TargetSession:
    """The worker's own way to a pool, in the account that was confirmed. Raises TargetError where there is none."""
    if order.emulated:
        return emulated_session(target, target.region or "", target.endpoint_url or "")
    session = open_session(target)
    account = session.caller().account if order.account else ""
    if account not in {"", order.account}:
        raise TargetError(
            f"Its credentials are of account {account}, and the run is for account {order.account}.",
            "Give it credentials of that account, then resume.",
        )
    return session


# ---- what the coordinator has Dask run on a worker

_SESSIONS: Final[dict[str, Outpost]] = {}


def greet(*, ours: bool) -> Greeting:
    """Prepare the worker's process, and say what it is. `ours`: it was started by the coordinator, which alone ends it."""
    seclude(for_good=False)
    hold_down(_LOUD)
    if ours and threading.current_thread() is threading.main_thread():
        for number in (
            signal.SIGINT,
            signal.SIGHUP,
        ):  # a terminal's are for the coordinator, which ends this in its own time
            signal.signal(number, signal.SIG_IGN)
    if ours:  # its streams are the coordinator's terminal: what Dask has to say there when it ends is for nobody
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        os.close(nowhere)
    return Greeting(PROTOCOL, time.time(), os.getpid())


def settle_in(session: str, dask_worker: Any) -> None:  # noqa: ANN401  (a class of Dask's, which is an extra)
    """Make an outpost for a coordinator's session, and answer its exchanges from now on."""
    outpost = _SESSIONS[session] = Outpost()
    dask_worker.handlers[HANDLER] = _exchange
    threading.Thread(target=_keep_house, args=(session, outpost), name="outpost", daemon=True).start()


def _exchange(session: str, turn: int, lease: float, parcel: Parcel) -> Any:  # noqa: ANN401  (as above)
    from distributed.protocol import to_serialize  # noqa: PLC0415  (an extra)

    outpost = _SESSIONS.get(session)
    return {"report": to_serialize(outpost and outpost.exchange(turn, lease, parcel))}


def _keep_house(session: str, outpost: Outpost) -> None:
    """End a session whose coordinator has gone."""
    while not outpost.closed.wait(1.0):
        if outpost.is_abandoned():
            outpost.close()
    _SESSIONS.pop(session, None)
