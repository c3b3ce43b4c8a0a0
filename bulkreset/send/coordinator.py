"""The coordinator: the one thread that claims rows, feeds the lanes and records outcomes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import Empty
from typing import Any, Protocol

from bulkreset.cognito.response import Answer, advice
from bulkreset.errors import ServiceError, Stopped
from bulkreset.models import Outcome, SignedOut
from bulkreset.send.clock import Clock
from bulkreset.send.lane import AnyLane, Crash, Place, Result, Results
from bulkreset.send.operations import Told

GROUP_SECONDS = 0.1  # an outcome waits no longer than this for its commit
GROUP_ROWS = 500
LOT_SECONDS = 0.005  # results are taken in lots: to wake for each would cost more than to take it
TURN_SECONDS = 0.04  # how long results are gathered before the lanes are looked at again: many lanes share one commit


class Ledger(Protocol):
    """What the coordinator needs of the journal: claims and outcomes, committed together."""

    def record(self, claims: Sequence[int], outcomes: Sequence[Outcome], signed_out: Sequence[SignedOut] = ()) -> None:
        """Commit, durably. Raises RecordError where that is not possible."""

    def secure(self) -> None:
        """Have what is committed wherever it must be before anything is sent on it. Raises RecordError, Busy."""


class Supply(Protocol):
    """The rows that are to go through a lane."""

    @property
    def ended(self) -> bool:
        """Whether the last `take` has found that there are no more."""

    def take(self, most: int) -> Sequence[Any]:
        """Up to `most` rows; fewer, or none, where the next ones are still looked for. Does not wait."""

    def drop(self) -> None:
        """Nothing more will be taken."""


class Watch(Protocol):
    """Who looks on, and may stop it."""

    def check(self) -> None:
        """Raise where all sending must stop."""

    def hear(self, place: Place, told: Told) -> None:
        """Hear what has come back, before it is committed."""

    def observe(self, told: Sequence[tuple[AnyLane, Told]]) -> None:
        """Hear what is committed."""

    def stopped(self, place: Place, error: Stopped) -> None:
        """Hear that nothing more is sent to a place."""

    def tripped(self, place: Place) -> Stopped | None:
        """Why nothing more may be sent to a place, of which something was heard; None where it may."""


@dataclass(slots=True, eq=False)
class Feed:
    """A lane and the rows that are to go through it. One that comes `after` another may get rows as long as that lives."""

    lane: AnyLane
    supply: Supply
    after: "Feed | None" = None
    done: bool = field(default=False)


class Coordinator:
    """Runs feeds to their end, or to a stop. Nothing is sent whose claim is not committed.

    A place whose calls cannot succeed, or whose guard is tripped, is stopped; the others go on, unless `together`.
    `patience` is how many seconds a stop waits for what is in flight.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        results: Results,
        watch: Watch,
        patience: float = 60.0,
        *,
        together: bool = False,
    ) -> None:
        self.stopped: dict[int, Stopped] = {}  # by the place's number, the first one first
        self._ledger = ledger
        self._clock = clock
        self._results = results
        self._watch = watch
        self._patience = patience
        self._together = together
        self._feeds: Sequence[Feed] = ()
        self._told: list[tuple[AnyLane, Told]] = []
        self._group_since = 0.0
        self._crash: BaseException | None = None
        self._ending = False

    def run(self, feeds: Sequence[Feed]) -> None:
        """Send everything. Raises what the watch raises, RecordError, and at the end what stopped a place first.

        On a stop of any kind, what is in flight is finished and recorded before this raises.
        """
        self._feeds = feeds
        try:
            while True:
                self._watch.check()
                self._claim()
                if self._crash or (self.stopped and self._together):
                    break
                if self._is_over():
                    break
                self._collect()
        finally:
            self._wind_up()
        if self._crash:
            raise self._crash
        for error in self.stopped.values():
            raise error

    def _is_busy(self) -> bool:
        return any(feed.lane.outstanding for feed in self._feeds)

    def _is_over(self) -> bool:
        """Whether nothing is left to be sent or waited for: what comes back last needs no guard to look at it."""
        return all(feed.done for feed in self._feeds) and not self._is_busy()

    def _claim(self) -> None:
        """Take rows for every lane that has room; commit their claims; hand them over."""
        taken: list[tuple[AnyLane, Sequence[Any]]] = []
        for feed in self._feeds:
            lane = feed.lane
            if feed.done or lane.stop.is_set():
                continue
            if room := lane.room():
                if rows := feed.supply.take(room):
                    taken.append((lane, rows))
                ended = feed.supply.ended
                feed.done = ended and (feed.after is None or self._is_settled(feed.after, [lane for lane, _ in taken]))
        claims = [row.number for lane, rows in taken if lane.errand.claimed for row in rows]
        if claims:
            self._commit(claims)
            self._secure(taken)
        for lane, rows in taken:
            lane.put(rows)
        for feed in self._feeds:
            if feed.lane.outstanding:
                feed.lane.staff()

    def _is_settled(self, feed: Feed, taking: Sequence[AnyLane]) -> bool:
        """Whether all that went through a feed is in the ledger; what was taken for a lane just now is not even out."""
        return feed.done and not feed.lane.outstanding and feed.lane not in taking and not self._told

    def _collect(self) -> None:
        """Gather results for a turn, or until a lane that is not paced wants rows; commit a group that is full or old."""
        began = self._clock.now()
        while len(self._told) < GROUP_ROWS and (left := TURN_SECONDS - (self._clock.now() - began)) > 0:
            try:
                found = self._results.get(timeout=left)
            except Empty:
                break
            if found is None:
                break
            self._take(*found)
            if self._crash or (found[0].pacer.ceiling is None and found[0].room()):
                break
            if self._results.empty():
                time.sleep(LOT_SECONDS)
        due = self._clock.now() - self._group_since >= GROUP_SECONDS or not self._is_busy()
        if len(self._told) >= GROUP_ROWS or (self._told and due and not self._is_over()):
            self._commit([])

    def _take(self, lane: AnyLane, result: Result) -> None:
        lane.took_back(result)
        if isinstance(result, Crash):
            self._crash = result.error
            return
        if not self._told:
            self._group_since = self._clock.now()
        self._told.append((lane, result.outcome))
        self._watch.hear(lane.place, result.outcome)
        if result.fatal:
            fatal = result.fatal
            self._stop(lane.place, fatal if isinstance(fatal, Stopped) else _service_error(fatal, lane))
        if not (
            self._ending or self._is_over()
        ):  # each by itself: a guard stops new calls at once, and misses no streak
            self._watch.check()
            if error := self._watch.tripped(lane.place):
                self._stop(lane.place, error)

    def _commit(self, claims: Sequence[int]) -> None:
        outcomes = [outcome for _, outcome in self._told if isinstance(outcome, Outcome)]
        signed_out = [outcome for _, outcome in self._told if isinstance(outcome, SignedOut)]
        self._ledger.record(claims, outcomes, signed_out)
        told, self._told = self._told, []
        self._watch.observe(told)

    def _secure(self, taken: Sequence[tuple[AnyLane, Sequence[Any]]]) -> None:
        """Have the claims of these rows secured; where that is not possible none of them was sent, so they are given back."""
        try:
            self._ledger.secure()
        except BaseException:
            for lane, rows in taken:
                errand = lane.errand
                if errand.claimed:
                    self._told += [(lane, errand.settle(row, errand.begin(row), 1)) for row in rows]
            raise

    def _stop(self, place: Place, error: Stopped) -> None:
        """Send nothing more to a place. What of it is in flight comes back and is recorded."""
        if place.number in self.stopped:
            return
        if place.name:
            error.message = f"{place.name}: {error.message}"
        self.stopped[place.number] = error
        self._watch.stopped(place, error)
        place.stop.set()
        for feed in self._feeds:
            if feed.lane.place is place:
                feed.done = True
                feed.supply.drop()
                feed.lane.give_back()

    def _wind_up(self) -> None:
        """Stop the lanes, take what is still in flight, record it."""
        self._ending = True
        for feed in self._feeds:
            feed.lane.stop.set()
            feed.lane.give_back()
        until = self._clock.now() + self._patience
        while self._is_busy():
            try:
                found = self._results.get(timeout=max(0.0, until - self._clock.now()))
            except Empty:  # an answer that drips and never ends: its row stays claimed, which reads as in doubt
                break
            if found:
                self._take(*found)
        for feed in self._feeds:
            feed.lane.close()
        if self._told:
            self._commit([])


def _service_error(answer: Answer, lane: AnyLane) -> ServiceError:
    code, message = answer.code, answer.message.rstrip(".")
    said = f"Cognito answered {code}: {message}." if message else f"Cognito answered {code}."
    return ServiceError(code, said, advice(code, lane.errand.call))
