"""The commands for a run that another process works on: control."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bulkreset.cli import process
from bulkreset.cli.options import ControlRate, parse_rate
from bulkreset.errors import Refused

if TYPE_CHECKING:
    from bulkreset.journal.run_state import RunState
    from bulkreset.run.control_file import Order


def control(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The directory of a run.", show_default=False)],
    rate: ControlRate = None,
    share: Annotated[
        float | None, typer.Option(min=0.001, max=1, help="At most this share of the AWS quota.", show_default=False)
    ] = None,
    pause: Annotated[bool, typer.Option("--pause", help="Send nothing until --continue.")] = False,
    continue_: Annotated[bool, typer.Option("--continue", help="Send again after --pause.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the run. It can be resumed.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Send at most N rows in this execution, then stop.", show_default=False),
    ] = None,
    lane: Annotated[
        str | None,
        typer.Option(metavar="ACCOUNT/REGION", help="Only this lane. Default: all lanes.", show_default=False),
    ] = None,
) -> None:
    """Slow down, pause or stop a run that another process works on. Without options, show what is in force."""
    from bulkreset.journal.execution import operator, utc_now
    from bulkreset.run.control import give_order, orders_of
    from bulkreset.run.control_file import Order

    if pause and continue_:
        raise Refused("--pause and --continue contradict each other.", "Pass one of the two.")
    asked = {"rate": parse_rate(rate), "share": share, "limit": limit}
    changes = {name: value for name, value in asked.items() if value is not None}
    changes |= {"paused": pause} if pause or continue_ else {}
    changes |= {"stop": True} if stop else {}
    if lane and not changes.keys() & {"rate", "share", "paused"}:
        raise Refused("--lane needs what to change there.", "Add --rate, --share, --pause or --continue.")
    if lane and changes.keys() & {"limit", "stop"}:
        raise Refused("--limit and --stop are for the whole run.", "Leave out --lane.")
    if not changes:
        sys.stdout.write(_describe(*orders_of(run_dir)) + "\n")
    else:
        try:
            order = Order(at=utc_now(), by=operator(), lane=lane or "", **changes)
        except ValueError:
            raise Refused(f"--rate {rate} is no rate.", 'Pass 0.001 to 10000 calls per second, or "auto".') from None
        state, _ = give_order(run_dir, order)
        sys.stdout.write(f"{order.words}: given to the run {state.run_id}. It follows within a second.\n")
    process.require_stdout_written()


def _describe(state: "RunState", orders: "Sequence[Order]") -> str:
    """Return what is in force in a running run, and why, as lines of text."""
    lines = []
    for lane in state.lanes:
        name = f"{lane.account}/{lane.region}".lstrip("/")
        rate = lane.limit if lane.limited_by else lane.ceiling
        said = "no limit" if rate is None else "paused" if rate == 0 else f"at most {rate:g} calls/s"
        lines.append(f"{name}: {said} ({lane.limited_by or 'the job'})")
    lines += [f"{order.at}  {order.by}: {order.words}" for order in orders]
    return "\n".join([*lines, *([] if orders else ["No order has been given to this execution."])])
