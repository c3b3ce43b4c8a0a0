"""A directory without a service: users in pages of sixty, with filters, and errors set by a test."""

import re
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from bulkreset.cognito.list_users import PAGE, UserLister, UserPage, parse_user
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.read_calls import ReadCallError
from bulkreset.cognito.response import Disposition, classify
from tests.targets import EU, job, sessions


def listed_user(
    username: str,
    status: str = "CONFIRMED",
    *,
    enabled: bool = True,
    created: datetime | None = None,
    **attributes: str,
) -> dict[str, Any]:
    """Return a user as ListUsers lists it."""
    named = {"sub": f"sub-{username}"} | attributes
    return {
        "Username": username,
        "UserStatus": status,
        "Enabled": enabled,
        "UserCreateDate": created,
        "Attributes": [{"Name": name, "Value": value} for name, value in named.items()],
    }


def crowd(count: int) -> list[dict[str, Any]]:
    """Return users by number."""
    return [listed_user(f"user{number:05d}") for number in range(count)]


def refused(code: str, status: int = 400) -> ReadCallError:
    """Return the error that a read raises for an error answer."""
    return ReadCallError(code, classify(code, status))


THROTTLED = refused("TooManyRequestsException")
LOST = ReadCallError("ReadTimeoutError", Disposition.AMBIGUOUS)
STALE = refused("InvalidParameterException")
DENIED = refused("AccessDeniedException")
GONE = refused("ResourceNotFoundException")
EXPIRED = refused("ExpiredTokenException")


class FakeDirectory(UserLister):
    """These users. `faults` come first, one per call (None: no fault). `asked` records (token, filter)."""

    def __init__(
        self,
        users: Sequence[dict[str, Any]],
        facts: PoolFacts | None = None,
        faults: Iterable[ReadCallError | None] = (),
        *,
        renewals: int = 0,
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.facts = facts or PoolFacts(EU, users=len(users))
        self.session = next(iter(sessions(job(self.facts.user_pool_id)).values()))
        self.users = list(users)
        self.faults = deque(faults)
        self.always: ReadCallError | None = None
        self.refuses: set[str] = set()  # filters
        self.asked: list[tuple[str | None, str]] = []
        self.renewals = renewals
        self.groups = groups or {}
        self._shards: dict[tuple[str, int], dict[str, list[dict[str, Any]]]] = {}
        self._lock = threading.Lock()

    @property
    def pages(self) -> list[str | None]:
        """Return the tokens of the sweep's calls."""
        return [token for token, expression in self.asked if not expression]

    @property
    def names(self) -> list[str]:
        """Return the names that were looked up, in order."""
        return [expression.partition('"')[2][:-1] for _, expression in self.asked if expression]

    def page(self, token: str | None = None, expression: str = "") -> UserPage:
        """Return the page at a token, of the users that match the filter."""
        with self._lock:
            self.asked.append((token, expression))
            fault = self.faults.popleft() if self.faults else self.always
        if fault or expression in self.refuses:
            raise fault or STALE
        if not expression:
            return self._page_of(self.users, token)
        if "^=" not in expression:
            return self._page_of(_filtered(self.users, expression), token)
        return self._page_of(self._shard(expression), token)

    def members(self, group: str, token: str | None = None) -> UserPage:
        """Return the page at a token, of the users in a group."""
        with self._lock:
            self.asked.append((token, f'group "{group}"'))
            fault = self.faults.popleft() if self.faults else self.always
        if fault or group not in self.groups:
            raise fault or GONE
        return self._page_of([user for user in self.users if user["Username"] in self.groups[group]], token)

    def _page_of(self, found: Sequence[dict[str, Any]], token: str | None) -> UserPage:
        start = int(token or 0)
        shown = tuple(parse_user(user, self.facts) for user in found[start : start + PAGE])
        return UserPage(shown, str(start + PAGE) if start + PAGE < len(found) else None)

    def _shard(self, expression: str) -> Sequence[dict[str, Any]]:
        """Return the users whose field begins so.

        They are all grouped at the first call: a sweep in shards asks for every page of each.
        """
        field, _, prefix = _parts(expression)
        kind = field, len(prefix)
        if kind not in self._shards:
            groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
            for user in self.users:
                groups[_value_of(user, field)[: len(prefix)]].append(user)
            self._shards[kind] = groups
        return self._shards[kind].get(prefix, [])

    def abandon(self) -> None:
        """Do nothing: there is no call to abandon."""

    def refresh_credentials(self) -> bool:
        """Return whether there are newer credentials, as often as the test has set."""
        self.renewals -= 1
        return self.renewals >= 0


def _parts(expression: str) -> tuple[str, ...]:
    """Return the field, the operator and the value of a filter, the value in lower case."""
    found = re.fullmatch(r'([\w:]+) (\^?=) "(.*)"', expression)
    assert found, expression
    return found[1], found[2], found[3].lower()


def _filtered(users: Sequence[dict[str, Any]], expression: str) -> list[dict[str, Any]]:
    """Return the users that match a filter for equal values."""
    field, _, wanted = _parts(expression)
    return [user for user in users if _value_of(user, field) == wanted]


def _value_of(user: dict[str, Any], field: str) -> str:
    own = {"username": "Username", "cognito:user_status": "UserStatus"}.get(field)
    if own:
        return str(user[own]).lower()
    return next((str(one["Value"]).lower() for one in user["Attributes"] if one["Name"] == field), "")
