"""Find the input files for a path, a folder, a pattern or a list of these, on this machine and in S3."""

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from bulkreset.cancellation import check_current
from bulkreset.errors import InputError
from bulkreset.input.decrypt import InputContent, name_of
from bulkreset.input.file_kinds import KNOWN, NO_IDENTITY, has_known_name, is_helper, why_unread
from bulkreset.input.location import InputFile, LocalFile, S3Object, denied_error, reading, unreadable_input_error
from bulkreset.job import S3, InputConfig, Location
from bulkreset.s3 import Bucket, BucketError, Object, split
from bulkreset.text import format_count

AT_ONCE = 16  # objects that are requested in parallel
MOST_FILES = 20_000  # per input; each file takes some kilobytes of memory
SHOWN = 10  # unread files that are named; the others are counted

_FOLDER = 'a folder: a pattern such as "**/*.csv" reads what is in it'
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Unread(NamedTuple):
    """A file or folder beside the inputs that is not read, and the reason."""

    where: Location
    why: str


class Discovery(NamedTuple):
    """The files of an input in reading order, and the files beside them that are not read."""

    files: list[InputFile]
    unread: list[Unread]


class InputMissing(InputError):
    """The named input does not exist, perhaps not yet. `unread` are the files in its place."""

    unread: Sequence[Unread] = ()


def discover(spec: InputConfig) -> Discovery:
    """Return the files of an input in reading order, each once, and what is not read beside them.

    They are in the order of the list; files of a folder or a pattern are sorted by name. Raises InputError if a file or
    folder cannot be read or there are too many files, InputMissing if one does not exist or a pattern has no match.
    """
    bucket = Bucket(spec.profile, spec.region)
    found: list[Location] = []
    unread: list[Unread] = []
    for given in spec.places:
        files, others = _find_in_s3(bucket, spec, given) if isinstance(given, str) else _find_local(spec, given)
        found += files
        unread += others
    return _each_once(_stat_inputs(bucket, _cap(dict.fromkeys(found), spec.named)), unread)


def discover_existing(spec: InputConfig) -> Discovery:
    """Return the same, but ignore paths that do not exist or match nothing."""
    found: list[InputFile] = []
    unread: list[Unread] = []
    for given in spec.places:
        try:
            files, others = discover(spec.model_copy(update={"path": (given,)}))
        except InputMissing as error:
            unread += error.unread
        else:
            found += files
            unread += others
    return _each_once(found, unread)


def _each_once(found: Iterable[InputFile], unread: Sequence[Unread]) -> Discovery:
    """Return each file once, and what is not read: links to a file that is read, too. Its rows would be duplicates."""
    files = {place.where: place for place in found}
    real = {where: where.resolve() if isinstance(where, Path) else where for where in files}
    read: dict[Location, Location] = {}
    for where in sorted(files, key=lambda it: isinstance(it, Path) and it.is_symlink()):
        read.setdefault(real[where], where)
    links = [
        Unread(where, f"another name of {_legible(name)}, which is read")
        for where in files
        if (name := read[real[where]]) != where
    ]
    for link in links:
        del files[link.where]
    return Discovery([*files.values()], [one for one in dict.fromkeys([*unread, *links]) if one.where not in files])


def describe_unread(unread: Sequence[Unread]) -> str:
    """Return a sentence that names the files that are not read, and why; "" if there are none."""
    if not unread:
        return ""
    named = [f"{_legible(one.where)} ({one.why})" for one in unread[:SHOWN]]
    more = [f"and {len(unread) - SHOWN:,} more"] if len(unread) > SHOWN else []
    return f"{format_count(len(unread), 'file is', 'files are')} not read: {'; '.join([*named, *more])}."


def _legible(where: Location) -> str:
    """Return the path as text that can be stored, also if a name in it is not UTF-8."""
    return where if isinstance(where, str) else os.fsencode(where).decode("utf-8", "backslashreplace")


