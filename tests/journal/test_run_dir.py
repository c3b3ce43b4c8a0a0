"""The run directory: new, private, and locked by one process until it ends."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Self

import pytest

from bulkreset.errors import Busy, RecordError, RunDirError
from bulkreset.journal import run_dir
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir, give_back, reserve_path
from tests.journal.journals import run_state

HOLD = """
import sys
from pathlib import Path
from bulkreset.journal.run_dir import RunDir
RunDir(Path(sys.argv[1])).lock()
print("held", flush=True)
sys.stdin.read()
"""

DIE = """
import os, signal, sys
from pathlib import Path
from bulkreset.journal.journal import Journal
from tests.journal.journals import run_state
from bulkreset.journal.run_dir import RunDir

def fill(path):
    Journal.create(path, ["eu-west-1_A"], run_state())
    path.with_name(".base.gz").touch()
    os.kill(os.getpid(), signal.SIGKILL)

RunDir.create(Path(sys.argv[1]), fill)
"""


def fill(path: Path) -> None:
    """Make the journal of a run directory."""
    Journal.create(path, ["eu-west-1_A"], run_state()).close()


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A umask that masks nothing."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    """Return the permission bits of a file or folder."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("open_umask")
def test_folder_and_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    home = RunDir.create(tmp_path / "runs" / "one", fill)
    with home.open_log() as log:
        log.write("{}\n")
    assert mode(home.path) == 0o700
    names = {".holder.json", "journal.sqlite", "log.jsonl"}
    assert {file.name: mode(file) for file in home.path.iterdir()} == dict.fromkeys(names, 0o600)
    home.release()


@pytest.mark.usefixtures("open_umask")
def test_journals_own_side_files_are_private(tmp_path: Path) -> None:
    home = RunDir.create(tmp_path / "one", fill)
    journal = Journal.open(home.journal)
    journal.write.change(phase="applying")
    modes = {file.name: mode(file) for file in home.path.iterdir()}
    journal.close()
    home.release()
    assert len(modes) > 1
    assert set(modes.values()) == {0o600}


def test_directory_gets_its_name_when_it_has_the_journal(tmp_path: Path) -> None:
    home = RunDir.create(tmp_path / "one", fill)
    assert RunDir.open(home.path).journal.is_file()
    assert [entry.name for entry in tmp_path.iterdir()] == ["one"]
    home.release()


@pytest.mark.process
def test_files_of_killed_processes_do_not_disturb_or_accumulate(tmp_path: Path) -> None:
    path = tmp_path / "one"
    (tmp_path / f".one.{os.getpid()}").mkdir()  # in a container, processes get the same number each time
    for _ in range(2):
        subprocess.run([sys.executable, "-c", DIE, str(path)], check=False)
        assert len(list(tmp_path.glob(".one.????????"))) == 1
    mine = tmp_path / ".one.diary000"
    mine.mkdir()

    def meanwhile(journal: Path) -> None:
        fill(journal)
        RunDir.create(path, fill).release()  # another process, which finds this half-made directory
        assert journal.is_file()

    with pytest.raises(RunDirError, match="cannot be created: Directory not empty"):
        RunDir.create(path, meanwhile)
    assert {entry.name for entry in tmp_path.iterdir()} == {"one", mine.name, f".one.{os.getpid()}"}


