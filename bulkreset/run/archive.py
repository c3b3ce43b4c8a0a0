"""Archiving of finished inputs: move or tag them, and never overwrite another file."""

import errno
import os
import shutil
import stat
from pathlib import Path

from bulkreset.errors import InputError, RecordError, Stopped
from bulkreset.files import atomic_file
from bulkreset.input.decrypt import name_of
from bulkreset.input.discovery import InputMissing
from bulkreset.input.location import Fingerprint, InputFile, LocalFile, S3Object
from bulkreset.job import TAG, Location
from bulkreset.s3 import Bucket, BucketError, Object

TAGGED = "bulkreset"  # the name of the tag


def archive_input(place: InputFile, mark: Fingerprint, done: Location, run_id: str, bucket: Bucket) -> str:
    """Move or tag a finished input. Returns its new place or tag, or "" if the input has changed since.

    Raises RecordError if that fails; the input then stays unchanged and still counts as finished.
    """
    try:
        if not place.is_unchanged(mark):
            return ""
        if isinstance(place, S3Object):
            return _archive_in_s3(place.met, str(done), run_id, bucket)
        return str(_move_file(Path(place.where), Path(done)))
    except BucketError as error:
        raise RecordError(
            f"{place.where} is finished and could not be archived: {error.action} failed with {error.code}.",
            error.advice,
        ) from None
    except (InputError, Stopped) as error:
        raise RecordError(error.message, error.advice) from None
    except OSError as error:
        raise RecordError(
            f"{place.where} is finished and could not be moved to {done}: {error.strerror}.",
            "Check the folder's rights.",
        ) from None


def find_unarchived(where: str, bucket: Bucket) -> InputFile | None:
    """Return a finished input if it is still at `where`, else None. Raises RecordError if S3 does not answer that."""
    try:
        return S3Object(bucket, bucket.head(where)) if where.startswith("s3://") else LocalFile(Path(where))
    except BucketError as error:
        if error.is_missing:
            return None
        raise RecordError(f"{where} cannot be read: {error.code}.", error.advice) from None
    except (InputMissing, InputError):
        return None


def _archive_in_s3(met: Object, done: str, run_id: str, bucket: Bucket) -> str:
    if done == TAG:
        bucket.tag(met, TAGGED, run_id)
        return f"{TAG} {TAGGED}={run_id}"
    folder = done if done.endswith("/") else f"{done}/"
    taken = {name_of(one.uri) for one in bucket.objects(folder, "/")}
    to = folder + _free_name(name_of(met.uri), taken)
    bucket.copy(met, to)
    bucket.delete([met.uri], match=f'"{met.etag}"')
    return to


def _move_file(path: Path, folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    to = folder / _free_name(path.name, set(os.listdir(folder)))  # noqa: PTH208
    try:
        path.rename(to)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_file(path, to)  # a complete copy of the passwords must exist even after a crash
        path.unlink()
    return to


def _copy_file(path: Path, to: Path) -> None:
    with path.open("rb") as source, atomic_file(to, new=True) as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
        sink.flush()
        known = os.fstat(source.fileno())
        os.fchmod(sink.fileno(), stat.S_IMODE(known.st_mode))
        os.utime(sink.fileno(), ns=(known.st_atime_ns, known.st_mtime_ns))


def _free_name(name: str, taken: set[str]) -> str:
    """Return the name; if it is taken, with a number before its extensions."""
    stem, dot, endings = name.partition(".")
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{stem}-{number}{dot}{endings}"
    return free
