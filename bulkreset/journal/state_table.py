"""The run state in the journal: each of its fields is one row of the table `meta`, as JSON."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bulkreset.journal import schema
from bulkreset.journal.database import Database, damaged_journal_error
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
            raise damaged_journal_error(self._db.path) from None
        return self.value

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
            values = value.model_dump(mode="json", include={*changes, *(["commits"] if counted else [])})
            facts = [(key, json.dumps(value)) for key, value in values.items()]
            self._db.executemany(schema.SET_FACT, facts)
            self._db.state_changes += len(facts)
        self.value = value
