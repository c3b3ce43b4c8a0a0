"""The progress display of a run: drawn on a terminal, otherwise a line every PLAIN_EVERY seconds."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import ControlType, Segment, SegmentLines
from rich.table import Table
from rich.text import Text

from bulkreset.cancellation import LaneProgress, SendProgress
from bulkreset.cli.lane_table import lanes_table, seconds_for
from bulkreset.models import format_rows
from bulkreset.statuses import FINISHED
from bulkreset.steps import STEPS
from bulkreset.text import format_duration

PLAIN_EVERY = 30.0  # seconds between two lines if nothing is drawn
DRAWN_EVERY = 0.5
WINDOW = 15.0  # seconds over which the current rate is averaged
BAR = 20  # columns
BESIDES = 6  # terminal lines not used for lanes: bar, figures, heading, summed lanes, and some space


class RateMeter:
    """Measures the rate of a growing count over the last WINDOW seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def rate(self, now: float, count: int) -> float | None:
        """Add a count seen at `now` and return the recent rate per second; None if it is too early to know."""
        if self._seen and count < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now, count))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW:  # noqa: PLR2004
            self._seen.popleft()
        (then, before) = self._seen[0]
        return (count - before) / (now - then) if now > then else None


@dataclass(slots=True)
class ProgressState:
    """The data to show: a phase, and `done` of `total`, counted in `unit`. `total` is None if unknown."""

    phase: str = ""
    done: int = 0
    total: int | None = None
    unit: str = "rows"
    progress: SendProgress | None = None
    meter: RateMeter = field(default_factory=RateMeter)
    meters: list[RateMeter] = field(default_factory=list)


