"""Atomic writing: a complete file, or none after any failure, and no file of a dead process remains."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bulkreset.errors import RecordError
from bulkreset.files import atomic_bytes_writer, atomic_writer, remove_stale

DIE = """
import os, signal, sys
from pathlib import Path
from bulkreset.files import atomic_writer

with atomic_writer(Path(sys.argv[1]), "") as file:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_file_has_its_name_when_it_is_whole_and_until_then_the_old_one_has(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("old", encoding="utf-8")
    with atomic_bytes_writer(path, "") as file:
        file.write(b"new")
        file.flush()
        assert path.read_text(encoding="utf-8") == "old"
        assert remove_stale(path) == [], "what is being written is not swept"

    def interrupted_run() -> None:
        with atomic_writer(path, "") as text:
            text.write("half")
            raise KeyError

    with pytest.raises(KeyError):
        interrupted_run()
    assert [(entry.name, entry.read_text(encoding="utf-8")) for entry in tmp_path.iterdir()] == [("state.json", "new")]


@pytest.mark.process
def test_files_of_a_killed_process_are_deleted(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    ended = subprocess.run([sys.executable, "-c", DIE, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert remove_stale(path) == [left]
    assert list(tmp_path.iterdir()) == []


def test_failed_write_is_reported_with_its_advice(tmp_path: Path) -> None:
    with (
        pytest.raises(RecordError, match=r"new\.csv cannot be written.*Do this\."),
        atomic_writer(tmp_path / "nowhere" / "new.csv", "Do this."),
    ):
        pass


def test_new_file_replaces_no_other_and_an_error_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"

    def half() -> None:
        with atomic_writer(path, "", new=True) as file:
            file.write("half")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert list(tmp_path.iterdir()) == []
    path.write_text("kept")
    with pytest.raises(RecordError), atomic_writer(path, "", new=True) as file:
        file.write("another")
    assert path.read_text() == "kept"
