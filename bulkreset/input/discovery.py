"""Find the input files for a path, a folder, a pattern or a list of these, on this machine and in S3."""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

from bulkreset.cancellation import check_current
from bulkreset.errors import InputError
from bulkreset.input.batch import unreadable_input_error
from bulkreset.input.location import InputFile, LocalFile, S3Object, denied_error
from bulkreset.job import S3, InputConfig, Location
from bulkreset.s3 import Bucket, BucketError, Object, split

AT_ONCE = 16  # objects that are requested in parallel
MOST_FILES = 20_000  # per input; each file takes some kilobytes of memory
_TEXTS = (".csv", ".jsonl", ".ndjson")
_KNOWN = (*(text + packed for text in _TEXTS for packed in ("", ".gz", ".zst")), ".parquet", ".pq")
_ENDINGS = tuple(ending + encrypted for ending in _KNOWN for encrypted in ("", ".age"))

_Item = TypeVar("_Item")
_Named = TypeVar("_Named", bound=Location)


class InputMissing(InputError):
    """The named input does not exist, perhaps not yet."""


def find_inputs(spec: InputConfig) -> list[InputFile]:
    """Return the files of an input in reading order, each once.

    They are in the order of the list; files of a folder or a pattern are sorted by name. Raises InputError if a file or
    folder cannot be read or there are too many files, InputMissing if one does not exist or a pattern has no match.
    """
    bucket = Bucket(spec.profile, spec.region)
    found: list[Location] = []
    for given in spec.places:
        found += _find_in_s3(bucket, given) if isinstance(given, str) else _find_local(given)
    return _stat_inputs(bucket, _cap(dict.fromkeys(found), spec.named))


def find_existing(spec: InputConfig) -> list[InputFile]:
    """Return the same files, but ignore paths that do not exist or match nothing."""
    found: dict[Location, InputFile] = {}
    for given in spec.places:
        with suppress(InputMissing):
            found |= {place.where: place for place in find_inputs(spec.model_copy(update={"path": (given,)}))}
    return list(found.values())


def escape_pattern(where: Location) -> str:
    """Return the path or address, escaped so that it is not read as a pattern."""
    if isinstance(where, str):
        return S3 + glob.escape(where.removeprefix(S3))
    return str(where)  # no escape needed: a file of that name takes precedence over a pattern


def unescape_pattern(given: str) -> str:
    """Return the address that was passed to `escape_pattern`."""
    return re.sub(r"\[([*?[])\]", r"\1", given)


def has_known_name(name: str) -> bool:
    """Return whether a file of that name is an input."""
    name = name.lower()
    return name.endswith(_ENDINGS) and not name.startswith(".")


def _find_local(given: Path) -> Sequence[Location]:
    """Return the files that a local path, folder or pattern stands for."""
    try:
        if given.is_dir():
            with os.scandir(given) as entries:
                known = (entry.path for entry in _checked(entries) if has_known_name(entry.name) and entry.is_file())
                inside = sorted(_cap(known, given))
            if not inside:
                raise InputMissing(
                    f"The folder {given} has no inputs.", f"Inputs are files that end in {', '.join(_KNOWN)}, or .age."
                )
            return [Path(path) for path in inside]
        if given.exists() or not glob.has_magic(str(given)):
            return [given]
    except OSError as error:
        raise unreadable_input_error(given, error) from None
    matched = (path for path in _checked(glob.iglob(str(given), recursive=True)) if not os.path.isdir(path))  # noqa: PTH112, PTH207  (Path's glob takes no absolute pattern)
    return [Path(path) for path in sorted(_cap(matched, given))] or _missing_error(given)


def _find_in_s3(bucket: Bucket, given: str) -> Sequence[Location]:
    """Return the addresses for one object, for the objects directly below a prefix, or for those matching a pattern."""
    _, key = split(given)
    if not key or key.endswith("/"):
        known = (one.uri for one in _list_objects(bucket, given, "/") if has_known_name(one.uri.rpartition("/")[2]))
        found = _cap(known, given)
        if not found:
            raise InputMissing(
                f"There are no inputs at {given}.", f"Inputs are objects that end in {', '.join(_KNOWN)}, or .age."
            )
        return found
    if not glob.has_magic(key):
        return [given]
    fits = re.compile(_pattern_regex(given))
    begins = re.split(r"[*?[]", given, maxsplit=1)[0]
    return _cap(
        (one.uri for one in _list_objects(bucket, begins) if fits.fullmatch(one.uri)), given
    ) or _literal_address(given)


def _checked(items: Iterable[_Item]) -> Iterator[_Item]:
    """Yield the items; stop with an error if the run is to stop."""
    for item in items:
        check_current()
        yield item


def _cap(found: Iterable[_Named], given: Location) -> list[_Named]:
    """Return all of `found` as a list. Raises InputError if there are more than MOST_FILES."""
    some = list(islice(_checked(found), MOST_FILES + 1))
    if len(some) > MOST_FILES:
        raise InputError(
            f"The input {given} has more than {MOST_FILES:,} files.", "Name fewer at a time, or put them together."
        )
    return some


def _literal_address(given: str) -> Sequence[Location]:
    """Return the address that `escape_pattern` escaped to `given`. Raises InputMissing if `given` is a real pattern."""
    one = unescape_pattern(given)
    return [one] if glob.escape(one.removeprefix(S3)) == given.removeprefix(S3) else _missing_error(given)


def _pattern_regex(given: str) -> str:
    """Return a pattern as a regular expression. As in a shell, only ** matches a "/"."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\])", given)
    means = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        means.get(part)
        or (f"[{'^' if part[1] == '!' else ''}{re.escape(part[1:-1].lstrip('!'))}]" if number % 2 else re.escape(part))
        for number, part in enumerate(parts)
    ).replace(r"\-", "-")


def _list_objects(bucket: Bucket, uri: str, delimiter: str = "") -> Iterator[Object]:
    try:
        yield from bucket.objects(uri, delimiter)
    except BucketError as error:
        raise (unreadable_input_error(uri, error) if error.is_passing else denied_error(uri, error)) from None


def _missing_error(given: Location) -> Sequence[Location]:
    raise InputMissing(f"No input matches {given}.", "Check the pattern, or that the export has been written.")


def _stat_inputs(bucket: Bucket, found: Sequence[Location]) -> list[InputFile]:
    """Return each file after checking that it exists. Objects in S3 are checked in parallel."""

    def meet(where: Location) -> InputFile:
        if isinstance(where, Path):
            if not os.path.lexists(where):
                raise InputMissing(f"There is no input file {where}.", "Check the path.")
            return LocalFile(where)
        try:
            return S3Object(bucket, bucket.head(where))
        except BucketError as error:
            if error.is_missing:
                raise InputMissing(
                    f"There is no input {where}: s3:GetObject was answered {error.code}.",
                    "Check the bucket and the key.",
                ) from None
            raise (unreadable_input_error(where, error) if error.is_passing else denied_error(where, error)) from None

    if not any(isinstance(where, str) for where in found):
        return [meet(where) for where in found]
    bucket.client  # noqa: B018  (create the client in one thread)
    with ThreadPoolExecutor(AT_ONCE) as executor:
        return list(executor.map(meet, found))