def escape_pattern(where: Location) -> str:
    """Return the path or address, escaped so that it is not read as a pattern."""
    if isinstance(where, str):
        return S3 + glob.escape(where.removeprefix(S3))
    return str(where)  # no escape needed: a file of that name takes precedence over a pattern


def unescape_pattern(given: Location) -> Location:
    """Return the path or address that was passed to `escape_pattern`."""
    return re.sub(r"\[([*?[])\]", r"\1", given) if isinstance(given, str) else given


def _find_local(spec: InputConfig, given: Path) -> tuple[Sequence[Location], list[Unread]]:
    """Return the files for a local path, folder or pattern, and those that are not read."""
    with reading(given):
        if given.is_dir():
            with os.scandir(given) as entries:
                names = sorted(_cap((entry.path for entry in entries if not is_helper(entry.name)), given))
            return _sort_out_local(spec, [Path(name) for name in names], f"The folder {given} has no inputs.")
        if given.exists() or not glob.has_magic(str(given)):
            return [given], []
        fixed = len(Path(re.split(r"[*?[]", str(given), maxsplit=1)[0] + "x").parts) - 1
        matched = (
            path
            for path in map(Path, glob.iglob(str(given), recursive=True))  # noqa: PTH207  (Path's glob takes no absolute pattern)
            if not (_is_kept_out(path.parts[fixed:], str(given)) or ("**" in str(given) and path.is_dir()))
        )
        files = sorted(_cap(matched, given), key=str)
        return _sort_out_local(spec, files, f"No input matches {given}.", named=True)


def _is_kept_out(parts: Sequence[str], pattern: str) -> bool:
    """Return whether a path is a program's helper file, or is in its folder, and the pattern does not ask for it."""
    if not parts or not parts[-1]:
        return True
    asks = re.search(r"[*?[].*/[_.]", pattern)
    return is_helper(parts[-1]) or (not asks and any(part.startswith(("_", ".")) for part in parts[:-1]))


def _sort_out_local(
    spec: InputConfig, found: Sequence[Path], missing: str, *, named: bool = False
) -> tuple[list[Location], list[Unread]]:
    files: list[InputFile] = []
    unread: list[Unread] = []
    for path in _checked(found):
        if path.is_file():
            files.append(LocalFile(path))
        elif not path.is_dir():
            unread.append(Unread(path, "not a file"))
        elif not all(map(is_helper, os.listdir(path))):  # noqa: PTH208  (names are enough)
            unread.append(Unread(path, _FOLDER))
    inputs, others = _sort_out(spec, files, unread, missing, named=named)
    return inputs, sorted(others, key=lambda one: str(one.where))


def _sort_out(
    spec: InputConfig, found: Sequence[InputFile], unread: Sequence[Unread], missing: str, *, named: bool
) -> tuple[list[Location], list[Unread]]:
    """Return which of these files are inputs, and the others with the reason. Raises InputMissing if none is."""

    def why(place: InputFile) -> str:
        return why_unread(name_of(place.where), spec, lambda: _beginning(spec, place), named=named)

    doubtful = [place for place in found if not has_known_name(name_of(place.where))]
    reasons = {place.where: reason for place, reason in zip(doubtful, for_each(why, doubtful), strict=True) if reason}
    others = [*(Unread(where, reason) for where, reason in reasons.items()), *unread]
    files = [place.where for place in found if place.where not in reasons]
    return files, others if files else _missing_error(missing, others)


def for_each(
    act: Callable[..., _Result], places: Sequence[Location | InputFile], *more: Sequence[object]
) -> list[_Result]:
    """Return the result of `act` for each place, and what `more` has for it; in parallel if a place is in S3."""
    if not any(isinstance(place, str | S3Object) for place in places):
        return list(map(act, _checked(places), *more))
    with ThreadPoolExecutor(AT_ONCE) as executor:
        return list(executor.map(act, places, *more))


def _beginning(spec: InputConfig, place: InputFile) -> bytes:
    content = InputContent(spec, place)
    if not place.size():
        return b""
    if content.is_encrypted and not spec.identity:
        return NO_IDENTITY
    return content.beginning()


