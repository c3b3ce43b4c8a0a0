"""The campaign: rows whose passwords are made as they are due, and handed out before they are claimed."""

from collections import deque
from collections.abc import Collection, Sequence

from bulkreset.input.password_generator import Generator
from bulkreset.journal.journal import Journal
from bulkreset.journal.records import Sendable
from bulkreset.journal.sealed_passwords import CHUNK_ROWS, Handout
from bulkreset.models import Row


class Made:
    """One lane's rows.

    With a handout, a lot of passwords is sealed and on disk before the first of them leaves here; without one they are
    made row by row, and kept nowhere.
    """

    def __init__(self, journal: Journal, pools: Collection[str], generator: Generator, handout: Handout | None) -> None:
        # How many there are to be sent when it begins.
        self.rows = sum(rows for pool, _, rows in journal.ready() if pool in pools)
        self.ended = False
        self.pools = frozenset(pools)
        self._journal = journal
        self._generator = generator
        self._handout = handout
        self._after = 0
        self._made: deque[Row] = deque()

    def take(self, most: int) -> Sequence[Row]:
        """Up to `most` rows. Raises RecordError where a lot cannot be handed out: then none of it is sent."""
        if self._handout is None:
            taken = [self._with_password(row) for row in self._next(most)]
        else:
            if not self._made:
                lot = [self._with_password(row) for row in self._next(CHUNK_ROWS)]
                if lot:
                    self._handout.write(lot)
                self._made.extend(lot)
            taken = [self._made.popleft() for _ in range(min(most, len(self._made)))]
        self.ended = not taken
        return taken

    def drop(self) -> None:
        """Nothing more will be taken."""
        self._made.clear()
        self.ended = True

    def _next(self, most: int) -> list[Sendable]:
        found = self._journal.sendable_after(self._after, self.pools, most)
        if found:
            self._after = found[-1].row
        return found

    def _with_password(self, row: Sendable) -> Row:
        return Row(
            number=row.row,
            username=row.username,
            password=self._generator.make(row.pool, permanent=bool(row.permanent)),
            pool=row.pool,
            permanent=bool(row.permanent),
            doubted=bool(row.doubted),
            revived=bool(row.revived),
        )


class Campaign:
    """The rows of all lanes, from the journal: nothing of the input is needed any more."""

    def __init__(
        self, journal: Journal, lanes: Sequence[Collection[str]], generator: Generator, handout: Handout | None
    ) -> None:
        self.supplies = [Made(journal, pools, generator, handout) for pools in lanes]

    def close(self) -> None:
        """There is nothing to let go of."""
