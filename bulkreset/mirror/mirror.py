"""The mirror: what the journal commits, put to S3 before anything is sent on the strength of it.

Objects below the run's address, all written whole and never changed:

    g000001.json                                  whose generation this is: put first, and only where there is none
    g000001-base-000000000000.sqlite.gz           the journal as it was behind that commit
    g000001-delta-000000000001-000000000003.json.gz   the commits behind it, in order
    handout/00000001.age                          chunks of the handout, as they are
    redaction.key                                 where a report has hashes in place of names
    report.csv, summary.json, log.jsonl           at the end
    lease.json                                    who goes on with the run

A generation (g) is one execution: whoever goes on begins a new one with a base of its own. The journal knows the token
of each that was begun with it, from before the first object of it is put: by that a directory is told from one that
another process has gone on with since.
"""

import gzip
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from bulkreset.errors import BulkresetError, Busy, JobError, RecordError, RunDirError
from bulkreset.job import MirrorConfig as Asked
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.mirror.lease import S3Lease, holder_id, retry_s3
from bulkreset.mirror.objects import (
    BASE,
    DELTA,
    STARTED,
    MirrorObject,
    list_objects,
    new_token,
    put_once,
    read_token,
    start_generation,
)
from bulkreset.models import Outcome, RateChange, SignOutOutcome
from bulkreset.s3 import Bucket, BucketError, Sealing, split

VERSION = 1
CLAIM_PUT_SECONDS = 0.2  # seconds between two puts of claims: five a second
OUTCOME_PUT_SECONDS = 0.4  # outcomes alone wait longer, for the next claims take them along
PATIENCE = 60.0  # seconds for which a put is tried again
RARELY = 20  # times as long as a copy takes lies between two of them
LEASE = "lease.json"
_AT_THE_END = ("report.*", "summary.json", "log.jsonl", "redaction.key")


class JournalCommit(Protocol):
    """Where claims and outcomes are committed."""

    def commit(
        self,
        claims: Sequence[int],
        outcomes: Sequence[Outcome],
        signed_out: Sequence[SignOutOutcome] = (),
        rates: Sequence[RateChange] = (),
    ) -> None:
        """Commit, durably. Raises RecordError where that is not possible."""


