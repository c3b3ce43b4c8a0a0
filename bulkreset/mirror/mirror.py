"""Uploads the journal's commits to S3 before any request that depends on them is sent.

Objects below the run's address, all written completely; bases, deltas and chunks never change:

    g000001.json                                  token of the generation: uploaded first, only if it does not exist
    g000001-base-000000000000.sqlite.gz           the journal after that commit
    g000001-delta-000000000001-000000000003.json.gz   the commits after the base, in order
    passwords/00000001.age                        generated passwords, encrypted, unchanged
    redaction.key                                 if a report has hashes instead of names
    report.csv, summary.json, log.jsonl           uploaded at the end
    lease.json                                    the process that runs the run; renewed while it works

A generation (g) is one execution: a process that continues the run begins a new one with its own base. The journal
records each generation's token before uploading its first object, so a stale run directory can be detected.
"""

import gzip
import math
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bulkreset.backoff import retrying
from bulkreset.errors import BulkresetError, Busy, JobError, RecordError, RunDirError
from bulkreset.files import create_file
from bulkreset.job import MirrorConfig as Asked
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.journal.run_state import MirrorProgress
from bulkreset.mirror.lane_presence import S3Presence
from bulkreset.mirror.lease import S3Lease, holder_id
from bulkreset.mirror.objects import (
    BASE,
    DELTA,
    STARTED,
    VERSION,
    Commit,
    Delta,
    MirrorObject,
    list_objects,
    put_once,
    read_token,
    start_generation,
)
from bulkreset.models import Event, StateChanged
from bulkreset.s3 import Bucket, BucketError, split
from bulkreset.text import quoted

CLAIM_PUT_SECONDS = 0.2  # seconds between two uploads of claims: five per second
OUTCOME_PUT_SECONDS = 0.4  # outcomes alone wait longer, because the next claims include them
SLOW_SECONDS = 0.5  # if a lane's claims are farther apart, its outcomes do not wait for the next ones
PATIENCE = 60.0  # seconds for which an upload is retried
LOG_PATIENCE = 10.0  # the same for the log, which no other machine needs
RARELY = 20  # minimum time between two bases, in multiples of the last base's duration
LEASE = "lease.json"
_AT_THE_END = ("report.*", "summary.json", "redaction.key")


