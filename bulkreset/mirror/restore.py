"""Restores a run directory from its mirror: the last base and every delta after it. Nothing is guessed."""

import gzip
import os
import shutil
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bulkreset.errors import RecordError, RunDirError
from bulkreset.files import create_file, sync_directory
from bulkreset.journal.commit_mark import CommitMark
from bulkreset.journal.database import damaged_journal_error
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir, RunMissing
from bulkreset.journal.run_state import MirrorProgress
from bulkreset.mirror.lease import S3Lease
from bulkreset.mirror.mirror import LEASE
from bulkreset.mirror.objects import BASE, DELTA, Delta, MirrorObject, damaged_error, list_objects
from bulkreset.s3 import Bucket, BucketError


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
            raise RunMissing(
                f"There is no mirrored run at {at}.",
                "Check the address: it ends with the name of the run (s3://bucket/prefix/RUN).",
            )
        base = max(bases, key=lambda piece: (piece.generation, piece.last))
        deltas = [it for it in found if it.kind == DELTA and it.generation == base.generation and it.last > base.last]

        def fill(journal: Path) -> None:  # the directory gets its name last, so it is complete
            _rebuild_journal(bucket, base, deltas, journal)
            _fetch_other_files(bucket, at, RunDir(journal.parent))

        RunDir.create(path, fill).release()
    except BucketError as error:
        raise RunDirError(
            f"The run at {at} cannot be read: {error.action} failed with {error.code}.", error.advice
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
    with closing(Journal.open(path, is_copy=True)) as journal:
        journal.check()
        for delta in sorted(deltas, key=lambda piece: piece.first):
            _replay(bucket, delta, journal)
        mirror = _progress(journal).model_copy(update={"generation": base.generation})
        journal.write.change(mirror=mirror, passwords=None, mirror_pending=False)
        CommitMark.create(path, journal.state).close()


def _progress(journal: Journal) -> MirrorProgress:
    if journal.state.mirror is None:
        raise damaged_journal_error(journal.path)
    return journal.state.mirror


def _replay(bucket: Bucket, piece: MirrorObject, journal: Journal) -> None:
    """Replay the commits that the journal does not have. Raises RunDirError for a gap or damage."""
    commit = _progress(journal).commit
    if piece.first > commit + 1:
        raise RunDirError(
            f"The mirror has a gap: commits {commit + 1} to {piece.first - 1} are missing before {piece.uri}.",
            "What was sent in them is not known: look for older versions of these objects.",
        )
    commits = Delta.unpacked(bucket.get(piece.uri)[0], piece.uri).commits
    if [one.number for one in commits] != list(range(piece.first, piece.last + 1)):
        raise RunDirError(f"{piece.uri} does not have the commits that its name says.", "Look for an older version.")
    try:
        for one in commits:
            if one.number > commit:
                journal.write.commit(one.events)
    except ValueError:  # a state that no run has
        raise damaged_error(piece.uri) from None


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
