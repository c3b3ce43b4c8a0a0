"""Shares a lane's rate among runs of one machine: each holds a locked file in the user's state folder."""

import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol, Self

from bulkreset.errors import Busy
from bulkreset.files import create_file
from bulkreset.log import Log
from bulkreset.send.rate_ceiling import Limit

SHARED: Final = "shared"
LOOK_AT_FOLDER_SECONDS: Final = 1.0  # seconds between two reads of a folder
_SUFFIX: Final = ".lock"

Mode = Literal["split", "wait", "refuse"]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """How many other runs send in a lane, and how many of them began before this one. `example` names one of them.

    `split_by` is the smallest number of runs by which one of the others splits the quota.
    """

    others: int = 0
    earlier: int = 0
    example: str = ""
    split_by: int = 0

    @classmethod
    def of(cls, own: str, found: Mapping[str, tuple[str, int]]) -> Self:
        """Return what the run named `own` knows if it finds these runs: their names, and by how many they split."""
        if not found:
            return cls()
        earlier = sum(name < own for name in found)
        return cls(len(found), earlier, found[min(found)][0], min(runs for _, runs in found.values()))


class Presence(Protocol):
    """Announces a run to others in the same lane, until it is closed."""

    def neighbours(self) -> Neighbours:
        """Return the other runs in the lane."""

    def publish(self, split_by: int) -> None:
        """Announce by how many runs this one splits the quota; it is 1 until this is called."""

    def close(self) -> None:
        """Leave the lane."""


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of this user's state."""
    named = environment.get("XDG_STATE_HOME", "")
    return (Path(named) if named.startswith("/") else Path.home() / ".local" / "state") / "bulkreset"


def new_name() -> str:
    """Return a name for a run in a lane; names sort by the time of entry."""
    return f"{time.time_ns():020d}-{secrets.token_hex(4)}"


def lane_folder(lane: str) -> str:
    """Return the name of a lane's folder."""
    return re.sub(r"[^A-Za-z0-9-]", "_", lane)


class LocalPresence:
    """A file that this process keeps locked. A file without a lock belongs to a dead process and is deleted."""

    def __init__(self, folder: Path, run_dir: str) -> None:
        """Enter the lane. Raises OSError if the folder cannot be used."""
        for parent in (*reversed(folder.parents), folder):  # with `parents=True`, others could read the new parents
            parent.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self._run_dir = run_dir
        while True:
            self._path = folder / f"{new_name()}{_SUFFIX}"
            self._lock = create_file(self._path)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if os.fstat(self._lock).st_nlink:
                break
            os.close(self._lock)  # another process deleted it before it was locked
        self.publish(1)

    def neighbours(self) -> Neighbours:
        """Return the other live runs in the lane."""
        found: list[Path] = []
        with suppress(OSError):
            found = sorted(path for path in self._folder.iterdir() if path.name.endswith(_SUFFIX))
        others = [path for path in found if path != self._path and self._is_alive(path)]
        return Neighbours.of(self._path.name, {path.name: self._read(path) for path in others})

    def publish(self, split_by: int) -> None:
        """Announce by how many runs this one splits the quota.

        They read it again if it cannot be written now.
        """
        body = json.dumps({"run_dir": self._run_dir, "pid": os.getpid(), "split_by": split_by})
        with suppress(OSError):
            # padded, so that a shorter number overwrites a longer one
            os.pwrite(self._lock, (body + " " * 8).encode(), 0)

    def close(self) -> None:
        """Leave the lane."""
        with suppress(OSError):
            self._path.unlink()
        os.close(self._lock)

    def _is_alive(self, path: Path) -> bool:
        try:
            opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(OSError):
                path.unlink()
        except OSError:
            return True
        finally:
            os.close(opened)
        return False

    def _read(self, path: Path) -> tuple[str, int]:
        """Return which run it is, and by how many runs it splits; 0 if that is unreadable."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            content: Any = json.loads(path.read_bytes()[:4096])
            return str(content["run_dir"]), int(content["split_by"])
        return "another run", 0


@dataclass(slots=True)
class _SharedLane:
    """A lane that the run is in. `admitted`: all runs found there split the quota with it, so it may send."""

    presences: list[Presence]
    looked_at: float = float("-inf")
    found: Neighbours = field(default_factory=Neighbours)
    admitted: bool = False


class SharedLanes:
    """A source of limits: other runs in the same lanes. The job says whether to split the quota, to wait, or to refuse.

    `share` is the job's share of the quota, which the runs split. A run that splits sends nothing until all others that
    it finds announce that they split with it. So all together never use more than the share, even if they read late.
    """

    def __init__(self, mode: Mode, share: float, log: Log, now: Callable[[], float] = time.monotonic) -> None:
        self._mode = mode
        self._share = share
        self._log = log
        self._now = now
        self._lanes: dict[str, _SharedLane] = {}

    def enter(self, lane: str, presences: Iterable[Presence]) -> None:
        """Announce the run in a lane. Raises Busy if another run is there and the job says so."""
        entered = self._lanes[lane] = _SharedLane([*presences])
        found = self._look(entered)
        entered.admitted = not found.others
        if found.others and self._mode == "refuse" and found.earlier:
            raise Busy(
                f"Another run sends in {lane}: {found.example}.",
                'Wait for it, then resume; or set pace.shared to "split" or "wait".',
            )
        if found.others:
            self._log_neighbours(lane, found)

    def limits(self, lane: str, _call: str, quota: float) -> Iterable[Limit]:
        """Return an equal part of the job's share of the quota, or 0 while the run must wait for another one."""
        entered = self._lanes.get(lane)
        if entered is None:
            return
        before = entered.found
        found = self._look(entered)
        if found.others > before.others:
            self._log_neighbours(lane, found)
        if self._mode == "wait" and found.earlier:
            yield Limit(0.0, SHARED)
        elif self._mode == "split" and found.others:
            entered.admitted |= found.split_by > found.others
            yield Limit(round(quota * self._share / (found.others + 1), 3) if entered.admitted else 0.0, SHARED)

    def close(self) -> None:
        """Leave all lanes."""
        for lane in self._lanes.values():
            for presence in lane.presences:
                presence.close()
        self._lanes = {}

    def _look(self, lane: _SharedLane) -> Neighbours:
        """Return the result of the presences; the one that knows most runs counts, as several may know a run."""
        if self._now() >= lane.looked_at + LOOK_AT_FOLDER_SECONDS:
            lane.looked_at = self._now()
            for presence in lane.presences:  # the previous result is in force until this one
                presence.publish(lane.found.others + 1 if self._mode == "split" else 1)
            known = [presence.neighbours() for presence in lane.presences]
            most = max(known, key=lambda found: found.others, default=Neighbours())
            earlier = max((found.earlier for found in known), default=0)
            split_by = min((found.split_by for found in known if found.others), default=0)
            lane.found = Neighbours(most.others, earlier, most.example, split_by)
        return lane.found

    def _log_neighbours(self, lane: str, found: Neighbours) -> None:
        self._log.warning("lane_shared", lane=lane, others=found.others, mode=self._mode, example=found.example)
