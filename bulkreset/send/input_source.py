"""Row sources that read the input once for all lanes. Each lane takes its rows at its own pace."""

import threading
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from queue import Empty, SimpleQueue

from bulkreset.errors import GuardTripped, InputError, Stopped
from bulkreset.input.batch import PAGE_ROWS, RowBatch
from bulkreset.input.page_reader import PageReader
from bulkreset.journal.reader import JournalReader
from bulkreset.models import Row, Secret

BUFFERED = 80_000  # rows that all lanes together buffer, about 30 MB
LEAST_BUFFER = 500
MOST_BUFFER = 2 * PAGE_ROWS

Answer = tuple[int, RowBatch | BaseException | None]


class LaneRowSource:
    """The rows of one lane: a cursor over the pages that contain its rows, and a buffer of rows already read."""

    def __init__(self, source: "InputSource", pools: Collection[str], most: int) -> None:
        self.rows = 0  # rows to send at the start
        self.ended = False
        self._source = source
        self.pools = frozenset(pools)
        self._most = most
        self._pages = array("L")
        self._at = 0
        self._next = 0  # the first row of that page that is not in the buffer yet
        self._buffer: deque[Row] = deque()

    def take(self, most: int) -> Sequence[Row]:
        """Return up to `most` rows; fewer or none if the next ones are still being read.

        `ended` then says whether there are no more rows.
        Raises GuardTripped if the input is no longer the planned one.
        """
        if self.needs_rows():
            self._source.poll()
        buffer = self._buffer
        taken = [buffer.popleft() for _ in range(min(most, len(buffer)))]
        if not buffer and self.next_page is None:
            self.ended = True
        if taken or self.ended:
            self._source.require_unchanged()
        return taken

    def discard_rest(self) -> None:
        """Drop the remaining rows; `take` is not called again."""
        self._buffer.clear()
        self._at = len(self._pages)
        self.ended = True

    @property
    def next_page(self) -> int | None:
        """Return the number of the page with the next row that is not in the buffer; None if there is none."""
        return self._pages[self._at] if self._at < len(self._pages) else None

    def needs_rows(self) -> bool:
        """Return whether more should be read for this lane."""
        return self._at < len(self._pages) and len(self._buffer) <= self._most // 2

    def add_expected(self, page: int, rows: int) -> None:
        """Register that `page` contains `rows` rows of this lane."""
        if not self._pages or self._pages[-1] != page:
            self._pages.append(page)
        self.rows += rows

    def fill_from(self, wanted: Sequence[Row]) -> None:
        """Buffer this lane's rows of the current page while there is room."""
        for row in wanted:
            if row.number < self._next:
                continue
            if len(self._buffer) >= self._most:
                self._next = row.number
                return
            self._buffer.append(row)
        self._at += 1
        self._next = 0


