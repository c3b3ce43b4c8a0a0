"""Lists the users of a pool and the members of its groups. The calls change nothing and cost nothing."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bulkreset.backoff import retrying
from bulkreset.cognito.bounded_http import PAGE_BYTES, Answers
from bulkreset.cognito.forgot_password import mfa_attributes
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.read_calls import ReadCallError, call_read, is_transient, milliseconds_ahead
from bulkreset.cognito.response import Disposition
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import TargetError
from bulkreset.models import Recovery

ATTEMPTS = 6  # attempts to read one page of a group
PAGE = 60  # users; the maximum of ListUsers
MOST_EMPTY_PAGES = 10_000  # in a row, each with a token of a next one; a filter may pass over many users
_NAMES = frozenset({"email", "phone_number", "preferred_username"})  # attributes that may be the name of a row
_EXTERNAL = "EXTERNAL_PROVIDER"


@dataclass(frozen=True, slots=True)
class PoolUser:
    """One user of a pool.

    `names` has every name that identifies the user in a call, folded as the pool compares names, the most certain
    first. `created` and `modified` are Unix milliseconds, None if unknown. `recovery`: how this pool can send this user
    a recovery code. `sub` is the user's identifier in lower case. The service makes it and never changes it.
    """

    username: str
    status: str
    enabled: bool
    federated: bool
    names: tuple[str, ...]
    created: int | None = None
    modified: int | None = None
    recovery: Recovery = Recovery.UNKNOWN
    sub: str = ""


@dataclass(frozen=True, slots=True)
class UserPage:
    """One page of users, and the token of the next page, None after the last.

    `ahead` is a lower bound, in milliseconds, of how far the service's clock is ahead of this machine's; None if
    unknown.
    """

    users: tuple[PoolUser, ...]
    token: str | None
    ahead: int | None = None


class UserLister:
    """Lists the users of one pool. Only `page` and `members` may be called by several threads at once."""

    def __init__(self, session: TargetSession, facts: PoolFacts, unix: Callable[[], float] = time.time) -> None:
        self.session = session
        self.facts = facts
        self._unix = unix
        self._newer = session.credential_refresher()
        self._answers = Answers(PAGE_BYTES)
        self._client: Any = session.cognito(self._answers)
        self._empty: dict[str | None, int] = {}  # for the token of a next page: how many empty ones were before it

    def page(self, token: str | None = None, expression: str = "") -> UserPage:
        """Return one page of ListUsers. Raises ReadCallError if the call fails.

        The call does not use AttributesToGet: with it the call fails if a user lacks one of the attributes.
        """
        wanted = {"Filter": expression} if expression else {}
        return self._read(self._client.list_users, "PaginationToken", token, wanted)

    def members(self, group: str, token: str | None = None) -> UserPage:
        """Return one page of ListUsersInGroup. Raises ReadCallError if the call fails."""
        return self._read(self._client.list_users_in_group, "NextToken", token, {"GroupName": group})

    def _read(
        self, call: Callable[..., Mapping[str, Any]], key: str, token: str | None, wanted: Mapping[str, str]
    ) -> UserPage:
        place = {key: token} if token else {}
        answer = call_read(call, UserPoolId=self.facts.user_pool_id, Limit=PAGE, **wanted, **place)
        found = answer.get(key) or None
        try:
            users = tuple(parse_user(user, self.facts) for user in answer["Users"])
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ReadCallError("UnreadableResponse", Disposition.AMBIGUOUS) from None
        empty = 0 if users or not found else self._empty.get(token, 0) + 1
        if empty > MOST_EMPTY_PAGES or (found and found == token):  # it would loop forever
            raise ReadCallError("UnreadableResponse", Disposition.AMBIGUOUS)
        self._empty.pop(token, None)
        if empty:
            self._empty[found] = empty
        return UserPage(users, found, milliseconds_ahead(answer, self._unix()))

    def abandon(self) -> None:
        """End all waiting for pages at once, from any thread. No page can be read afterwards."""
        self._answers.abandon()

    def refresh_credentials(self) -> bool:
        """Use newer credentials if the provider has some. Return whether it had."""
        if not self._newer():
            return False
        self._client = self.session.cognito(self._answers)
        return True


def filters_for(name: str, facts: PoolFacts) -> Iterator[str]:
    """Yield the filters that may find the user with this name, the most likely first. Each filter is one call.

    A filter has only one attribute, so there is one filter for each attribute that `name` may be.
    """
    attributes = ["username"]
    if _is_a_uuid(name):
        attributes.append("sub")
    for attribute in sorted(facts.aliases | facts.sign_in_by):
        if (attribute == "email" and "@" not in name) or (attribute == "phone_number" and not name.startswith("+")):
            continue
        # If users sign in with this attribute, the username is an identifier that nobody knows, so this filter comes
        # first.
        attributes.insert(0 if attribute in facts.sign_in_by else len(attributes), attribute)
    for attribute in attributes:
        for spelling in dict.fromkeys((name, facts.fold(name))):
            yield filter_by(attribute, spelling)


def filter_by(attribute: str, value: str) -> str:
    """Return the filter that finds the users whose `attribute` has exactly this value."""
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{attribute} = "{quoted}"'


def parse_user(user: Mapping[str, Any], facts: PoolFacts) -> PoolUser:
    """Return the user in an entry of ListUsers.

    Raises AttributeError, KeyError, TypeError or ValueError if the entry does not have the API's format.
    """
    attributes = {found["Name"]: found.get("Value", "") for found in user.get("Attributes", ())}
    names = [user["Username"], attributes.get("sub", "")]
    verified = {
        attribute
        for attribute in ("email", "phone_number")
        if str(attributes.get(f"{attribute}_verified")).lower() == "true"
    }
    for name in names:
        name.encode()  # raises UnicodeEncodeError if a journal cannot store the name
    naming = facts.sign_in_by | (facts.aliases & (verified | {"preferred_username"}))
    names.extend(attributes.get(attribute, "") for attribute in sorted(naming))
    return PoolUser(
        username=user["Username"],
        status=str(user.get("UserStatus", "UNKNOWN")),
        enabled=user.get("Enabled", True) is not False,
        federated=user.get("UserStatus") == _EXTERNAL or attributes.get("identities", "") not in {"", "[]"},
        names=tuple(dict.fromkeys(facts.fold(name) for name in names if name)),
        created=unix_ms(user.get("UserCreateDate")),
        modified=unix_ms(user.get("UserLastModifiedDate")),
        recovery=facts.recovery.way_back(
            {attribute for attribute in verified if attributes.get(attribute)}, mfa_attributes(user.get("MFAOptions"))
        ),
        sub=attributes.get("sub", "").lower(),
    )


def unix_ms(when: object) -> int | None:
    """Return a date of a response in Unix milliseconds, None if it is not a date."""
    return round(when.timestamp() * 1000) if isinstance(when, datetime) else None


def _is_a_uuid(name: str) -> bool:
    return len(name) == 36 and all(name[place] == "-" for place in (8, 13, 18, 23))  # noqa: PLR2004


def group_members(session: TargetSession, group: str) -> set[str]:
    """Return every name that a row could use for a member of `group`. Raises TargetError if it cannot be read."""
    lister = UserLister(session, PoolFacts(session.target.user_pool_id, sign_in_by=_NAMES))
    retry = retrying(is_transient, attempts=ATTEMPTS, longest_wait=5)
    names: set[str] = set()
    token: str | None = None
    try:
        while True:
            page = retry(lister.members, group, token)
            names.update(name for user in page.users for name in user.names)
            if (token := page.token) is None:
                return names
    except ReadCallError as error:
        raise TargetError(
            f"The protected group {group!r} of {session.target.user_pool_id} could not be read: {error.code}.",
            "Allow cognito-idp:ListUsersInGroup on the pool and check the group's name.",
        ) from None
