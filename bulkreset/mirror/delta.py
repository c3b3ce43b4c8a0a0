"""A delta of the mirror: commits of the journal, each with the events that the journal committed."""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self

from pydantic import TypeAdapter

from bulkreset.errors import RunDirError
from bulkreset.models import Event

VERSION = 3


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
