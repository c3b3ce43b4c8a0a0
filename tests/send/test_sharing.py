"""Runs in the same lane detect each other, and share its quota as each job says."""

import io
import os
import threading
from pathlib import Path

import pytest

from bulkreset.errors import Busy
from bulkreset.log import open_log
from bulkreset.send.rate_ceiling import Limit
from bulkreset.send.sharing import (
    LOOK_AT_FOLDER_SECONDS,
    LocalPresence,
    Mode,
    Neighbours,
    SharedLanes,
    lane_folder,
    new_name,
    state_folder,
)

LANE = "123456789012/eu-west-1"


def test_runs_on_one_machine_see_each_other_until_they_leave(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "lane"
    first = LocalPresence(folder, "/runs/one")
    assert first.neighbours() == Neighbours()
    second, third = LocalPresence(folder, "/runs/two"), LocalPresence(folder, "/runs/three")
    assert first.neighbours() == Neighbours(2, 0, "/runs/two", 1)
    assert second.neighbours() == Neighbours(2, 1, "/runs/one", 1)
    assert third.neighbours() == Neighbours(2, 2, "/runs/one", 1)
    for split_by in (13, 3):  # the shorter number replaces the longer one
        second.publish(split_by)
    first.close()
    assert third.neighbours() == Neighbours(1, 1, "/runs/two", 3)
    second.close()
    third.close()
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700


def test_file_of_a_dead_run_does_not_count(tmp_path: Path) -> None:
    (tmp_path / f"{new_name()}.lock").write_text("{}", encoding="utf-8")
    (tmp_path / "note.txt").touch()
    (tmp_path / f"{new_name()}.lock").symlink_to("note.txt")
    it = LocalPresence(tmp_path, "/runs/one")
    assert it.neighbours() == Neighbours()
    it.close()


def test_runs_that_start_together_all_see_the_others(tmp_path: Path) -> None:
    made: list[LocalPresence] = []
    threads = [threading.Thread(target=lambda: made.append(LocalPresence(tmp_path, "r"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [one.neighbours() for one in made]
    assert [one.others for one in found] == [7] * 8
    assert sorted(one.earlier for one in found) == [*range(8)]
    for one in made:
        one.close()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_STATE_HOME": "/state"}, Path("/state/bulkreset")),
        ({"XDG_STATE_HOME": "relative"}, Path.home() / ".local/state/bulkreset"),
        ({}, Path.home() / ".local/state/bulkreset"),
    ],
)
def test_state_folder(environment: dict[str, str], expected: Path) -> None:
    assert state_folder(environment) == expected


def test_lane_is_not_a_path() -> None:
    assert lane_folder("../1/eu-west-1") == "___1_eu-west-1"


class FixedPresence:
    """A presence that the test controls."""

    def __init__(self, found: Neighbours) -> None:
        self.found, self.is_closed, self.published = found, False, list[int]()

    def neighbours(self) -> Neighbours:
        """Return what the test has set."""
        return self.found

    def publish(self, split_by: int) -> None:
        """Record what is announced."""
        self.published.append(split_by)

    def close(self) -> None:
        """Leave."""
        self.is_closed = True


class RunInALane:
    """A run in one lane, on a clock that does not advance."""

    def __init__(self, mode: Mode, *found: Neighbours) -> None:
        self.out, self.now = io.StringIO(), 0.0
        self.known = [FixedPresence(one) for one in found]
        self.it = SharedLanes(mode, 0.8, open_log(self.out, "id", None), lambda: self.now)

    def limits(self) -> list[Limit]:
        """Return the limits of the lane after the next check."""
        self.now += LOOK_AT_FOLDER_SECONDS
        return list(self.it.limits(LANE, "", 30.0))


@pytest.mark.parametrize(
    ("mode", "found", "expected"),
    [
        ("split", [Neighbours()], []),
        ("split", [Neighbours(1, 1, "r", 2)], [Limit(12.0, "shared")]),
        ("split", [Neighbours(1, 0, "r", 3)], [Limit(12.0, "shared")]),
        ("split", [Neighbours(1, 1, "r", 1)], [Limit(0.0, "shared")]),
        ("split", [Neighbours(1, 0, "r", 0)], [Limit(0.0, "shared")]),  # one that does not announce it
        ("split", [Neighbours(1, 0, "r", 3), Neighbours(2, 0, "r", 3)], [Limit(8.0, "shared")]),
        ("split", [Neighbours(1, 0, "r", 2), Neighbours(2, 0, "r", 3)], [Limit(0.0, "shared")]),
        ("split", [], []),
        ("wait", [Neighbours(2, 0, "r")], []),
        ("wait", [Neighbours(2, 0, "r"), Neighbours(1, 1, "r")], [Limit(0.0, "shared")]),
        ("refuse", [Neighbours(2, 0, "r")], []),
    ],
)
def test_limit(mode: Mode, found: list[Neighbours], expected: list[Limit]) -> None:
    lane = RunInALane(mode, *found)
    lane.it.enter(LANE, lane.known)
    assert lane.limits() == expected
    assert list(lane.it.limits("other", "", 30.0)) == []


def test_later_run_is_refused_and_says_who_is_there() -> None:
    lane = RunInALane("refuse", Neighbours(1, 1, "/runs/one"))
    with pytest.raises(Busy, match="/runs/one"):
        lane.it.enter(LANE, lane.known)
    lane.it.close()
    assert [one.is_closed for one in lane.known] == [True]


def test_more_runs_are_reported_and_the_limit_ends_when_they_do() -> None:
    lane = RunInALane("split", Neighbours())
    lane.it.enter(LANE, lane.known)
    assert lane.limits() == []
    lane.known[0].found = Neighbours(1, 0, "/runs/two", 1)
    assert lane.limits() == [Limit(12.0, "shared")]
    assert lane.limits() == [Limit(12.0, "shared")]
    assert lane.out.getvalue().count("lane_shared") == 1
    lane.known[0].found = Neighbours()
    assert lane.limits() == []


def test_a_split_is_reported_when_it_is_in_force() -> None:
    lane = RunInALane("split", Neighbours())
    lane.it.enter(LANE, lane.known)
    lane.known[0].found = Neighbours(1, 0, "/runs/two", 1)
    lane.limits()
    assert lane.known[0].published == [1, 1]  # announced only when this limit has been returned
    lane.limits()
    assert lane.known[0].published == [1, 1, 2]


def test_a_run_that_was_admitted_sends_on_when_more_runs_come() -> None:
    lane = RunInALane("split", Neighbours(1, 1, "/runs/one", 2))
    lane.it.enter(LANE, lane.known)
    assert lane.limits() == [Limit(12.0, "shared")]
    lane.known[0].found = Neighbours(2, 1, "/runs/one", 1)
    assert lane.limits() == [Limit(8.0, "shared")]


@pytest.mark.parametrize("mode", ["wait", "refuse"])
def test_a_run_that_does_not_split_says_so(mode: Mode) -> None:
    lane = RunInALane(mode, Neighbours(1, 0, "/runs/two", 1))
    lane.it.enter(LANE, lane.known)
    lane.limits()
    assert set(lane.known[0].published) == {1}


def test_lock_ends_with_the_process(tmp_path: Path) -> None:
    killed, it = LocalPresence(tmp_path, "/runs/killed"), LocalPresence(tmp_path, "/runs/one")
    assert it.neighbours() == Neighbours(1, 1, "/runs/killed", 1)
    os.close(killed._lock)  # as the system does when the process ends
    assert it.neighbours() == Neighbours()
    it.close()
    assert list(tmp_path.iterdir()) == []
