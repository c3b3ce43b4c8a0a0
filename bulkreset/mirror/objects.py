"""The objects of a mirror: their names, the commits in a delta, and the token of the process that began a generation."""

import gzip
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Self

from pydantic import TypeAdapter

from bulkreset.errors import RunDirError
from bulkreset.models import Event
from bulkreset.s3 import Bucket, BucketError

VERSION = 3  # of a delta
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
    found = []
    for one in bucket.objects(at, "/"):
        if named := _NAME.fullmatch(one.uri.removeprefix(at)):
            generation, kind, first, last = named.groups()
            found.append(
                MirrorObject(int(generation), kind or STARTED, int(first or 0), int(last or first or 0), one.uri)
            )
    return sorted(found)


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


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of the journal. Commits are numbered from 1 over all executions."""

    number: int
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Delta:
    """Consecutive commits."""

    version: int
    commits: Sequence[Commit]

    def packed(self) -> bytes:
        """Return the delta as compressed JSON."""
        return gzip.compress(_adapter().dump_json(self, exclude_defaults=True), 1)

    @classmethod
    def unpacked(cls, body: bytes, uri: str) -> Self:
        """Return the delta in an object's body. Raises RunDirError if it is damaged or has another version."""
        try:
            delta = _adapter().validate_json(gzip.decompress(body))
        except (OSError, EOFError, zlib.error, ValueError):
            raise damaged_error(uri) from None
        if delta.version != VERSION:
            raise RunDirError(f"{uri} has version {delta.version}.", "Use the bulkreset that wrote it.")
        return cls(VERSION, delta.commits)


def damaged_error(uri: str) -> RunDirError:
    """Return the error for an object that is not a delta."""
    return RunDirError(f"{uri} is damaged.", "What was sent in it is not known: look for an older version.")


@cache
def _adapter() -> TypeAdapter[Delta]:
    return TypeAdapter(Delta)
