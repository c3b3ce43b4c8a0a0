"""The page's charts. pygal draws the shapes, without its styles and scripts: the page's colours and fonts apply."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

from markupsafe import Markup

from bulkreset.report.timeline import LatencyHistogram, Timeline, round_up

_SVG = "http://www.w3.org/2000/svg"
_KEPT = {f"{{{_SVG}}}{name}" for name in ("svg", "g", "path", "rect", "text")}
_ATTRIBUTES = {"d", "x", "y", "width", "height", "class", "transform", "viewBox"}
_STEPS = tuple(
    1000 * it for it in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200)
)
_DAY = 86_400_000
_MINUTE = 60_000


@dataclass(frozen=True, slots=True)
class _ChartSize:
    """The size of a chart for one kind of screen: CSS pixels, and the number of labels that fit below it."""

    name: str
    width: int
    height: int
    labels: int


CHART_SIZES = (_ChartSize("wide", 1040, 270, 9), _ChartSize("narrow", 350, 230, 4))


def draw_timeline(course: Timeline, told: str) -> Markup:
    """Return the rate over time as SVG, once for each kind of screen. `told` is the text for screen readers."""
    return _each(lambda shape: _course(course, shape), told)


def draw_latency_histogram(latency: LatencyHistogram, told: str) -> Markup:
    """Return the latency histogram as SVG, once for each kind of screen. `told` is the text for screen readers."""
    return _each(lambda shape: _latency(latency, shape), told)


def _each(draw: Callable[[_ChartSize], str], told: str) -> Markup:
    return Markup("").join(_cleaned(draw(shape), shape.name, told) for shape in CHART_SIZES)


def _course(course: Timeline, shape: _ChartSize) -> str:
    half, begin = course.width / 2, course.buckets[0].at_ms
    end = course.buckets[-1].at_ms + course.width
    highest = max(max(step.settled, step.throttled, step.allowed or 0) for step in course.buckets)
    chart = _pygal().XY(**_options(shape), xrange=(begin, end))
    chart.y_labels = axis_labels(max(highest, course.ceiling or 0))
    chart.x_labels = [{"label": _clock(at, end - begin), "value": at} for at in time_labels(begin, end, shape.labels)]
    middles = [step.at_ms + half for step in course.buckets]
    edges = [(begin, course.buckets[0].settled), (end, course.buckets[-1].settled)]
    settled = list(zip(middles, (step.settled for step in course.buckets), strict=True))
    chart.add("settled", [edges[0], *settled, edges[1]] if len(settled) > 1 else edges, fill=True)
    if any(step.throttled for step in course.buckets):
        throttled = [(at, step.throttled) for step in course.buckets for at in (step.at_ms, step.at_ms + course.width)]
        chart.add("throttled", throttled, fill=True)
    else:
        chart.add("throttled", [])
    held = [(at, step.allowed) for step in course.buckets for at in (step.at_ms, step.at_ms + course.width)]
    chart.add("allowed", held if course.buckets[0].allowed is not None else [])
    chart.add("ceiling", [(at, course.ceiling) for at in (begin, end)] if course.ceiling is not None else [])
    return str(chart.render(is_unicode=True))


def _latency(latency: LatencyHistogram, shape: _ChartSize) -> str:
    chart = _pygal().Bar(**_options(shape), show_minor_x_labels=False, truncate_label=-1, spacing=2)
    names = [f"{bar.least:,}" if bar.below else f"{bar.least:,}+" for bar in latency.bars]
    chart.x_labels = names
    chart.x_labels_major = _some_of(names, shape.labels)
    chart.y_labels = axis_labels(max(bar.rows for bar in latency.bars), whole=True)
    chart.add("rows", [bar.rows for bar in latency.bars])
    return str(chart.render(is_unicode=True))


def _some_of(names: list[str], most: int) -> list[str]:
    """Return about `most` names or fewer, at even distances. The last name is always included."""
    every = -(-len(names) // most)
    last = len(names) - 1
    return [*(names[at] for at in range(0, last, every) if last - at >= every), names[last]]


def _pygal() -> Any:  # noqa: ANN401  (an untyped module)
    """Import and return pygal, only when a page is drawn. Removes the import hook that pygal installs."""
    import pygal  # noqa: PLC0415

    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]
    return pygal


def _options(shape: _ChartSize) -> dict[str, Any]:
    return {
        "width": shape.width,
        "height": shape.height,
        "margin": 8,
        "margin_left": 18,  # pygal computes text widths for another font
        "margin_right": 16,
        "js": [],
        "css": [],
        "show_dots": False,
        "show_legend": False,
        "show_x_guides": False,
        "disable_xml_declaration": True,
        "no_prefix": True,
        "value_formatter": lambda value: f"{value:,g}" if value < 1e6 else f"{value / 1e6:g}M",  # noqa: PLR2004
    }


def axis_labels(highest: float, *, whole: bool = False) -> list[float]:
    """Return axis labels in round steps, from zero to above the highest value."""
    fine = 1 if whole else 100  # unless `whole`, steps are in hundredths
    step = round_up(max(highest, 1 / fine) * fine / 5) / fine
    return [round(step * number, 2) for number in range(int(highest / step) + 2)]


def time_labels(begin: int, end: int, most: int) -> list[int]:
    """Return at most `most` round times between `begin` and `end`, in Unix ms."""
    span = end - begin
    step = next((it for it in _STEPS if span <= it * most), 0) or _DAY * round_up(span / _DAY / most)
    return list(range(-(-begin // step) * step, end + 1, step))[:most]


def _clock(at: int, span: int) -> str:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    pattern = (
        "%m-%d" if span > 4 * _DAY else "%m-%d %H:%M" if span > _DAY else "%H:%M" if span > 10 * _MINUTE else "%H:%M:%S"
    )
    return f"{moment:{pattern}}"


def _cleaned(drawn: str, name: str, told: str) -> Markup:
    """Return the SVG reduced to shapes, text and classes."""
    ET.register_namespace("", _SVG)
    root = ET.fromstring(drawn)  # noqa: S314  (our own SVG)
    _prune(root)
    box = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib |= {"viewBox": box, "class": f"chart {name}", "role": "img", "aria-label": told}
    return Markup(ET.tostring(root, encoding="unicode").replace(f' xmlns="{_SVG}"', ""))  # noqa: S704  (escaped by ElementTree)


def _prune(node: ET.Element) -> None:
    for child in list(node):
        if child.tag not in _KEPT or _is_for_pygals_script(child):
            node.remove(child)
            continue
        for unwanted in child.attrib.keys() - _ATTRIBUTES:
            del child.attrib[unwanted]
        if "d" in child.attrib:
            child.attrib["d"] = re.sub(r"(\d+\.\d)\d+", r"\1", child.attrib["d"])
        _prune(child)


def _is_for_pygals_script(node: ET.Element) -> bool:
    return bool({"overlay", "text-overlay", "tooltip-overlay", "titles"} & set(node.get("class", "").split()))
