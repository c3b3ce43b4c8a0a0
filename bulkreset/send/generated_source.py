"""A row source for generated passwords. Passwords are generated when needed and archived before rows are claimed."""

from collections import deque
from collections.abc import Collection, Sequence

from bulkreset.input.password_generator import PasswordGenerator
from bulkreset.journal.generated_passwords import CHUNK_ROWS, PasswordArchive
from bulkreset.journal.reader import JournalReader
from bulkreset.models import Row, Secret


class GeneratedLaneSource:
    """The rows of one lane, with generated passwords.

    With an `archive`, a batch of passwords is encrypted and on disk before `take` returns the first of them. Without
    one, passwords are generated row by row and not stored.
    """

    def __init__(
        self,
        journal: JournalReader,
        pools: Collection[str],
        generator: PasswordGenerator,
        archive: PasswordArchive | None,
    ) -> None:
        # Rows to send at the start.
        self.rows = sum(rows for pool, _, rows in journal.sendable_counts() if pool in pools)
        self.ended = False
        self.pools = frozenset(pools)
        self._journal = journal
        self._generator = generator
        self._archive = archive
        self._after = 0
        self._ready_rows: deque[Row] = deque()

    def take(self, most: int) -> Sequence[Row]:
        """Return up to `most` rows. Raises RecordError if a batch cannot be archived; then none of its rows is sent."""
        if self._archive is None:
            taken = self._next_rows(most)
        else:
            if not self._ready_rows:
                if lot := self._next_rows(CHUNK_ROWS):
                    self._archive.write(lot)
                self._ready_rows.extend(lot)
            taken = [self._ready_rows.popleft() for _ in range(min(most, len(self._ready_rows)))]
        self.ended = not taken
        return taken

    def discard_rest(self) -> None:
        """Drop the remaining rows; `take` is not called again."""
        self._ready_rows.clear()
        self.ended = True

    def _next_rows(self, most: int) -> list[Row]:
        found = self._journal.sendable_after(self._after, self.pools, most, self._password)
        if found:
            self._after = found[-1].number
        return found

    def _password(self, _row: int, _username: str, pool: str, permanent: bool) -> Secret:  # noqa: FBT001  (a PasswordOf)
        return self._generator.make(pool, permanent=permanent)
