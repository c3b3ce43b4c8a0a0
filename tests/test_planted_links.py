"""Links that another user has put into a folder: no writer follows one, for a file or for a partial file."""

import ast
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import IO

import pyrage
import pytest

from bulkreset import files
from bulkreset.age_encryption import parse_recipients
from bulkreset.cli.job_template import fill_defaults, write_job
from bulkreset.errors import BulkresetError
from bulkreset.files import atomic_bytes_writer, atomic_file, atomic_writer
from bulkreset.journal import origin
from bulkreset.journal.generated_passwords import PasswordArchive
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.models import Row, Secret
from bulkreset.notify.textfile import write_textfile
from bulkreset.plan.user_store import UserStore
from bulkreset.report.page import write_page
from bulkreset.report.redaction import _create_key
from bulkreset.report.report_writers import write_report
from bulkreset.report.summary import write_summary
from bulkreset.report.verify import VerifyRequest, _open_outputs
from bulkreset.run.archive import _copy_file
from bulkreset.run.schedule_state import ScheduleState, StateStore
from bulkreset.s3 import Bucket
from tests.journal.journals import POOL, planned, run_state
from tests.notify.test_metrics import FIGURES
from tests.report.pages import journal_of, ready
from tests.report.test_report import SUMMARY

ROOT = Path(files.__file__).parent
TOKEN = "0badcafe"
VICTIM = "what another file holds"


def verified(path: Path, wanted: VerifyRequest) -> None:
    with _open_outputs(RunDir(path.parent), wanted, with_pools=False):
        pass


def archived(path: Path) -> None:
    source = path.parent / "users.csv"
    source.write_text("username\n")
    _copy_file(source, path)


def encrypted(path: Path) -> None:
    to = parse_recipients([str(pyrage.x25519.Identity.generate().to_public())])
    PasswordArchive(path.parent, to).write([Row(1, "ann", Secret("Quiet-Garden.1"), POOL, permanent=True)])


def reported(path: Path) -> None:
    with closing(planned(path.parent, "ann")) as journal:
        write_report(journal, path, dry_run=True)


def drawn(path: Path) -> None:
    with closing(journal_of(path.parent, ready(1))) as journal:
        write_page(journal, path, path.parent)


def copied(path: Path) -> None:
    with closing(journal_of(path.parent, ready(1))) as journal:
        journal.copy(path)


def written(file: AbstractContextManager[IO[bytes]]) -> None:
    with file as opened:
        opened.write(b"x")


def job_file(path: Path) -> None:
    write_job(fill_defaults({"kind": "file", "input": "users.csv", "user_pool_id": POOL}), path)


# Each writer with the name of its file. The first ones replace a file of this name; the others need a new name.
REPLACING: dict[str, tuple[str, Callable[[Path], object]]] = {
    "bytes": ("x", lambda path: written(atomic_bytes_writer(path, ""))),
    "file": ("x", lambda path: written(atomic_file(path))),
    "report": ("report.csv", reported),
    "page": ("report.html", drawn),
    "summary": ("summary.json", lambda path: write_summary(SUMMARY, path)),
    "textfile": ("job.prom", lambda path: write_textfile(path, FIGURES)),
    "state": ("state.json", lambda path: StateStore(path, Bucket()).write(ScheduleState())),
    "verify": ("verify.csv", lambda path: verified(path, VerifyRequest())),
    "journal's copy": ("copy.sqlite", copied),
    "list of users": ("users.sqlite", lambda path: UserStore(path)._db.close()),
}
NEW: dict[str, tuple[str, Callable[[Path], object]]] = {
    "new": ("x", lambda path: written(atomic_file(path, new=True))),
    "verify -o": ("out.csv", lambda path: verified(path, VerifyRequest(report=path))),
    "verify --reissue": ("again.csv", lambda path: verified(path, VerifyRequest(reissue=path))),
    "archived input": ("done.csv", archived),
    "chunk of generated passwords": ("00000001.age", encrypted),
    "job file": ("job.toml", job_file),
    "journal": ("journal.sqlite", lambda path: Journal.create(path, [POOL], run_state()).close()),
}
ALL = REPLACING | NEW | {"redaction key": ("redaction.key", _create_key)}
DATABASES = {"journal's copy", "list of users", "journal"}  # these have no partial file


