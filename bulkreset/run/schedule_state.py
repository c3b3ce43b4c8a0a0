"""The state of a scheduled job: its completed inputs and its unfinished run. One process at a time holds it."""

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from bulkreset.clock import SINCE_BOOT, Clock
from bulkreset.errors import Busy, JobError, RecordError
from bulkreset.files import atomic_writer, decode_text, read_small_file
from bulkreset.job import Location
from bulkreset.mirror.lease import SECONDS, S3Lease, holder_id
from bulkreset.s3 import Bucket, BucketError

VERSION = 1
ABANDONED = "abandoned"  # as `archived_at`: the run was given up, so the input stays in place
MOST = 1 << 25  # bytes: some 100,000 inputs


_STRICT = ConfigDict(extra="forbid")


@dataclass(slots=True, config=_STRICT)
class CompletedInput:
    """One input that a run has finished. `identity` identifies an unchanged local file without reading it again."""

    size: int
    sha256: str
    version: str
    identity: list[Any]
    run_id: str
    at: str
    archived_at: str = ""  # where it was moved, how it was tagged, or ABANDONED; "" if not yet


@dataclass(slots=True, config=_STRICT)
class OpenRun:
    """A started run, and the paths or S3 addresses of its inputs. `mirror` is its mirror's address in S3, "" if none.

    `created`: its directory has been created, so the run may have sent something, also if it was resumed by hand. If
    that is missing in the file, assume the worse case.
    """

    run_dir: str
    inputs: list[str]
    mirror: str = ""
    created: bool = True


@dataclass(slots=True, config=_STRICT)
class SetAside:
    """An input that could not be read. It is retried when its `identity` or the job's [input] (`job`) differs."""

    identity: list[Any]
    job: str
    why: str
    at: str


@dataclass(slots=True)
class ScheduleState:
    """The state between scheduled runs. `completed` and `aside` are by path or S3 address.

    `last_run` is the directory of the last run that finished, "" if there is none.
    """

    open_run: OpenRun | None = None
    completed: dict[str, CompletedInput] = field(default_factory=dict)
    aside: dict[str, SetAside] = field(default_factory=dict)
    last_run: str = ""

    def as_text(self) -> str:
        """Return the state as JSON."""
        return json.dumps({"version": VERSION, **_STATE.dump_python(self)}, indent=1) + "\n"

    @classmethod
    def parse(cls, text: bytes, where: Location) -> "ScheduleState":
        """Return the state in `text`. Raises JobError if it is not a job's state, or has another version."""
        try:
            table = json.loads(decode_text(text))
            known = table["version"]
            if known == VERSION:
                return _STATE.validate_python(table | {key: table[key] for key in ("open_run", "completed")})
        except (ValueError, KeyError, TypeError, RecursionError):
            raise JobError(
                f"{where} is not the state of a job.",
                "Name another file, or restore it: without it every input is new.",
            ) from None
        raise JobError(
            f"{where} has version {known}; this bulkreset knows version {VERSION}.", "Use the bulkreset that wrote it."
        )


_STATE = TypeAdapter(ScheduleState)


class StateStore:
    """The file or S3 object that has the state; it is read and written as a whole.

    `locked` holds it while it may change; `check` raises Busy if it may no longer be held.
    """

    def __init__(self, where: Location, bucket: Bucket, clock: Clock = SINCE_BOOT) -> None:
        self.where = where
        self._bucket = bucket
        self._clock = clock
        self._etag = ""
        self._lease: S3Lease | None = None

    def read(self) -> ScheduleState:
        """Return the state; an empty one if there is none.

        Raises JobError if it is not a job's state or the file cannot be read, RecordError if S3 does not return it.
        """
        try:
            if isinstance(self.where, str):
                body, self._etag = self._bucket.get(self.where, MOST)
            else:
                body = read_small_file(self.where, MOST)
            return ScheduleState.parse(body, self.where)
        except FileNotFoundError:
            return ScheduleState()
        except BucketError as error:
            if error.is_missing and error.code != "NoSuchBucket":
                return ScheduleState()
            raise RecordError(f"The state {self.where} cannot be read: {error.code}.", error.advice) from None
        except OSError as error:
            raise JobError(
                f"The state {self.where} cannot be read: {error.strerror}.",
                "Check its rights, and that it is the state of a job.",
            ) from None

    def write(self, state: ScheduleState) -> None:
        """Replace the state that was read. Raises RecordError, or Busy if another process has changed it in S3."""
        advice = f"Without it the same inputs may be run again: fix it before the next scheduled run ({self.where})."
        if isinstance(self.where, Path):
            with atomic_writer(self.where, advice) as file:
                file.write(state.as_text())
            return
        try:
            self._etag = self._bucket.put(self.where, state.as_text().encode(), match=self._etag)
        except BucketError as error:
            if error.is_changed:
                raise Busy(f"The state {self.where} was written by another process.", "Look at both runs.") from None
            raise RecordError(f"The state {self.where} cannot be written: {error.code}.", advice) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the state for the block, against other scheduled runs. Raises Busy if another one holds it."""
        path = self._lock
        with ExitStack() as stack:
            try:
                lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                raise RecordError(
                    f"{path} cannot be written: {error.strerror}.", "Check the folder and its rights."
                ) from None
            stack.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Busy(
                    f"Another scheduled run of this job holds {self.where}.", "Wait for it: bulkreset status."
                ) from None
            if isinstance(self.where, str):
                # The holder of this machine's lock may take over the lease of a dead run on this machine.
                lease = S3Lease(self._bucket, f"{self.where}.lease", holder_id(path), SECONDS, self._clock)
                self._lease = stack.enter_context(lease)
            yield

    def check(self) -> None:
        """Raise Busy if another scheduled run may have started: the lease is lost or was not renewed in time."""
        if self._lease:
            self._lease.check()

    @property
    def _lock(self) -> Path:
        """Return the file whose lock prevents two scheduled runs of the job on one machine."""
        if isinstance(self.where, Path):
            return self.where.with_name(f"{self.where.name}.lock")
        digest = hashlib.sha256(self.where.encode()).hexdigest()[:32]
        return Path(tempfile.gettempdir()) / f"bulkreset-{os.getuid()}-{digest}.lock"
