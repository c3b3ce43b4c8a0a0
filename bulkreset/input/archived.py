"""Finished inputs, found again where a night has put them: the same content, under another path or address."""

import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from bulkreset.errors import InputError
from bulkreset.input.batch import unreadable
from bulkreset.input.decrypt import name_of
from bulkreset.input.discovery import places, plain
from bulkreset.input.input_set import Inputs, Noted
from bulkreset.input.location import File, Fingerprint, InS3, Place, denied
from bulkreset.job import TAG, Input, Where
from bulkreset.s3 import Bucket, BucketError


class PutAway:
    """A place that is what was planned where its content is: to S3 a moved object is a new one."""

    def __init__(self, place: Place) -> None:
        self.where = place.where
        self._place = place
        self._found: Fingerprint | None = None

    def open(self) -> io.BufferedReader:
        """Its bytes."""
        return self._place.open()

    def size(self) -> int:
        """Its bytes, counted."""
        return self._place.size()

    def identity(self) -> tuple[object, ...]:
        """What changes whenever it is written or replaced."""
        return self._place.identity()

    def fingerprint(self) -> Fingerprint:
        """Read all of it."""
        return self._place.fingerprint()

    def has_not_changed(self, planned: Fingerprint) -> bool:
        """By its content; once that is known, as the place knows itself again."""
        if self._found and not self._place.has_not_changed(self._found):
            return False
        found = self._found = self._found or self.fingerprint()
        return (found.size, found.sha256) == (planned.size, planned.sha256)


def found_again(spec: Input, planned: Sequence[Noted], *, with_passwords: bool = True) -> Inputs | None:
    """The input as it was planned, each file where it was or in `input.done`; None where one is in neither.

    Raises InputError where the archive may not be read, Stopped where S3 is out of reach.
    """
    if spec.done in {None, TAG} or len(spec.places) != len(planned):
        return None
    found = []
    for given, one in zip(spec.places, planned, strict=True):
        place = _as_it_was(spec, given, one.mark) or _put_away(spec, given, one.mark)
        if place is None:
            return None
        found.append(place)
    return Inputs(spec, found, names=[one.name for one in planned], with_passwords=with_passwords)


def _as_it_was(spec: Input, given: Where, mark: Fingerprint) -> Place | None:
    try:
        (place,) = places(spec.model_copy(update={"path": (given,)}))
        return place if place.has_not_changed(mark) else None
    except (InputError, ValueError):  # gone, or by now a folder with more
        return None


def _put_away(spec: Input, given: Where, mark: Fingerprint) -> Place | None:
    """What lies in the archive under the input's name, or that with a number, and has its content."""
    stem, dot, endings = name_of(plain(given) if isinstance(given, str) else given).partition(".")
    fits = re.compile(re.escape(stem) + r"(-\d+)?" + re.escape(dot + endings))
    return next((place for place in map(PutAway, _named(spec, fits, mark.size)) if place.has_not_changed(mark)), None)


def _here(folder: Path, fits: re.Pattern[str], size: int) -> Iterator[Place]:
    try:
        found = [folder / name for name in sorted(os.listdir(folder)) if fits.fullmatch(name)]  # noqa: PTH208
        yield from [File(path) for path in found if path.is_file() and path.stat().st_size == size]
    except FileNotFoundError:
        return
    except OSError as error:
        raise unreadable(folder, error) from None


def _named(spec: Input, fits: re.Pattern[str], size: int) -> Iterator[Place]:
    if not isinstance(spec.done, str):
        yield from _here(Path(spec.done or ""), fits, size)
        return
    bucket = Bucket(spec.profile, spec.region)
    folder = spec.done if spec.done.endswith("/") else f"{spec.done}/"
    try:
        for one in bucket.objects(folder, "/"):
            if fits.fullmatch(name_of(one.uri)) and one.size == size:
                yield InS3(bucket, bucket.head(one.uri))
    except BucketError as error:
        raise (unreadable(folder, error) if error.is_passing else denied(folder, error)) from None
