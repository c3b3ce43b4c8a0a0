"""Row sources that limit how many rows one execution sends over all lanes, and when rows may be taken."""

from collections.abc import Callable, Sequence
from typing import Any

from bulkreset.send.coordinator import RowSource


class RowBudget:
    """The number of rows that may still be sent in all lanes together; None without a limit."""

    def __init__(self, rows: int | None) -> None:
        self.remaining = rows


class LimitedSource:
    """A row source that ends when the budget is used up."""

    def __init__(self, supply: RowSource, budget: RowBudget) -> None:
        self._supply = supply
        self._budget = budget

    @property
    def ended(self) -> bool:
        """Return whether the last `take` found no more rows, or the budget is used up."""
        return self._supply.ended or self._budget.remaining == 0

    def take(self, most: int) -> Sequence[Any]:
        """Return up to `most` rows, but no more than the remaining budget."""
        if self._budget.remaining is None:
            return self._supply.take(most)
        taken = self._supply.take(min(most, self._budget.remaining)) if self._budget.remaining else []
        self._budget.remaining -= len(taken)
        return taken

    def discard_rest(self) -> None:
        """Drop the remaining rows; `take` is not called again."""
        self._supply.discard_rest()


class GatedSource:
    """A row source whose rows can be taken only while `is_open` returns True."""

    def __init__(self, supply: RowSource, is_open: Callable[[], bool]) -> None:
        self._supply = supply
        self._is_open = is_open

    @property
    def ended(self) -> bool:
        """Return whether the last `take` found that there are no more rows."""
        return self._supply.ended

    def take(self, most: int) -> Sequence[Any]:
        """Return up to `most` rows; none while the gate is closed."""
        return self._supply.take(most) if self._is_open() else []

    def discard_rest(self) -> None:
        """Drop the remaining rows; `take` is not called again."""
        self._supply.discard_rest()
