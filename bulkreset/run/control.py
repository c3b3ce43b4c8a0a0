"""Steers a run from outside: orders in a file of the run directory, by `bulkreset control` and SIGUSR1.

They are for one execution only.
"""

import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bulkreset.cancellation import CancelToken
from bulkreset.clock import Clock
from bulkreset.errors import BulkresetError, Refused, RunDirError
from bulkreset.files import atomic_file
from bulkreset.job.pace import FASTEST, SLOWEST
from bulkreset.journal.execution import operator, utc_now
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir, orders_locked
from bulkreset.journal.run_state import ControlFacts, Phase, RunState, Time
from bulkreset.log import Log
from bulkreset.send.rate_ceiling import CONTROL, PAUSED, Limit
from bulkreset.text import lane_name

LOOK_AT_ORDERS_SECONDS: Final = 0.5  # seconds between two reads of the file
SIGNAL: Final = "SIGUSR1"
NAME: Final = "control.json"
MAX_ORDERS: Final = 1000  # per execution
_MAX_BYTES: Final = 1 << 20
_OTHERS: Final = 0o077  # rights that only the owner may have
_VALUES: Final = {
    "rate": f'A rate is {SLOWEST:g} to {FASTEST:g} calls per second, or "auto".',
    "share": f"A share is a number from {SLOWEST:g} to 1.",
    "limit": "A limit is a number of rows, at least 1.",
}


