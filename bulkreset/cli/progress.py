"""The progress display of a run: drawn on a terminal, otherwise a line every PLAIN_EVERY seconds."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

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
from bulkreset.text import format_estimate

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


class ProgressDisplay:
    """Shows the progress of a run: drawn on a terminal that supports it, otherwise in lines; nothing if `quiet`.

    `report`, if given, receives the figures instead of a line.
    """

    def __init__(
        self,
        console: Console,
        *,
        quiet: bool,
        now: Callable[[], float] = time.monotonic,
        report: Callable[[Mapping[str, object]], None] | None = None,
    ) -> None:
        self._console = console
        self._report = report
        self._quiet = quiet
        self._draws = not quiet and console.is_terminal and not console.is_dumb_terminal
        self._now = now
        # What is shown: `done` of `total` of a phase, counted in `unit`. `total` is None if unknown.
        self._phase = ""
        self._done = 0
        self._total: int | None = None
        self._unit = "rows"
        self._progress: SendProgress | None = None
        self._meter = RateMeter()
        self._meters: list[RateMeter] = []
        self._live: Live | None = None
        self._printed_at = self._drawn_at = now()
        self._widths: list[int] = []  # in columns, of the drawn lines

    def show(self, phase: str, done: int, total: int | None, unit: str = "rows") -> None:
        """Show that `done` of `total` of a phase is done."""
        if phase != self._phase:
            self._meter = RateMeter()
            self._meter.rate(self._now(), done)
        self._phase, self._done, self._total, self._unit = phase, done, total, unit
        if self._quiet:
            return
        if self._draws:
            if self._live is None or self._now() - self._drawn_at >= DRAWN_EVERY:
                self._draw()
        elif self._now() - self._printed_at >= PLAIN_EVERY:
            self._printed_at = self._now()
            if self._report:
                self._report(self._as_figures())
            else:
                self._console.print(self._line(), markup=False)

    def sending(self, progress: SendProgress) -> None:
        """Show the progress of sending, then of the steps that remain."""
        if self._progress is not progress:
            self._progress, self._meters = progress, [RateMeter() for _ in progress.lanes]
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
        of = "" if self._total is None else f" of {'about ' * (self._unit == 'calls')}{self._total:,}"
        return f"{self._phase}: " + ", ".join([f"{self._done:,}{of} {self._unit}", *self._figures()])

    def _as_figures(self) -> dict[str, object]:
        """Return the progress as figures; unknown ones are None. `rate` is per second."""
        now = self._now()
        rate = self._meter.rate(now, self._done)
        progress = self._progress
        left = self._seconds_left(rate, now)
        return {
            "phase": self._phase,
            "done": self._done,
            "total": self._total,
            "unit": self._unit,
            "rate": None if rate is None else round(rate, 1),
            "seconds_left": None if left is None else round(left),
            "counts": dict(progress.counts) if progress else {},
            "throttled": progress.throttled if progress else 0,
            "limits": progress.limits() if progress else [],
        }

    def _figures(self, room: int | None = None) -> list[str]:
        """Return the figures besides the done count; with `room`, only the most important that fit in these columns."""
        now = self._now()
        rate = self._meter.rate(now, self._done)
        shown = {} if rate is None else {"rate": f"{rate:,.1f}/s"}
        progress = self._progress
        if progress and self._phase == "sending":
            shown |= {"rate": shown["rate"] + _ceiling(progress.lanes)} if shown else {}
            shown |= count_text(progress)
            if limits := progress.limits():
                shown["limits"] = "limited: " + ", ".join(limits)
        elif progress:
            shown |= {
                STEPS[name].undone: f"{n:,} {STEPS[name].undone}" for name, n in progress.failed_steps.items() if n
            }
        waiting = progress.retrying() if progress and self._phase == "sending" else []
        if progress and waiting and self._total is not None and len(waiting) >= self._total - self._done:
            # Nothing but retries remains: a time left from the rate would be wrong.
            shown["left"] = (
                f"waiting to retry {format_rows(len(waiting))} ({_attempts(waiting, progress.max_attempts)})"
            )
        elif seconds := self._seconds_left(rate, now):
            shown["left"] = f"about {format_estimate(seconds)} left"
        return list((shown if room is None else fit_figures(shown, room)).values())

    def _seconds_left(self, rate: float | None, now: float) -> float | None:
        """Return the seconds until the last lane is done at the lanes' current rates; None if unknown."""
        if self._progress and self._phase == "sending" and len(self._progress.lanes) > 1:
            lanes = self._progress.lanes
            known = [
                seconds_for(lane.remaining, speed)
                for lane, speed in zip(lanes, self._rates(now), strict=True)
                if lane.remaining
            ]
            return max((seconds for seconds in known if seconds is not None), default=None)
        return None if self._total is None else seconds_for(self._total - self._done, rate)

    def _rates(self, now: float) -> list[float | None]:
        """Return each lane's rows per second; None if unknown."""
        lanes = self._progress.lanes if self._progress else ()
        return [meter.rate(now, lane.finished) for meter, lane in zip(self._meters, lanes, strict=True)]

    def _parts(self) -> Iterator[RenderableType]:
        """Yield the parts to draw, fitted to the current size of the terminal."""
        width = self._console.width
        yield self._bar(width)
        yield Text("  " + ", ".join(self._figures(width - 2)), no_wrap=True, overflow="ellipsis")
        progress = self._progress
        if progress and self._phase == "sending" and len(progress.lanes) > 1:
            room = max(1, self._console.height - BESIDES)
            yield lanes_table(progress.lanes, self._rates(self._now()), room, width)

    def _bar(self, width: int) -> Table:
        line = Table.grid(padding=(0, 1))
        line.add_column(no_wrap=True)
        cells: list[Text | ProgressBar] = [Text(self._phase)]
        if self._total:
            text = f"{self._done:,}/{self._total:,} {self._unit} {self._done * 100 // self._total}%"
            bar = min(BAR, max(5, width // 4), width - len(self._phase) - len(text) - 3)
            if bar >= 5:  # noqa: PLR2004  (a shorter bar shows nothing)
                line.add_column(width=bar)
                cells.append(ProgressBar(self._total, self._done))
            cells.append(Text(text))
        else:
            cells.append(Text(f"{self._done:,} {self._unit}"))
        line.add_column(no_wrap=True, overflow="ellipsis")
        line.add_row(*cells)
        return line


def fit_figures(shown: Mapping[str, str], room: int) -> dict[str, str]:
    """Return the figures that fit in `room` columns.

    Figures that the bar shows too are removed first. Failures and the remaining time are never removed.
    """
    kept = dict(shown)
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
    shown = {name: f"{number:,} {name}" for name, number in found.items() if number}
    if stopped := sum(lane.stopped for lane in progress.lanes):
        shown["stopped"] = f"{stopped:,} of {len(progress.lanes):,} account Regions stopped"
    return shown


def _attempts(waiting: Sequence[int], most: int) -> str:
    """Return which attempts come next, as text."""
    least, last = min(waiting), max(waiting)
    return f"attempt {least} of {most}" if least == last else f"attempts {least} to {last} of {most}"


def _ceiling(lanes: Sequence[LaneProgress]) -> str:
    """Return the total rate limit of the active lanes as text; "" if a lane has no limit."""
    ceilings = [lane.ceiling for lane in lanes if not lane.stopped]
    return "" if None in ceilings or not ceilings else f" of {sum(ceiling or 0 for ceiling in ceilings):,.4g}/s"
