"""The file with which `bulkreset control` steers a run: a list of orders in the run directory, for one execution only."""

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bulkreset.errors import Refused, RunDirError
from bulkreset.files import atomic_file
from bulkreset.job.pace import FASTEST, SLOWEST
from bulkreset.journal.run_dir import orders_locked
from bulkreset.journal.run_state import Time
from bulkreset.send.ceiling import CONTROL, PAUSED, Limit

NAME: Final = "control.json"
MAX_ORDERS: Final = 1000  # per execution
_MAX_BYTES: Final = 1 << 20
_OTHERS: Final = 0o077  # rights that only the owner may have


class ControlRefused(Exception):
    """The file was not written by this user's commands. The message says why."""


class ControlOrder(BaseModel):
    """One order: who gave it and when, and what it changes. None: unchanged.

    `lane` is "ACCOUNT/REGION", or "" for all lanes. `limit` (rows) and `stop` are for the whole run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

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
        said = [
            "" if self.rate is None else f"rate {self.rate if self.rate == 'auto' else format(self.rate, 'g')}",
            "" if self.share is None else f"share {self.share:g}",
            "" if self.paused is None else "pause" if self.paused else "continue",
            "" if self.limit is None else f"limit {self.limit:,}",
            "stop" if self.stop else "",
        ]
        return ", ".join(filter(None, said)) + (f", for {self.lane}" if self.lane else "")


class _Content(BaseModel):
    """The file. `execution` is the start time of the execution that the orders are for."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

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
    """Return the orders for an execution; none if there is no file, or if it is for another execution.

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
            listed = [one.model_dump(mode="json", exclude_none=True) for one in orders]
            body = json.dumps({"version": 1, "execution": execution, "orders": listed}, indent=1)
            with atomic_file(folder / NAME) as file:
                file.write(body.encode())
    except OSError as error:
        raise RunDirError(f"{folder / NAME} cannot be written: {error.strerror}.", "Check its rights.") from None
    return orders
