"""Read the rows of an input page by page, in any order: lanes take their rows at different paces."""

from collections.abc import Iterator

from bulkreset.input.batch import NEEDED, PAGE_ROWS, RowBatch, input_too_short_error
from bulkreset.input.input_set import InputSet

SKIPPED_PAGES = 10  # pages of rows that one call may skip on the way to its page; takes some hundredths of a second
PASSED_FILES = 20  # files that one call may open to fill a page


class PageReader:
    """Pages of PAGE_ROWS consecutive rows (fewer at the end of the input); page 0 begins with row 1.

    A page has the columns of NEEDED. Pages that are read in order are one sequential pass. Only one thread may use a
    reader, but any thread may call `knows`. `remembers` says whether a page that was read or skipped is then available
    immediately.
    """

    def __init__(self, rows: InputSet) -> None:
        rows.keep_open()
        self.remembers = rows.remembers
        self._rows = rows
        self._batches: Iterator[RowBatch] = iter(())
        self._batch: RowBatch | None = None  # has rows that no page has taken yet
        self._next = 0  # the first row of that batch or the next one; 0 if no file is open
        self._file = -1  # the file of the last batch
        self._page = (-1, {field: list[str]() for field in NEEDED}, list[int]())  # number, rows so far, their files

    def knows(self, number: int) -> bool:
        """Return whether one call of `read` returns the page: few rows to skip, few files to open."""
        first = number * PAGE_ROWS + 1
        start = self._start(first)
        few_files = self._rows.count_files(start, first + PAGE_ROWS - 1) <= PASSED_FILES
        return few_files and first - start <= SKIPPED_PAGES * PAGE_ROWS

    def read(self, number: int) -> RowBatch | None:
        """Return the page with this number; None if more must be skipped or opened first, then call again.

        Raises InputError if the input cannot be read or ends before the page.
        """
        first, last = number * PAGE_ROWS + 1, (number + 1) * PAGE_ROWS
        if self._page[0] != number:
            self._page = (number, {field: [] for field in NEEDED}, [])
        _, columns, files = self._page
        self._go_to(first + len(columns["username"]))
        skipped = opened = 0
        while batch := self._batch or next(self._batches, None):
            row = first + len(columns["username"])
            opened, self._file = opened + (batch.file != self._file), batch.file
            if batch.last >= row:
                for field in NEEDED:
                    columns[field].extend(batch.cells(field, row, min(last, batch.last)))
                files.append(batch.file)
            else:
                skipped += batch.last - batch.first + 1
            self._batch, self._next = (batch, batch.first) if batch.last > last else (None, batch.last + 1)
            if batch.last >= last:
                return self._take_page(first)
            if skipped > SKIPPED_PAGES * PAGE_ROWS or opened > PASSED_FILES:
                return None
        self._batch, self._next = None, 0
        if not columns["username"]:
            raise input_too_short_error(self._rows.files[-1].where, first)
        return self._take_page(first)

    def close(self) -> None:
        """Close the open file."""
        self._rows.close()
        self._batches, self._batch, self._next = iter(()), None, 0

    def _start(self, row: int) -> int:
        """Return where reading for `row` begins: at the current position, or closer to the row."""
        nearest = self._rows.nearest(row)
        return self._next if nearest <= self._next <= row else nearest

    def _go_to(self, row: int) -> None:
        start = self._start(row)
        if start != self._next:
            self._batches = self._rows.batches(row, NEEDED, PAGE_ROWS)
            self._batch, self._next = None, start

    def _take_page(self, first: int) -> RowBatch:
        _, columns, files = self._page
        self._rows.recent_files = sorted(set(files))
        self._page = (-1, {}, [])
        return RowBatch(first, columns)
