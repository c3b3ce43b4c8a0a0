"""Request-rate quotas: one token bucket for each operation, account and Region."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Limit:
    """`rate` requests per second on average, up to `bucket` of them at once."""

    rate: float
    bucket: float

    def __post_init__(self) -> None:
        """Refuse a bucket from which no call could ever be served."""
        if self.rate < 0 or self.bucket < 1:
            message = "a quota needs rate >= 0 and bucket >= 1"
            raise ValueError(message)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """Read `{"rate": r, "bucket": b}`; `bucket` defaults to one second's."""
        rate = float(raw["rate"])
        return cls(rate, float(raw.get("bucket", max(1.0, rate))))


class TokenBucket:
    """Tokens that grow with the clock; a refused call takes none."""

    def __init__(self, limit: Limit, clock: Clock) -> None:
        """Start with a full bucket."""
        self._limit = limit
        self._clock = clock
        self._tokens = limit.bucket
        self._filled_at = clock()

    def _fill(self) -> None:
        now = self._clock()
        grown = (now - self._filled_at) * self._limit.rate
        self._tokens = min(self._limit.bucket, self._tokens + grown)
        self._filled_at = now

    def change(self, limit: Limit) -> None:
        """Change the limit, keeping the tokens earned under the old one."""
        self._fill()
        self._limit = limit
        self._tokens = min(limit.bucket, self._tokens)

    def take(self) -> bool:
        """Take one token if there is one."""
        self._fill()
        # Growth is a sum of floats: ignore the rounding error of a whole token.
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens -= 1
        return True


class Quotas:
    """The limits by operation; every account and Region has its own full quota."""

    def __init__(self, clock: Clock) -> None:
        """Start without any limit."""
        self._clock = clock
        self._limits: dict[str, Limit] = {}
        self._buckets: dict[tuple[str, str, str], TokenBucket] = {}

    def set(self, operation: str, limit: Limit | None) -> None:
        """Set, change or (None) remove the limit of one operation, at run time."""
        mine = [key for key in self._buckets if key[0] == operation]
        if limit is None:
            self._limits.pop(operation, None)
            for key in mine:
                del self._buckets[key]
            return
        self._limits[operation] = limit
        for key in mine:
            self._buckets[key].change(limit)

    def admit(self, operation: str, account: str, region: str) -> bool:
        """Take a token for one call; return False if it must be throttled."""
        limit = self._limits.get(operation)
        if limit is None:
            return True
        key = (operation, account, region)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(limit, self._clock)
        return bucket.take()
