"""The commands for a run that another process works on: control, watch."""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bulkreset.cancellation import CancelToken, LaneProgress, SendProgress
from bulkreset.cli import json_events, process
from bulkreset.cli.options import ControlRate, RunDirArgument, parse_rate
from bulkreset.errors import Refused, Stopped
from bulkreset.statuses import FINISHED, REMAINING, Status, count_of
from bulkreset.steps import BY_COLUMN
from bulkreset.text import lane_name

if TYPE_CHECKING:
    from bulkreset.cli.progress import ProgressDisplay
    from bulkreset.journal.run_state import RunState
    from bulkreset.report.run_status import RunStatus
    from bulkreset.run.control import ControlOrder

WATCH_SECONDS = 1.0  # seconds between two reads of the journal
WATCH_PART = 10  # counting the rows takes at most this part of the time
_LATER = "It sends nothing yet: orders take effect from the first row on."


def control(
    run_dir: RunDirArgument,
    rate: ControlRate = None,
    share: Annotated[float | None, typer.Option(min=0.001, max=1, help="At most this share of the AWS quota.")] = None,
    pause: Annotated[bool, typer.Option("--pause", help="Send nothing until --continue.")] = False,
    continue_: Annotated[bool, typer.Option("--continue", help="Send again after --pause.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the run. It can be resumed.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Send at most N rows in this execution, then stop.")] = None,
    lane: Annotated[
        str | None, typer.Option(metavar="ACCOUNT/REGION", help="Only this lane. Default: all lanes.")
    ] = None,
) -> None:
    """Slow down, pause or stop a run that another process works on. Without options, show the current limits."""
    from bulkreset.run.control import give_order, is_sending, new_order, orders_of

    if pause and continue_:
        raise Refused("--pause and --continue contradict each other.", "Pass one of the two.")
    paused = pause if pause or continue_ else None
    if lane is None and not (rate or share or limit or stop or paused is not None):
        sys.stdout.write(_describe(*orders_of(run_dir)) + "\n")
    else:
        order = new_order(lane or "", rate=parse_rate(rate), share=share, paused=paused, limit=limit, stop=stop or None)
        state, _ = give_order(run_dir, order)
        follows = "It follows within a second." if is_sending(state) or order.stop else _LATER
        sys.stdout.write(f"{order.words}: given to the run {state.run_id}. {follows}\n")
    process.require_stdout_written()


def _describe(state: "RunState", orders: "Sequence[ControlOrder]") -> str:
    """Return the current limits of a running run, with the reasons, as lines of text."""
    from bulkreset.run.control import is_sending

    lines = []
    for lane in state.lanes:
        name = lane_name(lane.account, lane.region)
        rate = lane.limit if lane.limited_by else lane.ceiling
        text = "no limit" if rate is None else "paused" if rate == 0 else f"at most {rate:g} calls/s"
        lines.append(f"{name}: {text} ({lane.limited_by or 'the job'})")
    lines += [] if is_sending(state) else [_LATER]
    lines += [f"{order.at}  {order.by}: {order.words}" for order in orders]
    return "\n".join([*lines, *([] if orders else ["No order has been given to this execution."])])


def watch(run_dir: RunDirArgument) -> None:
    """Show the progress of a run that another process works on, until it ends."""
    from rich.console import Console

    from bulkreset.cli.progress import ProgressDisplay
    from bulkreset.cli.prompts import describe_status
    from bulkreset.report.run_status import read_status

    stop = CancelToken()
    process.install_handlers(stop, json_events.emit_aborted)
    display = ProgressDisplay(Console(file=sys.stderr, highlight=False, soft_wrap=True, emoji=False), quiet=False)
    progress = SendProgress(0)
    try:
        while True:
            began = time.monotonic()
            if not (status := read_status(run_dir)).alive:
                break
            progress = _show(display, progress, status)
            stop.wait(max(WATCH_SECONDS, (time.monotonic() - began) * WATCH_PART))
    finally:
        display.close()
    sys.stdout.write(describe_status(status) + "\n")
    process.require_stdout_written()
    raise SystemExit(Stopped.exit_code if status.exit_code is None else status.exit_code)


def _show(display: "ProgressDisplay", progress: SendProgress, status: "RunStatus") -> SendProgress:
    """Show the status as the run's own progress: rows of all executions, and the remaining ones.

    `progress` is what was shown before. Returns what is shown now.
    """
    if not status.plan_complete or not status.attempts:
        display.show("planning" if not status.plan_complete else "waiting", status.rows, None)
        return progress
    if len(progress.lanes) != len(status.lanes):
        names = [f"{lane.account} {lane.region}".strip() for lane in status.lanes]
        progress = SendProgress(0, lanes=[LaneProgress(name, 0, None, lambda: None) for name in names])
    progress.counts, progress.total = _counted(status.counts)
    progress.attempts, progress.throttled = status.attempts, status.throttled
    for shown, lane in zip(progress.lanes, status.lanes, strict=True):
        shown.counts, shown.total = _counted(lane.counts)
        shown.ceiling, shown.limited_by = lane.limit if lane.limited_by else lane.ceiling, lane.limited_by
        shown.stopped = lane.stopped_by is not None
    for column, step in status.steps.items():
        name = BY_COLUMN[column].name
        progress.pending = {**progress.pending, name: sum(step.values()) - progress.counts[Status.SET]}
        progress.steps[name] = step["done"] + step["failed"]
        progress.failed_steps[name] = step["failed"]
    display.sending(progress)
    return progress


def _counted(counts: Mapping[str, int]) -> tuple[Counter[Status], int]:
    """Return the rows by status, and how many are or will be finished by sending."""
    found = Counter({Status(name): rows for name, rows in counts.items()})
    return found, count_of(found, FINISHED) + count_of(found, REMAINING)
