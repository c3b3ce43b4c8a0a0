"""Checks that S3 obeys conditional writes, which a lease needs."""

import json
import secrets
from collections.abc import Callable
from contextlib import suppress

from bulkreset.errors import JobError
from bulkreset.s3 import Bucket, BucketError

_NOT_OFFERED = frozenset({"NotImplemented", "501", "MethodNotAllowed", "405", "InvalidArgument", "InvalidRequest"})
_OTHER_ETAG = f'"{"0" * 32}"'


def require_conditions(bucket: Bucket, uri: str) -> None:
    """Write an object beside `uri`, under conditions that are true and that are false, and delete it.

    Raises JobError if S3 ignores or refuses If-None-Match or If-Match, BucketError for any other failure.
    """
    probe = _Probe(bucket, f"{uri}.probe-{secrets.token_hex(8)}")
    try:
        probe.run()
    finally:
        with suppress(BucketError):  # a remaining object does no harm
            bucket.delete([probe.uri])


class _Probe:
    """One check. If the answer to a write is lost and the write is repeated, the result is the same."""

    def __init__(self, bucket: Bucket, uri: str) -> None:
        self.uri = uri
        self._bucket = bucket

    def run(self) -> None:
        self._require_write("If-None-Match", lambda: "", lambda: self._etag() != "")
        self._require_refusal("If-None-Match", "")
        self._require_write("If-Match", self._etag, lambda: False)
        self._require_refusal("If-Match", _OTHER_ETAG)

    def _require_write(self, condition: str, match: Callable[[], str], written: Callable[[], bool]) -> None:
        """Write under a true condition. A second try distinguishes a lost answer from a condition never met."""
        for _ in range(2):
            try:
                self._put(match())
            except BucketError as error:
                if error.code in _NOT_OFFERED:
                    raise self._unusable(f"refuses {condition} ({error.code})") from None
                if not (error.is_changed or error.is_missing) or error.code == "NoSuchBucket":
                    raise
                if written():
                    return
            else:
                return
        raise self._unusable(f"refuses every write with {condition}")

    def _require_refusal(self, condition: str, match: str) -> None:
        """Write under a condition that is false."""
        try:
            self._put(match)
        except BucketError as error:
            if not error.is_changed:
                raise
        else:
            raise self._unusable(f"ignores {condition}")

    def _put(self, match: str) -> None:
        self._bucket.put(self.uri, json.dumps({"probe": "conditional writes"}).encode(), match=match)

    def _etag(self) -> str:
        try:
            return self._bucket.get(self.uri)[1]
        except BucketError as error:
            if error.is_missing:
                return ""
            raise

    def _unusable(self, how: str) -> JobError:
        return JobError(
            f"S3 at {self._bucket.client.meta.endpoint_url} {how}, so two processes could hold {self.uri.partition('.probe')[0]} at once.",
            "Use an S3 with conditional writes, as AWS has it, or none: leave out mirror.to (to resume a run: --mirror none),"
            " and keep schedule.state in a local file.",
        )
