"""The objects of a mirror: their names, and the token that identifies the process that began a generation."""

import json
import re
from typing import NamedTuple

from bulkreset.errors import RunDirError
from bulkreset.s3 import Bucket, BucketError, Object

STARTED, BASE, DELTA = "begun", "base", "delta"
_NAME = re.compile(
    r"g(?P<generation>\d{6})(?:-(?P<kind>base|delta)-(\d{12})(?:-(\d{12}))?\.(?:sqlite|json)\.gz|\.json)"
)


class MirrorObject(NamedTuple):
    """An object of the mirror.

    By `kind`: a base (the journal after commit `last`), a delta (commits `first` to `last`), or the start of a
    generation.
    """

    generation: int
    kind: str
    first: int
    last: int
    uri: str


def list_objects(bucket: Bucket, at: str) -> list[MirrorObject]:
    """Return the objects of a mirror, in order. Raises BucketError."""
    found = [(one, _NAME.fullmatch(one.uri.removeprefix(at))) for one in bucket.objects(at, "/")]
    return sorted(_parse_name(one, named) for one, named in found if named)


def _parse_name(one: Object, named: re.Match[str]) -> MirrorObject:
    generation, kind, first, last = named.groups()
    return MirrorObject(int(generation), kind or STARTED, int(first or 0), int(last or first or 0), one.uri)


def start_generation(bucket: Bucket, at: str, generation: int, token: str) -> MirrorObject:
    """Reserve a generation number for this process. Raises BucketError, with `is_changed` if another process has it."""
    uri = f"{at}g{generation:06d}.json"
    put_once(bucket, uri, json.dumps({"token": token}).encode())
    return MirrorObject(generation, STARTED, 0, 0, uri)


def read_token(bucket: Bucket, begun: MirrorObject) -> str:
    """Return the token of a generation. Raises BucketError, RunDirError if the object has no token."""
    try:
        return str(json.loads(bucket.get(begun.uri)[0])["token"])
    except (ValueError, KeyError, TypeError):
        raise RunDirError(
            f"{begun.uri} is damaged: it does not say which process continues the run.", "Look for an older version."
        ) from None


def put_once(bucket: Bucket, uri: str, body: bytes) -> None:
    """Write an object only if it does not exist. Raises BucketError.

    An existing object with the same content is accepted, because the answer to an earlier try may have been lost.
    """
    try:
        bucket.put(uri, body, match="")
    except BucketError as error:
        if not error.is_changed or bucket.get(uri)[0] != body:
            raise
