"""Generate a random password for each row, with a margin over the pool's policy. Nothing here stores passwords."""

import secrets
from collections.abc import Mapping

from bulkreset.job import PasswordPolicy
from bulkreset.models import Secret

OF_EACH = 2  # minimum number of characters of every kind, even if the pool does not require the kind

# No quote, comma, backslash or white space, because passwords go through spreadsheets, mail merges and shells.
# Cognito counts all characters of the last kind as symbols.
_KINDS = ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789", "!#%+-./:=?@^_~*")
# Users type a temporary password from paper or a small screen, so look-alike characters are excluded.
_LOOK_ALIKE = frozenset("0OoQD1lI|i5S2Z8B6Guvw:.-_~^")
_TYPED = tuple("".join(it for it in kind if it not in _LOOK_ALIKE) for kind in _KINDS)
_RANDOM = secrets.SystemRandom()


class PasswordGenerator:
    """Generates passwords for the pools of one job. `policies` has the combined policy of each pool and the job.

    `length` is the minimum number of characters; if a policy's minimum plus OF_EACH is larger, that is used.
    """

    def __init__(self, policies: Mapping[str, PasswordPolicy], length: int) -> None:
        self._lengths = {pool: max(length, (policy.minimum_length or 0) + OF_EACH) for pool, policy in policies.items()}

    def make(self, pool: str, *, permanent: bool) -> Secret:
        """Return a password for a user of the pool. If not `permanent`, a person types it, so it has no look-alikes."""
        kinds = _KINDS if permanent else _TYPED
        drawn = [_RANDOM.choice(kind) for kind in kinds for _ in range(OF_EACH)]
        everything = "".join(kinds)
        drawn += [_RANDOM.choice(everything) for _ in range(self._lengths[pool] - len(drawn))]
        _RANDOM.shuffle(drawn)
        # Put a letter first, so that no spreadsheet reads the password as a formula.
        first = next(place for place, character in enumerate(drawn) if character.isalpha())
        drawn[0], drawn[first] = drawn[first], drawn[0]
        return Secret("".join(drawn))
