"""The table with the progress of each lane, in as many columns as fit."""

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from bulkreset.cancellation import LaneProgress
from bulkreset.statuses import FAILURES, FINISHED
from bulkreset.text import format_short_duration, show_invisible

NARROW = 100  # terminal columns; a narrower terminal gets shorter headings


def lanes_table(lanes: Sequence[LaneProgress], rates: Sequence[float | None], room: int, width: int) -> Table:
    """Return a table with a line for each lane, at most `room` lines and `width` columns.

    If there are too many lanes, the last line sums up the others; lanes that are done go there first. Columns that do
    not fit are left out. A lane's name is cut only if no other column can be left out.
    """
    order = sorted(range(len(lanes)), key=lambda at: (not lanes[at].remaining, at))
    kept = sorted(order if len(order) <= room else order[: room - 1])
    rest = [at for at in range(len(lanes)) if at not in set(kept)]
    lines = [_cells(lanes[at].name, [lanes[at]], rates[at], _lane_left(lanes[at], rates[at])) for at in kept]
    if rest:
        name = f"{len(rest):,} more account Regions" if kept else f"{len(rest):,} account Regions"
        left = max((seconds_for(lanes[at].remaining, rates[at]) or 0.0 for at in rest), default=0.0)
        rate = sum(rates[at] or 0.0 for at in rest)
        lines.append(_cells(name, [lanes[at] for at in rest], rate, format_short_duration(left) if left else ""))
    return _fit_columns(lines, width)


def _fit_columns(lines: Sequence[Mapping[str, str]], width: int) -> Table:
    """Return a table with the most columns that fit."""
    for columns in _COLUMNS if width >= NARROW else _COLUMNS[1:]:
        widths = [
            max(
                len(it) for it in (_HEADS.get(name, name), "  lane" * (name == "lane"), *(line[name] for line in lines))
            )
            for name in columns
        ]
        if sum(widths) + len(widths) <= width:
            break
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="")
    for name, least in zip(columns, widths, strict=True):
        if name == "lane":
            room = width - sum(widths[1:]) - len(widths)
            table.add_column("  account Region", no_wrap=True, overflow="ellipsis", width=max(5, min(least, room)))
        else:
            table.add_column(_HEADS.get(name, name), justify="right", no_wrap=True, min_width=least)
    for line in lines:
        table.add_row(*(Text(line[name]) for name in columns))
    return table


# From most to fewest columns. Failed and in-doubt rows and the remaining time are never left out.
_SHORT = tuple(status.facts.short for status in FAILURES)
_COLUMNS = (
    ("lane", "rows", "rate of", "throttled", *(one.facts.label for one in FINISHED), "left"),
    ("lane", "rows", "rate of", "thr.", *_SHORT, "left"),
    ("lane", "done", "rate of", "thr.", *_SHORT, "left"),
    ("lane", "done", "rate", "thr.", *_SHORT, "left"),
    ("lane", "done", "rate", *_SHORT, "left"),
    ("lane", "done", *_SHORT, "left"),
)
_HEADS = {"rate of": "rate/s", "rate": "rate/s"}


def _cells(name: str, lanes: Sequence[LaneProgress], rate: float | None, left: str) -> dict[str, str]:
    """Return the cells for one or more lanes, by column name."""
    ceilings = [lane.ceiling for lane in lanes]
    of = "" if None in ceilings else f"/{sum(ceiling or 0 for ceiling in ceilings):,.4g}"
    finished, total = sum(lane.finished for lane in lanes), sum(lane.total for lane in lanes)
    finished_as = {
        name: f"{sum(lane.counts[status] for lane in lanes):,}"
        for status in FINISHED
        for name in (status.facts.label, status.facts.short)
    }
    throttled = sum(lane.throttled for lane in lanes)
    return {
        "lane": show_invisible(f"  {name}"),
        "rows": f"{finished:,}/{total:,}",
        "done": f"{finished * 100 // total if total else 100}%",
        "rate of": f"{rate or 0.0:,.1f}{of}",
        "rate": f"{rate or 0.0:,.1f}",
        "throttled": f"{throttled:,}",
        "thr.": f"{throttled:,}",
        **finished_as,
        "left": left,
    }


def _lane_left(lane: LaneProgress, rate: float | None) -> str:
    if lane.stopped:
        return "stopped"
    if not lane.remaining:
        return "done"
    seconds = seconds_for(lane.remaining, rate or lane.pace() or 0.0)
    return "" if seconds is None else format_short_duration(seconds)


def seconds_for(left: int, rate: float | None) -> float | None:
    """Return the seconds that `left` rows take at `rate`; None if the rate is unknown or no row remains."""
    return left / rate if rate and left > 0 else None