@contextmanager
def untouched(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Yield a folder to write to, and a file elsewhere that must not change."""
    (folder := tmp_path / "folder").mkdir()
    (victim := tmp_path / "victim").write_text(VICTIM)
    victim.chmod(0o640)
    yield folder, victim
    assert victim.read_text() == VICTIM
    assert stat.S_IMODE(victim.stat().st_mode) == 0o640


@pytest.mark.parametrize("writer", REPLACING)
def test_link_under_the_name_of_a_file_is_replaced(tmp_path: Path, writer: str) -> None:
    name, write = REPLACING[writer]
    with untouched(tmp_path) as (folder, victim):
        (folder / name).symlink_to(victim)
        write(folder / name)
        assert not (folder / name).is_symlink()
        assert (folder / name).stat().st_size


@pytest.mark.parametrize("writer", NEW)
@pytest.mark.parametrize("target", ["victim", "nowhere"])
def test_link_under_the_name_of_a_new_file_is_refused(tmp_path: Path, writer: str, target: str) -> None:
    name, write = NEW[writer]
    with untouched(tmp_path) as (folder, victim):
        (folder / name).symlink_to(victim.with_name(target))
        if writer == "chunk of generated passwords":  # takes the next number; an existing link counts as a chunk
            write(folder / name)
        else:
            with pytest.raises((BulkresetError, FileExistsError), match="exists"):
                write(folder / name)
        assert (folder / name).is_symlink()
        assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("writer", sorted(ALL.keys() - DATABASES))
@pytest.mark.parametrize("target", ["victim", "nowhere"])
def test_link_under_the_name_of_a_partial_file_is_not_followed(
    tmp_path: Path, writer: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _bytes=0: TOKEN)  # a name that nobody can know in advance
    name, write = ALL[writer]
    with untouched(tmp_path) as (folder, victim):
        planted = folder / f".{name}.{TOKEN}.partial"
        planted.symlink_to(victim.with_name(target))
        with pytest.raises((BulkresetError, OSError), match=r"File exists|No such file"):
            write(folder / name)
        assert planted.is_symlink()
        assert not (folder / name).exists()
        assert not (tmp_path / "nowhere").exists()


def test_link_under_the_name_of_the_extracts_is_not_followed(tmp_path: Path) -> None:
    with untouched(tmp_path) as (folder, victim):
        (folder / origin.FILE).symlink_to(victim)
        with pytest.raises(OSError, match="symbolic links"):
            origin.record_extract(folder, origin.Extract("0" * 64, "again.csv", ("failed",), 1, "2026-11-30T00:00:00Z"))


def test_partial_that_is_a_pipe_or_a_link_is_skipped(tmp_path: Path) -> None:
    with untouched(tmp_path) as (folder, victim):
        (folder / ".x.1.partial").symlink_to(victim)
        (folder / ".x.3.partial").symlink_to("nowhere")
        assert files.remove_stale(folder / "x") == []


@pytest.mark.parametrize("error", sorted(files._NO_LINKS))
def test_new_file_without_hard_links(tmp_path: Path, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_paths: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "link", link)
    with untouched(tmp_path) as (folder, victim):
        with atomic_file(folder / "x", new=True) as file:
            file.write(b"new")
        assert [(entry.name, entry.read_bytes()) for entry in folder.iterdir()] == [("x", b"new")]
        (folder / "y").symlink_to(victim)
        with pytest.raises(FileExistsError), atomic_file(folder / "y", new=True) as file:
            file.write(b"new")


def test_partial_file_deleted_before_its_lock_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def create(path: str) -> int:
        opened = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        begun.append(path)
        if len(begun) == 1:
            Path(path).unlink()
        return opened

    monkeypatch.setattr(files, "create_file", create)
    with atomic_writer(tmp_path / "x", "") as file:
        file.write("new")
    assert (len(begun), (tmp_path / "x").read_text()) == (2, "new")


# Other code that opens a file for writing, and why no link can harm it.
ELSEWHERE = {
    "journal/origin.py": "the extracts: appended to, in a directory of mode 0700, and O_NOFOLLOW is set",
    "journal/run_dir.py": "the log: appended to, in a directory of mode 0700",
    "notify/emf.py": "appended to; the place may be a link on purpose, such as /dev/stdout",
    "run/schedule_state.py": "the lock: nothing is written to it, and O_NOFOLLOW is set",
}


# Everything that `_creates` finds contains one of them.
WORDS = ("open(", "O_CREAT", "write_text", "write_bytes", "touch", "mkstemp", "NamedTemporaryFile", "copy")


def test_no_other_module_creates_files() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py") if path != Path(files.__file__)}
    found = {
        path.relative_to(ROOT).as_posix()
        for path, text in texts.items()
        if any(word in text for word in WORDS)  # most files have none, and parsing all of them takes seconds
        for node in ast.walk(ast.parse(text))
        if _creates(node)
    }
    assert found == ELSEWHERE.keys()


def _creates(node: ast.AST) -> bool:
    """Return whether this creates a file by a path: a flag, a method of Path, or `open` with such a mode."""
    if isinstance(node, ast.Attribute) and node.attr in {"O_CREAT", "write_text", "write_bytes", "touch", "mkstemp"}:
        return True
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    name = (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )
    if name in {"NamedTemporaryFile", "copy", "copy2", "copyfile"} and isinstance(function, ast.Attribute):
        return getattr(function.value, "id", "") in {"shutil", "tempfile"}
    if name != "open":
        return False
    by_descriptor = any(keyword.arg == "closefd" for keyword in node.keywords) or (
        bool(node.args) and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, int)
    )
    on_open_file = isinstance(function, ast.Attribute) and getattr(function.value, "id", "") == "gzip"
    modes = [it.value for it in node.args if isinstance(it, ast.Constant) and isinstance(it.value, str)]
    return not by_descriptor and not on_open_file and any(set(mode) & set("wxa") and len(mode) <= 3 for mode in modes)
