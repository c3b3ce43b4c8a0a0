"""A damaged journal: a correct error, or no finished row lost."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkreset.errors import BulkresetError
from bulkreset.journal.journal import Journal
from bulkreset.models import Outcome, Status
from tests.journal.journals import commit, run_state, sendable

ROWS = 400
SETTLED = 250


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of a run that stopped midway, after a checkpoint of its log."""
    path = tmp_path_factory.mktemp("whole") / "journal.sqlite"
    journal = Journal.create(path, ["us-east-1_A"], run_state("applying", rows=ROWS))
    journal.write.add_rows((row, "us-east-1_A", f"user.{row:04d}", True, "ready", "", "") for row in range(1, ROWS + 1))
    commit(journal, range(1, SETTLED + 1), [])
    commit(journal, [], [Outcome(row, Status.SET, attempts=1, latency_ms=60) for row in range(1, SETTLED + 1)])
    journal.close()
    return path


def settled_rows_survive(path: Path) -> None:
    """Resume, and check the result: one of our own errors is fine; otherwise finished rows must stay finished."""
    try:
        journal = Journal.open(path)
    except BulkresetError:
        return
    with contextlib.closing(journal):
        try:
            journal.check()
            journal.write.mark_claimed_in_doubt()
            left = {row.number for row in sendable(journal, 1, ROWS)}
            reported = [found[0] for found in journal.read.report_rows(dry_run=False)]
        except BulkresetError:
            return
    assert not left & set(range(1, SETTLED + 1))
    assert reported == list(range(1, ROWS + 1))


SIDECARS = pytest.mark.parametrize("sidecar", ["", "-wal"], ids=["file", "log"])
BASE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SIDECARS
@settings(BASE, max_examples=50)
@given(data=st.data())
def test_flipped_or_cut_bytes(whole: Path, tmp_path: Path, sidecar: str, data: st.DataObject) -> None:
    damage(whole, tmp_path, sidecar, data)


@pytest.mark.soak
@SIDECARS
@settings(BASE, max_examples=1500)
@given(data=st.data())
def test_flipped_or_cut_bytes_of_many_kinds(whole: Path, tmp_path: Path, sidecar: str, data: st.DataObject) -> None:
    damage(whole, tmp_path, sidecar, data)


def damage(whole: Path, tmp_path: Path, sidecar: str, data: st.DataObject) -> None:
    path = tmp_path / "journal.sqlite"
    for leftover in tmp_path.iterdir():
        leftover.unlink(missing_ok=True)
    shutil.copy(whole, path)
    if sidecar:  # results that are still in the log, as after a kill
        with contextlib.closing(sqlite3.connect(path)) as writer:
            writer.execute("PRAGMA wal_autocheckpoint = 0")
            writer.execute("UPDATE rows SET status = 'set' WHERE row <= ?", (SETTLED,))
            writer.execute("UPDATE rows SET message = 'x' WHERE row > ?", (SETTLED,))
            writer.commit()
            shutil.copy(path, tmp_path / "copy")
            shutil.copy(f"{path}-wal", tmp_path / "copy-wal")
        path.unlink()
        (tmp_path / "copy").rename(path)
        (tmp_path / "copy-wal").rename(f"{path}-wal")
    damaged = Path(f"{path}{sidecar}")
    content = bytearray(damaged.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    damaged.write_bytes(content)
    settled_rows_survive(path)
