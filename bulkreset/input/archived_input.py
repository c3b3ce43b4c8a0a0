"""Find finished inputs that a scheduled run has archived: the same content under another path or address."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from bulkreset.errors import InputError
from bulkreset.input.decrypt import name_of
from bulkreset.input.discovery import discover, list_objects, unescape_pattern
from bulkreset.input.input_set import InputSet, PlannedFile
from bulkreset.input.location import Fingerprint, InputFile, LocalFile, S3Object, reading
from bulkreset.job import TAG, InputConfig, Location
from bulkreset.s3 import Bucket


class _ArchivedObject(S3Object):
    """An archived object, which is compared by content: S3 treats a moved object as a new one."""

    _found: Fingerprint | None = None

    def is_unchanged(self, planned: Fingerprint) -> bool:
        """Return whether the content is as planned. Later calls check only that the object has not changed."""
        if self._found and not super().is_unchanged(self._found):
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
    names, origins = [one.name for one in planned], [*map(unescape_pattern, spec.places)]
    return InputSet(spec, found, names=names, origins=origins, with_passwords=with_passwords)


def _find_file(spec: InputConfig, given: Location, mark: Fingerprint) -> InputFile | None:
    try:
        (place,) = discover(spec.model_copy(update={"path": (given,)})).files
        return place if place.is_unchanged(mark) else None
    except (InputError, ValueError):  # the file is gone, or the path is now a folder with more files
        return None


def _find_archived(spec: InputConfig, done: Location, given: Location, mark: Fingerprint) -> InputFile | None:
    """Return the archived file with the input's name (or name-NUMBER) and the same content, None if there is none."""
    if not mark.sha256:
        return None
    stem, dot, endings = name_of(unescape_pattern(given)).partition(".")
    fits = re.compile(re.escape(stem) + r"(-\d+)?" + re.escape(dot + endings))
    found: Iterator[InputFile] = (
        _archived_objects(Bucket(spec.profile, spec.region), done, fits, mark.size)
        if isinstance(done, str)
        else _archived_files(done, fits, mark.size)
    )
    return next((place for place in found if place.is_unchanged(mark)), None)


def _archived_files(folder: Path, fits: re.Pattern[str], size: int) -> Iterator[LocalFile]:
    with reading(folder), suppress(FileNotFoundError):
        found = [folder / name for name in sorted(os.listdir(folder)) if fits.fullmatch(name)]  # noqa: PTH208
        yield from [LocalFile(path) for path in found if path.is_file() and path.stat().st_size == size]


def _archived_objects(bucket: Bucket, done: str, fits: re.Pattern[str], size: int) -> Iterator[S3Object]:
    for one in list_objects(bucket, done if done.endswith("/") else f"{done}/", "/"):
        if fits.fullmatch(name_of(one.uri)) and one.size == size:
            with reading(one.uri):
                found = bucket.head(one.uri)
            yield _ArchivedObject(bucket, found)
