"""Point-in-time recoveries of a user pool: initiate one, follow it, start or cancel it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeVar

from botocore import xform_name

from bulkreset.backoff import retrying
from bulkreset.causes import FATAL, advice_for
from bulkreset.cognito.list_users import unix_ms
from bulkreset.cognito.pool import arn_of
from bulkreset.cognito.read_calls import ReadCallError, call_read, is_transient
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import BulkresetError, ServiceError, TargetError
from bulkreset.models import EntityChange

ATTEMPTS = 6
MOST_PAGES = 100  # of the list of recoveries; a pool has a few recoveries
EARLIEST_SECONDS = 15 * 60  # a recovery point is at least this old

T = TypeVar("T")


class RecoveryStatus(StrEnum):
    """The status of a recovery, with the names of the API's RestoreStatusType."""

    PREVIEW_GENERATING = "PREVIEW_GENERATING"
    PREVIEW_GENERATED = "PREVIEW_GENERATED"
    PREVIEW_CANCELLED = "PREVIEW_CANCELLED"
    PREVIEW_GENERATION_FAILED = "PREVIEW_GENERATION_FAILED"
    PREVIEW_EXPIRED = "PREVIEW_EXPIRED"
    RESTORING = "RESTORING"
    RESTORE_COMPLETED = "RESTORE_COMPLETED"
    TEMPORARY_INTERNAL_ERROR_SEE_SUPPORT_CASE = "TEMPORARY_INTERNAL_ERROR_SEE_SUPPORT_CASE"
    AWS_ABORTED = "AWS_ABORTED"


# In these states the pool accepts no writes. The support-case status is temporary, so it is one of them.
ACTIVE = frozenset(
    {
        RecoveryStatus.PREVIEW_GENERATING,
        RecoveryStatus.PREVIEW_GENERATED,
        RecoveryStatus.RESTORING,
        RecoveryStatus.TEMPORARY_INTERNAL_ERROR_SEE_SUPPORT_CASE,
    }
)


@dataclass(frozen=True, slots=True)
class PoolRestore:
    """One recovery. `point_ms` is the time to which it restores, in Unix milliseconds; None if it is missing."""

    restore_id: str
    status: RecoveryStatus
    point_ms: int | None
    preview: tuple[EntityChange, ...] = ()


class PoolRecoveries:
    """The recoveries of one pool.

    Each method raises TargetError if the call is not allowed, ServiceError if it fails otherwise.
    """

    def __init__(self, session: TargetSession) -> None:
        self._session = session
        self._retry = retrying(is_transient, attempts=ATTEMPTS, longest_wait=2)

    def active(self) -> PoolRestore | None:
        """Return the recovery in progress, without its preview; None if there is none."""
        more: dict[str, Any] = {}
        for _ in range(MOST_PAGES):
            answer = self._call("ListPointInTimeRecoveries", dict, **more)
            for item in answer.get("Restorations") or ():
                if (found := _parse(item)).status in ACTIVE:
                    return found
            if not answer.get("NextToken"):
                return None
            more = {"NextToken": answer["NextToken"]}
        raise ServiceError("UnreadableResponse", "The list of recoveries does not end.", "Run undo again.")

    def describe(self, restore_id: str) -> PoolRestore:
        """Return a recovery, with its preview if that is generated."""
        return self._call("DescribePointInTimeRecovery", _restoration, RestoreId=restore_id)

    def initiate(self, point_ms: int) -> PoolRestore:
        """Begin a recovery to this time. The pool then accepts no writes. If the answer is lost, search for it."""
        return self._call(
            "InitiatePointInTimeRecovery",
            _restoration,
            lambda: it if (it := self.active()) and it.point_ms == point_ms else None,
            RestoreTimestamp=datetime.fromtimestamp(point_ms / 1000, UTC),
        )

    def start(self, restore_id: str) -> PoolRestore:
        """Apply a recovery whose preview is generated. It cannot be cancelled afterwards."""
        return self._move("Start", restore_id, RecoveryStatus.RESTORING, RecoveryStatus.RESTORE_COMPLETED)

    def cancel(self, restore_id: str) -> PoolRestore:
        """Cancel a recovery that was not started. The pool accepts writes again, and nothing was changed."""
        return self._move("Cancel", restore_id, RecoveryStatus.PREVIEW_CANCELLED)

    def _move(self, verb: str, restore_id: str, *wanted: RecoveryStatus) -> PoolRestore:
        def applied() -> PoolRestore | None:
            return found if (found := self.describe(restore_id)).status in wanted else None

        return self._call(f"{verb}PointInTimeRecovery", _restoration, applied, RestoreId=restore_id)

    def _call(
        self,
        operation: str,
        read: Callable[[Mapping[str, Any]], T],
        applied: Callable[[], T | None] = lambda: None,
        **params: object,
    ) -> T:
        """Return what `read` finds in the answer. If the call fails and may have been `applied`, return what that finds."""
        pool = self._session.target.user_pool_id

        def attempt() -> T:
            try:
                return read(call_read(getattr(self._client, xform_name(operation)), UserPoolId=pool, **params))
            except ReadCallError as error:
                if error.is_transient and (found := applied()):
                    return found
                raise

        try:
            result: T = self._retry(attempt)
        except ReadCallError as error:
            raise self._error(operation, error) from None
        return result

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401  (a boto3 client; the calls are newer than its types)
        return self._session.cognito()

    def _error(self, operation: str, error: ReadCallError) -> BulkresetError:
        message = f"{operation} of {self._session.target.user_pool_id} failed: {error.code}."
        if error.denied:
            return TargetError(
                message,
                f"Allow cognito-idp:{operation} on {arn_of(self._session)} in the IAM policy, then run undo again.",
            )
        if error.code in FATAL:
            return ServiceError(error.code, message, advice_for(error.code, operation, "run undo again"))
        return ServiceError(error.code, message, _ADVICE.get(error.code, "Run undo again."))


_ADVICE = {
    "FeatureUnavailableInTierException": "The pool's feature plan has no point-in-time recovery: Essentials or Plus is needed.",
    "ConcurrentModificationException": "Another recovery or change of this pool is in progress. Wait for its end, then run undo again.",
    "InvalidParameterException": "The recovery point is too early or too late for this pool, or the recovery has another status.",
    "LimitExceededException": "The pool allows no more recoveries now. Run undo again later.",
}


def _restoration(answer: Mapping[str, Any]) -> PoolRestore:
    return _parse(answer.get("Restoration"))


def _parse(item: object) -> PoolRestore:
    """Return a recovery from a RestorationType. Raises ServiceError if it has no ID or an unknown status."""
    try:
        found: Any = item
        preview = tuple(
            EntityChange(
                str(one["Entity"]), *(int(one.get(key) or 0) for key in ("CreateCount", "UpdateCount", "DeleteCount"))
            )
            for one in found.get("RestorePreview") or ()
        )
        status = RecoveryStatus(found["RestoreStatus"])
        return PoolRestore(str(found["RestoreId"]), status, unix_ms(found.get("RestoreTimestamp")), preview)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ServiceError(
            "UnreadableResponse", "The answer about the recovery cannot be read.", "Run undo again."
        ) from None
