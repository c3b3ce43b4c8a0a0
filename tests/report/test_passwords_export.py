"""Export: the last password of each row that is set, for the holder of the key."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyrage
import pytest

from bulkreset.age_encryption import load_identities, parse_recipients
from bulkreset.errors import InputError, RunDirError
from bulkreset.journal.generated_passwords import PasswordArchive, folder_elsewhere, read_archive
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.models import Outcome, Row, Secret, Status
from bulkreset.report.passwords_export import IssuedPassword, read_passwords, write_passwords
from tests.journal.journals import commit, run_state
from tests.targets import EU, EU2, job

DAY = 86_400_000  # milliseconds
WHEN = 1_790_000_000_000  # 2026-09-21T14:13:20Z


class FinishedCampaign:
    """A run of generated passwords: a row for each of `names`, temporary except in the second pool."""

    def __init__(self, folder: Path, names: Sequence[str], **facts: Any) -> None:  # noqa: ANN401  (of the journal)
        identity = pyrage.x25519.Identity.generate()
        self.key = folder / "key.txt"
        self.key.write_text(f"{identity}\n")
        self.to = parse_recipients([str(identity.to_public())])
        self.names = names
        state = run_state("applying", rows=len(names), **facts)
        self.run_dir = folder / "run"
        home = RunDir.create(self.run_dir, lambda path: Journal.create(path, [EU, EU2], state).close())
        home.release()
        self.journal = Journal.open(home.journal)
        self.journal.write.add_rows([(row, EU, name, False, "ready", "", "") for row, name in enumerate(names, 1)])
        self.folder = Path(facts["passwords"]) if facts.get("passwords") else home.passwords

    def write(self, passwords: Mapping[int, str]) -> None:
        """Write one chunk, by a new execution."""
        rows = [Row(row, self.names[row - 1], Secret(text), EU, permanent=False) for row, text in passwords.items()]
        PasswordArchive(self.folder, self.to).write(rows)

    def settle(self, *numbers: int, status: Status = Status.SET, at: int = WHEN) -> None:
        commit(self.journal, [], [Outcome(row, status, started_at=at, finished_at=at) for row in numbers])

    def given(self) -> list[IssuedPassword]:
        return list(read_passwords(self.run_dir, self.key))

    def passwords(self) -> dict[str, str]:
        return {one.username: one.password for one in self.given()}


def test_only_set_rows_are_exported(tmp_path: Path) -> None:
    run = FinishedCampaign(tmp_path, ["ann", "bob", "cid", "dan", "eve"])
    run.write({1: "P1", 2: "P2", 3: "P3", 4: "P4", 5: "P5"})
    run.settle(2, 5)
    run.settle(3, status=Status.IN_DOUBT)
    run.settle(4, status=Status.FAILED)
    assert run.passwords() == {"bob": "P2", "eve": "P5"}
    run.settle(1)
    assert run.passwords() == {"ann": "P1", "bob": "P2", "eve": "P5"}


def test_the_last_password_of_a_row_counts(tmp_path: Path) -> None:
    run = FinishedCampaign(tmp_path, ["ann", "bob", "cid"])
    run.write({1: "P1", 2: "P2", 3: "P3"})
    run.write({2: "P2 again"})
    run.write({2: "P2 at last", 3: "P3 again"})
    run.settle(1, 2, 3)
    assert run.passwords() == {"ann": "P1", "bob": "P2 at last", "cid": "P3 again"}


def test_row_that_is_sent_again_while_it_is_read_never_comes_out_with_the_older_password(tmp_path: Path) -> None:
    run = FinishedCampaign(tmp_path, ["ann", "bob"])
    run.write({1: "P1", 2: "P2"})
    run.settle(1)
    run.settle(2, status=Status.IN_DOUBT)
    given = read_passwords(run.run_dir, run.key)
    assert next(given).password == "P1"
    run.write({2: "P2 again"})
    run.settle(2)
    assert list(given) == []
    assert run.passwords() == {"ann": "P1", "bob": "P2 again"}


def test_expiry_is_shown_if_it_is_known(tmp_path: Path) -> None:
    run = FinishedCampaign(tmp_path, ["ann"], temporary_days={EU: 3})
    run.write({1: "P1"})
    run.settle(1)
    assert run.given() == [IssuedPassword("ann", "P1", "2026-09-24T14:13:20Z", EU)]
    run.journal.write.change(temporary_days={EU2: 3})
    assert run.given()[0].expires_at == ""
    run.journal.write.change(temporary_days={EU: None})
    assert run.given()[0].expires_at == ""


def test_permanent_password_does_not_expire(tmp_path: Path) -> None:
    run = FinishedCampaign(tmp_path, ["ann"], temporary_days={EU: 3})
    run.journal._db.execute("UPDATE rows SET permanent = 1")
    run.write({1: "P1"})
    run.settle(1)
    assert run.given()[0].expires_at == ""


@pytest.mark.parametrize("name", ["=1+1", "+447700900123", "-x", "@sum", "\uff1dx"])
def test_username_like_a_formula_is_as_it_is(tmp_path: Path, name: str) -> None:
    run = FinishedCampaign(tmp_path, [name])
    run.write({1: "P1"})
    run.settle(1)
    assert run.passwords() == {name: "P1"}


def test_password_shows_in_no_repr(tmp_path: Path) -> None:
    run = FinishedCampaign(tmp_path, ["ann"])
    run.write({1: "P1"})
    run.settle(1)
    assert repr(run.given()) == "[IssuedPassword('ann')]"


def test_run_that_is_not_wholly_planned_has_no_passwords_to_export(tmp_path: Path) -> None:
    run = FinishedCampaign(tmp_path, ["ann"])
    run.write({1: "P1"})
    run.journal.write.change(phase="comparing")
    with pytest.raises(RunDirError, match="no complete plan"):
        run.given()


def test_run_without_recipients_has_none(tmp_path: Path) -> None:
    run = FinishedCampaign(tmp_path, ["ann"])
    run.settle(1)
    with pytest.raises(RunDirError, match="no generated passwords"):
        run.given()


def test_another_key_and_a_damaged_chunk_give_nothing_at_all(tmp_path: Path) -> None:
    run = FinishedCampaign(tmp_path, ["ann", "bob"])
    run.write({1: "P1"})
    run.write({2: "P2"})
    run.settle(1, 2)
    (tmp_path / "other").write_text(f"{pyrage.x25519.Identity.generate()}\n")
    with pytest.raises(InputError, match="This key cannot decrypt the passwords"):
        next(read_passwords(run.run_dir, tmp_path / "other"))
    chunk = run.folder / "00000002.age"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"00000002\.age cannot be decrypted"):
        next(read_passwords(run.run_dir, run.key))


def test_truncated_chunk_does_not_close_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = FinishedCampaign(tmp_path, ["ann", "bob"])
    run.write({1: "P1"})
    run.settle(1)

    def die(_file: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", die)
        with pytest.raises(KeyboardInterrupt):
            run.write({2: "lost"})
    assert run.passwords() == {"ann": "P1"}
    run.write({2: "P2"})
    run.settle(2)
    assert run.passwords() == {"ann": "P1", "bob": "P2"}
    assert sorted(path.name for path in run.folder.iterdir()) == ["00000001.age", "00000002.age"]


def test_folder_elsewhere_is_found_after_the_run_directory_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = FinishedCampaign(tmp_path, ["ann"], passwords=str(tmp_path / "safe" / "run"))
    run.write({1: "P1"})
    run.settle(1)
    run.journal.close()
    run.run_dir = run.run_dir.rename(tmp_path / "kept")
    assert run.passwords() == {"ann": "P1"}
    monkeypatch.chdir(run.run_dir)
    run.run_dir = Path()
    assert run.passwords() == {"ann": "P1"}


def test_folder_elsewhere_is_named_like_the_run_and_must_not_be_anothers(tmp_path: Path) -> None:
    asked = job(EU, password={"source": "generate", "recipients": ["age1"], "folder": tmp_path / "safe"})
    assert folder_elsewhere(asked, tmp_path / "runs" / "one") == tmp_path / "safe" / "one"
    (tmp_path / "safe" / "one").mkdir(parents=True)
    assert folder_elsewhere(asked, tmp_path / "runs" / "one") == tmp_path / "safe" / "one"
    (tmp_path / "safe" / "one" / "00000001.age").touch()
    with pytest.raises(RunDirError, match="has the passwords of another run"):
        folder_elsewhere(asked, tmp_path / "elsewhere" / "one")
    assert folder_elsewhere(asked, tmp_path / "runs" / "two") == tmp_path / "safe" / "two"
    assert folder_elsewhere(job(EU), tmp_path / "runs" / "one") is None


def test_lines_without_a_row_are_not_a_bug(tmp_path: Path) -> None:
    run = FinishedCampaign(tmp_path, ["ann"])
    run.write({1: "P1"})
    assert run.passwords() == {}
    assert len(list(read_archive(run.folder, load_identities(run.key)))) == 1


def test_names_are_exact_for_the_program_that_reads_them(tmp_path: Path) -> None:
    run = FinishedCampaign(tmp_path, ["=ann"])
    run.write({1: "P1"})
    run.settle(1)
    assert [one.username for one in read_passwords(run.run_dir, run.key)] == ["=ann"]


@pytest.mark.parametrize("as_jsonl", [True, False])
def test_both_formats_have_every_character_of_name_and_password(*, as_jsonl: bool) -> None:
    rows = [IssuedPassword("=ann\u00e9", 'a,"b"\\', "", EU), IssuedPassword("bob", "P2", "2026-09-28T14:13:20Z", EU)]
    out = io.StringIO(newline="")
    assert write_passwords(out, iter(rows), as_jsonl=as_jsonl) == 2
    text = out.getvalue()
    read = map(json.loads, text.splitlines()) if as_jsonl else csv.DictReader(io.StringIO(text, newline=""))
    assert [dict(one) for one in read] == [one._asdict() for one in rows]
