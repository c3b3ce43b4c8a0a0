"""The page's charts, drawn as SVG. The page's style sheet gives colours and fonts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from bulkreset.clock import DAY_MS
from bulkreset.report.timeline import LatencyHistogram, Timeline, round_up

_STEPS = tuple(
    1000 * it for it in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200)
)
_MINUTE = 60_000
_TOP, _RIGHT, _BELOW = 12, 28, 28  # CSS pixels around the drawing area; `_BELOW` holds the labels
_CHARACTER = 7  # CSS pixels, a little more than the width of a digit

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _ChartSize:
    """The size of a chart for one kind of screen: CSS pixels, and the number of labels that fit below it."""

    name: str
    width: int
    height: int
    labels: int


CHART_SIZES = (_ChartSize("wide", 1040, 270, 9), _ChartSize("narrow", 350, 230, 4))


@dataclass(frozen=True, slots=True)
class _Plot:
    """A chart of one size, from `begin` to `end` and from zero to the last of `values`, the labels on its left."""

    size: _ChartSize
    begin: float
    end: float
    values: Sequence[float]

    def x(self, value: float) -> float:
        """Return the pixels from the left."""
        left = _CHARACTER * (2 + max(len(_short(it)) for it in self.values))
        return round(left + (value - self.begin) / (self.end - self.begin) * (self.size.width - left - _RIGHT), 1)

    def y(self, value: float) -> float:
        """Return the pixels from the top."""
        return round(_TOP + (1 - value / self.values[-1]) * (self.size.height - _TOP - _BELOW), 1)

    def line(self, name: str, points: Iterable[Point]) -> Markup:
        """Return a line of this class through the points."""
        path = "L".join(f"{self.x(x)} {self.y(y)}" for x, y in points)
        return Markup('<path class="{}" d="M{}"/>').format(name, path)

    def bar(self, begin: float, end: float, value: float) -> Markup:
        """Return a bar from the zero line, with a gap beside it."""
        width, height = round(self.x(end) - self.x(begin) - 2, 1), round(self.y(0) - self.y(value), 1)
        return Markup('<rect x="{}" y="{}" width="{}" height="{}"/>').format(
            self.x(begin) + 1, self.y(value), width, height
        )

    def draw(self, description: str, labels: Iterable[tuple[float, str]], shapes: Iterable[Markup]) -> Markup:
        """Return the chart with its axes, `labels` below it and the shapes."""
        parts = [
            Markup('<svg viewBox="0 0 {} {}" class="chart {}" role="img" aria-label="{}">').format(
                self.size.width, self.size.height, self.size.name, description
            ),
            *(self.line("guide", [(self.begin, it), (self.end, it)]) for it in self.values),
            self.line("guide", [(self.begin, 0), (self.begin, self.values[-1])]),
            *(self._text("value", self.x(self.begin) - 5, self.y(it) + 4, _short(it)) for it in self.values),
            *(self._text("", self.x(at), self.size.height - 8, label) for at, label in labels),
            *shapes,
            Markup("</svg>"),
        ]
        return Markup("").join(parts)

    def _text(self, name: str, x: float, y: float, text: str) -> Markup:
        return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(name, x, round(y, 1), text)


def draw_timeline(course: Timeline, description: str) -> Markup:
    """Return the rate over time as SVG, once for each kind of screen. `description` is the text for screen readers."""
    return _each(lambda size: _draw_timeline(course, size, description))


def draw_latency_histogram(latency: LatencyHistogram, description: str) -> Markup:
    """Return the latency histogram as SVG, once for each kind of screen.

    `description` is the text for screen readers.
    """
    return _each(lambda size: _draw_latency_histogram(latency, size, description))


def _each(draw: Callable[[_ChartSize], Markup]) -> Markup:
    return Markup("").join(draw(size) for size in CHART_SIZES)


def _draw_timeline(course: Timeline, size: _ChartSize, description: str) -> Markup:
    steps, begin = course.buckets, course.buckets[0].at_ms
    end = steps[-1].at_ms + course.width
    highest = max(max(step.finished, step.throttled, step.allowed or 0) for step in steps)
    plot = _Plot(size, begin, end, axis_labels(max(highest, course.ceiling or 0)))

    def stairs(values: Iterable[float]) -> list[Point]:
        return [
            (at, value)
            for step, value in zip(steps, values, strict=True)
            for at in (step.at_ms, step.at_ms + course.width)
        ]

    middles = [(step.at_ms + course.width / 2, step.finished) for step in steps]
    finished = [(begin, 0), (begin, steps[0].finished), *middles, (end, steps[-1].finished), (end, 0)]
    shapes = [plot.line("finished", finished)]
    if any(step.throttled for step in steps):
        throttled = stairs(step.throttled for step in steps)
        shapes.append(plot.line("throttled", [(begin, 0), *throttled, (end, 0)]))
    if steps[0].allowed is not None:
        shapes.append(plot.line("allowed", stairs(step.allowed or 0 for step in steps)))
    if course.ceiling is not None:
        shapes.append(plot.line("ceiling", [(begin, course.ceiling), (end, course.ceiling)]))
    return plot.draw(
        description, [(at, _clock(at, end - begin)) for at in time_labels(begin, end, size.labels)], shapes
    )


def _draw_latency_histogram(latency: LatencyHistogram, size: _ChartSize, description: str) -> Markup:
    # Bars of equal width make the axis logarithmic, because their limits are.
    edges = [latency.bars[0].least, *(bar.below for bar in latency.bars)]
    plot = _Plot(size, 0, len(latency.bars), axis_labels(max(bar.rows for bar in latency.bars), whole=True))
    labels = [(edges.index(edge), f"{edge:,}") for edge in edge_labels(edges, size.labels)]
    return plot.draw(
        description, labels, [plot.bar(at, at + 1, bar.rows) for at, bar in enumerate(latency.bars) if bar.rows]
    )


def edge_labels(edges: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of the edges: all, those that begin with 1, 2 or 5, powers of ten, or every nth."""
    for digits in (None, {"", "1", "2", "5"}, {"", "1"}):
        found = [edge for edge in edges if digits is None or str(edge).rstrip("0") in digits]
        if 2 <= len(found) <= most:  # noqa: PLR2004  (a scale needs two)
            return found
    return list(edges[:: -(-len(edges) // most)])


def axis_labels(highest: float, *, whole: bool = False) -> list[float]:
    """Return axis labels in round steps, from zero to above the highest value."""
    fine = 1 if whole else 100  # unless `whole`, steps are in hundredths
    step = round_up(max(highest, 1 / fine) * fine / 5) / fine
    return [round(step * number, 2) for number in range(int(highest / step) + 2)]


def time_labels(begin: int, end: int, most: int) -> list[int]:
    """Return at most `most` round times between `begin` and `end`, in Unix ms."""
    span = end - begin
    step = next((it for it in _STEPS if span <= it * most), 0) or DAY_MS * round_up(span / DAY_MS / most)
    return list(range(-(-begin // step) * step, end + 1, step))[:most]


def _short(value: float) -> str:
    return f"{value:,g}" if value < 1e6 else f"{value / 1e6:g}M"  # noqa: PLR2004  (a million)


def _clock(at: int, span: int) -> str:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    pattern = (
        "%m-%d"
        if span > 4 * DAY_MS
        else "%m-%d %H:%M"
        if span > DAY_MS
        else "%H:%M"
        if span > 10 * _MINUTE
        else "%H:%M:%S"
    )
    return f"{moment:{pattern}}"
