"""An index from the values of one attribute to the numbers of the users that have them."""

from collections.abc import Iterable

from tests.sim.users import User


class Index:
    """Follows a growing pool. Values are folded, so a result may differ in case."""

    def __init__(self, attribute: str) -> None:
        """Start empty."""
        self._attribute = attribute
        self._numbers: dict[str, list[int]] = {}
        self.read = 0

    def take(self, users: Iterable[User]) -> None:
        """Add users."""
        for user in users:
            if value := user.attributes.get(self._attribute):
                self._numbers.setdefault(value.lower(), []).append(user.number)

    def numbers(self, value: str) -> list[int]:
        """Return the users with a value, in the order in which they were added."""
        return self._numbers.get(value.lower(), [])
