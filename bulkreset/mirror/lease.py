"""A lease in S3: an object that one process at a time holds and renews with conditional writes."""

import json
import os
import secrets
import socket
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from bulkreset.clock import SINCE_BOOT, Clock
from bulkreset.errors import Busy, JobError, RecordError
from bulkreset.journal.run_dir import boot_id
from bulkreset.s3 import Bucket, BucketError
from bulkreset.send_permit import Deadline

SECONDS = 60.0
SKEW = 5.0  # seconds by which two machines' clocks may differ; at most a quarter of the lease is used
_NOT_OFFERED = frozenset({"NotImplemented", "501", "MethodNotAllowed", "405", "InvalidArgument", "InvalidRequest"})
_OTHER_ETAG = f'"{"0" * 32}"'
_PROBE = json.dumps({"probe": "conditional writes"}).encode()


class S3Lease:
    """A lease held from `acquire` to `release`.

    If the holder dies, others wait until the lease expires; its own successor on that machine does not wait.
    `seconds` is how long the lease is valid without renewal; a process with the same `mine` may take it over at once.
    """

    def __init__(
        self,
        bucket: Bucket,
        uri: str,
        mine: str,
        seconds: float = SECONDS,
        clock: Clock = SINCE_BOOT,
    ) -> None:
        self._bucket = bucket
        self._uri = uri
        self._mine = mine
        self._seconds = seconds
        self._clock = clock
        self._etag = ""
        self._token = secrets.token_hex(8)
        self._deadline = Deadline(clock)
        self._lost = ""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> Self:
        """Acquire the lease and start renewing it.

        Raises Busy if another process holds it, JobError if S3 has no conditional writes, RecordError if S3 fails.
        """
        try:
            over = self.require_free()
            require_conditions(self._bucket, self._uri)
            self._write(over)
        except BucketError as error:
            if error.is_changed:
                raise Busy(f"Another process has just taken {self._uri}.", "Wait for it.") from None
            raise RecordError(
                f"{self._uri} cannot be written: {error.action} failed with {error.code}.", error.advice
            ) from None
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()
        return self

    def check(self) -> None:
        """Raise Busy if the lease is lost or could not be renewed in time."""
        if self._lost:
            raise Busy(f"The lease {self._uri} is lost: {self._lost}.", "Another process continues that work.")
        if self._deadline.has_passed_since_boot():
            raise Busy(
                f"The lease {self._uri} could not be renewed for {self._seconds:g} seconds.",
                "Another process may have taken it over. Check the network, then resume.",
            )

    def seconds_left(self) -> float:
        """Return for how many more seconds calls may leave under the lease, also after a sleep of this process.

        If the wall clock is set forward, the lease also ends, until it is renewed.
        """
        return float("-inf") if self._lost else self._deadline.seconds_left()

    def release(self) -> None:
        """Stop renewing, and delete the lease if it is still held."""
        self._ended.set()
        if self._thread:
            self._thread.join()
        if self._etag and not self._lost:
            with suppress(BucketError):  # the lease expires by itself
                if self._bucket.get(self._uri)[1] == self._etag:
                    self._bucket.delete([self._uri])
        self._etag = ""

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, *_ended: object) -> None:
        self.release()

    def require_free(self) -> str:
        """Return the ETag of a lease that is expired or ours, "" if there is none.

        Raises Busy if another process holds it, RecordError if the object is not a lease, BucketError.
        """
        try:
            body, etag = self._bucket.get(self._uri)
        except BucketError as error:
            if error.is_missing and error.code != "NoSuchBucket":
                return ""
            raise
        try:
            held: dict[str, Any] = json.loads(body)
            until, seconds = float(held["until"]), float(held["seconds"])
            holder, host = str(held["holder"]), str(held["host"])
        except (ValueError, KeyError, TypeError):
            raise RecordError(
                f"{self._uri} is not a lease.", "Look at it, and delete it if nothing holds it."
            ) from None
        until += min(SKEW, seconds / 4)
        if holder != self._mine and (left := until - self._deadline.now().unix) > 0:
            ends = datetime.fromtimestamp(until, UTC)
            raise Busy(
                f"{self._uri} is held by another process, on {host}.",
                f"If that one is dead, its lease ends in {left:.0f} s, at {ends:%H:%M:%S} UTC.",
            )
        return etag

    def _write(self, over: str) -> None:
        asked = self._deadline.now()
        body = {"holder": self._mine, "token": self._token, "host": socket.gethostname(), "pid": os.getpid()}
        body |= {"until": asked.unix + self._seconds, "seconds": self._seconds}
        self._etag = self._bucket.put(self._uri, json.dumps(body).encode(), match=over)
        self._deadline.set(self._seconds, asked)

    def _renew(self) -> None:
        while not self._clock.wait(self._ended, self._seconds / 4):
            self._renew_once()

    def _renew_once(self) -> None:
        try:
            self._write(self._etag)
        except BucketError as error:
            if error.is_changed or error.is_missing:
                self._read_after_refusal()

    def _read_after_refusal(self) -> None:
        """Find out who holds the lease after a refused write.

        If the answer to our own write was lost, the lease is still ours.
        """
        try:
            body, etag = self._bucket.get(self._uri)
            if json.loads(body).get("token") == self._token:
                self._etag = etag
                return
            self._lost = "another process has taken it"
        except BucketError as error:
            if error.is_missing:
                self._lost = "it was deleted"
        except ValueError:
            self._lost = "something else was written there"


