"""The progress of a run: drawn within the terminal's size, or printed in lines without a terminal."""

import io
import re
from collections import Counter
from collections.abc import Mapping

import pytest
from rich.console import Console

from bulkreset.cancellation import LaneProgress, SendProgress
from bulkreset.cli.progress import ProgressDisplay, RateMeter
from bulkreset.models import Outcome, Status, StepOutcome


class FakeDisplay:
    """A display on a terminal of that size, or on none. The test sets the time."""

    def __init__(self, width: int = 80, height: int = 24, *, quiet: bool = False, **environ: str) -> None:
        self.out = io.StringIO()
        self.at = 100.0
        size = {"width": width, "height": height} if width else {}
        env = {"TERM": "xterm"} | environ
        self.console = Console(file=self.out, force_terminal=bool(width), soft_wrap=True, _environ=env, **size)  # type: ignore[arg-type]
        self.display = ProgressDisplay(self.console, quiet=quiet, now=lambda: self.at)

    def after(self, seconds: float, progress: SendProgress) -> str:
        """Return what is shown for it this much later."""
        self.at += seconds
        self.out.truncate(self.out.seek(0))
        self.display.sending(progress)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.out.getvalue())


def progress(lanes: int, total: int = 1000) -> SendProgress:
    """Return progress with so many lanes of 20 calls per second and no calls yet."""
    shown = [LaneProgress(f"{n:012d} eu-west-1", total, 20.0, lambda: 20.0) for n in range(1, lanes + 1)]
    return SendProgress(total * lanes, lanes=shown)


def settle(of: SendProgress, lane: int, rows: int, status: Status = Status.SET, throttled: int = 0) -> None:
    of.add([Outcome(row, status, attempts=1, throttled=throttled) for row in range(rows)], lane)


def test_one_lane_is_a_bar_and_its_figures() -> None:
    shown, of = FakeDisplay(), progress(1)
    shown.after(0, of)
    settle(of, 0, 195)
    settle(of, 0, 4, Status.FAILED, throttled=2)
    settle(of, 0, 1, Status.IN_DOUBT)
    said = shown.after(10, of)
    assert "200/1,000 rows 20%" in said
    assert "20.0/s of 20/s, 195 set, 4 failed, 1 in doubt, 8 throttled, about 40 s left" in said
    assert "account Region" not in said


def test_each_lane_has_a_line_and_the_slowest_gives_the_duration() -> None:
    shown, of = FakeDisplay(120), progress(3)
    shown.after(0, of)
    settle(of, 0, 1000)
    settle(of, 1, 100, throttled=1)
    settle(of, 2, 50, Status.FAILED)
    of.lanes[2].stopped = True
    said = shown.after(10, of)
    lines = [line.split() for line in said.splitlines()]
    assert ["000000000001", "eu-west-1", "1,000/1,000", "100.0/20", "0", "1,000", "0", "0", "done"] in lines
    assert ["000000000002", "eu-west-1", "100/1,000", "10.0/20", "100", "100", "0", "0", "2", "min"] in lines
    assert ["000000000003", "eu-west-1", "50/1,000", "5.0/20", "0", "0", "50", "0", "stopped"] in lines
    assert "1 of 3 account Regions stopped, about 2 min left" in said


def millions(lanes: int) -> SendProgress:
    """Return progress with lanes of millions of rows, many of them sent."""
    of = progress(lanes, 3_456_789)
    for lane in of.lanes:
        lane.name, lane.ceiling = "111122223333 ap-southeast-2", 960.0
        lane.counts.update({Status.SET: 1_224_567, Status.FAILED: 12_345, Status.IN_DOUBT: 1_234})
        of.counts.update(lane.counts)
        lane.throttled = 123_456
        of.throttled += 123_456
    of.lanes[-1].stopped = True
    return of


@pytest.mark.parametrize(
    ("width", "figures", "heads", "first"),
    [
        (
            160,
            "910.0/s of 2,880/s, 4,907,368 set, 49,380 failed, 4,936 in doubt, 493,824 throttled, 1 of 4 account Regions stopped",
            ["account", "Region", "rows", "rate/s", "throttled", "set", "failed", "in", "doubt", "left"],
            ["1,247,246/3,456,789", "910.0/960", "123,456", "1,233,667", "12,345", "1,234", "40", "min"],
        ),
        (
            80,
            "49,380 failed, 4,936 in doubt, about 40 min left",
            ["account", "Region", "done", "rate/s", "thr.", "fail.", "doubt", "left"],
            ["36%", "910.0/960", "123,456", "12,345", "1,234", "40", "min"],
        ),
        (
            60,
            "49,380 failed, 4,936 in doubt, about 40 min left",
            ["account", "Region", "done", "fail.", "doubt", "left"],
            ["36%", "12,345", "1,234", "40", "min"],
        ),
    ],
)
def test_failures_and_time_of_millions_of_rows_are_never_cut_off(
    width: int, figures: str, heads: list[str], first: list[str]
) -> None:
    shown, of = FakeDisplay(width), millions(4)
    shown.after(0, of)
    settle(of, 0, 9100)
    said = shown.after(10, of)
    lines = [line.rstrip() for line in said.strip().splitlines()]
    assert "…" not in said
    assert max(map(len, lines)) <= width
    assert lines[0].endswith("4,961,684/13,827,156 rows 35%")
    assert lines[1].strip().startswith(figures)
    assert lines[2].split() == heads
    assert lines[3].split() == ["111122223333", "ap-southeast-2", *first]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 12), (120, 40), (80, 5), (40, 24)])