def _find_in_s3(bucket: Bucket, spec: InputConfig, given: str) -> tuple[Sequence[Location], list[Unread]]:
    """Return the addresses for an object, a prefix or a pattern, and the objects that are not read."""
    _, key = split(given)
    if not key or key.endswith("/"):
        folders: list[str] = []
        inside = list_objects(bucket, given, "/", folders)
        listed = _cap((one for one in inside if not is_helper(name_of(one.uri))), given)
        unread = [Unread(uri, _FOLDER) for uri in folders if not name_of(uri.rstrip("/")).startswith(("_", "."))]
        found = [S3Object(bucket, one) for one in listed]
        return _sort_out(spec, found, unread, f"There are no inputs at {given}.", named=False)
    if not glob.has_magic(key):
        return [given], []
    fits = re.compile(_pattern_regex(given))
    begins = re.split(r"[*?[]", given, maxsplit=1)[0]
    fixed = begins.count("/")
    fitting = (one for one in list_objects(bucket, begins) if fits.fullmatch(one.uri))
    listed = _cap((one for one in fitting if not _is_kept_out(one.uri.split("/")[fixed:], given)), given)
    literal = unescape_pattern(given)
    if not listed and escape_pattern(literal) == given:
        return [literal], []
    found = [S3Object(bucket, one) for one in listed]
    return _sort_out(spec, found, [], f"No input matches {given}.", named=True)


def _checked(items: Iterable[_Item]) -> Iterator[_Item]:
    """Yield the items. Raise an error if the run must stop."""
    for item in items:
        check_current()
        yield item


def _cap(found: Iterable[_Item], given: Location) -> list[_Item]:
    """Return all of `found` as a list. Raises InputError if there are more than MOST_FILES."""
    some = list(islice(_checked(found), MOST_FILES + 1))
    if len(some) > MOST_FILES:
        raise InputError(
            f"The input {given} has more than {MOST_FILES:,} files.", "Pass fewer at a time, or join them."
        )
    return some


def _pattern_regex(given: str) -> str:
    """Return a pattern as a regular expression. As in a shell, only ** matches a "/"."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\])", given)
    means = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        means.get(part)
        or (f"[{'^' if part[1] == '!' else ''}{re.escape(part[1:-1].lstrip('!'))}]" if number % 2 else re.escape(part))
        for number, part in enumerate(parts)
    ).replace(r"\-", "-")


def list_objects(bucket: Bucket, uri: str, delimiter: str = "", folders: list[str] | None = None) -> Iterator[Object]:
    """Yield the objects as `Bucket.objects` does. Raises InputError if they cannot be listed, Stopped in an outage."""
    try:
        yield from bucket.objects(uri, delimiter, folders)
    except BucketError as error:
        raise (unreadable_input_error(uri, error) if error.is_passing else denied_error(uri, error)) from None


def _missing_error(what: str, unread: Sequence[Unread]) -> list[Unread]:
    if unread:
        error = InputMissing(f"{what} {describe_unread(unread)}", "Check the path and the export.")
    else:
        advice = "Check the path or the pattern, and that the export has been written."
        error = InputMissing(what, f"{advice} Inputs are files that end in {', '.join(KNOWN)}, or .age.")
    error.unread = unread
    raise error


def _stat_inputs(bucket: Bucket, found: Sequence[Location]) -> list[InputFile]:
    """Return each file after checking that it exists. Objects in S3 are checked in parallel."""

    def meet(where: Location) -> InputFile:
        if isinstance(where, Path):
            if not os.path.lexists(where):
                raise InputMissing(f"There is no input file {where}.", "Check the path.")
            return LocalFile(where)
        with reading(where):
            try:
                return S3Object(bucket, bucket.head(where))
            except BucketError as error:
                if not error.is_missing:
                    raise
                raise InputMissing(
                    f"There is no input {where}: s3:GetObject failed with {error.code}.",
                    "Check the bucket and the key.",
                ) from None

    if any(isinstance(where, str) for where in found):
        bucket.client  # noqa: B018  (create the client in one thread)
    return for_each(meet, found)
