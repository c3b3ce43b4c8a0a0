"""Collects each lane's rate changes from all threads for the journal."""

import threading
from collections.abc import Sequence

from bulkreset.models import RateChange

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

    def take_due(self, now_ms: int) -> Sequence[RateChange]:
        """Remove and return the changes that may be written at `now_ms` (Unix milliseconds)."""
        if not self._latest:
            return ()
        with self._lock:
            lanes = [lane for lane in self._latest if now_ms - self._written.get(lane, -SPACING_MS) >= SPACING_MS]
            self._written.update(dict.fromkeys(lanes, now_ms))
            return [self._latest.pop(lane) for lane in lanes]

    def take_rest(self) -> Sequence[RateChange]:
        """Remove and return all changes that are not yet written."""
        with self._lock:
            rest, self._latest = list(self._latest.values()), {}
            return rest