class InputSource:
    """Reads the input for all lanes on its own thread, so that only the lane that needs a slow page waits for it.

    The journal knows which pages contain rows of which lane; the input contains the passwords. A page read for one
    lane is used for every lane whose cursor is at it. `unchanged` raises if the input is no longer the planned file.
    It is called after a page is read and before it is used, whenever a lane takes rows, and when a lane ends. The
    thread calls `wake` when a page is available.
    """

    def __init__(
        self,
        page_reader: PageReader,
        journal: JournalReader,
        lanes: Sequence[Collection[str]],
        unchanged: Callable[[], None],
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        most = min(MOST_BUFFER, max(LEAST_BUFFER, BUFFERED // max(1, len(lanes))))
        self.lane_sources = [LaneRowSource(self, pools, most) for pools in lanes]
        self.require_unchanged = unchanged
        self._journal = journal
        self._page_reader = page_reader
        self._wake = wake
        self._asked: int | None = None
        self._at = -1  # the page that was distributed last
        self._searched: int | None = None  # the page that the last answer reported as still being searched for
        self._requests: SimpleQueue[int | None] = SimpleQueue()
        self._answers: SimpleQueue[Answer] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._by_pool = {pool: lane_source for lane_source in self.lane_sources for pool in lane_source.pools}
        for page, pool, count in journal.sendable_pages(PAGE_ROWS):
            if pool in self._by_pool:
                self._by_pool[pool].add_expected(page, count)

    def poll(self) -> None:
        """Distribute the page that was read and request another if a lane needs rows. Never waits.

        Raises GuardTripped if the input can no longer be read or is not the planned one.
        """
        if self._asked is not None:
            try:
                number, answer = self._answers.get_nowait()
            except Empty:
                return
            self._asked = None
            self._distribute(number, answer)
        self._asked = self._choose_page()
        if self._asked is not None:
            if not self._thread:
                self._start()
            self._requests.put(self._asked)

    def close(self) -> None:
        """End the thread. Waits at most 1 s; a thread in a long read ends with the process."""
        self._requests.put(None)
        if self._thread:
            self._thread.join(timeout=1.0)

    def _distribute(self, number: int, answer: RowBatch | BaseException | None) -> None:
        self._searched = number if answer is None else None
        if answer is None:
            return
        if isinstance(answer, InputError):
            raise input_changed_error(answer.message)
        if isinstance(answer, BaseException):
            raise answer
        self.require_unchanged()
        self._at = number
        usernames, passwords, first = answer.columns["username"], answer.columns["password"], answer.first

        def password(row: int, username: str, _pool: str, _permanent: bool) -> Secret:  # noqa: FBT001  (a PasswordOf)
            if usernames[row - first] != username:
                raise input_changed_error(f"Row {row} of the input is not the user that was planned.")
            return Secret(passwords[row - first])

        rows_of: dict[LaneRowSource, list[Row]] = {
            lane_source: [] for lane_source in self.lane_sources if lane_source.next_page == number
        }
        for row in self._journal.sendable(first, answer.last, password):
            if (lane_source := self._by_pool.get(row.pool)) in rows_of:
                rows_of[lane_source].append(row)
        for lane_source, rows in rows_of.items():
            lane_source.fill_from(rows)

    def _choose_page(self) -> int | None:
        """Return the next page that a lane needs, in turn so that no lane waits for long; None if no lane needs one.

        Alternate between pages available immediately and pages that need a search. If going back means reading
        everything again, finish the current search first and continue from there.
        """
        needed = {
            page
            for lane_source in self.lane_sources
            if lane_source.needs_rows() and (page := lane_source.next_page) is not None
        }
        if len(needed) < 2:  # noqa: PLR2004
            return needed.pop() if needed else None
        numbers = sorted(needed)
        if self._page_reader.remembers:
            known = [number for number in numbers if self._page_reader.knows(number)]
            if known and (self._searched is not None or len(known) == len(numbers)):
                numbers = known
            else:
                numbers = sorted(needed.difference(known))
        elif self._searched in needed:
            return self._searched
        return numbers[bisect_right(numbers, self._at) % len(numbers)]

    def _start(self) -> None:
        thread = threading.Thread(target=self._read_pages, name="input", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            raise Stopped("The system lets no thread be started.", "Raise its limit on threads, then resume.") from None
        self._thread = thread

    def _read_pages(self) -> None:
        """Answer each page request until the request is None. Runs on the reader thread."""
        with closing(self._page_reader):
            while (number := self._requests.get()) is not None:
                answer: RowBatch | BaseException | None
                try:
                    answer = self._page_reader.read(number)
                except BaseException as error:  # noqa: BLE001  (raised again by `poll`)
                    answer = error
                self._answers.put((number, answer))
                self._wake()


def input_changed_error(what: str) -> GuardTripped:
    """Return the error for an input that is not the planned one."""
    return GuardTripped(f"{what} The input was changed while it was read.", "Restore the file that was planned.")
