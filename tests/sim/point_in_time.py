"""Point-in-time recovery: the operations on one recovery, as in the API's model in botocore."""

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any
from uuid import UUID

from tests.sim.context import Context, Json, text
from tests.sim.errors import ApiError, Code
from tests.sim.past import (
    CANCELLED,
    COMPLETED,
    DAY,
    EARLIEST,
    FAILED,
    GENERATED,
    GENERATING,
    RESTORING,
    WINDOWS,
    Past,
    Restoration,
)
from tests.sim.users import User


def _past(context: Context, params: Json) -> Past:
    pool = context.pool(params)
    tier = pool.settings.extra.get("UserPoolTier")
    if tier == "LITE" or pool.past is None:
        raise ApiError("FeatureUnavailableInTierException", "This feature is not available in the pool's tier.")
    return pool.past


def initiate(context: Context, params: Json) -> Json:
    """Answer InitiatePointInTimeRecovery."""
    past, pool = _past(context, params), context.pool(params)
    point: Any = params.get("RestoreTimestamp")
    if not isinstance(point, int | float):
        raise ApiError(Code.SERIALIZATION, "RestoreTimestamp can not be converted to a timestamp")
    age = context.now - point
    if not EARLIEST <= age <= WINDOWS.get(str(pool.settings.extra.get("UserPoolTier")), DAY):
        raise ApiError(Code.INVALID_PARAMETER, "The restore timestamp is out of range.")
    if past.active:
        raise ApiError("ConcurrentModificationException", "A recovery is in progress.")
    one = Restoration(str(UUID(int=len(past.restorations) + 1)), point, context.now, polls=past.polls)
    one.preview = list(_preview(past.since(point), pool.users))
    past.restorations.insert(0, one)
    return {"Restoration": one.shown(whole=True)}


def _preview(then: Mapping[str, User | None], users: Mapping[str, User]) -> Iterator[Json]:
    created = sum(key not in users for key, before in then.items() if before)
    deleted = sum(before is None for before in then.values())
    updated = len(then) - created - deleted
    yield {"Entity": "User", "CreateCount": created, "UpdateCount": updated, "DeleteCount": deleted}


def describe(context: Context, params: Json) -> Json:
    """Answer DescribePointInTimeRecovery; each description advances the preview or the restore."""
    past = _past(context, params)
    one = _named(past, params)
    if one.status in {GENERATING, RESTORING}:
        one.polls -= 1
        if one.polls < 0:
            ready = FAILED if past.fails else GENERATED
            one.status = ready if one.status == GENERATING else COMPLETED
    return {"Restoration": one.shown(whole=True)}


def start(context: Context, params: Json) -> Json:
    """Answer StartPointInTimeRecovery: undo every change since the point."""
    past, pool = _past(context, params), context.pool(params)
    one = _named(past, params)
    if one.status != GENERATED:
        raise ApiError(Code.INVALID_PARAMETER, f"The status of the recovery is {one.status}.")
    one.status, one.polls = RESTORING, past.polls
    for key, before in past.since(one.point).items():
        now = pool.users.get(key)
        if before is None:
            continue  # deleting a user is not simulated
        if now and past.keeps:
            before.password, before.history = now.password, now.history
        pool.users[key] = copy(before)
    return {"Restoration": one.shown(whole=True)}


def cancel(context: Context, params: Json) -> Json:
    """Answer CancelPointInTimeRecovery."""
    one = _named(_past(context, params), params)
    if one.status not in {GENERATING, GENERATED}:
        raise ApiError(Code.INVALID_PARAMETER, f"The status of the recovery is {one.status}.")
    one.status = CANCELLED
    return {"Restoration": one.shown(whole=True)}


def _named(past: Past, params: Json) -> Restoration:
    wanted = text(params, "RestoreId")
    for one in past.restorations:
        if one.id == wanted:
            return one
    raise ApiError(Code.RESOURCE_NOT_FOUND, f"Recovery {wanted} does not exist.")
