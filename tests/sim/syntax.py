"""The syntax of pool IDs and usernames."""

import re
import unicodedata
from typing import Final

from tests.sim.errors import invalid

_POOL_ID: Final = re.compile(r"[\w-]+_[0-9a-zA-Z]+", re.ASCII)
_PLAIN: Final = re.compile(r"[!-~]+")
_MAX_POOL_ID: Final = 55
_MAX_USERNAME: Final = 128


def check_pool_id(pool_id: str) -> None:
    """Raise InvalidParameterException for an id that no pool can have."""
    if len(pool_id) > _MAX_POOL_ID or not _POOL_ID.fullmatch(pool_id):
        constraint = r"Member must satisfy regular expression pattern: [\w-]+_[0-9a-zA-Z]+"
        raise invalid(member="userPoolId", constraint=constraint)


def check_username(username: str) -> None:
    """Raise InvalidParameterException for a username that no user can have."""
    if not 1 <= len(username) <= _MAX_USERNAME:
        constraint = f"Member must have length between 1 and {_MAX_USERNAME}"
        raise invalid(member="username", constraint=constraint)
    # Fast path: the check of every character's category takes time.
    if _PLAIN.fullmatch(username):
        return
    if not all(unicodedata.category(c)[0] in "LMSNP" for c in username):
        constraint = (
            r"Member must satisfy regular expression pattern: "
            r"[\p{L}\p{M}\p{S}\p{N}\p{P}]+"
        )
        raise invalid(member="username", constraint=constraint)
