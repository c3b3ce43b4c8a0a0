"""The rates: how each lane's pace changed, gathered from its threads for the journal."""

import threading
from collections.abc import Sequence

from bulkreset.models import RateChange

SPACING_MS = 1000  # a lane notes no more than one change in this time: the latest


class RateChanges:
    """Changes that are told by any thread, and written down by one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: dict[tuple[str, str], RateChange] = {}
        self._written: dict[tuple[str, str], int] = {}

    def add(self, change: RateChange) -> None:
        """Something has changed; what the lane has not yet written down is overtaken."""
        with self._lock:
            self._latest[change.account, change.region] = change

    def take_due(self, now_ms: int) -> Sequence[RateChange]:
        """What may be written down now, at Unix milliseconds."""
        if not self._latest:
            return ()
        with self._lock:
            lanes = [lane for lane in self._latest if now_ms - self._written.get(lane, -SPACING_MS) >= SPACING_MS]
            self._written.update(dict.fromkeys(lanes, now_ms))
            return [self._latest.pop(lane) for lane in lanes]

    def take_rest(self) -> Sequence[RateChange]:
        """What has not been written down."""
        with self._lock:
            rest, self._latest = list(self._latest.values()), {}
            return rest