class ProgressDisplay:
    """Shows the progress of a run: drawn on a terminal that supports it, otherwise in lines; nothing if `quiet`.

    `tell`, if given, receives the figures instead of a line.
    """

    def __init__(
        self,
        console: Console,
        *,
        quiet: bool,
        now: Callable[[], float] = time.monotonic,
        tell: Callable[[Mapping[str, object]], None] | None = None,
    ) -> None:
        self._console = console
        self._tell = tell
        self._quiet = quiet
        self._draws = not quiet and console.is_terminal and not console.is_dumb_terminal
        self._now = now
        self._shown = ProgressState()
        self._live: Live | None = None
        self._told_at = self._drawn_at = now()
        self._widths: list[int] = []  # in columns, of the drawn lines

    def show(self, phase: str, done: int, total: int | None, unit: str = "rows") -> None:
        """Show that `done` of `total` of a phase is done."""
        shown = self._shown
        if phase != shown.phase:
            shown.meter = RateMeter()
            shown.meter.rate(self._now(), done)
        shown.phase, shown.done, shown.total, shown.unit = phase, done, total, unit
        if self._quiet:
            return
        if self._draws:
            if self._live is None or self._now() - self._drawn_at >= DRAWN_EVERY:
                self._draw()
        elif self._now() - self._told_at >= PLAIN_EVERY:
            self._told_at = self._now()
            if self._tell:
                self._tell(self._as_figures())
            else:
                self._console.print(self._line(), markup=False)

    def sending(self, progress: SendProgress) -> None:
        """Show the progress of sending, then of the steps that remain."""
        if self._shown.progress is not progress:
            self._shown.progress, self._shown.meters = progress, [RateMeter() for _ in progress.lanes]
            self._rates(self._now())
        if progress.finished >= progress.total and progress.all_steps:  # all rows are finished, and steps remain
            one = STEPS[next(iter(progress.pending))] if len(progress.pending) == 1 else None
            phase, unit = (one.doing, "users") if one else ("following up", "steps")
            self.show(phase, progress.steps.total(), progress.all_steps, unit)
        else:
            self.show("sending", progress.finished, progress.total, "rows")

    @property
    def is_drawn(self) -> bool:
        """Return True if progress is drawn on the terminal; other lines must then go above it."""
        return self._live is not None

    def close(self) -> None:
        """Remove the drawn progress from the terminal."""
        if self._live:
            self._live.stop()
            self._live = None

    def _draw(self) -> None:
        """Redraw the progress. The reporting thread calls this, so no other thread reads its counts."""
        self._drawn_at = self._now()
        if self._live is None:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
            self._widths = []
        # If the terminal became narrower, it wrapped the drawn lines into more lines.
        broken = sum((width - 1) // self._console.width for width in self._widths if width)
        if broken:
            up = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))
            self._console.control(Control(ControlType.CARRIAGE_RETURN, *(up * broken)))
        lines = self._console.render_lines(Group(*self._parts()), pad=False)
        self._widths = [Segment.get_line_length(line) for line in lines]
        self._live.update(SegmentLines(lines, new_lines=True), refresh=True)

    def _line(self) -> str:
        """Return the progress as one line."""
        shown = self._shown
        of = "" if shown.total is None else f" of {'about ' * (shown.unit == 'calls')}{shown.total:,}"
        return f"{shown.phase}: " + ", ".join([f"{shown.done:,}{of} {shown.unit}", *self._figures()])

    def _as_figures(self) -> dict[str, object]:
        """Return the progress as figures; unknown ones are None. `rate` is per second."""
        shown, now = self._shown, self._now()
        rate = shown.meter.rate(now, shown.done)
        progress = shown.progress
        left = self._seconds_left(rate, now)
        return {
            "phase": shown.phase,
            "done": shown.done,
            "total": shown.total,
            "unit": shown.unit,
            "rate": None if rate is None else round(rate, 1),
            "seconds_left": None if left is None else round(left),
            "counts": dict(progress.counts) if progress else {},
            "throttled": progress.throttled if progress else 0,
            "limits": progress.limits() if progress else [],
        }

    def _figures(self, room: int | None = None) -> list[str]:
        """Return the figures besides the done count; with `room`, only the most important that fit in these columns."""
        shown, now = self._shown, self._now()
        rate = shown.meter.rate(now, shown.done)
        said = {} if rate is None else {"rate": f"{rate:,.1f}/s"}
        progress = shown.progress
        if progress and shown.phase == "sending":
            said |= {"rate": said["rate"] + _ceiling(progress.lanes)} if said else {}
            said |= count_text(progress)
            if limits := progress.limits():
                said["limits"] = "limited: " + ", ".join(limits)
        elif progress:
            said |= {
                STEPS[name].undone: f"{n:,} {STEPS[name].undone}" for name, n in progress.failed_steps.items() if n
            }
        waiting = progress.retrying() if progress and shown.phase == "sending" else []
        if progress and waiting and shown.total is not None and len(waiting) >= shown.total - shown.done:
            # Nothing but retries remains: a time left from the rate would be wrong.
            said["left"] = f"waiting to retry {format_rows(len(waiting))} ({_attempts(waiting, progress.max_attempts)})"
        elif seconds := self._seconds_left(rate, now):
            said["left"] = f"about {format_duration(seconds)} left"
        return list((said if room is None else fit_figures(said, room)).values())

    def _seconds_left(self, rate: float | None, now: float) -> float | None:
        """Return the seconds until the last lane is done at the lanes' current rates; None if unknown."""
        shown = self._shown
        if shown.progress and shown.phase == "sending" and len(shown.progress.lanes) > 1:
            lanes = shown.progress.lanes
            known = [
                seconds_for(lane.remaining, speed)
                for lane, speed in zip(lanes, self._rates(now), strict=True)
                if lane.remaining
            ]
            return max((seconds for seconds in known if seconds is not None), default=None)
        return None if shown.total is None else seconds_for(shown.total - shown.done, rate)

    def _rates(self, now: float) -> list[float | None]:
        """Return each lane's rows per second; None if unknown."""
        shown = self._shown
        lanes = shown.progress.lanes if shown.progress else ()
        return [meter.rate(now, lane.finished) for meter, lane in zip(shown.meters, lanes, strict=True)]

    def _parts(self) -> Iterator[RenderableType]:
        """Yield the parts to draw, fitted to the current size of the terminal."""
        shown, width = self._shown, self._console.width
        yield self._bar(width)
        yield Text("  " + ", ".join(self._figures(width - 2)), no_wrap=True, overflow="ellipsis")
        progress = shown.progress
        if progress and shown.phase == "sending" and len(progress.lanes) > 1:
            room = max(1, self._console.height - BESIDES)
            yield lanes_table(progress.lanes, self._rates(self._now()), room, width)

    def _bar(self, width: int) -> Table:
        shown = self._shown
        line = Table.grid(padding=(0, 1))
        line.add_column(no_wrap=True)
        cells: list[Text | ProgressBar] = [Text(shown.phase)]
        if shown.total:
            text = f"{shown.done:,}/{shown.total:,} {shown.unit} {shown.done * 100 // shown.total}%"
            bar = min(BAR, max(5, width // 4), width - len(shown.phase) - len(text) - 3)
            if bar >= 5:  # noqa: PLR2004  (a shorter bar shows nothing)
                line.add_column(width=bar)
                cells.append(ProgressBar(shown.total, shown.done))
            cells.append(Text(text))
        else:
            cells.append(Text(f"{shown.done:,} {shown.unit}"))
        line.add_column(no_wrap=True, overflow="ellipsis")
        line.add_row(*cells)
        return line


def fit_figures(said: Mapping[str, str], room: int) -> dict[str, str]:
    """Return the figures that fit in `room` columns.

    Figures that the bar shows too are removed first. Failures and the remaining time are never removed.
    """
    kept = dict(said)
    for name in (*(step.done for step in STEPS.values()), "set", "ceiling", "throttled", "rate", "limits", "stopped"):
        if len(", ".join(kept.values())) <= room:
            break
        if name == "ceiling" and "rate" in kept:
            kept["rate"] = kept["rate"].partition(" of ")[0]
        else:
            kept.pop(name, None)
    return kept


def count_text(progress: SendProgress) -> dict[str, str]:
    """Return the counts of the results so far as text. Zero counts are left out."""
    found = {
        **{status.facts.label: progress.counts[status] for status in FINISHED},
        "throttled": progress.throttled,
        **{STEPS[name].done: number for name, number in progress.steps.items()},
        **{STEPS[name].undone: number for name, number in progress.failed_steps.items()},
    }
    said = {name: f"{number:,} {name}" for name, number in found.items() if number}
    if stopped := sum(lane.stopped for lane in progress.lanes):
        said["stopped"] = f"{stopped:,} of {len(progress.lanes):,} account Regions stopped"
    return said


def _attempts(waiting: Sequence[int], most: int) -> str:
    """Return which attempts come next, as text."""
    least, last = min(waiting), max(waiting)
    return f"attempt {least} of {most}" if least == last else f"attempts {least} to {last} of {most}"


def _ceiling(lanes: Sequence[LaneProgress]) -> str:
    """Return the total rate limit of the active lanes as text; "" if a lane has no limit."""
    ceilings = [lane.ceiling for lane in lanes if not lane.stopped]
    return "" if None in ceilings or not ceilings else f" of {sum(ceiling or 0 for ceiling in ceilings):,.4g}/s"