class JournalMirror:
    """A run's mirror, protected by its lease. One thread commits; another creates bases."""

    def __init__(self, asked: Asked, at: str, home: RunDir, journal: Journal, warn: Callable[[str], None]) -> None:
        self.at = at
        self._bucket = open_bucket(asked)
        self._home = home
        self._journal = journal
        self._warn = warn
        self._every = asked.every
        self._lease = S3Lease(self._bucket, at + LEASE, holder_id(home.path), asked.lease)
        self._generation = 0  # of this execution
        self._waiting: list[Commit] = []  # commits that are not in S3 yet
        self._put_at = -math.inf
        self._claimed_at = -math.inf  # when the last claims were uploaded
        self._claims_apart = math.inf  # seconds between the last two
        self._based_at = 0.0
        self._based_for = 0.0  # seconds that the last base took
        self._pieces: list[MirrorObject] = []
        self._lock = threading.Lock()
        self._maker: threading.Thread | None = None
        self._broken: RecordError | None = None  # the upload error after which nothing more is sent

    def acquire(self) -> None:
        """Acquire the run's lease.

        Raises Busy if another machine holds it, RunDirError if another process has continued the run since or the
        mirror is another run's, RecordError if S3 fails.
        """
        try:
            self._lease.acquire()
        except RecordError as error:
            raise RecordError(error.message, f"{error.advice} {self._advice_if_gone}") from None
        self._pieces = self._retry(lambda: list_objects(self._bucket, self.at), 0.0)
        newest = max(
            (it for it in self._pieces if it.kind != STARTED), key=lambda it: (it.generation, it.last), default=None
        )
        if newest is None or (newest.last <= self._progress.commit and self._has_begun(newest.generation)):
            return
        if not (self._progress.tokens or self._progress.generation):
            raise RunDirError(
                f"{self.at} is the mirror of another run.",
                f"Name another --run-dir for a new run. To continue the run in the mirror: bulkreset resume {self.at}",
            )
        raise RunDirError(
            f"The run {self._home.path} is behind its mirror: another process has continued it since.",
            f"Resume that one, in a new directory: bulkreset resume {self.at}",
        )

    def _has_begun(self, generation: int) -> bool:
        """Return whether this journal began the generation, not another copy with the same number of commits."""
        begun = next((it for it in self._pieces if it.kind == STARTED and it.generation == generation), None)
        if begun is None:  # an earlier version wrote the mirror
            return generation <= self._progress.generation
        return self._retry(lambda: read_token(self._bucket, begun), 0.0) in self._progress.tokens

    def start_generation(self) -> None:
        """Begin a generation with the whole journal as its base, before anything is sent. Raises RecordError."""
        with self._required():
            self._start_generation(PATIENCE)
            if (key := self._home.redaction_key).exists():  # a report may use it before the run ends
                self._upload(key, PATIENCE)

    def _start_generation(self, patience: float) -> None:
        """Begin a generation.

        The token is stored first, so that after a crash the journal recognizes its own objects in S3.
        """
        known, token = self._progress, secrets.token_hex(8)
        number = max([known.generation, *(it.generation for it in self._pieces)]) + 1
        self._store_progress(tokens=(*known.tokens, token))
        self._pieces.append(self._retry(lambda: start_generation(self._bucket, self.at, number, token), patience))
        self._generation = number
        self._upload_base(patience)
        self._store_progress(generation=number)

    @property
    def permit(self) -> S3Lease:
        """Return the permit to send: the lease."""
        return self._lease

    def can_claim(self) -> bool:
        """Return whether rows may be claimed now; this limits the number of uploads per second."""
        return time.monotonic() - self._put_at >= CLAIM_PUT_SECONDS

    def commit(self, events: Sequence[Event]) -> None:
        """Commit to the journal; the next `flush` or `check` uploads the same events. Raises RecordError."""
        number = self._progress.commit + 1
        mirrored = StateChanged({"mirror": self._progress.model_copy(update={"commit": number})})
        commit = Commit(number, [*events, mirrored])
        self._journal.write.commit(commit.events)
        self._waiting.append(commit)

    def flush(self) -> None:
        """Upload all commits; claimed rows may be sent only then. Raises RecordError, Busy if the lease is lost."""
        if self._waiting:
            self._upload_delta()
        self._claims_apart, self._claimed_at = self._put_at - self._claimed_at, self._put_at

    def check(self) -> None:
        """Check the lease, upload waiting commits and start a base if one is due. Raises the errors of `flush`.

        Outcomes wait at most OUTCOME_PUT_SECONDS. If this machine is lost, the waiting ones are lost, too.
        """
        self._lease.check()
        now = time.monotonic()
        slow = max(self._claims_apart, now - self._claimed_at) > SLOW_SECONDS
        if self._waiting and (slow or now - self._put_at >= OUTCOME_PUT_SECONDS):
            self._upload_delta()
        if now - self._based_at >= max(self._every, RARELY * self._based_for) and not (
            self._maker and self._maker.is_alive()
        ):
            self._based_at = now
            self._maker = threading.Thread(target=self._upload_base_in_background, name="mirror", daemon=True)
            self._maker.start()

    def upload_chunk(self, chunk: Path) -> None:
        """Upload a chunk of generated passwords, before its rows are claimed. Raises RecordError."""
        body = chunk.read_bytes()
        with self._required():
            self._retry(lambda: put_once(self._bucket, f"{self.at}passwords/{chunk.name}", body), PATIENCE)

    def enter_lane(self, lane: str, run_dir: str) -> S3Presence:
        """Announce the run in a lane to others that have mirrors with the same prefix."""
        prefix = self.at.rstrip("/").rpartition("/")[0] + "/"
        return S3Presence(self._bucket, prefix, lane, self.at, run_dir, self._warn).start()

    def upload_page(self) -> None:
        """Upload the current page of the run, without a retry. Raises RecordError. Any thread may call it."""
        self._upload(self._home.page, 0.0)

    def finish(self, *, whole: bool = False) -> None:
        """Upload the journal's end and the reports, but not the log. Raises RecordError, Busy if the lease is lost.

        If the run was stopped, its end is one more delta: a copy of a large journal could take longer than the
        process has left. `whole`: rows were changed without a commit of the mirror, so upload a base.
        """
        patience = 0.0 if self._broken else PATIENCE
        if self._maker:
            self._maker.join()
        self._lease.check()
        if not self._generation or self._based_at == 0.0:
            self._start_generation(patience)
        elif whole or self._broken or self._journal.state.is_finished:
            self._upload_base(patience)
        else:
            facts = self._journal.state.model_dump(mode="json", exclude={"commits", "mirror"})
            self.commit([StateChanged(facts)])
            self._upload_delta()
        for path in sorted(found for names in _AT_THE_END for found in self._home.path.glob(names)):
            self._upload(path, patience)
        if self._journal.state.reports_stale:  # reports of an earlier execution would look like the run's end
            names = (self._journal.state.report_name, self._home.page.name)
            gone = [self.at + name for name in names if not (self._home.path / name).exists()]
            self._retry(partial(self._bucket.delete, gone), patience)

    def upload_log(self) -> None:
        """Upload the log, which by now says how the run ended. Raises RecordError, Busy if the lease is lost."""
        self._upload(self._home.log, LOG_PATIENCE)

    def _upload(self, path: Path, patience: float) -> None:
        """Upload a file of the run directory under its own name."""
        self._retry(lambda: self._bucket.upload(self.at + path.name, str(path)), patience)

    def release(self) -> None:
        """Release the lease, so that another machine can continue."""
        self._lease.release()

    @property
    def _advice_if_gone(self) -> str:
        path = quoted(self._home.path)
        return f"If the mirror is permanently gone: bulkreset resume {path} --mirror none."

    @property
    def _progress(self) -> MirrorProgress:
        return self._journal.state.mirror or MirrorProgress(at=self.at)

    def _store_progress(self, **changes: object) -> None:
        self._journal.write.change(mirror=self._progress.model_copy(update=changes))

    def _upload_delta(self) -> None:
        delta = Delta(VERSION, self._waiting)
        first, last = delta.commits[0].number, delta.commits[-1].number
        uri = f"{self.at}g{self._generation:06d}-delta-{first:012d}-{last:012d}.json.gz"
        body = delta.packed()
        with self._required():
            self._retry(lambda: self._bucket.put(uri, body), PATIENCE)
        self._put_at = time.monotonic()
        self._waiting = []
        with self._lock:
            self._pieces.append(MirrorObject(self._generation, DELTA, first, last, uri))

    def _upload_base_in_background(self) -> None:
        try:
            self._upload_base(0.0)
        except BulkresetError as error:  # the deltas are complete without it; the next base replaces it
            self._warn(error.message)

    def _upload_base(self, patience: float) -> None:
        """Upload a copy of the journal as a base and delete the objects that it replaces."""
        began = time.monotonic()
        copy = self._home.path / ".mirror.sqlite"
        packed = self._home.path / ".mirror.sqlite.gz"
        try:
            # Another thread than the run's may execute this.
            with closing(Journal.open(self._home.journal, read_only=True)) as journal:
                mirrored = journal.copy(copy).mirror
            commit = mirrored.commit if mirrored else 0
            packed.unlink(missing_ok=True)
            with (
                copy.open("rb") as source,
                os.fdopen(create_file(packed), "wb") as out,
                gzip.open(out, "wb", 1) as sink,
            ):
                shutil.copyfileobj(source, sink, 1 << 20)
            uri = f"{self.at}g{self._generation:06d}-base-{commit:012d}.sqlite.gz"
            self._retry(lambda: self._bucket.upload(uri, str(packed)), patience)
        except OSError as error:
            raise RecordError(
                f"The journal cannot be copied: {error.strerror}.", "Free disk space, then resume."
            ) from None
        finally:
            copy.unlink(missing_ok=True)
            packed.unlink(missing_ok=True)
        self._based_at = time.monotonic()
        self._based_for = self._based_at - began
        self._delete_old(MirrorObject(self._generation, BASE, commit, commit, uri), patience)

    def _delete_old(self, base: MirrorObject, patience: float) -> None:
        """Delete the objects that a base replaces. If that fails, it is retried after the next base."""
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
        """Require the block's uploads before anything is sent; after a failure every later block raises it again."""
        if self._broken:
            raise self._broken
        try:
            yield
        except RecordError as error:
            self._broken = error
            raise

    def _retry(self, ask: Callable[[], Any], patience: float) -> Any:  # noqa: ANN401
        """Call `ask` while the lease is held, and retry transient errors for up to `patience` seconds."""

        def attempt() -> Any:  # noqa: ANN401
            self._lease.check()
            return ask()

        try:
            return retrying(_is_passing, longest_wait=4, patience=patience)(attempt)
        except BucketError as error:
            if error.is_changed:
                raise Busy(
                    f"Another process has continued the run: {error.uri} already exists, with other content.",
                    f"Resume that one, in a new directory: bulkreset resume {self.at}",
                ) from None
            raise RecordError(
                f"The mirror {self.at} cannot be written: {error.action} failed with {error.code}.",
                f"{error.advice} Then resume. {self._advice_if_gone}",
            ) from None


def _is_passing(outcome: object) -> bool:
    return isinstance(outcome, BucketError) and outcome.is_passing


def open_bucket(asked: Asked) -> Bucket:
    """Return the S3 client for a job's mirror. It makes few retries itself, because this module retries."""
    return Bucket(asked.profile, asked.region, tries=2, sse=asked.sse, kms_key_id=asked.kms_key_id)


def require_usable(asked: Asked, at: str) -> None:
    """Raise JobError if a new run cannot use a mirror at `at`, for reasons that a retry would not change."""
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
                f"mirror.to: {at} cannot be used: {error.action} failed with {error.code}.", error.advice
            ) from None