def test_no_file_is_left_if_the_journal_cannot_be_created(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise RecordError(f"The journal {path} cannot be used: the disk is full.", "Free disk space, then resume.")

    with pytest.raises(RunDirError, match=rf"{tmp_path}/one/journal.sqlite cannot be used.* then run again"):
        RunDir.create(tmp_path / "one", fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["directory", "file", "dangling link"])
def test_existing_directory_is_never_reused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "one"
    if kind == "directory":
        path.mkdir()
    elif kind == "file":
        path.touch()
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunDirError, match=r"already exists, and is not a run\. Choose a new path for --run-dir"):
        RunDir.create(path, fill)
    assert [entry.name for entry in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize(
    ("mode", "state", "advice"),
    [
        ("dry_run", "finished", "--approved"),
        ("dry_run", "interrupted", "bulkreset resume"),
        ("run", "finished", "bulkreset resume"),
    ],
)
def test_existing_run_is_reported_with_its_next_commands(tmp_path: Path, mode: str, state: str, advice: str) -> None:
    facts = run_state(state, mode=mode, rows=0)
    RunDir.create(tmp_path / "one", lambda path: Journal.create(path, [], facts).close()).release()
    with pytest.raises(RunDirError, match="already exists") as caught:
        RunDir.create(tmp_path / "one", fill)
    assert f"{advice} {tmp_path / 'one'}" in caught.value.advice
    assert ("resume" in caught.value.advice) == (advice != "--approved")


def test_run_that_cannot_be_read_is_left_to_resume(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "journal.sqlite").write_text("no journal " * 500)
    with pytest.raises(RunDirError, match=r"already exists\..*bulkreset resume"):
        RunDir.create(tmp_path / "one", fill)


def test_directory_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunDirError, match="cannot be created"):
        RunDir.create(tmp_path / "file" / "deeper" / "one", fill)


def test_name_that_no_directory_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match="cannot be created: File name too long"):
        RunDir.create(tmp_path / ("x" * 300), fill)
    assert list(tmp_path.iterdir()) == []


def test_missing_directory_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match="cannot be used: No such file"):
        RunDir(tmp_path / "none").lock()


def test_folder_without_a_journal_is_not_a_run_directory(tmp_path: Path) -> None:
    for path, said in ((tmp_path, "it has no journal"), (tmp_path / "none", "does not exist")):
        with pytest.raises(RunDirError, match=said):
            RunDir.open(path)


def test_second_holder_is_refused_until_the_first_releases(tmp_path: Path) -> None:
    home = RunDir.create(tmp_path / "one", fill)
    other = RunDir.open(home.path)
    assert other.is_held()
    with pytest.raises(Busy, match="Another process is working on the run") as caught:
        other.lock()
    assert caught.value.exit_code == 4
    home.release()
    assert not other.is_held()
    other.lock()
    assert home.is_held()
    other.release()


@pytest.mark.process
def test_lock_dies_with_its_process(tmp_path: Path) -> None:
    RunDir.create(tmp_path / "one", fill).release()
    home = RunDir.open(tmp_path / "one")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(Busy):
            home.lock()
        process.send_signal(signal.SIGKILL)
        process.wait()
        home.lock()
        home.release()


@pytest.mark.process
def test_lock_is_not_inherited_by_a_child(tmp_path: Path) -> None:
    home = RunDir.create(tmp_path / "one", fill)
    waiting = "print('up', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", waiting], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == b"up\n"
        home.release()
        RunDir.open(home.path).lock()
        child.kill()


def test_discarded_directory_is_deleted(tmp_path: Path) -> None:
    home = RunDir.create(tmp_path / "one", fill)
    home.discard()
    assert list(tmp_path.iterdir()) == []


def test_log_is_added_to(tmp_path: Path) -> None:
    home = RunDir.create(tmp_path / "one", fill)
    for line in ("first\n", "second\n"):
        with home.open_log() as log:
            log.write(line)
    assert home.log.read_text() == "first\nsecond\n"
    home.release()


