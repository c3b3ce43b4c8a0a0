"""Steer runs for a minute, timed by the simulator's clock: no window has more calls than the current rates allow."""

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from bulkreset.journal.journal import Journal
from tests.bucket import BUCKET
from tests.e2e.command import SET, Argument, Command, assert_they_agree, finish, people, write_csv, write_job
from tests.e2e.test_control import command, limited_by
from tests.lanes import lane_targets
from tests.sim import Simulator
from tests.waiting import wait_until

pytestmark = pytest.mark.soak
FOLLOWS = 1.0  # seconds within which a run follows a command
LATE = 1.0  # seconds by which a call may arrive late on a busy machine
PAUSE = 20.0
LEASE = 60.0  # seconds of the mirror's lease
Change = tuple[float, float, float]  # when asked and when confirmed (monotonic seconds), calls per second


def max_calls(changes: Sequence[Change], since: float, until: float) -> float:
    """Return the most calls that may leave between two times. While a command is on its way, the higher rate counts."""
    total, rate, begin = 0.0, 0.0, float("-inf")
    pieces: list[tuple[float, float]] = []  # (until, rate)
    for asked, given, new in changes:
        pieces += [(asked, rate), (given + FOLLOWS, max(rate, new))]
        rate = new
    for end, at in [*pieces, (float("inf"), rate)]:
        total += at * max(0.0, min(end, until) - max(begin, since)) if at else 0.0
        begin = max(begin, end)
    return total


def assert_followed(times: Sequence[float], changes: Sequence[Change]) -> None:
    """Check that no window has more calls than the current rates allow, plus one."""
    for number, since in enumerate(times):
        for calls, until in enumerate(times[number:], start=1):
            assert calls <= max_calls(changes, since - LATE, until) + 1, (calls, since, until)


def test_slots_that_are_too_close_are_noticed() -> None:
    even = [f"1-1 {second / 10} slot 10" for second in range(1, 11)]
    assert assert_paced(["1-1 0 rate 10", *even, "1-1 1.0 rate 20", "1-1 1.05 slot 20"]) == 11
    for close in ("1-1 1.05 slot 10", "1-1 0.55 slot 10"):
        with pytest.raises(AssertionError):
            assert_paced(["1-1 0 rate 10", *even, close])


def test_most_calls_of_a_window() -> None:
    changes = [(0.0, 0.0, 30.0), (10.0, 11.0, 5.0), (20.0, 21.0, 20.0)]
    assert max_calls(changes, 2, 4) == 60
    assert max_calls(changes, 11, 14) == 30 + 2 * 5
    assert max_calls(changes, 14, 21) == 6 * 5 + 20
    assert max_calls(changes, 30, 32) == 40
    assert_followed([1.0, 1.1, 1.2], changes)
    with pytest.raises(AssertionError):
        assert_followed([14 + number / 30 for number in range(60)], changes)


# Each process, a worker, too, notes when its pacers took slots and got a rate, by the clock that they have looked at.
NOTING = """
import os, threading
from bulkreset import clock
from bulkreset.send.pacer import Pacer
noted, looked, now = open({!r}, "a", buffering=1), threading.local(), clock.SystemClock.now

def noting_now(self):
    at = now(self)
    if hasattr(looked, "at"):
        looked.at.append(at)
    return at

def noting(what, look, method):
    def noted_method(self, *args, **kwargs):
        looked.at = []
        taken = method(self, *args, **kwargs)
        if self.ceiling is not None and taken is not False:
            noted.write(f"{{os.getpid()}}-{{id(self)}} {{looked.at[look]}} {{what}} {{self.ceiling}}\\n")
        return taken
    return noted_method

clock.SystemClock.now = noting_now
Pacer.__init__ = noting("rate", 0, Pacer.__init__)
Pacer.set_ceiling = noting("rate", 0, Pacer.set_ceiling)
Pacer.wait = noting("slot", -1, Pacer.wait)
"""


def assert_paced(lines: Sequence[str]) -> int:
    """No window of a pacer has more slots than the integral of its rate, and one. Returns how many slots there are."""
    pacers: dict[str, list[tuple[float, str, float]]] = defaultdict(list)
    for pacer, moment, kind, calls in map(str.split, lines):
        pacers[pacer].append((float(moment), kind, float(calls)))
    slots = 0
    for notes in pacers.values():
        passed, rate, before, most = 0.0, 0.0, 0.0, float("-inf")
        for at, what, ceiling in sorted(notes):
            passed, before = passed + rate * (at - before), at
            if what == "rate":
                rate = ceiling
                continue
            slots += 1
            # Of two slots, the integral between them is at least the number of slots from one to the other.
            assert passed - slots >= most - 0.01, (at, notes)
            most = max(most, passed - slots)
    return slots


