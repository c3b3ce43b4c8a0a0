"""Export of a run's generated passwords, for an operator who holds a recipient's key."""

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, NamedTuple

from bulkreset.age_encryption import load_identities
from bulkreset.errors import RunDirError
from bulkreset.journal.generated_passwords import folder_of, newest
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir

COLUMNS = ("username", "password", "expires_at", "pool")


class IssuedPassword(NamedTuple):
    """One user's password. `expires_at` is UTC; "" if the password is permanent or the pool's validity is not known."""

    username: str
    password: str
    expires_at: str
    pool: str

    def __repr__(self) -> str:  # the default repr would print the password
        return f"IssuedPassword({self.username!r})"


def read_passwords(run_dir: Path, identity: Path) -> Iterator[IssuedPassword]:
    """Yield the password that was set last for each row with status `set`. Uses constant memory.

    Names are unchanged.

    Raises RunDirError if the run has no encrypted passwords or no complete plan, InputError if the key cannot decrypt
    them.
    """
    home = RunDir.open(run_dir)
    by = load_identities(identity)
    with closing(Journal.open(home.journal, read_only=True)) as journal:
        if not journal.state.is_planned:
            raise RunDirError(f"The run in {run_dir} has no complete plan yet.", "Resume it first.")
        folder = folder_of(journal.state, home)
        # Read one snapshot of the journal: a live run may set a row later, with a chunk that this read has not seen.
        with journal.snapshot():
            for line in newest(folder, by, journal.state.rows):
                if found := journal.read.set_row(line.row):
                    until = found.expires_at(journal.state.temporary_days)
                    # Programs read this file, so names are as they are: a guard for spreadsheets would be part of the name.
                    yield IssuedPassword(line.username, line.password, until, line.pool)


def write_passwords(file: IO[str], rows: Iterable[IssuedPassword], *, as_jsonl: bool) -> int:
    """Write the passwords as CSV with a header, or as JSON Lines. Returns the number of rows. Raises OSError."""
    number = 0
    writer = csv.writer(file, lineterminator="\n")
    if not as_jsonl:
        writer.writerow(COLUMNS)
    for number, row in enumerate(rows, 1):  # noqa: B007  (the loop counts the rows)
        if as_jsonl:
            file.write(json.dumps(row._asdict(), ensure_ascii=False) + "\n")
        else:
            writer.writerow(row)
    return number
