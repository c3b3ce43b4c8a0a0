"""The `contacts` command: an encrypted list of who got which kind of password and when it expires, for a mail merge."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from bulkreset.age_encryption import encrypt, parse_recipients
from bulkreset.errors import Refused, RunDirError
from bulkreset.files import ELSEWHERE, atomic_bytes_writer, require_new
from bulkreset.job.file import job_from_journal
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.text import format_iso

COLUMNS = ("username", "user_pool_id", "kind", "set_at", "expires_at")


def write_contacts(run_dir: Path, output: Path, recipients: Sequence[str]) -> int:
    """Write the list as CSV, encrypted to `recipients` (default: those of the job), to a new file. Returns its rows.

    Raises RunDirError if the run has set nothing or the file exists, Refused without a recipient, RecordError.
    """
    home = RunDir.open(run_dir)
    require_new(output)
    with closing(Journal.open(home.journal, read_only=True)) as journal:
        job = job_from_journal(journal.state.job, {})
        to = parse_recipients(recipients or job.password.recipients)
        if not to:
            raise Refused(
                "The job has no recipients, and the list is written encrypted only.",
                "Pass --recipient with the public key of the person who writes to the users.",
            )
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        with journal.snapshot():
            rows = [*_lines(journal, "scrambled" if job.scrambles else "permanent")]
        if not rows:
            raise RunDirError(f"The run in {run_dir} has set no passwords, so there is no user to list.")
        writer.writerows(rows)
    with atomic_bytes_writer(output, ELSEWHERE, new=True) as file:
        file.write(encrypt(text.getvalue().encode(), to))
    return len(rows)


def _lines(journal: Journal, permanent: str) -> Iterator[tuple[str, ...]]:
    """Yield one line for each set row. Names are exact, because another program joins them."""
    days = journal.state.temporary_days
    for row in journal.read.set_rows():
        kind = permanent if row.permanent else "temporary"
        yield row.username, row.pool, kind, format_iso(row.finished_at, "seconds"), row.expires_at(days)
