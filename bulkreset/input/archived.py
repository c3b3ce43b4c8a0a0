"""Find finished inputs that a scheduled run has archived: the same content under another path or address."""

import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from bulkreset.errors import InputError
from bulkreset.input.batch import unreadable_input_error
from bulkreset.input.decrypt import name_of
from bulkreset.input.discovery import find_inputs, unescape_pattern
from bulkreset.input.input_set import InputSet, PlannedFile
from bulkreset.input.location import Fingerprint, InputFile, LocalFile, S3Object, denied_error
from bulkreset.job import TAG, InputConfig, Location
from bulkreset.s3 import Bucket, BucketError


class ArchivedFile:
    """An archived file that is compared by content, because S3 treats a moved object as a new one."""

    def __init__(self, place: InputFile) -> None:
        self.where = place.where
        self.version = place.version
        self._place = place
        self._found: Fingerprint | None = None

    def open(self) -> io.BufferedReader:
        """Return a stream of the file's bytes."""
        return self._place.open()

    def size(self) -> int:
        """Return the size in bytes."""
        return self._place.size()

    def identity(self) -> tuple[object, ...]:
        """Return values that change whenever the file is written or replaced."""
        return self._place.identity()

    def fingerprint(self) -> Fingerprint:
        """Return the fingerprint; this reads the whole file."""
        return self._place.fingerprint()

    def is_unchanged(self, planned: Fingerprint) -> bool:
        """Return whether the content is as planned. Later calls also check that the file itself has not changed."""
        if self._found and not self._place.is_unchanged(self._found):
            return False
        found = self._found = self._found or self.fingerprint()
        return (found.size, found.sha256) == (planned.size, planned.sha256)


def reopen_archived(
    spec: InputConfig, done: Location | None, planned: Sequence[PlannedFile], *, with_passwords: bool = True
) -> InputSet | None:
    """Return the input as it was planned. Each file is at its old path or in `done`; None if one is at neither.

    Raises InputError if access to the archive is denied, Stopped if S3 cannot be reached.
    """
    if done is None or done == TAG or len(spec.places) != len(planned):
        return None
    found = []
    for given, one in zip(spec.places, planned, strict=True):
        place = _find_file(spec, given, one.fingerprint) or _find_archived(spec, done, given, one.fingerprint)
        if place is None:
            return None
        found.append(place)
    origins = [unescape_pattern(given) if isinstance(given, str) else given for given in spec.places]
    return InputSet(spec, found, names=[one.name for one in planned], origins=origins, with_passwords=with_passwords)


def _find_file(spec: InputConfig, given: Location, mark: Fingerprint) -> InputFile | None:
    try:
        (place,) = find_inputs(spec.model_copy(update={"path": (given,)}))
        return place if place.is_unchanged(mark) else None
    except (InputError, ValueError):  # the file is gone, or the path is now a folder with more files
        return None


def _find_archived(spec: InputConfig, done: Location, given: Location, mark: Fingerprint) -> InputFile | None:
    """Return the archived file with the input's name (or name-NUMBER) and the same content, None if there is none."""
    stem, dot, endings = name_of(unescape_pattern(given) if isinstance(given, str) else given).partition(".")
    fits = re.compile(re.escape(stem) + r"(-\d+)?" + re.escape(dot + endings))
    if isinstance(done, str):
        candidates = _s3_candidates(Bucket(spec.profile, spec.region), done, fits, mark.size)
    else:
        candidates = _local_candidates(done, fits, mark.size)
    return next((place for place in map(ArchivedFile, candidates) if place.is_unchanged(mark)), None)


def _local_candidates(folder: Path, fits: re.Pattern[str], size: int) -> Iterator[InputFile]:
    try:
        found = [folder / name for name in sorted(os.listdir(folder)) if fits.fullmatch(name)]  # noqa: PTH208
        yield from [LocalFile(path) for path in found if path.is_file() and path.stat().st_size == size]
    except FileNotFoundError:
        return
    except OSError as error:
        raise unreadable_input_error(folder, error) from None


def _s3_candidates(bucket: Bucket, done: str, fits: re.Pattern[str], size: int) -> Iterator[InputFile]:
    folder = done if done.endswith("/") else f"{done}/"
    try:
        for one in bucket.objects(folder, "/"):
            if fits.fullmatch(name_of(one.uri)) and one.size == size:
                yield S3Object(bucket, bucket.head(one.uri))
    except BucketError as error:
        raise (unreadable_input_error(folder, error) if error.is_passing else denied_error(folder, error)) from None
