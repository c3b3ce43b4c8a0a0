"""Commits events, and the rate changes that are due, to the journal, and to the mirror if the run has one."""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from bulkreset.clock import now_ms
from bulkreset.journal.journal import Journal
from bulkreset.models import Claimed, Event, RateChange

if TYPE_CHECKING:  # a run without one does not import it
    from bulkreset.mirror.mirror import JournalMirror


SPACING_MS = 1000  # at most one change, the latest, is stored per lane in this time


class RateChanges:
    """Rate changes that any thread adds and one thread writes to the journal."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: dict[tuple[str, str], RateChange] = {}
        self._written: dict[tuple[str, str], int] = {}

    def add(self, change: RateChange) -> None:
        """Add a change; it replaces a change of the same lane that is not yet written."""
        with self._lock:
            self._latest[change.account, change.region] = change

    def take_due(self, now: int) -> Sequence[RateChange]:
        """Remove and return the changes that may be written at `now` (Unix milliseconds)."""
        if not self._latest:
            return ()
        with self._lock:
            lanes = [lane for lane in self._latest if now - self._written.get(lane, -SPACING_MS) >= SPACING_MS]
            self._written.update(dict.fromkeys(lanes, now))
            return [self._latest.pop(lane) for lane in lanes]

    def take_rest(self) -> Sequence[RateChange]:
        """Remove and return all changes that are not yet written."""
        with self._lock:
            rest, self._latest = list(self._latest.values()), {}
            return rest


class Recorder:
    """The coordinator's way to the journal. Rate changes that are due are committed with its events."""

    def __init__(
        self,
        journal: Journal,
        mirror: "JournalMirror | None",
        rates: RateChanges,
        claim: Callable[[int], AbstractContextManager[None]] = lambda _rows: nullcontext(),
    ) -> None:
        self._mirror = mirror
        self._commit = mirror.commit if mirror else journal.write.commit
        self._rates = rates
        self._claim = claim

    def commit(self, events: Sequence[Event], claims: Sequence[Claimed] = ()) -> None:
        """Commit durably. Raises RecordError if that fails."""
        with self._claim(len(claims)) if claims else nullcontext():
            self._commit([*events, *claims, *self._rates.take_due(now_ms())])

    def ensure_mirrored(self) -> None:
        """Upload committed changes to the mirror, if there is one. Raises RecordError, Busy if its lease is lost."""
        if self._mirror:
            self._mirror.flush()

    def commit_rest(self) -> None:
        """Commit the remaining rate changes after the last call. Raises RecordError if that fails."""
        if rest := self._rates.take_rest():
            self._commit(rest)