class ControlRefused(Exception):
    """The file was not written by this user's commands. The message says why."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ControlOrder(_Strict):
    """One order: who gave it and when, and what it changes. None: unchanged.

    `lane` is "ACCOUNT/REGION", or "" for all lanes. `limit` (rows) and `stop` are for the whole run.
    """

    at: Time
    by: Annotated[str, Field(max_length=400)]
    lane: Annotated[str, Field(max_length=100)] = ""
    rate: Annotated[float, Field(strict=True, ge=SLOWEST, le=FASTEST)] | Literal["auto"] | None = None
    share: Annotated[float, Field(strict=True, ge=SLOWEST, le=1)] | None = None
    paused: bool | None = None
    limit: Annotated[int, Field(strict=True, ge=1)] | None = None
    stop: Literal[True] | None = None

    @property
    def words(self) -> str:
        """Return what the order changes, in words."""
        parts = [
            "" if self.rate is None else f"rate {self.rate if self.rate == 'auto' else format(self.rate, 'g')}",
            "" if self.share is None else f"share {self.share:g}",
            "" if self.paused is None else "pause" if self.paused else "continue",
            "" if self.limit is None else f"limit {self.limit:,}",
            "stop" if self.stop else "",
        ]
        return ", ".join(filter(None, parts)) + (f", for {self.lane}" if self.lane else "")


class _Content(_Strict):
    """The file. `execution` is the start time of the execution that the orders are for."""

    version: Literal[1]
    execution: str
    orders: Annotated[tuple[ControlOrder, ...], Field(max_length=MAX_ORDERS)]


@dataclass(frozen=True, slots=True)
class InForce:
    """The combined effect of the orders for one lane; `rate` and `share` are None if no order limits them."""

    rate: float | None = None
    share: float | None = None
    paused: bool = False

    def limits(self, quota: float) -> Iterator[Limit]:
        """Return the limits on one kind of call with this quota."""
        if self.paused:
            yield Limit(0.0, PAUSED)
        if self.rate is not None:
            yield Limit(self.rate, CONTROL)
        if self.share is not None:
            yield Limit(quota * self.share, CONTROL)


def in_force(orders: Iterable[ControlOrder], lane: str) -> InForce:
    """Return the current orders for a lane: the latest order for it or for all lanes counts."""
    found = InForce()
    for order in orders:
        if order.lane not in {"", lane}:
            continue
        rate = found.rate if order.rate is None else None if order.rate == "auto" else order.rate
        share = found.share if order.share is None else order.share
        found = InForce(rate, share, found.paused if order.paused is None else order.paused)
    return found


def row_limit(orders: Iterable[ControlOrder]) -> int | None:
    """Return the row limit of the latest order that has one."""
    return next((order.limit for order in reversed([*orders]) if order.limit is not None), None)


def read_orders(folder: Path, execution: str) -> Sequence[ControlOrder]:
    """Return the orders for an execution. Return no orders if the file is missing or is for another execution.

    Raises ControlRefused if the file is a link, or if another user owns it or may read or write it.
    """
    try:
        opened = os.open(folder / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ControlRefused(error.strerror or type(error).__name__) from None
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise ControlRefused("it is not a file")
        if found.st_uid != os.geteuid():
            raise ControlRefused("another user owns it")
        if found.st_mode & _OTHERS:
            raise ControlRefused("other users have rights on it")
        with os.fdopen(opened, "rb", closefd=False) as file:
            body = file.read(_MAX_BYTES + 1)
    finally:
        os.close(opened)
    if len(body) > _MAX_BYTES:
        raise ControlRefused("it is too large")
    try:
        content = _Content.model_validate_json(body)
    except ValidationError:
        raise ControlRefused("its content is not that of a control file") from None
    return content.orders if content.execution == execution else ()


def add_order(
    folder: Path, execution: str, order: ControlOrder, require: Callable[[], None] = lambda: None
) -> Sequence[ControlOrder]:
    """Add an order for an execution and return all of them.

    Raises RunDirError if it cannot be written, Refused if there are MAX_ORDERS, and what `require` raises: it is called
    when no process can begin to work on the run any more. Concurrent commands do not lose an order.
    """
    try:
        with orders_locked(folder):
            require()
            try:
                known = read_orders(folder, execution)
            except ControlRefused:  # it is replaced
                known = ()
            if len(known) >= MAX_ORDERS:
                raise Refused(f"This execution has had {MAX_ORDERS:,} orders.", "Stop it, and resume it.")
            orders = [*known, order]
            content = _Content(version=1, execution=execution, orders=tuple(orders))
            with atomic_file(folder / NAME) as file:
                file.write(content.model_dump_json(indent=1, exclude_none=True).encode())
    except OSError as error:
        raise RunDirError(f"{folder / NAME} cannot be written: {error.strerror}.", "Check its rights.") from None
    return orders


class RunControl:
    """The orders for this execution, as a source of limits. Any thread may call `look`.

    `execution` returns when it began. A resumed run has its new execution only after it has recovered.

    The thread that owns the journal records the orders: `take_new` returns those that are not recorded yet.
    """

    def __init__(self, folder: Path, execution: Callable[[], str], stop: CancelToken, clock: Clock, log: Log) -> None:
        self._folder = folder
        self._execution = execution
        self._stop = stop
        self._clock = clock
        self._log = log
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._toggles = stop.pause_toggles
        self._recorded = 0
        self._refused = ""
        self.orders: Sequence[ControlOrder] = ()

    def look(self, *, at_once: bool = False) -> None:
        """Read the orders if it is time, or `at_once`. An order to stop requests it of the cancel token."""
        if not at_once and self._clock.now() < self._looked_at + LOOK_AT_ORDERS_SECONDS:
            return
        with self._lock:
            self._looked_at = self._clock.now()
            self._read()
            if (self._stop.pause_toggles - self._toggles) % 2:
                self._toggle()
            self._toggles = self._stop.pause_toggles
        if stop := next((order for order in self.orders if order.stop), None):
            self._stop.request(f"{stop.by} (bulkreset control --stop)")

    def limits(self, lane: str, _call: str, quota: float) -> Iterable[Limit]:
        """Return the limits of the orders for a lane."""
        return in_force(self.orders, lane).limits(quota)

    @property
    def row_limit(self) -> int | None:
        """Return the row limit of the orders."""
        return row_limit(self.orders)

    def take_new(self) -> list[ControlFacts]:
        """Return the orders that were not returned before as facts of the journal, and log them."""
        new, self._recorded = self.orders[self._recorded :], len(self.orders)
        for order in new:
            self._log.info("controlled", by=order.by, lane=order.lane, order=order.words)
        return [ControlFacts(at=order.at, by=order.by, order=order.words) for order in new]

    def _read(self) -> None:
        try:
            orders = read_orders(self._folder, self._execution())
        except ControlRefused as refused:
            if str(refused) != self._refused:
                self._refused = str(refused)
                self._log.warning("control_refused", file=NAME, problem=self._refused)
            return
        self._refused = ""
        if len(orders) > len(self.orders):  # never fewer: what was recorded stays in force
            self.orders = orders

    def _toggle(self) -> None:
        """Pause if anything may leave, else continue, as an order of the signal."""
        paused = in_force(self.orders, "").paused
        order = ControlOrder(at=utc_now(), by=f"{operator()} ({SIGNAL})", paused=not paused)
        try:
            self.orders = add_order(self._folder, self._execution(), order)
        except BulkresetError as error:  # the order is in force all the same
            self._log.warning("control_refused", file=NAME, problem=str(error))
            self.orders = [*self.orders, order]


def new_order(lane: str = "", **changes: Any) -> ControlOrder:  # noqa: ANN401  (the fields of ControlOrder)
    """Return an order of this user, given now. A change of None is left out. Raises Refused if it is invalid."""
    given = {name: value for name, value in changes.items() if value is not None}
    if not given:
        raise Refused("An order needs what to change.", "Name a rate, a share, a limit, a pause or a stop.")
    if lane and given.keys() & {"limit", "stop"}:
        raise Refused("A limit of rows and a stop are for the whole run.", "Leave out the lane.")
    try:
        return ControlOrder(at=utc_now(), by=operator(), lane=lane, **given)
    except ValidationError as error:
        name = error.errors()[0]["loc"][0]
        raise Refused(f"{(changes | {'lane': lane})[str(name)]!r} is no {name}.", _VALUES.get(str(name), "")) from None


def give_order(run_dir: Path, order: ControlOrder) -> tuple[RunState, Sequence[ControlOrder]]:
    """Add an order for the process that works on the run; return the run's state and all orders.

    Raises Refused if no process of this user works on the run, or if it cannot follow.
    """
    home, state = _running(run_dir)
    if home.path.stat().st_uid != os.geteuid():
        raise Refused(f"Another user owns the run {run_dir}.", "Give the order as its owner.")
    if state.is_dry_run and not order.stop:
        raise Refused("A dry run sends nothing, so it has no rate and no rows to limit.", "It can be stopped.")
    lanes = [lane_name(lane.account, lane.region) for lane in state.lanes]
    if order.lane and not lanes:
        raise Refused(
            "The run is planning, and does not know its lanes yet.",
            "Give the order for all lanes now, or for one lane when the run has shown its plan.",
        )
    if order.lane and order.lane not in lanes:
        raise Refused(f"The run has no lane {order.lane}.", f"Its lanes: {', '.join(lanes)}.")
    return state, add_order(
        home.path, state.execution.started_at, order, lambda: _require_orders_taken(home, state.execution.started_at)
    )


def is_sending(state: RunState) -> bool:
    """Return whether the run follows orders for its pace at once, because it sends or has sent."""
    return state.phase is Phase.APPLYING


def orders_of(run_dir: Path) -> tuple[RunState, Sequence[ControlOrder]]:
    """Return a running run's state, and the orders for it. Raises Refused as `give_order` does."""
    home, state = _running(run_dir)
    try:
        return state, read_orders(home.path, state.execution.started_at)
    except ControlRefused as refused:
        raise Refused(f"{home.path / NAME} is not used: {refused}.", "Delete it, and give the orders again.") from None


def _running(run_dir: Path) -> tuple[RunDir, RunState]:
    home = RunDir.open(run_dir)
    state = Journal.state_in(home.journal)
    if not home.is_held():
        raise Refused(
            f"No process works on the run {run_dir}, so there is nothing to control.",
            "An order holds for one execution; resume takes --rate, --share and --limit.",
        )
    _require_orders_taken(home, state.execution.started_at)
    return home, state


def _require_orders_taken(home: RunDir, execution: str) -> None:
    """Raise Refused if the process that works on the run does not take orders for this execution.

    It may write its reports; or a resumed run has not begun its own execution yet.
    """
    if not home.takes_orders(execution):
        raise Refused(
            "The run's last execution has ended, and no new one has begun yet.",
            "Look at it with bulkreset status, and give the order when it works.",
        )
