"""The leavers: users whose password was set and who are to be signed out, found in the journal as they come."""

from collections.abc import Collection, Sequence

from bulkreset.journal.journal import Journal
from bulkreset.models import SignOutOutcome, SignOutTask
from bulkreset.send.clock import Clock

LOOK_SECONDS = 0.25  # between two looks at a journal that has given all it had


class SignOutSource:
    """One lane's. Only committed rows are found; those in hand are remembered until what became of them is committed."""

    def __init__(self, journal: Journal, pools: Collection[str], clock: Clock) -> None:
        self.ended = False
        self._journal = journal
        self._pools = pools
        self._clock = clock
        self._in_hand: set[int] = set()
        self._look_at = float("-inf")

    def take(self, most: int) -> Sequence[SignOutTask]:
        """Up to `most` users. `ended` only says that there are none now: a set that is still to come brings another."""
        self.ended = False
        if self._clock.now() < self._look_at:
            return []
        found: list[SignOutTask] = []
        for pool in self._pools:
            lacking = most - len(found)
            if lacking <= 0:
                break
            # Who is in hand is still pending in the journal, and may come first.
            pending = self._journal.sign_out_tasks(pool, lacking + len(self._in_hand))
            found += [leaver for leaver in pending if leaver.number not in self._in_hand][:lacking]
        if len(found) < most:
            self._look_at = self._clock.now() + LOOK_SECONDS
        self._in_hand.update(leaver.number for leaver in found)
        self.ended = not found
        return found

    def on_settled(self, outcome: SignOutOutcome) -> None:
        """What became of one is committed."""
        self._in_hand.discard(outcome.row)

    def discard_rest(self) -> None:
        """Nothing more will be taken."""
        self.ended = True
