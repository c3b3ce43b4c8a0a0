"""The log of every call, and its counts."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """One call and its result; `time` (arrival) and `done` are monotonic seconds.

    `answer` is "ok", an error code, "cut", "hang", "garbage" or "http 5xx". `done` is None
    while no answer was sent and the connection is open. For AssumeRole, `pool` is the role.
    """

    index: int
    time: float
    operation: str
    account: str
    region: str
    pool: str
    username: str
    password: str | None
    permanent: bool | None
    access_key: str
    request_id: str
    answer: str
    applied: bool
    done: float | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts over all calls since the start or the last reset."""

    total: int
    applied: int
    operations: Mapping[str, Mapping[str, int]]
    max_per_second: Mapping[str, int]
    lanes: Mapping[str, Mapping[str, int]]
    max_in_flight: int
    overlapping_calls: int
    users_applied_more_than_once: int

    def count(self, operation: str | None = None, answer: str | None = None) -> int:
        """Count calls of one operation or all, with one answer or any."""
        return sum(
            number
            for name, answers in self.operations.items()
            for said, number in answers.items()
            if operation in {None, name} and answer in {None, said}
        )


class _Window:
    """The greatest number of events in any one second, (t - 1 s, t]."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self.highest = 0

    def add(self, now: float) -> None:
        times = self._times
        times.append(now)
        while times[0] <= now - 1:
            times.popleft()
        self.highest = max(self.highest, len(times))


class CallLog:
    """All calls in order of arrival, with running counts that need no second pass."""

    def __init__(self) -> None:
        """Start empty."""
        # False: only count, because a run of millions need not keep them all.
        self.keep = True
        self._calls: list[Call] = []
        self._done: dict[int, float] = {}
        self._total = 0
        self._applied = 0
        self._answers: dict[str, Counter[str]] = {}
        self._windows: dict[tuple[str, ...], _Window] = {}
        self._busy: Counter[tuple[str, str]] = Counter()
        self._flying: set[int] = set()
        self._max_in_flight = 0
        self._overlapping = 0

    @property
    def total(self) -> int:
        """Return how many calls arrived; the index of the next one."""
        return self._total

    def add(self, call: Call, *, waits: bool) -> None:
        """Add a call with its result; `waits` if its caller certainly waits for the answer."""
        self._total += 1
        self._applied += call.applied
        self._answers.setdefault(call.operation, Counter())[call.answer] += 1
        if self.keep:
            self._calls.append(call)
        lane = f"{call.account}/{call.region}"
        for key in ((call.operation,), (lane, call.operation)):
            window = self._windows.get(key)
            if window is None:
                window = self._windows[key] = _Window()
            window.add(call.time)
        user = (call.pool, call.username)
        if call.username and user in self._busy:
            self._overlapping += 1
        # A caller that timed out may call again before its hang-up is noticed here.
        if waits:
            self._flying.add(call.index)
            self._max_in_flight = max(self._max_in_flight, len(self._flying))
            self._busy[user] += 1

    def leave(self, call: Call, now: float) -> None:
        """Record that the call is answered, or that its connection is closed."""
        if self.keep:
            self._done[call.index] = now
        if call.index not in self._flying:
            return
        self._flying.remove(call.index)
        user = (call.pool, call.username)
        self._busy[user] -= 1
        if not self._busy[user]:
            del self._busy[user]

    def since(self, index: int) -> list[dict[str, Any]]:
        """Return the kept calls from `index` on, as JSON objects."""
        done = self._done
        return [asdict(call) | {"done": done.get(call.index)} for call in self._calls[index:]]

    def stats(self, repeated: int) -> Stats:
        """Return the counts; `repeated` is the pools' count of users set more than once."""
        lanes: dict[str, dict[str, int]] = {}
        total: dict[str, int] = {}
        for key, window in self._windows.items():
            own = lanes.setdefault(key[0], {}) if len(key) > 1 else total
            own[key[-1]] = window.highest
        return Stats(
            total=self._total,
            applied=self._applied,
            operations={name: dict(c) for name, c in self._answers.items()},
            max_per_second=total,
            lanes=lanes,
            max_in_flight=self._max_in_flight,
            overlapping_calls=self._overlapping,
            users_applied_more_than_once=repeated,
        )
