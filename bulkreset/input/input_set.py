"""Read all files of a job's input as one input, with row numbers that continue from file to file."""

import hashlib
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple, Self

from bulkreset.errors import EmptyInput, InputError
from bulkreset.input.batch import Fields, RowBatch
from bulkreset.input.decrypt import is_encrypted
from bulkreset.input.discovery import SHOWN, Unread, describe_unread, discover, for_each
from bulkreset.input.location import (
    RESTORE,
    Digest,
    Fingerprint,
    InputFile,
    LocalFile,
    reading,
    require_text_name,
    unreadable_input_error,
)
from bulkreset.input.reader import open_rows
from bulkreset.job import S3, InputConfig, Location
from bulkreset.s3 import BucketError
from bulkreset.text import format_count

WATCHED = 16  # files checked for changes whenever rows are taken; if there are more, only those read last
MOST_REMARKS = 20


class PlannedFile(NamedTuple):
    """A file as it was planned. `first_row` is the number of its first row, None if it has no rows or was not read."""

    name: str
    fingerprint: Fingerprint
    first_row: int | None = None


class InputSet:
    """The files of one input, opened one at a time, and their rows. `unread` are the files beside them.

    `names` are the names in the plan, `origins` the paths at that time; pass them if the files have been moved since.
    Raises InputError if a file does not exist, cannot be read, or does not have the format that its name says.
    """

    def __init__(
        self,
        spec: InputConfig,
        found: Sequence[InputFile],
        *,
        names: Sequence[str] = (),
        origins: Sequence[Location] = (),
        unread: Sequence[Unread] = (),
        with_passwords: bool = True,
    ) -> None:
        self.spec = spec
        self.files = found
        self.names = list(names) or names_of([place.where for place in found])
        for name in self.names:
            require_text_name(name)
        self.first_rows: dict[int, int] = {}  # file number: number of its first row; only files that have rows
        self.total = 0  # rows; 0 until they are counted
        self._filled: list[int] = []  # the files that have rows, and how many rows are before each
        self._before: list[int] = []
        self.recent_files: Sequence[int] = ()  # the files that the last page came from
        self._open = 0  # the file that was opened last
        self._fingerprints: list[Fingerprint] = []  # they have no SHA-256 until the rows were read
        self._unread = unread
        self.left_out: Sequence[str] = ()  # sentences about files that a scheduled job does not read yet
        self._empty: set[int] = set()  # files without content, which have no rows
        # Encrypted and plain files may be mixed. If the job names one file, an identity that it does not need is an error.
        is_one_file = len(found) == 1 and spec.path == found[0].where
        bare = spec if is_one_file else spec.model_copy(update={"identity": None})
        self.rows = []
        for place, origin in zip(found, origins or [place.where for place in found], strict=True):
            with _naming(place):
                with reading(place.where):
                    self._fingerprints.append(Fingerprint(place.size(), "", place.version))
                of_file = spec if is_encrypted(place.where) else bare
                self.rows.append(open_rows(of_file, place, with_passwords=with_passwords, origin=origin))
        self.remembers = all(rows.remembers for rows in self.rows)

    @classmethod
    def open(cls, spec: InputConfig, *, with_passwords: bool = True) -> Self:
        """Return the input that a job names."""
        files, unread = discover(spec)
        return cls(spec, files, unread=unread, with_passwords=with_passwords)

    def describe(self) -> dict[str, Any]:
        """Return the facts for journal and summary. SHA-256 and all remarks are known only after `batches`."""
        marks, path, sha256 = self._fingerprints, str(self.files[0].where), self._fingerprints[0].sha256
        if len(marks) > 1:
            parts = [f"{name}\0{it.size}\0{it.sha256}\n" for name, it in zip(self.names, marks, strict=True)]
            is_read, path = all(it.sha256 for it in marks), self.spec.named
            sha256 = hashlib.sha256("".join(parts).encode()).hexdigest() if is_read else ""
        size, remarks = sum(it.size for it in marks), tuple(self.remarks)
        return {"path": path, "size": size, "sha256": sha256, "files": len(self.files), "remarks": remarks}

    @property
    def remarks(self) -> Iterator[str]:
        """Yield sentences about faults of the files that were read so far, for the person who delivered them."""
        yield from self.left_out
        if self._unread:
            yield describe_unread(self._unread)
        if empty := [self.names[number] for number in sorted(self._empty)]:
            yield f"{format_count(len(empty), 'file has', 'files have')} no content, so no rows: {_some(empty)}."
        remarks = (f"{name}: {rows.remark}" for name, rows in zip(self.names, self.rows, strict=True) if rows.remark)
        yield from islice(remarks, MOST_REMARKS)

    def planned_files(self) -> list[PlannedFile]:
        """Return each file as it is now, or as `batches` read it with the number of its first row."""
        files = enumerate(zip(self.names, self._fingerprints, strict=True))
        return [PlannedFile(name, mark, self.first_rows.get(number)) for number, (name, mark) in files]

    def require_unchanged(self, planned: Sequence[PlannedFile], rows: int) -> None:
        """Raise InputError if the files are not the planned ones. Take fingerprints and row numbers from the plan."""
        was, now = [one.name for one in planned], self.names
        if gone := next((name for name in was if name not in now), None):
            raise InputError(f"The input {gone} was planned and is missing now.", RESTORE)
        if more := next((name for name in now if name not in was), None):
            what = f"The input {more} was not there when the run was planned."
            raise InputError(what, "Remove it, or plan a new run.")
        if was != now:
            raise InputError(f"The inputs {self.spec.named} are not in the order in which they were planned.", RESTORE)
        same = for_each(lambda place, one: place.is_unchanged(one.fingerprint), self.files, planned)
        if not all(same):
            raise _changed_error(self.files[same.index(False)])
        self._fingerprints = [one.fingerprint for one in planned]
        self.first_rows = {number: one.first_row for number, one in enumerate(planned) if one.first_row is not None}
        self._note_rows(rows)

    def change_detector(self) -> Callable[[], str]:
        """Return a function that returns the path of a file that has changed since this call, or ""."""
        were = [place.identity() for place in self.files]

        def look() -> str:
            few = range(len(were)) if len(were) <= WATCHED else self.recent_files
            return next((str(self.files[it].where) for it in few if self.files[it].identity() != were[it]), "")

        return look

    def batches(self, first: int = 1, fields: Fields = None, size: int | None = None) -> Iterator[RowBatch]:
        """Yield the rows of all files in order, from row `nearest(first)`; only `fields`, if given.

        The first call reads every file to its end and takes its fingerprint on the way. If a later call also reads a
        file from its beginning, in order, it compares the content. Raises InputError if it differs or cannot be read.
        """
        is_planned = bool(self.total)
        numbers: Sequence[int] = self._filled[self._index_of(first) :] if is_planned else range(len(self.rows))
        before = 0
        for number in numbers:
            before = self.first_rows[number] - 1 if is_planned else before
            if self._open != number:
                self.rows[self._open].close()
            self._open, read = number, 0
            digest, identity = Digest(), self.files[number].identity()
            with _naming(self.files[number]):
                for batch in self._batches_of(number, max(1, first - before), fields, size, digest):
                    self.first_rows.setdefault(number, before + 1)
                    read = batch.last
                    yield batch if len(self.rows) == 1 else _shift_batch(batch, before, number)
                before += read
                self._compare(number, digest, identity)
        if len(self._empty) == len(self.files):
            what = f"All {len(self.files)} files of the input {self.spec.named} are empty."
            raise InputError(what, "Check that the export has been written.")
        self._note_rows(before)

    def _batches_of(
        self, number: int, first: int, fields: Fields, size: int | None, digest: Digest
    ) -> Iterator[RowBatch]:
        """Yield the batches of one file. An empty file among others has none: a part of an export without rows."""
        if len(self.files) == 1 or self._fingerprints[number].size:
            try:
                yield from self.rows[number].batches(first, fields, size, digest)
            except EmptyInput:
                if len(self.files) == 1:
                    raise
            else:
                return
        self._empty.add(number)

    def nearest(self, row: int) -> int:
        """Return the last row at or before `row` at which reading can begin."""
        index = self._index_of(row)
        file, before = (self._filled[index], self._before[index]) if self._filled else (0, 0)
        return before + self.rows[file].nearest(row - before)

    def count_files(self, first: int, last: int) -> int:
        """Return how many files the rows from `first` to `last` are in."""
        return self._index_of(last) - self._index_of(first) + 1

    def keep_open(self) -> None:
        """Keep the current file open for the next call of `batches`."""
        for rows in self.rows:
            rows.keeps_open = True

    def close(self) -> None:
        """Close the open file."""
        self.rows[self._open].close()

    def _index_of(self, row: int) -> int:
        """Return the index of this file among the files that have rows."""
        return max(0, bisect_right(self._before, row - 1) - 1)

    def _note_rows(self, total: int) -> None:
        self.total = total
        self._filled = sorted(self.first_rows)
        self._before = [self.first_rows[number] - 1 for number in self._filled]

    def _compare(self, number: int, digest: Digest, identity: tuple[Any, ...]) -> None:
        """Store the fingerprint of a completely read file, or compare it with the stored one."""
        place, known = self.files[number], self._fingerprints[number]
        try:
            if not known.sha256:
                found = self._fingerprints[number] = digest.finish(place)
                if isinstance(place, LocalFile):
                    place.trust(identity, found)
            elif digest.hashed == known.size and digest.sha256.hexdigest() != known.sha256:
                raise _changed_error(place)
        except (OSError, BucketError) as error:
            raise unreadable_input_error(place.where, error) from None


@contextmanager
def _naming(place: InputFile) -> Iterator[None]:
    """Add the file to an InputError that is raised in the block, for callers that can continue without it."""
    try:
        yield
    except InputError as error:
        error.where = error.where or str(place.where)
        raise


def _changed_error(place: InputFile) -> InputError:
    return InputError(f"The input {place.where} has changed since it was planned.", RESTORE)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


def names_of(found: Sequence[Location]) -> list[str]:
    """Return each file's path below the folder that all have in common; all of it if only some files are in S3."""
    texts = [str(where) for where in found]
    if len({text.startswith(S3) for text in texts}) > 1:
        return texts
    schemes = [text.removeprefix(S3) for text in texts]
    common = os.path.commonpath([text.rpartition("/")[0] or "/" for text in schemes]) if schemes else ""
    return [text[len(common) :].lstrip("/") for text in schemes]


def _shift_batch(batch: RowBatch, before: int, file: int) -> RowBatch:
    """Return a file's batch with row numbers of the whole input. Error texts get the row number in the file."""
    malformed = {
        offset: what if what.startswith("line ") else f"row {batch.first + offset} of the file: {what}"
        for offset, what in batch.malformed.items()
    }
    return RowBatch(before + batch.first, batch.columns, malformed, file)
