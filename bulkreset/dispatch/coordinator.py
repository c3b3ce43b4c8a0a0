"""The coordinator: the one thread that claims rows, feeds the lanes and records outcomes."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Protocol

from bulkreset.cognito.answer import Answer, advice
from bulkreset.dispatch.clock import Clock
from bulkreset.dispatch.lane import Crash, Lane, Result
from bulkreset.errors import ServiceError
from bulkreset.rows import Outcome, Row

GROUP_SECONDS = 0.1  # an outcome waits no longer than this for its commit
GROUP_ROWS = 500
LOT_SECONDS = 0.005  # results are taken in lots: to wake for each would cost more than to take it


class Ledger(Protocol):
    """What the coordinator needs of the journal: claims and outcomes, committed together."""

    def record(self, claims: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Commit, durably. Raises RecordError where that is not possible."""


@dataclass(slots=True)
class Feed:
    """A lane and the rows that are to go through it; a None among them says that the next row is still looked for."""

    lane: Lane
    rows: Iterator[Row | None]
    done: bool = field(default=False)


class Coordinator:
    """Runs feeds to their end, or to a stop. Nothing is sent whose claim is not committed.

    `observe` is told of outcomes once they are committed; `check` raises where sending must stop; `patience` is how many
    seconds a stop waits for what is in flight.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        results: "SimpleQueue[tuple[Lane, Result]]",
        observe: Callable[[Sequence[Outcome]], None],
        check: Callable[[], None],
        patience: float = 60.0,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._results = results
        self._observe = observe
        self._check = check
        self._patience = patience
        self._outcomes: list[Outcome] = []
        self._group_since = 0.0
        self._fatal: Answer | None = None
        self._crash: BaseException | None = None

    def run(self, feeds: Sequence[Feed]) -> None:
        """Send everything. Raises what `check` raises, ServiceError for an answer that forbids going on, RecordError.

        On a stop of any kind, what is in flight is finished and recorded before this raises.
        """
        try:
            while True:
                self._check()
                self._claim(feeds)
                if self._fatal or self._crash:
                    break
                if any(feed.lane.outstanding for feed in feeds):
                    self._collect()
                elif all(feed.done for feed in feeds):
                    break
        finally:
            self._wind_up(feeds)
        if self._crash:
            raise self._crash
        if self._fatal:
            code, message = self._fatal.code, self._fatal.message.rstrip(".")
            raise ServiceError(
                code, f"Cognito answered {code}: {message}." if message else f"Cognito answered {code}.", advice(code)
            )

    def _claim(self, feeds: Sequence[Feed]) -> None:
        """Take rows for every lane that has room; commit their claims; hand them over."""
        taken: list[tuple[Lane, list[Row]]] = []
        for feed in feeds:
            if feed.done or feed.lane.stop.is_set():
                continue
            if room := feed.lane.room():
                taken.append((feed.lane, _take_from(feed, room)))
        claims = [row.number for _, rows in taken for row in rows]
        if claims:
            self._commit(claims)
        for lane, rows in taken:
            lane.put(rows)
        for feed in feeds:
            feed.lane.staff()

    def _collect(self) -> None:
        """Wait for results, for as long as the group may stay open; commit a group that is full or old."""
        try:
            self._take(*self._results.get(timeout=GROUP_SECONDS))
            time.sleep(LOT_SECONDS)
            while len(self._outcomes) < GROUP_ROWS:
                self._take(*self._results.get_nowait())
        except Empty:
            pass
        if len(self._outcomes) >= GROUP_ROWS or (
            self._outcomes and self._clock.now() - self._group_since >= GROUP_SECONDS
        ):
            self._commit([])

    def _take(self, lane: Lane, result: Result) -> None:
        lane.took_back(result)
        if isinstance(result, Crash):
            self._crash = result.error
            return
        if not self._outcomes:
            self._group_since = self._clock.now()
        self._outcomes.append(result.outcome)
        self._fatal = self._fatal or result.fatal

    def _commit(self, claims: Sequence[int]) -> None:
        self._ledger.record(claims, self._outcomes)
        outcomes, self._outcomes = self._outcomes, []
        self._observe(outcomes)

    def _wind_up(self, feeds: Sequence[Feed]) -> None:
        """Stop the lanes, take what is still in flight, record it."""
        for feed in feeds:
            feed.lane.stop.set()
            feed.lane.give_back()
        until = self._clock.now() + self._patience
        while any(feed.lane.outstanding for feed in feeds):
            try:
                self._take(*self._results.get(timeout=max(0.0, until - self._clock.now())))
            except Empty:  # an answer that drips and never ends: its row stays claimed, which reads as in doubt
                break
        for feed in feeds:
            feed.lane.close()
        if self._outcomes:
            self._commit([])


def _take_from(feed: Feed, room: int) -> list[Row]:
    """Up to `room` rows; fewer where the next one is still looked for."""
    rows: list[Row] = []
    while len(rows) < room:
        try:
            row = next(feed.rows)
        except StopIteration:
            feed.done = True
            break
        if row is None:
            break
        rows.append(row)
    return rows
