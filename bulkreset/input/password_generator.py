"""Generated passwords: random, by the pool's own policy and with margin, one for each row, kept by nobody here."""

import secrets
from collections.abc import Mapping

from bulkreset.job import PasswordPolicy
from bulkreset.models import Secret

OF_EACH = 2  # characters of every kind at least, whether the pool asks for the kind or not

# No quote, comma, backslash or white space: they go through spreadsheets, mail merges and shells. All of these are
# symbols that Cognito counts.
_UPPER, _LOWER, _DIGITS, _SYMBOLS = (
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "abcdefghijklmnopqrstuvwxyz",
    "0123456789",
    "!#%+-./:=?@^_~*",
)
# People type a temporary password from paper or a small screen: what looks like something else is left out.
_LOOK_ALIKE = frozenset("0OoQD1lI|i5S2Z8B6Guvw:.-_~^")


class PasswordGenerator:
    """Makes passwords for the pools of one job. `policies` has what each pool and the job ask for together.

    `length` is the least number of characters; a policy that asks for more is met, with room to spare.
    """

    def __init__(self, policies: Mapping[str, PasswordPolicy], length: int) -> None:
        self._lengths = {pool: max(length, (policy.minimum_length or 0) + OF_EACH) for pool, policy in policies.items()}
        self._random = secrets.SystemRandom()
        self._kept = _kinds(frozenset())
        self._typed = _kinds(_LOOK_ALIKE)

    def make(self, pool: str, *, permanent: bool) -> Secret:
        """A password for a user of the pool: for a program to keep where `permanent`, for a person to type where not."""
        kinds = self._kept if permanent else self._typed
        drawn = [self._random.choice(kind) for kind in kinds for _ in range(OF_EACH)]
        everything = "".join(kinds)
        drawn += [self._random.choice(everything) for _ in range(self._lengths[pool] - len(drawn))]
        self._random.shuffle(drawn)
        # A letter first: no spreadsheet takes that for a formula.
        first = next(place for place, character in enumerate(drawn) if character.isalpha())
        drawn[0], drawn[first] = drawn[first], drawn[0]
        return Secret("".join(drawn))


def _kinds(without: frozenset[str]) -> tuple[str, ...]:
    return tuple(
        "".join(character for character in kind if character not in without)
        for kind in (_UPPER, _LOWER, _DIGITS, _SYMBOLS)
    )
