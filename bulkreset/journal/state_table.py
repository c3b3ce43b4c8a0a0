"""The run state in the journal: each of its fields is one row of the table `meta`, as JSON."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from bulkreset.journal import schema
from bulkreset.journal.database import Database
from bulkreset.journal.run_state import RunState


class StateTable:
    """The run state as it was read or written last."""

    def __init__(self, db: Database, value: RunState | None = None) -> None:
        self._db = db
        self.value = value or self.read()

    def read(self) -> RunState:
        """Return the state in the file. Raises RecordError if a fact is missing, unknown or malformed."""
        with self._db.reading():
            found = self._db.execute(schema.FACTS).fetchall()
        try:
            self.value = RunState.model_validate({key: json.loads(value) for key, value in found})
        except (ValueError, TypeError, RecursionError):
            raise self._db.damaged_error() from None
        return self.value

    def insert(self) -> None:
        """Write the whole state, inside a transaction."""
        self._write(self.value, RunState.model_fields)

    @contextmanager
    def writing(self, changes: Mapping[str, object], *, counted: bool = False) -> Iterator[None]:
        """Commit all writes in the block together with these fields, or none of them. Raises RecordError.

        If it is `counted`, the number of commits in the state grows by one.
        """
        value = self.value.changed(changes) if changes else self.value
        if counted:
            value = value.model_copy(update={"commits": value.commits + 1})
        with self._db.writing():
            yield
            self._write(value, [*changes, "commits"] if counted else changes)
        self.value = value

    def _write(self, state: RunState, fields: Collection[str]) -> None:
        if not fields:
            return
        values = state.model_dump(mode="json", include=set(fields))
        self._db.state_changes += self._db.executemany(
            schema.SET_FACT, [(key, json.dumps(value)) for key, value in values.items()]
        ).rowcount
