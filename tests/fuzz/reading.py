"""Read an input as a run does: in chunks, then in pages of any order, with the same rows."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from bulkreset.errors import InputError
from bulkreset.input import batch, page_reader, text_reader
from bulkreset.input.input_set import InputSet
from bulkreset.input.page_reader import PageReader
from bulkreset.job import InputConfig
from tests.fuzz.scratch import assert_hides_canary

PIECE = 3


class Line(NamedTuple):
    """A row as the chunks have it; `malformed` is "" if it is well formed."""

    username: str
    password: str
    permanent: str
    pool: str
    malformed: str


@contextmanager
def small() -> Iterator[None]:
    """Use pages of three rows, of which one call passes two."""
    with (
        patch.multiple(text_reader, PAGE_ROWS=PIECE),
        patch.multiple(batch, BATCH_ROWS=2 * PIECE),
        patch.multiple(page_reader, PAGE_ROWS=PIECE, SKIPPED_PAGES=2),
    ):
        yield


def read(path: Path, order: Sequence[int] = (), **keys: Any) -> list[Line] | InputError:  # noqa: ANN401  (keys of [input])
    """Return the rows of a file, or the error that refuses it. Asserts that pages in any order have the same rows."""
    try:
        rows = InputSet.open(InputConfig(path=path, **keys))
        lines = list(_lines(rows))
    except InputError as error:
        assert_hides_canary(error)
        return error
    if order:
        _compare(rows, lines, order)
    return lines


def _lines(rows: InputSet) -> Iterator[Line]:
    first = 1
    for chunk in rows.batches():
        assert chunk.first == first
        cells = zip(*(chunk.frame[name].tolist() for name in chunk.frame.columns), strict=True)
        for offset, values in enumerate(cells):
            line = Line._make([*values, chunk.malformed.get(offset, "")])
            assert not line.malformed or not any(values)
            yield line
            first += 1
        assert chunk.last == first - 1


def _compare(rows: InputSet, lines: list[Line], order: Sequence[int]) -> None:
    count = -(-len(lines) // PIECE)
    with closing(PageReader(rows)) as pieces:
        for number in [number % count for number in order if count]:
            known = pieces.knows(number)
            times = 1
            while (piece := pieces.read(number)) is None:
                times += 1
                assert times <= count
            assert times == 1 or not known
            expected = lines[number * PIECE : (number + 1) * PIECE]
            assert piece.first == number * PIECE + 1
            found = zip(expected, piece.cells("username"), piece.cells("password"), strict=True)
            assert not [
                line for line, *cells in found if not line.malformed and cells != [line.username, line.password]
            ]
