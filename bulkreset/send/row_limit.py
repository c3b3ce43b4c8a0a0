"""The ration: how many rows may be sent in one execution, over all lanes, and when the next ones may be taken."""

from collections.abc import Callable, Sequence
from typing import Any

from bulkreset.send.coordinator import RowSource


class RowBudget:
    """What is left of the ration; None where there is no limit."""

    def __init__(self, rows: int | None) -> None:
        self.remaining = rows


class LimitedSource:
    """A supply that ends where the budget does."""

    def __init__(self, supply: RowSource, budget: RowBudget) -> None:
        self._supply = supply
        self._budget = budget

    @property
    def ended(self) -> bool:
        """Whether the last `take` has found that there are no more, or no more may be taken."""
        return self._supply.ended or self._budget.remaining == 0

    def take(self, most: int) -> Sequence[Any]:
        """Up to `most` rows, and no more than are left."""
        if self._budget.remaining is None:
            return self._supply.take(most)
        taken = self._supply.take(min(most, self._budget.remaining)) if self._budget.remaining else []
        self._budget.remaining -= len(taken)
        return taken

    def discard_rest(self) -> None:
        """Nothing more will be taken."""
        self._supply.discard_rest()


class GatedSource:
    """A supply whose rows can be taken where the gate is open only."""

    def __init__(self, supply: RowSource, is_open: Callable[[], bool]) -> None:
        self._supply = supply
        self._is_open = is_open

    @property
    def ended(self) -> bool:
        """Whether the last `take` has found that there are no more."""
        return self._supply.ended

    def take(self, most: int) -> Sequence[Any]:
        """Up to `most` rows; none as long as the gate is shut."""
        return self._supply.take(most) if self._is_open() else []

    def discard_rest(self) -> None:
        """Nothing more will be taken."""
        self._supply.discard_rest()
