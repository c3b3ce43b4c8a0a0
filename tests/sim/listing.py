"""The operations that list users in pages, and the page tokens."""

import base64
import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

from tests.sim.context import Context, Json, text
from tests.sim.errors import ApiError, Code, invalid
from tests.sim.search import matching, read_filter
from tests.sim.users import User

_MAX_PAGE: Final = 60


def list_users(context: Context, params: Json) -> Json:
    """Answer ListUsers."""
    pool = context.pool(params)
    limit = _limit(params)
    expression = params.get("Filter") or ""
    # Read before the token: an invalid filter is refused whatever the token is.
    query = read_filter(expression, fold=pool.settings.filters_fold) if expression else None
    start = _start(context, params.get("PaginationToken"), [pool.id, expression]) or 1
    if query is None:
        users = [pool.user(number) for number in range(start, min(start + limit, pool.size) + 1)]
    else:
        users = list(islice(matching(pool, query, start, context.now), limit + 1))
    answer = _page(users[:limit])
    if len(users) > limit:
        answer["PaginationToken"] = _token(context, users[limit].number, [pool.id, expression])
    return answer


def users_in_group(context: Context, params: Json) -> Json:
    """Answer ListUsersInGroup."""
    pool = context.pool(params)
    limit = _limit(params)
    group = text(params, "GroupName")
    groups: Mapping[str, Iterable[str]] = pool.settings.groups
    if group not in groups:
        raise ApiError(Code.RESOURCE_NOT_FOUND, "Group not found.")
    start = _start(context, params.get("NextToken"), [pool.id, "group", group])
    names = list(groups[group])
    answer = _page(pool.require(name, context.now) for name in names[start : start + limit])
    if start + limit < len(names):
        answer["NextToken"] = _token(context, start + limit, [pool.id, "group", group])
    return answer


def _page(users: Iterable[User]) -> Json:
    return {"Users": [user.shown("Attributes") for user in users]}


def _limit(params: Json) -> int:
    limit = params.get("Limit", _MAX_PAGE)
    if not isinstance(limit, int) or isinstance(limit, bool):
        message = "Limit can not be converted to an Integer"
        raise ApiError(Code.SERIALIZATION, message)
    if not 0 <= limit <= _MAX_PAGE:
        bound = "greater than or equal to 0" if limit < 0 else f"less than or equal to {_MAX_PAGE}"
        raise invalid(member="limit", constraint=f"Member must have value {bound}")
    return limit or _MAX_PAGE


def _token(context: Context, start: int, query: list[str]) -> str:
    return base64.b64encode(json.dumps([start, context.now, query]).encode()).decode()


def _start(context: Context, token: str | None, query: list[str]) -> int:
    """Return where the page of a token starts, 0 for the first; raise for an invalid token."""
    if token is None:
        return 0
    try:
        start, given, asked = json.loads(base64.b64decode(token, validate=True))
        place, age = int(start), context.now - float(given)
    except (ValueError, TypeError):
        raise _void() from None
    if age >= context.settings.token_seconds:
        raise _void()
    # The service ties a token to its query: every page must repeat the same filter.
    if asked != query:
        message = "Invalid pagination token for given filter."
        raise ApiError(Code.INVALID_PARAMETER, message)
    return place


def _void() -> ApiError:
    return ApiError(Code.INVALID_PARAMETER, "Invalid pagination token given.")
