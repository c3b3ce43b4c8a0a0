"""Commits events to the journal, and to the mirror if the run has one."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from bulkreset.clock import now_ms
from bulkreset.journal.events import Claimed, Event
from bulkreset.journal.journal import Journal
from bulkreset.journal.rate_changes import RateChanges

if TYPE_CHECKING:  # a run without one does not import it
    from bulkreset.mirror.mirror import JournalMirror


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

    def commit(self, events: Sequence[Event]) -> None:
        """Commit durably. Raises RecordError if that fails."""
        claims = sum(isinstance(event, Claimed) for event in events)
        with self._claim(claims) if claims else nullcontext():
            self._commit([*events, *self._rates.take_due(now_ms())])

    def ensure_mirrored(self) -> None:
        """Upload committed changes to the mirror, if there is one. Raises RecordError, Busy if its lease is lost."""
        if self._mirror:
            self._mirror.flush()

    def commit_rest(self) -> None:
        """Commit the rate changes that are left when nothing is sent any more. Raises RecordError if that fails."""
        if rest := self._rates.take_rest():
            self._commit(rest)
