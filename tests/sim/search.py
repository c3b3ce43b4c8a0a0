"""The filters of ListUsers: parsed, and answered by lookup if possible."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.sim.errors import ApiError, Code, invalid
from tests.sim.pool import UserPool
from tests.sim.users import User, number_in

_FILTER: Final = re.compile(r'\s*"?([\w:]+)"?\s*(\^?=)\s*"((?:[^"\\]|\\.)*)"\s*', re.DOTALL)
_MAX_FILTER: Final = 256
_SEARCHABLE: Final = frozenset(
    {
        "cognito:user_status",
        "email",
        "family_name",
        "given_name",
        "name",
        "phone_number",
        "preferred_username",
        "status",
        "sub",
        "username",
    }
)
_LOOKED_UP: Final = frozenset({"email", "phone_number", "preferred_username", "sub", "username"})
# The API's reference calls these two case-sensitive; all others are compared folded.
_EXACT: Final = frozenset({"status", "username"})


@dataclass(frozen=True, slots=True)
class Query:
    """A filter: an attribute's whole value, or its prefix."""

    attribute: str
    wanted: str
    whole: bool
    fold: bool

    def accepts(self, user: User) -> bool:
        """Return whether a user matches."""
        value, wanted = user.value(self.attribute), self.wanted
        if self.fold:
            value, wanted = value.lower(), wanted.lower()
        return value == wanted if self.whole else value.startswith(wanted)


def read_filter(expression: str, *, fold: bool) -> Query:
    """Read a filter, or raise what the service answers; `fold` as the pool's filters_fold."""
    if len(expression) > _MAX_FILTER:
        constraint = f"Member must have length less than or equal to {_MAX_FILTER}"
        raise invalid(member="filter", constraint=constraint)
    found = _FILTER.fullmatch(expression)
    if found is None or found[1] not in _SEARCHABLE:
        raise ApiError(Code.INVALID_PARAMETER, "Error while parsing filter.")
    wanted = re.sub(r"\\(.)", r"\1", found[3], flags=re.DOTALL)
    return Query(found[1], wanted, found[2] == "=", fold and found[1] not in _EXACT)


def matching(pool: UserPool, query: Query, start: int, now: float) -> Iterator[User]:
    """Return the users that match a filter, from number `start` on."""
    crowd = pool.crowd
    whole_crowd = crowd.count > 0 and crowd.shares(query.attribute) and query.accepts(crowd.user(1))
    numbers: Iterable[int]
    if (
        query.attribute == "sub"
        and not query.whole
        and not pool.has_given_subs
        and (strided := _of_prefix(query, start))
    ):
        numbers = range(strided[0], pool.size + 1, strided[1])
    elif query.whole and query.attribute in _LOOKED_UP and not whole_crowd:
        numbers = _candidates(pool, query, now)
    elif crowd.count and crowd.shares(query.attribute) and not whole_crowd:
        numbers = pool.kept()
    else:
        numbers = range(start, pool.size + 1)
    return (user for number in numbers if number >= start and query.accepts(user := pool.user(number)))


def _of_prefix(query: Query, start: int) -> tuple[int, int] | None:
    """Return the first number from `start` on whose sub has a short prefix, and the step to the next one."""
    prefix = query.wanted.lower()
    if not re.fullmatch("[0-9a-f]{1,8}", prefix):
        return None
    step, rest = 16 ** len(prefix), int(prefix[::-1], 16)
    return start + (rest - start) % step, step


def _candidates(pool: UserPool, query: Query, now: float) -> Iterable[int]:
    if query.attribute == "username":
        # With auto_users, every user that is asked for exists.
        user = pool.find(query.wanted, now) if pool.settings.auto_users else pool.named(query.wanted)
        return [user.number] if user else []
    folded = query.wanted.lower()
    numbers = {*pool.indexed(query.attribute, folded), pool.crowd.number(query.attribute, folded, fold=True)}
    if query.attribute == "sub" and number_in(folded) <= pool.size:
        numbers.add(number_in(folded))
    return sorted(numbers - {0})
