"""Standard input is stored in a new encrypted file, or refused with the reason."""

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulkreset.cli import run as commands
from bulkreset.errors import InputError, JobError, RecordError, Refused, RunDirError
from bulkreset.input.spool import spool
from tests.input.inputs import csv_file, key_file, pairs, read

ROW = b"username,password\nann,Quiet-1\n"


def piped(content: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(content))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_stored_content_is_read_back_and_nowhere_in_plain_text(tmp_path: Path, kind: str) -> None:
    out = io.BytesIO()
    pq.write_table(pa.table({"username": ["ann"], "password": ["Quiet-1"]}), out)
    content = {"csv": ROW, "jsonl": b'{"username": "ann", "password": "Quiet-1"}\n', "parquet": out.getvalue()}[kind]
    key, path = key_file(tmp_path), tmp_path / "runs" / "stdin.age"
    spool(piped(content), path, key)
    assert pairs(read(path, identity=key)) == [("ann", "Quiet-1")]
    assert [*path.parent.iterdir()] == [path]
    assert b"Quiet" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("content", "key", "told"),
    [
        (b"", "key.txt", "Standard input is empty"),
        (ROW, "", "the job has no key for it"),
        (ROW, "none.txt", "cannot be read"),
        (ROW, "users.csv", "has no key that can be used"),
    ],
)
def test_unstorable_value_is_refused_and_leaves_no_file(tmp_path: Path, content: bytes, key: str, told: str) -> None:
    key_file(tmp_path)
    csv_file(tmp_path, ROW)
    with pytest.raises(InputError, match=told):
        spool(piped(content), tmp_path / "runs" / "stdin.age", tmp_path / key if key else None)
    assert not (tmp_path / "runs").exists()


def test_file_that_exists_is_never_replaced(tmp_path: Path) -> None:
    path = csv_file(tmp_path, ROW)
    with pytest.raises(RunDirError, match="already exists"):
        spool(piped(ROW), path, key_file(tmp_path))
    assert path.read_bytes() == ROW


def test_stream_that_breaks_leaves_no_file(tmp_path: Path) -> None:
    class Broken(io.RawIOBase):
        def __init__(self) -> None:
            self.told = [ROW]

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:  # noqa: ANN401  (any writable buffer)
            if not self.told:
                raise OSError(5, os.strerror(5))
            part = self.told.pop()
            buffer[: len(part)] = part
            return len(part)

    with pytest.raises(RecordError, match="cannot be kept"):
        spool(io.BufferedReader(Broken()), tmp_path / "stdin.age", key_file(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["key.txt"]


@pytest.fixture
def job(tmp_path: Path) -> Path:
    key_file(tmp_path)
    path = tmp_path / "job.toml"
    path.write_text(
        '[input]\npath = "u.csv"\nidentity = "key.txt"\n[[targets]]\nuser_pool_id = "us-east-1_Test00001"\n',
        encoding="utf-8",
    )
    return path


def test_command_runs_the_kept_file(
    tmp_path: Path, job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=piped(ROW), isatty=lambda: False))
    monkeypatch.setattr(sys, "argv", ["bulkreset", "run", "job.toml", "--input", "-", "--spool", "--dry-run"])
    monkeypatch.setattr(commands, "_execute", lambda *args, **_more: ran.append(args))
    commands.run(job, ["-"], spool=True, dry_run=True, run_dir=tmp_path / "mine")
    ((asked, run_dir, mode, *_),) = ran
    (kept,) = tmp_path.glob("stdin-*.age")
    assert (asked.input.path, run_dir, mode.command) == (
        kept,
        tmp_path / "mine",
        f"bulkreset run job.toml --input {kept}",
    )
    assert f"kept in {kept}, encrypted" in capsys.readouterr().err
    assert pairs(read(kept, identity=tmp_path / "key.txt")) == [("ann", "Quiet-1")]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"dry_run": True}, "already exists"),
        ({"approved": Path("reviewed")}, "needs the input of the dry run"),
        ({"dry_run": True, "quiet": True, "verbose": 1}, "contradict"),
    ],
)
def test_refused_command_leaves_standard_input_unread(
    tmp_path: Path, job: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], why: str
) -> None:
    content = piped(ROW)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=content, isatty=lambda: False))
    taken = tmp_path / "taken"
    taken.mkdir()
    with pytest.raises((Refused, RunDirError), match=why):
        commands.run(job, ["-"], spool=True, run_dir=taken, **options)
    assert content.read() == ROW
    assert not [*tmp_path.glob("stdin-*")]


def test_standard_input_is_refused_without_spool_and_spool_without_it(job: Path) -> None:
    with pytest.raises(JobError, match=r"an input is read twice.*--input - --spool keeps it"):
        commands.run(job, ["-"], dry_run=True)
    for given in (None, ["a.csv"], ["-", "a.csv"]):
        with pytest.raises(Refused, match="must be the only input"):
            commands.run(job, given, spool=True, dry_run=True)
