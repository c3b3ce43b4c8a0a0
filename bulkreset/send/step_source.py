"""The source of users for a step: users whose password was set, read from the journal while sending continues."""

from collections.abc import Callable, Collection, Sequence

from bulkreset.clock import Clock
from bulkreset.models import StepOutcome, StepTask

BETWEEN_QUERIES_SECONDS = 0.25  # between two queries if the journal had no more users

Pending = Callable[[str, int], Sequence[StepTask]]


class StepSource:
    """The users of a step in one lane. Only committed rows are found.

    `pending` returns at most the given number of users of a pool whose next step this is. A user who was taken is
    remembered until the outcome is committed, so that nobody is taken twice.
    """

    def __init__(self, pending: Pending, pools: Collection[str], clock: Clock) -> None:
        self.ended = False
        self._pending = pending
        self._pools = pools
        self._clock = clock
        self._in_hand: set[int] = set()
        self._look_at = float("-inf")

    def take(self, most: int) -> Sequence[StepTask]:
        """Return up to `most` users. `ended` only means that there are none now: the next password set adds a user."""
        self.ended = False
        if self._clock.now() < self._look_at:
            return []
        found: list[StepTask] = []
        for pool in self._pools:
            lacking = most - len(found)
            if lacking <= 0:
                break
            # Users already taken are still pending in the journal and may come first.
            pending = self._pending(pool, lacking + len(self._in_hand))
            found += [task for task in pending if task.number not in self._in_hand][:lacking]
        if len(found) < most:
            self._look_at = self._clock.now() + BETWEEN_QUERIES_SECONDS
        self._in_hand.update(task.number for task in found)
        self.ended = not found
        return found

    def on_settled(self, outcome: StepOutcome) -> None:
        """Forget a user whose outcome was committed."""
        self._in_hand.discard(outcome.row)

    def discard_rest(self) -> None:
        """End the source; `take` is not called again."""
        self.ended = True
