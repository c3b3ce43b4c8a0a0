"""The inputs: every file of a job's input, read one after the other as one, with row numbers that go on from file to file."""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, Self, TypeVar

from bulkreset.errors import InputError
from bulkreset.input.batch import PIECE_ROWS, Chunk, Piece, too_short
from bulkreset.input.decrypt import is_sealed
from bulkreset.input.discovery import places
from bulkreset.input.location import File, Fingerprint, Place, must_be_text, together
from bulkreset.input.reader import Pieces, open_rows
from bulkreset.job import S3, Input, Where

SIDE_BY_SIDE = 8  # objects whose fingerprints are taken at a time
PASSED_FILES = 20  # that one call may open on its way through a piece
WATCHED = 16  # files that are looked at whenever rows are taken: of more, those that were read last


_Told = TypeVar("_Told")


class Noted(NamedTuple):
    """A file as it was planned. `first` is the number of its first row, None where it has none or was not read."""

    name: str
    mark: Fingerprint
    first: int | None = None


class Inputs:
    """The files of one input, and their rows. The files are opened one at a time.

    `names` are those of the plan, where they lie elsewhere by now.

    Raises InputError where one is not there, may not be read, or is not what it is named as.
    """

    def __init__(
        self, spec: Input, found: Sequence[Place], *, names: Sequence[str] = (), with_passwords: bool = True
    ) -> None:
        self.spec = spec
        self.places = found
        self.names = list(names) or names_of([place.where for place in found])
        for name in self.names:
            must_be_text(name)
        self.firsts: dict[int, int] = {}  # by file, the number of its first row, of those that have any
        # Sealed files and others may be mixed; of a single one it is a mistake to name a key that it does not need.
        bare = spec.model_copy(update={"identity": None}) if len(found) > 1 else spec
        self.rows = [
            open_rows(spec if is_sealed(place.where) else bare, place, with_passwords=with_passwords) for place in found
        ]
        self.total = 0  # rows, once they were counted
        self.recent: list[int] = []  # the files that were read last

    @classmethod
    def of(cls, spec: Input, *, with_passwords: bool = True) -> Self:
        """The input that a job names."""
        return cls(spec, places(spec), with_passwords=with_passwords)

    def described(self) -> dict[str, Any]:
        """As journal and summary keep it. Reads all of it the first time."""
        whole = together(zip(self.names, self.marks, strict=True))
        path = self.spec.named if len(self.places) != 1 else str(self.places[0].where)
        return {"path": path, "size": whole.size, "sha256": whole.sha256, "files": len(self.places)}

    def noted(self) -> list[Noted]:
        """Each file as it is now, with where its rows begin as far as they were read."""
        return [
            Noted(name, mark, self.firsts.get(number))
            for number, (name, mark) in enumerate(zip(self.names, self.marks, strict=True))
        ]

    @cached_property
    def marks(self) -> list[Fingerprint]:
        """The fingerprint of each file."""
        return self._of_each(lambda place: place.fingerprint())

    def must_be(self, planned: Sequence[Noted], rows: int) -> None:
        """Raise InputError where these are not the files that were planned; where their rows begin is learned."""
        again = "Restore it, or plan a new run."
        was, now = [one.name for one in planned], self.names
        if gone := next((name for name in was if name not in now), None):
            raise InputError(f"The input {gone} was planned and is not there any more.", again)
        if more := next((name for name in now if name not in was), None):
            raise InputError(f"The input {more} was not there when it was planned.", "Take it away, or plan a new run.")
        if was != now:
            raise InputError(f"The inputs {self.spec.named} are not in the order in which they were planned.", again)
        marks = dict(zip(self.names, (one.mark for one in planned), strict=True))
        names = dict(zip(map(id, self.places), self.names, strict=True))
        same = self._of_each(lambda place: place.has_not_changed(marks[names[id(place)]]))
        if not all(same):
            raise InputError(
                f"The input {self.places[same.index(False)].where} has changed since it was planned.", again
            )
        self.marks = [one.mark for one in planned]
        self.firsts = {number: one.first for number, one in enumerate(planned) if one.first is not None}
        self.total = rows

    def watched(self) -> Callable[[], str]:
        """A look at whether the files are still those of this moment: it gives the path of one that is not, or ""."""
        were = [place.identity() for place in self.places]

        def look() -> str:
            few = range(len(were)) if len(were) <= WATCHED else self.recent[:]
            return next((str(self.places[it].where) for it in few if self.places[it].identity() != were[it]), "")

        return look

    def chunks(self, first: int = 1) -> Iterator[Chunk]:
        """Yield the rows of all files in order, from the chunk that has `first` on (earlier ones may come too)."""
        if len(self.rows) == 1:
            self.firsts = {0: 1}
            for chunk in self.rows[0].chunks(first):
                self.total = chunk.last
                yield chunk
            return
        before = 0
        for number, rows in enumerate(self.rows):
            read = 0
            for chunk in rows.chunks():
                self.firsts[number] = before + 1
                read = chunk.last
                if before + read >= first:
                    yield _moved(chunk, before, number)
            before += read
        self.total = before

    def pieces(self) -> Pieces:
        """The same rows in any order. Where each file begins must be known: from `chunks`, or from `must_be`."""
        return self.rows[0].pieces() if len(self.rows) == 1 else _Pieces(self)

    def _of_each(self, ask: Callable[[Place], _Told]) -> list[_Told]:
        if all(isinstance(place, File) for place in self.places):
            return [ask(place) for place in self.places]
        with ThreadPoolExecutor(SIDE_BY_SIDE) as executor:
            return list(executor.map(ask, self.places))


