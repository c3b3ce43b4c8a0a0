"""Steers a run from outside: the orders of `bulkreset control`, and SIGUSR1."""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from bulkreset.cancellation import CancelToken
from bulkreset.clock import Clock
from bulkreset.errors import BulkresetError, Refused
from bulkreset.job.pace import FASTEST, SLOWEST
from bulkreset.journal.execution import operator, utc_now
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.journal.run_state import ControlFacts, Phase, RunState
from bulkreset.log import Log
from bulkreset.run.control_file import NAME, ControlOrder, ControlRefused, add_order, in_force, read_orders, row_limit
from bulkreset.send.ceiling import Limit
from bulkreset.text import lane_name

LOOK_AT_ORDERS_SECONDS: Final = 0.5  # seconds between two reads of the file
SIGNAL: Final = "SIGUSR1"
_VALUES: Final = {
    "rate": f'A rate is {SLOWEST:g} to {FASTEST:g} calls per second, or "auto".',
    "share": f"A share is a number from {SLOWEST:g} to 1.",
    "limit": "A limit is a number of rows, at least 1.",
}


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