class JournalMirror:
    """A run's mirror, held by its lease. One thread records; bases are made by another."""

    def __init__(self, asked: Asked, at: str, home: RunDir, journal: Journal, tell: Callable[[str], None]) -> None:
        self.at = at
        self._bucket = open_bucket(asked)
        self._home = home
        self._journal = journal
        self._tell = tell
        self._every = asked.every
        self._lease = S3Lease(self._bucket, at + LEASE, holder_id(home.path), asked.lease)
        self._generation = 0
        self._commit = 0
        self._tokens: list[str] = []  # of the generations that this journal has begun, or was about to
        self._waiting: list[list[Any]] = []  # commits that are not in S3 yet
        self._put_at = float("-inf")
        self._based_at = 0.0
        self._based_for = 0.0  # seconds that the last base took
        self._pieces: list[MirrorObject] = []
        self._lock = threading.Lock()
        self._maker: threading.Thread | None = None
        self._broken: RecordError | None = None  # for want of which nothing more is sent

    def acquire(self) -> None:
        """Hold the run. Raises Busy where another machine does, RunDirError where another has gone on with it since."""
        self._lease.acquire()
        known = self._journal.meta().get("mirror") or {}
        self._generation, self._commit = known.get("generation", 0), known.get("commit", 0)
        self._tokens = list(known.get("tokens", ()))
        self._pieces = self._retry(lambda: list_objects(self._bucket, self.at), 0.0)
        newest = max(
            (it for it in self._pieces if it.kind != STARTED), key=lambda it: (it.generation, it.last), default=None
        )
        if newest is None or (newest.last <= self._commit and self._has_begun(newest.generation)):
            return
        if not (self._tokens or self._generation):
            raise RunDirError(
                f"{self.at} is the mirror of another run.",
                f"To go on with that one: bulkreset resume {self.at} For a new run name another --run-dir.",
            )
        raise RunDirError(
            f"The run {self._home.path} is behind its mirror: another process has gone on with it since.",
            f"Resume that one, in a new directory: bulkreset resume {self.at}",
        )

    def _has_begun(self, generation: int) -> bool:
        """Whether it was begun with this journal, and not with another that had come as far."""
        begun = next((it for it in self._pieces if it.kind == STARTED and it.generation == generation), None)
        if begun is None:  # the mirror is of an earlier version
            return generation <= self._generation
        return self._retry(lambda: read_token(self._bucket, begun), 0.0) in self._tokens

    def start_generation(self) -> None:
        """A new generation, whose base is all that the journal has. Nothing may be sent before it. Raises RecordError."""
        with self._required():
            self._start_generation(PATIENCE)
            if (key := self._home.redaction_key).exists():  # a report may have been drawn with it before the end
                self._retry(lambda: self._bucket.upload(self.at + key.name, str(key)), PATIENCE)

    def _start_generation(self, patience: float) -> None:
        """Begin a generation. Whoever dies on the way has its token, and knows by it what of it came to S3."""
        number, token = max([self._generation, *(it.generation for it in self._pieces)]) + 1, new_token()
        self._tokens.append(token)
        self._journal.note(mirror=self._store_progress())
        self._pieces.append(self._retry(lambda: start_generation(self._bucket, self.at, number, token), patience))
        self._generation = number
        self._upload_base(patience)
        self._journal.note(mirror=self._store_progress())

    def can_claim(self) -> bool:
        """Whether rows may be claimed now: so many puts a second, and no more."""
        return time.monotonic() - self._put_at >= CLAIM_PUT_SECONDS

    def commit(
        self,
        claims: Sequence[int],
        outcomes: Sequence[Outcome],
        signed_out: Sequence[SignOutOutcome] = (),
        rates: Sequence[RateChange] = (),
    ) -> None:
        """Commit here; it is in S3 by the next `secure`, or a little later. Raises RecordError."""
        self._commit += 1
        self._journal.commit(claims, outcomes, signed_out, rates, {"mirror": self._store_progress()})
        self._waiting.append([self._commit, list(claims), _to_plain(outcomes), _to_plain(signed_out), _to_plain(rates)])

    def flush(self) -> None:
        """Have in S3 what is committed here: nothing may be sent on a claim before. Raises RecordError, Busy where the lease is lost."""
        if self._waiting:
            self._upload_delta()

    def check(self) -> None:
        """Between one thing and the next: put what has waited, begin a base that is due. Raises as `secure` does."""
        self._lease.check()
        now = time.monotonic()
        if self._waiting and now - self._put_at >= OUTCOME_PUT_SECONDS:
            self._upload_delta()
        if now - self._based_at >= max(self._every, RARELY * self._based_for) and not (
            self._maker and self._maker.is_alive()
        ):
            self._based_at = now
            self._maker = threading.Thread(target=self._upload_base_in_background, name="mirror", daemon=True)
            self._maker.start()

    def upload_chunk(self, chunk: Path) -> None:
        """Put a chunk of the handout, before its rows are claimed. Raises RecordError."""
        body = chunk.read_bytes()
        with self._required():
            self._retry(lambda: put_once(self._bucket, f"{self.at}handout/{chunk.name}", body), PATIENCE)

    def finish(self) -> None:
        """Put the journal as it ends, and the reports. Raises RecordError."""
        patience = 0.0 if self._broken else PATIENCE
        if self._maker:
            self._maker.join()
        self._lease.check()
        if not self._generation or self._based_at == 0.0:
            self._start_generation(patience)
        else:
            self._upload_base(patience)
        for path in sorted(found for names in _AT_THE_END for found in self._home.path.glob(names)):
            self._retry(partial(self._bucket.upload, self.at + path.name, str(path)), patience)

    def release(self) -> None:
        """Let another machine go on."""
        self._lease.release()

    def _store_progress(self) -> dict[str, Any]:
        return {"at": self.at, "generation": self._generation, "commit": self._commit, "tokens": self._tokens}

    def _upload_delta(self) -> None:
        first, last = self._waiting[0][0], self._waiting[-1][0]
        table = {"version": VERSION, "generation": self._generation, "commits": self._waiting}
        uri = f"{self.at}g{self._generation:06d}-delta-{first:012d}-{last:012d}.json.gz"
        body = gzip.compress(json.dumps(table, separators=(",", ":")).encode(), 1)
        with self._required():
            self._retry(lambda: self._bucket.put(uri, body), PATIENCE)
        self._put_at = time.monotonic()
        self._waiting = []
        with self._lock:
            self._pieces.append(MirrorObject(self._generation, DELTA, first, last, uri))

    def _upload_base_in_background(self) -> None:
        try:
            self._upload_base(0.0)
        except BulkresetError as error:  # the deltas are whole without it: it is made the next time
            self._tell(error.message)

    def _upload_base(self, patience: float) -> None:
        """Put a copy of the journal, and take away what it makes needless."""
        began = time.monotonic()
        copy = self._home.path / ".mirror.sqlite"
        packed = self._home.path / ".mirror.sqlite.gz"
        try:
            with closing(
                Journal.open(self._home.journal, read_only=True)
            ) as journal:  # by another thread than the run's
                commit = journal.copy(copy)["mirror"]["commit"]
            with copy.open("rb") as source, gzip.open(packed, "wb", 1) as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            uri = f"{self.at}g{self._generation:06d}-base-{commit:012d}.sqlite.gz"
            self._retry(lambda: self._bucket.upload(uri, str(packed)), patience)
        except OSError as error:
            raise RecordError(f"The journal cannot be copied: {error.strerror}.", "Make room, then resume.") from None
        finally:
            copy.unlink(missing_ok=True)
            packed.unlink(missing_ok=True)
        self._based_at = time.monotonic()
        self._based_for = self._based_at - began
        self._delete_old(MirrorObject(self._generation, BASE, commit, commit, uri), patience)

    def _delete_old(self, base: MirrorObject, patience: float) -> None:
        """Take away what a base makes needless. What cannot be is tried again behind the next one."""
        with self._lock:
            own = [it for it in self._pieces if it.generation == base.generation]
            kept = [it for it in own if it.kind == STARTED or it.last > base.last]
            needless = [it for it in self._pieces if it not in kept and it != base]
            self._pieces = [*needless, *kept, base]
        self._retry(lambda: self._bucket.delete([it.uri for it in needless]), patience)
        with self._lock:
            self._pieces = [it for it in self._pieces if it not in needless]

    @contextmanager
    def _required(self) -> Iterator[None]:
        """What is asked for in the block must be there before anything is sent: once it is not, nothing is any more."""
        if self._broken:
            raise self._broken
        try:
            yield
        except RecordError as error:
            self._broken = error
            raise

    def _retry(self, ask: Callable[[], Any], patience: float) -> Any:  # noqa: ANN401
        try:
            return retry_s3(ask, patience, self._lease.check)
        except BucketError as error:
            if error.is_changed:
                raise Busy(
                    f"Another process has gone on with the run: {error.uri} is there, and not as it was to be put.",
                    f"Resume that one, in a new directory: bulkreset resume {self.at}",
                ) from None
            raise RecordError(
                f"The mirror {self.at} cannot be written: {error.action} was answered {error.code}.",
                f"{error.advice} Then resume.",
            ) from None


def open_bucket(asked: Asked) -> Bucket:
    """S3 as a job's mirror reaches it; its own tries are few, for they are made again here."""
    return Bucket(asked.profile, asked.region, tries=2, sealing=Sealing(asked.sse or "", asked.kms_key_id or ""))


def require_usable(asked: Asked, at: str) -> None:
    """Raise JobError where a new run can have no mirror there: what a later try would not change."""
    bucket = open_bucket(asked)
    try:
        bucket.get(at + LEASE)
    except BucketError as error:
        name, _ = split(at)
        if error.code == "NoSuchBucket":
            raise JobError(
                f"mirror.to: there is no bucket {name}, so no run can be mirrored to {at}.",
                "Make the bucket, or correct mirror.to.",
            ) from None
        if error.is_denied:
            raise JobError(
                f"mirror.to: {at} cannot be used: {error.action} was answered {error.code}.", error.advice
            ) from None


def _to_plain(values: Sequence[Outcome] | Sequence[SignOutOutcome] | Sequence[RateChange]) -> list[list[Any]]:
    return [[getattr(value, name) for name in value.__slots__] for value in values]