def names_of(found: Sequence[Where]) -> list[str]:
    """What each file is called among the others: its name, or its path below what all have in common."""
    texts = [str(where) for where in found]
    if len({text.startswith(S3) for text in texts}) > 1:
        return texts
    schemes = [text.removeprefix(S3) for text in texts]
    common = os.path.commonpath([text.rpartition("/")[0] or "/" for text in schemes]) if schemes else ""
    return [text[len(common) :].lstrip("/") for text in schemes]


def _moved(chunk: Chunk, before: int, file: int) -> Chunk:
    """A chunk of one file among all; what is wrong with a row is told with its place in the file."""
    malformed = {
        offset: what if what.startswith("line ") else f"row {chunk.first + offset} of the file: {what}"
        for offset, what in chunk.malformed.items()
    }
    return Chunk(before + chunk.first, chunk.frame, malformed, file)


class _Part(NamedTuple):
    """Rows of one file: its number, and the offsets of the first of them and behind the last."""

    file: int
    begin: int
    end: int


class _Pieces:
    """Pieces of all files' rows on one grid. One file is open at a time."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._files = sorted(inputs.firsts)
        self._before = [inputs.firsts[file] - 1 for file in self._files]
        self._open: Pieces | None = None
        self._at = -1  # the file that is open
        self._last: tuple[int, Piece | None] = (-1, None)  # of that file, the piece that was read last
        self._gathered: tuple[int, list[str], list[str]] = (-1, [], [])  # what is there of a piece that is not whole
        self.remembers = all(rows.pieces().remembers for rows in inputs.rows)

    def knows(self, number: int) -> bool:
        """Whether so little lies between the piece and where reading can begin that one call gives it."""
        parts = list(islice(self._parts(number * PIECE_ROWS), PASSED_FILES + 1))
        return len(parts) <= PASSED_FILES and all(
            self._pieces_of(part.file).knows(part.begin // PIECE_ROWS) for part in parts
        )

    def read(self, number: int) -> Piece | None:
        """The piece with this number; None where there is still more to pass."""
        start = number * PIECE_ROWS
        if self._gathered[0] != number:
            self._gathered = (number, [], [])
            self._inputs.recent = []
        _, usernames, passwords = self._gathered
        opened = 0
        for part in self._parts(start + len(usernames)):
            opened += part.file != self._at
            if opened > PASSED_FILES or not self._take(part, usernames, passwords):
                return None
        self._gathered = (-1, [], [])
        if not usernames:
            raise too_short(self._inputs.places[-1].where, start + 1)
        return Piece(start + 1, usernames, passwords)

    def close(self) -> None:
        """Let go of the file."""
        if self._open:
            self._open.close()
        self._open, self._at, self._last = None, -1, (-1, None)

    def _parts(self, offset: int) -> Iterator[_Part]:
        """From a row on, the rows of each file up to the piece's end."""
        end = min((offset // PIECE_ROWS + 1) * PIECE_ROWS, self._inputs.total)
        index = bisect_right(self._before, offset) - 1
        while offset < end:
            before = self._before[index]
            ends = min(end, *self._before[index + 1 : index + 2], end)
            yield _Part(self._files[index], offset - before, ends - before)
            offset, index = ends, index + 1

    def _pieces_of(self, file: int) -> Pieces:
        return self._open if self._open and file == self._at else self._inputs.rows[file].pieces()

    def _take(self, part: _Part, usernames: list[str], passwords: list[str]) -> bool:
        """Add a file's part; False where there is more to pass, and what could be had is added."""
        if part.file != self._at:
            opened = self._inputs.rows[part.file].pieces()
            self.close()
            self._open, self._at = opened, part.file
            self._inputs.recent.append(part.file)
        begin = part.begin
        while begin < part.end:
            piece = self._piece(begin // PIECE_ROWS)
            if piece is None:
                return False
            few = slice(begin - piece.first + 1, part.end - piece.first + 1)
            if begin >= piece.last:
                raise too_short(self._inputs.places[part.file].where, begin + 1)
            usernames += piece.usernames[few]
            passwords += piece.passwords[few]
            begin = min(part.end, piece.last)
        return True

    def _piece(self, own: int) -> Piece | None:
        if self._last[0] != own and self._open:
            self._last = (own, self._open.read(own))
            if self._last[1] is None:
                self._last = (-1, None)
        return self._last[1]