def holder_id(path: Path) -> str:
    """Return a globally unique ID for a file or folder of this machine. Only the process that locks it uses the ID."""
    found = path.stat()
    return f"{boot_id() or socket.gethostname()}:{found.st_dev}:{found.st_ino}"


def require_conditions(bucket: Bucket, uri: str) -> None:
    """Write an object beside `uri`, under conditions that are true and that are false, and delete it.

    Raises JobError if S3 ignores or refuses If-None-Match or If-Match, which a lease needs, BucketError for any other
    failure.
    """
    probe = f"{uri}.probe-{secrets.token_hex(8)}"
    try:
        fault = _fault_of_condition(bucket, probe, "If-None-Match") or _fault_of_condition(bucket, probe, "If-Match")
    finally:
        with suppress(BucketError):  # a remaining object does no harm
            bucket.delete([probe])
    if fault:
        raise JobError(
            f"S3 at {bucket.client.meta.endpoint_url} {fault}, so two processes could hold {uri} at once.",
            "Use an S3 with conditional writes, as AWS has it, or none: leave out mirror.to (to resume a run: --mirror none),"
            " and keep schedule.state in a local file.",
        )


def _fault_of_condition(bucket: Bucket, probe: str, condition: str) -> str:
    """Return what S3 does wrong with a condition, "" if nothing. The object exists if it was written before.

    If the answer to a write is lost and the write is repeated, the result is the same.
    """
    is_first = condition == "If-None-Match"
    for _ in range(2):  # a second try distinguishes a lost answer from a condition that is never met
        try:
            bucket.put(probe, _PROBE, match="" if is_first else _etag_of(bucket, probe))
        except BucketError as error:
            if error.code in _NOT_OFFERED:
                return f"refuses {condition} ({error.code})"
            if not (error.is_changed or error.is_missing) or error.code == "NoSuchBucket":
                raise
            if is_first and _etag_of(bucket, probe):
                break
        else:
            break
    else:
        return f"refuses every write with {condition}"
    try:
        bucket.put(probe, _PROBE, match="" if is_first else _OTHER_ETAG)
    except BucketError as error:
        if not error.is_changed:
            raise
        return ""
    return f"ignores {condition}"


def _etag_of(bucket: Bucket, uri: str) -> str:
    try:
        return bucket.get(uri)[1]
    except BucketError as error:
        if error.is_missing:
            return ""
        raise