@pytest.mark.parametrize("where", ["none", "local:2"])
def test_rate_follows_every_order_within_a_second(bulkreset: Command, sim: Simulator, where: str) -> None:
    pair = (lane_targets.A, lane_targets.B)
    env = lane_targets.create_pools(bulkreset, sim, pair)
    lines = [line for both in zip(*(lane_targets.users(place, 900) for place in pair), strict=True) for line in both]
    source = lane_targets.write_input(bulkreset.home, lines)
    job = lane_targets.write_job(bulkreset, sim, pair, source, "[pace]\nrate = 30\n")
    run_dir, notes = bulkreset.home / "run", bulkreset.home / "notes"
    (bulkreset.home / "sitecustomize.py").write_text(NOTING.format(str(notes)), encoding="utf-8")
    env["PYTHONPATH"] = str(bulkreset.home)
    changes: list[Change] = []

    def times(place: lane_targets.Place) -> list[float]:
        return sorted(call.time for call in sim.calls(SET) if call.account == place.account)

    def change_rate(rate: float, *flags: str) -> None:
        asked = time.monotonic()
        assert command(bulkreset, "control", run_dir, *flags).code == 0
        changes.append((asked, time.monotonic(), rate))

    def wait_for_calls(calls: int) -> None:
        """Wait until each lane has sent so many calls that the last command certainly applies."""
        since = changes[-1][1] + FOLLOWS
        wait_until(lambda: all(sum(at > since for at in times(place)) >= calls for place in pair))

    with bulkreset.start("run", job, "--yes", "--cluster", where, "--run-dir", run_dir, env=env) as process:
        changes.append((0.0, 0.0, 30.0))
        wait_for_calls(60)
        change_rate(5, "--rate", "5")
        wait_for_calls(20)
        change_rate(20, "--rate", "20")
        wait_for_calls(60)
        change_rate(0, "--pause")
        time.sleep(FOLLOWS + PAUSE)
        change_rate(20, "--continue")
        ran = finish(process, run_dir)
    assert ran.code == 0
    assert_they_agree(ran, sim)
    assert assert_paced(notes.read_text(encoding="utf-8").splitlines()) >= len(lines)
    for place in pair:
        assert_followed(times(place), changes)
        _, paused, going_on = changes[2:]
        assert not [at for at in times(place) if paused[1] + FOLLOWS + LATE < at < going_on[0]]


@pytest.mark.usefixtures("storage")
def test_two_runs_that_meet_in_s3_never_take_more_than_one(bulkreset: Command, sim: Simulator, tmp_path: Path) -> None:
    """The two runs are on different machines. They know of each other only by the prefix of their mirrors."""

    def started(name: str) -> tuple[list[Argument], dict[str, str | None], Path]:
        folder = tmp_path / name
        folder.mkdir()
        source = write_csv(folder / "in.csv", [(f"{name}-{user}", word) for user, word in people(4000)])
        tables = f'[mirror]\nto = "s3://{BUCKET}/runs/"'
        job = write_job(folder, sim.url, f'path = "{source}"', tables)
        return ["run", job, "--yes", "--run-dir", folder / name], {"XDG_STATE_HOME": str(folder)}, folder / name

    def sent(name: str) -> int:
        return sum(call.username.startswith(name) for call in sim.calls(SET))

    args, env, first = started("first")
    with bulkreset.start(*args, env=env) as process:
        wait_until(lambda: sent("first") >= 24)
        args, env, second = started("second")
        with bulkreset.start(*args, env=env) as again:
            wait_until(lambda: sent("second") >= 60)
            assert limited_by(first, "shared")
            assert limited_by(second, "shared")
            assert command(bulkreset, "control", second, "--stop").code == 0
            assert finish(again, second).code == 143
        wait_until(lambda: limited_by(first, ""))
        before = sent("first")
        wait_until(lambda: sent("first") >= before + 60)
        assert command(bulkreset, "control", first, "--stop").code == 0
        assert finish(process, first).code == 143
    assert Journal.state_in(first / "journal.sqlite").lanes[0].ceiling == 24
    assert_followed(sorted(call.time for call in sim.calls(SET)), [(0.0, 0.0, 24.0)])


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize("where", ["none", "local:1"])
def test_leases_are_renewed_while_a_run_is_paused(bulkreset: Command, sim: Simulator, where: str) -> None:
    source = write_csv(bulkreset.home / "in.csv", people(60))
    tables = f'[mirror]\nto = "s3://{BUCKET}/runs/"\n[pace]\nrate = 10'
    job = write_job(bulkreset.home, sim.url, f'path = "{source}"', tables)
    run_dir = bulkreset.home / "run"
    with bulkreset.start("run", job, "--yes", "--cluster", where, "--run-dir", run_dir) as process:
        wait_until(lambda: sim.calls(SET))
        assert command(bulkreset, "control", run_dir, "--pause").code == 0
        wait_until(lambda: limited_by(run_dir, "paused"))
        time.sleep(LEASE + 5)
        assert command(bulkreset, "control", run_dir, "--continue").code == 0
        ran = finish(process, run_dir)
    assert ran.code == 0
    assert_they_agree(ran, sim)
    assert not [event for event in ran.log if event["event"] == "worker_lost"]
