"""Restores a run directory from its mirror: the last base and every delta after it. Nothing is guessed."""

import gzip
import json
import os
import shutil
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bulkreset.errors import RecordError, RunDirError
from bulkreset.files import create_file, sync_directory
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir, RunMissing
from bulkreset.mirror.lease import S3Lease
from bulkreset.mirror.mirror import LEASE, VERSION
from bulkreset.mirror.objects import BASE, DELTA, MirrorObject, list_objects
from bulkreset.models import Outcome, RateChange, SignOutOutcome, Status
from bulkreset.s3 import Bucket, BucketError

_Commit = tuple[int, list[int], list[Outcome], list[SignOutOutcome], list[RateChange]]


def restore(uri: str, path: Path, bucket: Bucket | None = None) -> None:
    """Create the run directory `path`, which must be new, from the mirror at `uri`. It is not locked afterwards.

    Raises Busy if another process is running it, RunMissing if there is no mirror, RunDirError if a part of the
    mirror is missing or damaged, or the directory exists.
    """
    at = uri if uri.endswith("/") else f"{uri}/"
    bucket = bucket or Bucket()
    try:
        S3Lease(bucket, at + LEASE, "").require_free()
        found = list_objects(bucket, at)
        bases = [piece for piece in found if piece.kind == BASE]
        if not bases:
            raise RunMissing(f"There is no run at {at}.", "Name the address of a mirrored run: s3://bucket/prefix/RUN.")
        base = max(bases, key=lambda piece: (piece.generation, piece.last))
        deltas = [it for it in found if it.kind == DELTA and it.generation == base.generation and it.last > base.last]

        def fill(journal: Path) -> None:  # the directory gets its name last, so it is complete
            _rebuild_journal(bucket, base, deltas, journal)
            _fetch_other_files(bucket, at, RunDir(journal.parent))

        RunDir.create(path, fill).release()
    except BucketError as error:
        raise RunDirError(
            f"The run at {at} cannot be read: {error.action} was answered {error.code}.", error.advice
        ) from None


def _rebuild_journal(bucket: Bucket, base: MirrorObject, deltas: Sequence[MirrorObject], path: Path) -> None:
    packed = path.with_name(".base.gz")
    bucket.download(base.uri, str(packed))
    try:
        with gzip.open(packed) as source, os.fdopen(create_file(path), "wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except (OSError, EOFError, zlib.error):
        raise RunDirError(
            f"{base.uri} is damaged.", "Without it the run cannot be restored: look for an older version."
        ) from None
    finally:
        packed.unlink(missing_ok=True)
    with closing(Journal.open(path)) as journal:
        facts = journal.facts()
        journal.check(facts.get("rows"))
        commit = int(facts["mirror"]["commit"])
        for delta in sorted(deltas, key=lambda piece: piece.first):
            commit = _replay(bucket, delta, journal, commit)
        journal.note(mirror=facts["mirror"] | {"generation": base.generation, "commit": commit}, passwords=None)


def _replay(bucket: Bucket, delta: MirrorObject, journal: Journal, commit: int) -> int:
    """Replay the commits after `commit`; return the last one's number. Raises RunDirError for a gap or damage."""
    if delta.first > commit + 1:
        raise RunDirError(
            f"The mirror has a gap: commits {commit + 1} to {delta.first - 1} are missing before {delta.uri}.",
            "What was sent in them is not known: look for older versions of these objects.",
        )
    try:
        table = json.loads(gzip.decompress(bucket.get(delta.uri)[0]))
        if table["version"] != VERSION:
            raise RunDirError(f"{delta.uri} has version {table['version']}.", "Use the bulkreset that wrote it.")
        commits: list[_Commit] = [
            (
                int(number),
                list(map(int, claims)),
                [Outcome(row, Status(status), *rest) for row, status, *rest in outcomes],
                [SignOutOutcome(*one) for one in signed_out],
                [RateChange(*one) for one in rates],
            )
            for number, claims, outcomes, signed_out, rates in table["commits"]
        ]
        numbers = [number for number, *_ in commits]
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
        raise RunDirError(
            f"{delta.uri} is damaged.", "What was sent in it is not known: look for an older version."
        ) from None
    if numbers != list(range(delta.first, delta.last + 1)):
        raise RunDirError(f"{delta.uri} does not have the commits that its name says.", "Look for an older version.")
    for number, claims, outcomes, signed_out, rates in commits:
        if number > commit:
            journal.commit(claims, outcomes, signed_out, rates)
    return delta.last


def _fetch_other_files(bucket: Bucket, at: str, home: RunDir) -> None:
    """Download the files that are not in the journal: the generated passwords and the key for the hashes in reports.

    Raises RecordError if they cannot be written, BucketError.
    """
    chunks = [one.uri for one in bucket.objects(f"{at}passwords/")]
    keys = [one.uri for one in bucket.objects(at + home.redaction_key.name)]
    try:
        if chunks:
            home.passwords.mkdir(mode=0o700)
        for uri in chunks:
            _download(bucket, uri, home.passwords)
        for uri in keys:
            _download(bucket, uri, home.path)
    except BaseException as error:
        shutil.rmtree(home.passwords, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        raise RecordError(f"What belongs to {home.path} cannot be written: {error.strerror}.") from None


def _download(bucket: Bucket, uri: str, folder: Path) -> None:
    """Download an object to a file in `folder` and sync both to disk."""
    path = folder / uri.rpartition("/")[2]
    bucket.download(uri, str(path))
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sync_directory(folder)
