"""The source of users to sign out: users whose password was set, read from the journal while sending continues."""

from collections.abc import Collection, Sequence

from bulkreset.clock import Clock
from bulkreset.journal.reader import JournalReader
from bulkreset.models import SignOutOutcome, SignOutTask

LOOK_SECONDS = 0.25  # between two queries if the journal had no more users


class SignOutSource:
    """The users to sign out in one lane. Only committed rows are found.

    Users taken are remembered until their outcome is committed, so that none is taken twice.
    """

    def __init__(self, journal: JournalReader, pools: Collection[str], clock: Clock) -> None:
        self.ended = False
        self._journal = journal
        self._pools = pools
        self._clock = clock
        self._in_hand: set[int] = set()
        self._look_at = float("-inf")

    def take(self, most: int) -> Sequence[SignOutTask]:
        """Return up to `most` users. `ended` only means that there are none now: the next password set adds a user."""
        self.ended = False
        if self._clock.now() < self._look_at:
            return []
        found: list[SignOutTask] = []
        for pool in self._pools:
            lacking = most - len(found)
            if lacking <= 0:
                break
            # Users already taken are still pending in the journal and may come first.
            pending = self._journal.sign_out_tasks(pool, lacking + len(self._in_hand))
            found += [leaver for leaver in pending if leaver.number not in self._in_hand][:lacking]
        if len(found) < most:
            self._look_at = self._clock.now() + LOOK_SECONDS
        self._in_hand.update(leaver.number for leaver in found)
        self.ended = not found
        return found

    def on_settled(self, outcome: SignOutOutcome) -> None:
        """Forget a user whose outcome was committed."""
        self._in_hand.discard(outcome.row)

    def discard_rest(self) -> None:
        """End the source; `take` is not called again."""
        self.ended = True
