"""The list for a mail merge: which user got which kind of password, encrypted, with exact names."""

import csv
import io
from pathlib import Path

import pyrage
import pytest

from bulkreset.age_encryption import load_identities
from bulkreset.errors import Refused, RunDirError
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.models import Outcome, Status
from bulkreset.report.contacts import COLUMNS, write_contacts
from tests.journal.journals import commit, run_state
from tests.targets import EU, job

WHEN = 1_790_000_000_000  # 2026-09-21T14:13:20Z


class FinishedRun:
    """A run that has set `names`, and a key."""

    def __init__(self, folder: Path, *names: str, permanent: bool = False, **password: object) -> None:
        identity = pyrage.x25519.Identity.generate()
        self.public = str(identity.to_public())
        self.key = folder / "key.txt"
        self.key.write_text(f"{identity}\n")
        self.out = folder / "contacts.csv.age"
        settings = {"source": "generate", "recipients": (self.public,)} | password
        asked = job(EU, permanent=permanent, password=settings).model_dump(mode="json")
        state = run_state("applying", rows=len(names), job=asked, temporary_days={EU: 7})
        self.run_dir = folder / "run"
        home = RunDir.create(self.run_dir, lambda path: Journal.create(path, [EU], state).close())
        home.release()
        self.journal = Journal.open(home.journal)
        self.journal.write.add_rows([(row, EU, name, permanent, "ready", "", "") for row, name in enumerate(names, 1)])

    def settle(self, *rows: int, status: Status = Status.SET) -> None:
        commit(self.journal, [], [Outcome(row, status, started_at=WHEN, finished_at=WHEN) for row in rows])

    def read(self) -> list[list[str]]:
        data = pyrage.decrypt(self.out.read_bytes(), load_identities(self.key))
        return list(csv.reader(io.StringIO(data.decode(), newline="")))


def test_list_has_who_was_set_with_exact_names_and_is_encrypted(tmp_path: Path) -> None:
    run = FinishedRun(tmp_path, "=ann", "bob", "cid")
    run.settle(1, 2)
    run.settle(3, status=Status.FAILED)
    assert write_contacts(run.run_dir, run.out, ()) == 2
    set_at, expires = "2026-09-21T14:13:20Z", "2026-09-28T14:13:20Z"
    assert run.read() == [
        [*COLUMNS],
        ["=ann", EU, "temporary", set_at, expires],
        ["bob", EU, "temporary", set_at, expires],
    ]
    assert b"ann" not in run.out.read_bytes()
    assert run.out.stat().st_mode & 0o777 == 0o600


def test_scramble_needs_a_recipient_who_is_named_now(tmp_path: Path) -> None:
    run = FinishedRun(tmp_path, "ann", permanent=True, recipients=())
    run.settle(1)
    with pytest.raises(Refused, match="encrypted only"):
        write_contacts(run.run_dir, run.out, ())
    assert not run.out.exists()
    write_contacts(run.run_dir, run.out, [run.public])
    assert run.read()[1][2:] == ["scrambled", "2026-09-21T14:13:20Z", ""]


def test_permanent_passwords_with_recipients_are_not_a_scramble(tmp_path: Path) -> None:
    run = FinishedRun(tmp_path, "ann", permanent=True)
    run.settle(1)
    write_contacts(run.run_dir, run.out, ())
    assert run.read()[1][2] == "permanent"


def test_list_is_a_new_file_and_not_an_empty_one(tmp_path: Path) -> None:
    run = FinishedRun(tmp_path, "ann")
    with pytest.raises(RunDirError, match="no user to list"):
        write_contacts(run.run_dir, run.out, ())
    run.settle(1)
    run.out.write_text("kept")
    with pytest.raises(Refused, match="already exists"):
        write_contacts(run.run_dir, run.out, ())
    assert run.out.read_text() == "kept"