def test_runs_of_one_second_get_names_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FixedClock(datetime):
        """A clock that does not advance."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            """Return the same second always."""
            return cls(2026, 11, 20, 1, 15, tzinfo=tz)

    monkeypatch.setattr(run_dir, "datetime", FixedClock)
    monkeypatch.chdir(tmp_path)
    first = Path("runs/nightly-20261120T011500Z")
    first.mkdir(parents=True)
    Path(f"{first}-2").mkdir()
    assert [reserve_path("nightly") for _ in range(2)] == [Path(f"{first}-3"), Path(f"{first}-4")]
    RunDir.create(Path(f"{first}-3"), fill).release()
    with pytest.raises(RunDirError, match="already exists"):
        RunDir.create(Path(f"{first}-3"), fill)
    give_back(Path(f"{first}-3"))
    give_back(Path(f"{first}-4"))
    assert Path(f"{first}-3/journal.sqlite").exists()
    assert not Path(f"{first}-4").exists()


def test_reserved_directory_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    give_back(reserve_path("nightly"))
    assert list(tmp_path.iterdir()) == []


def test_runs_folder_that_is_a_file_is_reported_when_the_run_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").touch()
    with pytest.raises(RunDirError, match="cannot be created"):
        RunDir.create(reserve_path("nightly"), fill)


def test_run_of_another_process_is_not_offered_to_be_continued(tmp_path: Path) -> None:
    home = RunDir.create(tmp_path / "one", fill)
    with pytest.raises(RunDirError, match="another process is working on it") as caught:
        RunDir.create(tmp_path / "one", fill)
    assert "resume" not in str(caught.value)
    home.release()


def place(home: Path) -> dict[str, str]:
    """Return the process's note about itself."""
    found: dict[str, str] = json.loads((home / ".holder.json").read_text(encoding="utf-8"))
    return found


def copied(tmp_path: Path, **other: str) -> Path:
    """Copy a live run directory from a host that differs in these facts; the run is still alive."""
    live = RunDir.create(tmp_path / "live", lambda journal: journal.touch())
    copy = tmp_path / "copy"
    shutil.copytree(live.path, copy)
    (copy / ".holder.json").write_text(json.dumps(place(live.path) | other), encoding="utf-8")
    return copy


ELSEWHERE = {"boot": "another", "machine": "another", "host": "another"}


@pytest.mark.parametrize(
    "other",
    [{}, ELSEWHERE, ELSEWHERE | {"host": "same-name"}, {"boot": "another", "machine": ""}, {"path": "/nowhere/run"}],
    ids=["here", "elsewhere", "another-machine", "no-machine-id", "another-container"],
)
def test_copy_of_a_live_directory_is_refused_unless_the_user_says_that_it_was_moved(
    tmp_path: Path, other: dict[str, str]
) -> None:
    copy = copied(tmp_path, **other)
    with pytest.raises(Busy) as caught:
        RunDir.open(copy).lock()
    assert f"{copy} is a copy of a run that may still be sending on " in caught.value.message
    assert f"bulkreset resume {copy} --moved" in caught.value.advice
    home = RunDir.open(copy)
    home.lock(moved=True)
    assert place(copy)["path"] == str(copy)
    home.release()
    assert not (copy / ".holder.json").exists()


def test_copy_of_a_dead_directory_is_accepted(tmp_path: Path) -> None:
    copy = copied(tmp_path)
    RunDir.open(tmp_path / "live").path.rename(tmp_path / "old")
    dead = RunDir.create(tmp_path / "live", lambda journal: journal.touch())  # the new file of that name is not locked
    dead.release()
    RunDir.open(copy).lock()


def test_copy_from_before_a_restart_of_the_machine_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"boot": "now", "machine": "this", "host": "one", "pid": "1", "path": "/runs/x", "inode": "1"}
    monkeypatch.setattr(run_dir, "_place", lambda home: here | {"inode": str(home.path.stat().st_ino)})
    RunDir.open(copied(tmp_path, boot="before")).lock()


def test_directory_renamed_after_its_process_died_is_accepted(tmp_path: Path) -> None:
    live = RunDir.create(tmp_path / "live", lambda journal: journal.touch())
    live.unlock()  # as when its process dies
    live.path.rename(tmp_path / "renamed")
    RunDir.open(tmp_path / "renamed").lock()


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"boot": 1}', b"\xff"])
def test_note_that_cannot_be_read_forbids_nothing(tmp_path: Path, note: bytes) -> None:
    copy = copied(tmp_path)
    (copy / ".holder.json").write_bytes(note)
    RunDir.open(copy).lock()
