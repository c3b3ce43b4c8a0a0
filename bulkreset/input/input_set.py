"""Read all files of a job's input as one input, with row numbers that continue from file to file."""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, Self, TypeVar

from bulkreset.errors import InputError
from bulkreset.input.batch import PAGE_ROWS, RowBatch, RowPage, input_too_short_error
from bulkreset.input.decrypt import is_encrypted
from bulkreset.input.discovery import find_inputs
from bulkreset.input.location import Fingerprint, InputFile, LocalFile, combined_fingerprint, require_text_name
from bulkreset.input.reader import PageReader, open_rows
from bulkreset.job import S3, InputConfig, Location

SIDE_BY_SIDE = 8  # objects that are fingerprinted in parallel
PASSED_FILES = 20  # files that one call may open to fill a page
WATCHED = 16  # files checked for changes whenever rows are taken; if there are more, only those read last


FileResult = TypeVar("FileResult")


class PlannedFile(NamedTuple):
    """A file as it was planned. `first_row` is the number of its first row, None if it has no rows or was not read."""

    name: str
    fingerprint: Fingerprint
    first_row: int | None = None


class InputSet:
    """The files of one input, and their rows. The files are opened one at a time.

    `names` are the names in the plan; pass them if the files have been moved since.

    Raises InputError if a file does not exist, cannot be read, or does not have the format that its name says.
    """

    def __init__(
        self, spec: InputConfig, found: Sequence[InputFile], *, names: Sequence[str] = (), with_passwords: bool = True
    ) -> None:
        self.spec = spec
        self.files = found
        self.names = list(names) or names_of([place.where for place in found])
        for name in self.names:
            require_text_name(name)
        self.first_rows: dict[int, int] = {}  # file number: number of its first row; only files that have rows
        # Encrypted and plain files may be mixed. For a single file, an identity that it does not need is an error.
        bare = spec.model_copy(update={"identity": None}) if len(found) > 1 else spec
        self.rows = [
            open_rows(spec if is_encrypted(place.where) else bare, place, with_passwords=with_passwords)
            for place in found
        ]
        self.total = 0  # rows; 0 until they are counted
        self.recent_files: list[int] = []  # the files that were read last

    @classmethod
    def open(cls, spec: InputConfig, *, with_passwords: bool = True) -> Self:
        """Return the input that a job names."""
        return cls(spec, find_inputs(spec), with_passwords=with_passwords)

    def describe(self) -> dict[str, Any]:
        """Return path, size, SHA-256 and number of files for journal and summary. The first call reads every file."""
        whole = combined_fingerprint(zip(self.names, self.fingerprints, strict=True))
        path = self.spec.named if len(self.files) != 1 else str(self.files[0].where)
        return {"path": path, "size": whole.size, "sha256": whole.sha256, "files": len(self.files)}

    def planned_files(self) -> list[PlannedFile]:
        """Return each file as it is now, with the number of its first row if its rows were read."""
        return [
            PlannedFile(name, mark, self.first_rows.get(number))
            for number, (name, mark) in enumerate(zip(self.names, self.fingerprints, strict=True))
        ]

    @cached_property
    def fingerprints(self) -> list[Fingerprint]:
        """Return the fingerprint of each file."""
        return self._map_files(lambda place: place.fingerprint())

    def require_unchanged(self, planned: Sequence[PlannedFile], rows: int) -> None:
        """Raise InputError if the files are not the planned ones. Take fingerprints and row numbers from the plan."""
        again = "Restore it, or plan a new run."
        was, now = [one.name for one in planned], self.names
        if gone := next((name for name in was if name not in now), None):
            raise InputError(f"The input {gone} was planned and is not there any more.", again)
        if more := next((name for name in now if name not in was), None):
            raise InputError(f"The input {more} was not there when it was planned.", "Take it away, or plan a new run.")
        if was != now:
            raise InputError(f"The inputs {self.spec.named} are not in the order in which they were planned.", again)
        marks = dict(zip(self.names, (one.fingerprint for one in planned), strict=True))
        names = dict(zip(map(id, self.files), self.names, strict=True))
        same = self._map_files(lambda place: place.is_unchanged(marks[names[id(place)]]))
        if not all(same):
            raise InputError(
                f"The input {self.files[same.index(False)].where} has changed since it was planned.", again
            )
        self.fingerprints = [one.fingerprint for one in planned]
        self.first_rows = {number: one.first_row for number, one in enumerate(planned) if one.first_row is not None}
        self.total = rows

    def change_detector(self) -> Callable[[], str]:
        """Return a function that returns the path of a file that has changed since this call, or ""."""
        were = [place.identity() for place in self.files]

        def look() -> str:
            few = range(len(were)) if len(were) <= WATCHED else self.recent_files[:]
            return next((str(self.files[it].where) for it in few if self.files[it].identity() != were[it]), "")

        return look

    def batches(self, first: int = 1) -> Iterator[RowBatch]:
        """Yield the rows of all files in order, starting at the batch with row `first` or earlier."""
        if len(self.rows) == 1:
            self.first_rows = {0: 1}
            for chunk in self.rows[0].batches(first):
                self.total = chunk.last
                yield chunk
            return
        before = 0
        for number, rows in enumerate(self.rows):
            read = 0
            for chunk in rows.batches():
                self.first_rows[number] = before + 1
                read = chunk.last
                if before + read >= first:
                    yield _shift_batch(chunk, before, number)
            before += read
        self.total = before

    def pages(self) -> PageReader:
        """Return a reader of the same rows in any order.

        The first row of each file must be known: call `batches` or `require_unchanged` first.
        """
        return self.rows[0].pages() if len(self.rows) == 1 else _InputPages(self)

    def _map_files(self, ask: Callable[[InputFile], FileResult]) -> list[FileResult]:
        if all(isinstance(place, LocalFile) for place in self.files):
            return [ask(place) for place in self.files]
        with ThreadPoolExecutor(SIDE_BY_SIDE) as executor:
            return list(executor.map(ask, self.files))


