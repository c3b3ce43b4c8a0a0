"""Which inputs of a scheduled job may be read now: unchanged ones, in folders with their marker."""

from collections.abc import Sequence
from pathlib import Path

from bulkreset.input.location import InputFile, S3Object, reading
from bulkreset.job import Location, ScheduleConfig
from bulkreset.s3 import Bucket, BucketError
from bulkreset.text import format_duration, format_iso


def held_back(schedule: ScheduleConfig, places: Sequence[InputFile], bucket: Bucket, now: float) -> dict[Location, str]:
    """Return the inputs that are not read yet, each with the reason. `now` is Unix time.

    Raises InputError if S3 denies the access, Stopped if it cannot be reached.
    """
    found: dict[Location, str] = {}
    if schedule.marker:
        folders = {place.where: _folder_of(place.where) for place in places}
        bare = {folder for folder in {*folders.values()} if not _exists(folder, schedule.marker, bucket)}
        found |= {where: f"no {schedule.marker} in its folder" for where, folder in folders.items() if folder in bare}
    if schedule.settle:
        for place in places:
            changed = _changed_at(place)
            if now - changed < schedule.settle:
                at = format_iso(changed * 1000, "seconds")
                found[place.where] = f"changed at {at}, and schedule.settle is {format_duration(schedule.settle)}"
    return found


def _changed_at(place: InputFile) -> float:
    """Return when an input was last written or renamed.

    A copy may keep the original's time stamps, except the one of the inode.
    """
    if isinstance(place, S3Object):
        return place.met.modified
    *_, written, changed = place.identity()
    return max(int(str(written)), int(str(changed))) / 1e9


def _folder_of(where: Location) -> Location:
    return where.rpartition("/")[0] if isinstance(where, str) else where.parent


def _exists(folder: Location, name: str, bucket: Bucket) -> bool:
    if isinstance(folder, Path):
        with reading(folder):
            return (folder / name).exists()
    uri = f"{folder}/{name}"
    with reading(uri):
        try:
            bucket.head(uri)
        except BucketError as error:
            if error.is_missing:
                return False
            raise
    return True