def test_many_lanes_fit_into_any_terminal(width: int, height: int) -> None:
    shown, of = FakeDisplay(width, height), progress(40, 123_456)
    shown.after(0, of)
    for lane in range(30):
        settle(of, lane, 100)
    said = shown.after(10, of)
    lines = said.strip().splitlines()
    assert len(lines) <= max(height - 1, 4)
    assert max(map(len, lines)) <= width
    (rest,) = (line for line in lines if re.match(r"  \d+ (?:more )?acc", line))
    shown_lanes = sum("eu-west" in line or "0000000" in line for line in lines)
    assert int(re.findall(r"\d+", rest)[0]) + shown_lanes == 40


def test_narrower_terminal_leaves_no_old_output() -> None:
    shown, of = FakeDisplay(100), progress(3)
    settle(of, 0, 10)
    shown.after(0, of)
    widths = [width for width in shown.display._widths if width]
    shown.console.width = 50
    shown.after(10, of)
    broken = sum((width - 1) // 50 for width in widths)
    assert broken > 0
    # Up over the wrapped lines, and then over the drawn ones.
    assert shown.out.getvalue().count("\x1b[1A") == broken + len(widths) - 1


@pytest.mark.parametrize(("width", "term"), [(0, "xterm"), (80, "dumb")])
def test_without_a_terminal_a_line_is_printed_every_half_minute(width: int, term: str) -> None:
    shown, of = FakeDisplay(width, TERM=term), progress(2)
    assert shown.after(1, of) == ""
    settle(of, 0, 300)
    settle(of, 1, 290, throttled=1)
    assert shown.after(28, of) == ""
    assert shown.after(2, of) == (
        "sending: 590 of 2,000 rows, 19.7/s of 40/s, 590 set, 290 throttled, about 1 min left\n"
    )
    assert shown.after(29, of) == ""
    assert "\x1b" not in shown.out.getvalue()


def test_events_have_the_figures_of_the_line() -> None:
    events: list[Mapping[str, object]] = []
    shown, of = FakeDisplay(0), progress(1)
    shown.display = ProgressDisplay(shown.console, quiet=False, now=lambda: shown.at, report=events.append)
    shown.after(1, of)
    settle(of, 0, 290)
    settle(of, 0, 10, Status.FAILED, throttled=1)
    assert shown.after(28, of) == shown.after(2, of) == ""
    assert events == [
        {
            "phase": "sending",
            "done": 300,
            "total": 1000,
            "unit": "rows",
            "rate": 10.0,
            "seconds_left": 70,
            "counts": {"set": 290, "failed": 10},
            "throttled": 10,
            "limits": [],
        }
    ]


def test_output_without_color_has_none() -> None:
    shown, of = FakeDisplay(NO_COLOR="1"), progress(2)
    settle(of, 0, 5)
    shown.after(1, of)
    assert not re.findall(r"\x1b\[[0-9;]*3[0-9]m", shown.out.getvalue())


def test_retries_of_the_last_rows_are_shown_in_place_of_a_time() -> None:
    shown, of = FakeDisplay(), progress(1, 192)
    of.max_attempts = 10
    of.lanes[0].retrying = lambda: [6]
    settle(of, 0, 100)
    shown.after(0, of)
    settle(of, 0, 90)
    assert "retry" not in shown.after(10, of)  # another row is in flight
    settle(of, 0, 1)
    said = shown.after(10, of)
    assert "191/192 rows 99%" in said
    assert "waiting to retry 1 row (attempt 6 of 10)" in said
    assert "left" not in said
    of.lanes[0].retrying = lambda: [3, 6]
    assert "waiting to retry 2 rows (attempts 3 to 6 of 10)" in shown.after(10, of)


def test_quiet_is_quiet() -> None:
    shown = FakeDisplay(quiet=True)
    assert shown.after(100, progress(1)) == ""


def test_planning_checking_and_signing_out() -> None:
    shown = FakeDisplay(0)
    shown.display.show("planning", 20_000, None)
    shown.at += 40
    shown.display.show("planning", 40_000, None)
    shown.at += 40
    shown.display.show("checking users", 100, 500, "calls")
    of = SendProgress(5, pending={"sign_out": 5}, counts=Counter({Status.SET: 5}), lanes=progress(1).lanes)
    of.add_step(StepOutcome("sign_out", 1, done=True))
    of.add_step(StepOutcome("sign_out", 2, done=False))
    shown.at += 40
    shown.display.sending(of)
    assert shown.out.getvalue().splitlines() == [
        "planning: 40,000 rows, 500.0/s",
        "checking users: 100 of about 500 calls",
        "signing out: 2 of 10 users, 1 not signed out",
    ]


def test_rate_is_of_the_last_seconds() -> None:
    meter = RateMeter()
    rates = [meter.rate(at, count) for at, count in ((0, 0), (10, 100), (20, 100), (30, 100), (31, 150))]
    assert rates == [None, 10.0, 5.0, 0.0, pytest.approx(50 / 21)]