def names_of(found: Sequence[Location]) -> list[str]:
    """Return a name for each file: its path below the folder that all files have in common.

    It is the full path or address if local files and S3 objects are mixed.
    """
    texts = [str(where) for where in found]
    if len({text.startswith(S3) for text in texts}) > 1:
        return texts
    schemes = [text.removeprefix(S3) for text in texts]
    common = os.path.commonpath([text.rpartition("/")[0] or "/" for text in schemes]) if schemes else ""
    return [text[len(common) :].lstrip("/") for text in schemes]


def _shift_batch(chunk: RowBatch, before: int, file: int) -> RowBatch:
    """Return a file's batch with row numbers of the whole input. Error texts get the row number in the file."""
    malformed = {
        offset: what if what.startswith("line ") else f"row {chunk.first + offset} of the file: {what}"
        for offset, what in chunk.malformed.items()
    }
    return RowBatch(before + chunk.first, chunk.frame, malformed, file)


class _FileSlice(NamedTuple):
    """Rows of one file: the file's number, the offset of the first row, and the offset after the last row."""

    file: int
    begin: int
    end: int


class _InputPages:
    """Pages of the whole input; a page may have rows of several files. One file is open at a time."""

    def __init__(self, inputs: InputSet) -> None:
        self._inputs = inputs
        self._files = sorted(inputs.first_rows)
        self._before = [inputs.first_rows[file] - 1 for file in self._files]
        self._open: PageReader | None = None
        self._at = -1  # number of the open file, -1 if none is open
        self._last: tuple[int, RowPage | None] = (-1, None)  # the page of that file that was read last
        self._gathered: tuple[int, list[str], list[str]] = (-1, [], [])  # rows read so far of an incomplete page
        self.remembers = all(rows.pages().remembers for rows in inputs.rows)

    def knows(self, number: int) -> bool:
        """Return whether one call of `read` can return the page: few files to open, few rows to skip."""
        parts = list(islice(self._parts(number * PAGE_ROWS), PASSED_FILES + 1))
        return len(parts) <= PASSED_FILES and all(
            self._pieces_of(part.file).knows(part.begin // PAGE_ROWS) for part in parts
        )

    def read(self, number: int) -> RowPage | None:
        """Return the page with this number; None if the page needs another call to become complete."""
        start = number * PAGE_ROWS
        if self._gathered[0] != number:
            self._gathered = (number, [], [])
            self._inputs.recent_files = []
        _, usernames, passwords = self._gathered
        opened = 0
        for part in self._parts(start + len(usernames)):
            opened += part.file != self._at
            if opened > PASSED_FILES or not self._take(part, usernames, passwords):
                return None
        self._gathered = (-1, [], [])
        if not usernames:
            raise input_too_short_error(self._inputs.files[-1].where, start + 1)
        return RowPage(start + 1, usernames, passwords)

    def close(self) -> None:
        """Close the open file."""
        if self._open:
            self._open.close()
        self._open, self._at, self._last = None, -1, (-1, None)

    def _parts(self, offset: int) -> Iterator[_FileSlice]:
        """Yield the rows from `offset` to the end of its page, one slice per file."""
        end = min((offset // PAGE_ROWS + 1) * PAGE_ROWS, self._inputs.total)
        index = bisect_right(self._before, offset) - 1
        while offset < end:
            before = self._before[index]
            ends = min(end, *self._before[index + 1 : index + 2], end)
            yield _FileSlice(self._files[index], offset - before, ends - before)
            offset, index = ends, index + 1

    def _pieces_of(self, file: int) -> PageReader:
        return self._open if self._open and file == self._at else self._inputs.rows[file].pages()

    def _take(self, part: _FileSlice, usernames: list[str], passwords: list[str]) -> bool:
        """Add the rows of one file. Return False if more must be skipped first; rows already read are added."""
        if part.file != self._at:
            opened = self._inputs.rows[part.file].pages()
            self.close()
            self._open, self._at = opened, part.file
            self._inputs.recent_files.append(part.file)
        begin = part.begin
        while begin < part.end:
            piece = self._piece(begin // PAGE_ROWS)
            if piece is None:
                return False
            few = slice(begin - piece.first + 1, part.end - piece.first + 1)
            if begin >= piece.last:
                raise input_too_short_error(self._inputs.files[part.file].where, begin + 1)
            usernames += piece.usernames[few]
            passwords += piece.passwords[few]
            begin = min(part.end, piece.last)
        return True

    def _piece(self, own: int) -> RowPage | None:
        if self._last[0] != own and self._open:
            self._last = (own, self._open.read(own))
            if self._last[1] is None:
                self._last = (-1, None)
        return self._last[1]
