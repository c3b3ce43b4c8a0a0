"""Row sources that limit how many rows one execution sends over all lanes, and when rows may be taken."""

from collections.abc import Callable, Sequence
from typing import Any

from bulkreset.send.coordinator import RowSource


class RowBudget:
    """The number of rows that may still be sent in all lanes together; None without a limit.

    `taken` is how many were taken. `by` names the limit.
    """

    def __init__(self, rows: int | None, by: str = "") -> None:
        self._limit = rows
        self.by = by
        self.taken = 0

    @property
    def remaining(self) -> int | None:
        """Return how many more rows may be taken; None without a limit."""
        return None if self._limit is None else max(0, self._limit - self.taken)

    def lower(self, rows: int, by: str) -> None:
        """Limit all rows, including those already taken, to `rows`, unless the limit is lower."""
        if self._limit is None or rows < self._limit:
            self._limit, self.by = rows, by


class LimitedSource:
    """A row source that ends when the budget is used up, and gives rows only while `is_open` returns True."""

    def __init__(self, source: RowSource, budget: RowBudget, is_open: Callable[[], bool] = lambda: True) -> None:
        self._source = source
        self._budget = budget
        self._is_open = is_open

    @property
    def ended(self) -> bool:
        """Return whether the last `take` found no more rows, or the budget is used up."""
        return self._source.ended or self._budget.remaining == 0

    def take(self, most: int) -> Sequence[Any]:
        """Return up to `most` rows, but no more than the remaining budget; none while the gate is closed."""
        left = self._budget.remaining
        if left == 0 or not self._is_open():
            return []
        taken = self._source.take(most if left is None else min(most, left))
        self._budget.taken += len(taken)
        return taken

    def discard_rest(self) -> None:
        """Drop the remaining rows; `take` is not called again."""
        self._source.discard_rest()
