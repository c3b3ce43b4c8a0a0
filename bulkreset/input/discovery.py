"""The search for inputs: what a path, a folder, a pattern or a list of them means, here and in S3."""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

from bulkreset.errors import InputError
from bulkreset.input.batch import unreadable
from bulkreset.input.location import File, InS3, Place, denied
from bulkreset.job import S3, Input, Where
from bulkreset.s3 import Bucket, BucketError, Object, split

AT_ONCE = 16  # objects that are asked for side by side
MOST_FILES = 20_000  # of one input: each is some kilobytes of memory
_KNOWN = (".csv", ".csv.gz", ".parquet", ".pq")
_ENDINGS = tuple(ending + sealed for ending in _KNOWN for sealed in ("", ".age"))

_Named = TypeVar("_Named", bound=Where)


class Nothing(InputError):
    """What was named is not there; perhaps it is not there yet."""


def places(spec: Input) -> list[Place]:
    """The files of an input in the order of their reading: as the list has them, of a folder or a pattern by name; each once.

    Raises InputError for what may not be read; Nothing for what is not there, or matches nothing.
    """
    bucket = Bucket(spec.profile, spec.region)
    found: list[Where] = []
    for given in spec.places:
        found += _in_s3(bucket, given) if isinstance(given, str) else _here(given)
    return _met(bucket, _few(dict.fromkeys(found), spec.named))


def present(spec: Input) -> list[Place]:
    """The same, and what is not there is passed over."""
    found: dict[Where, Place] = {}
    for given in spec.places:
        with suppress(Nothing):
            found |= {place.where: place for place in places(spec.model_copy(update={"path": (given,)}))}
    return list(found.values())


def literally(where: Where) -> str:
    """The path or address, as one that means itself and is no pattern."""
    if isinstance(where, str):
        return S3 + glob.escape(where.removeprefix(S3))
    return str(where)  # a file of that name comes before a pattern


def plain(given: str) -> str:
    """The address that `literally` was given."""
    return re.sub(r"\[([*?[])\]", r"\1", given)


def has_known_name(name: str) -> bool:
    """Whether a file of that name is an input."""
    name = name.lower()
    return name.endswith(_ENDINGS) and not name.startswith(".")


def _here(given: Path) -> Sequence[Where]:
    """The files that a path of this machine's means."""
    try:
        if given.is_dir():
            with os.scandir(given) as entries:
                known = (entry.path for entry in entries if has_known_name(entry.name) and entry.is_file())
                inside = sorted(_few(known, given))
            if not inside:
                raise Nothing(
                    f"The folder {given} has no inputs.", f"Inputs are files that end in {', '.join(_KNOWN)}, or .age."
                )
            return [Path(path) for path in inside]
        if given.exists() or not glob.has_magic(str(given)):
            return [given]
    except OSError as error:
        raise unreadable(given, error) from None
    matched = (path for path in glob.iglob(str(given), recursive=True) if not os.path.isdir(path))  # noqa: PTH112, PTH207  (Path's glob takes no absolute pattern)
    return [Path(path) for path in sorted(_few(matched, given))] or _nothing(given)


def _in_s3(bucket: Bucket, given: str) -> Sequence[Where]:
    """The objects that an address means: one, those at once below a prefix, or those that a pattern fits."""
    _, key = split(given)
    if not key or key.endswith("/"):
        known = (one.uri for one in _listed(bucket, given, "/") if has_known_name(one.uri.rpartition("/")[2]))
        found = _few(known, given)
        if not found:
            raise Nothing(
                f"There are no inputs at {given}.", f"Inputs are objects that end in {', '.join(_KNOWN)}, or .age."
            )
        return found
    if not glob.has_magic(key):
        return [given]
    fits = re.compile(_pattern(given))
    begins = re.split(r"[*?[]", given, maxsplit=1)[0]
    return _few((one.uri for one in _listed(bucket, begins) if fits.fullmatch(one.uri)), given) or _one_of(given)


def _few(found: Iterable[_Named], given: Where) -> list[_Named]:
    """All of them. Raises InputError where they are more than an input may have."""
    some = list(islice(found, MOST_FILES + 1))
    if len(some) > MOST_FILES:
        raise InputError(
            f"The input {given} has more than {MOST_FILES:,} files.", "Name fewer at a time, or put them together."
        )
    return some


def _one_of(given: str) -> Sequence[Where]:
    """The address that a pattern of one meaning has, as `literally` writes it."""
    one = plain(given)
    return [one] if glob.escape(one.removeprefix(S3)) == given.removeprefix(S3) else _nothing(given)


def _pattern(given: str) -> str:
    """A pattern as a regular expression; as in a shell, only ** goes over a "/"."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\])", given)
    means = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        means.get(part)
        or (f"[{'^' if part[1] == '!' else ''}{re.escape(part[1:-1].lstrip('!'))}]" if number % 2 else re.escape(part))
        for number, part in enumerate(parts)
    ).replace(r"\-", "-")


def _listed(bucket: Bucket, uri: str, delimiter: str = "") -> Iterator[Object]:
    try:
        yield from bucket.objects(uri, delimiter)
    except BucketError as error:
        raise (unreadable(uri, error) if error.is_passing else denied(uri, error)) from None


def _nothing(given: Where) -> Sequence[Where]:
    raise Nothing(f"No input matches {given}.", "Check the pattern, or that the export has been written.")


def _met(bucket: Bucket, found: Sequence[Where]) -> list[Place]:
    """Each place, looked at; those in S3 side by side."""

    def meet(where: Where) -> Place:
        if isinstance(where, Path):
            if not os.path.lexists(where):
                raise Nothing(f"There is no input file {where}.", "Check the path.")
            return File(where)
        try:
            return InS3(bucket, bucket.head(where))
        except BucketError as error:
            if error.is_missing:
                raise Nothing(
                    f"There is no input {where}: s3:GetObject was answered {error.code}.",
                    "Check the bucket and the key.",
                ) from None
            raise (unreadable(where, error) if error.is_passing else denied(where, error)) from None

    if not any(isinstance(where, str) for where in found):
        return [meet(where) for where in found]
    bucket.client  # noqa: B018  (made by one thread)
    with ThreadPoolExecutor(AT_ONCE) as executor:
        return list(executor.map(meet, found))
