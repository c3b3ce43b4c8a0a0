"""The generation: one execution's part of a mirror, by the names of its objects and the token of who began it."""

import json
import re
import secrets
from typing import NamedTuple

from bulkreset.errors import RunDirError
from bulkreset.s3 import Bucket, BucketError, Object

STARTED, BASE, DELTA = "begun", "base", "delta"
_NAME = re.compile(
    r"g(?P<generation>\d{6})(?:-(?P<kind>base|delta)-(\d{12})(?:-(\d{12}))?\.(?:sqlite|json)\.gz|\.json)"
)


class MirrorObject(NamedTuple):
    """An object of the mirror: a base behind commit `last`, the commits from `first` to `last`, or that somebody began."""

    generation: int
    kind: str
    first: int
    last: int
    uri: str


def list_objects(bucket: Bucket, at: str) -> list[MirrorObject]:
    """The pieces of a mirror, in order. Raises BucketError."""
    found = [(one, _NAME.fullmatch(one.uri.removeprefix(at))) for one in bucket.objects(at, "/")]
    return sorted(_parse_name(one, named) for one, named in found if named)


def _parse_name(one: Object, named: re.Match[str]) -> MirrorObject:
    generation, kind, first, last = named.groups()
    return MirrorObject(int(generation), kind or STARTED, int(first or 0), int(last or first or 0), one.uri)


def new_token() -> str:
    """What tells a generation from one of the same number that another process has begun."""
    return secrets.token_hex(8)


def start_generation(bucket: Bucket, at: str, generation: int, token: str) -> MirrorObject:
    """Have a number for a generation, which nobody else can have then. Raises BucketError; `is_changed` where somebody has."""
    uri = f"{at}g{generation:06d}.json"
    put_once(bucket, uri, json.dumps({"token": token}).encode())
    return MirrorObject(generation, STARTED, 0, 0, uri)


def read_token(bucket: Bucket, begun: MirrorObject) -> str:
    """Who began a generation. Raises BucketError, RunDirError where it does not say so."""
    try:
        return str(json.loads(bucket.get(begun.uri)[0])["token"])
    except (ValueError, KeyError, TypeError):
        raise RunDirError(
            f"{begun.uri} is damaged: it does not say who goes on with the run.", "Look for an older version."
        ) from None


def put_once(bucket: Bucket, uri: str, body: bytes) -> None:
    """Write an object where there is none. The very same once more, where an answer was lost, does no harm. Raises BucketError."""
    try:
        bucket.put(uri, body, match="")
    except BucketError as error:
        if not error.is_changed or bucket.get(uri)[0] != body:
            raise
