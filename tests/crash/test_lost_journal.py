"""A run with a lost or partly lost journal: a row that may have been sent never counts as not sent."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from tests.crash.test_resume import hold, let_go, resume, sent
from tests.e2e.command import PATIENCE, SET, Command, finish, people, write_csv
from tests.sim import Simulator

ROWS = 60


def started(bulkreset: Command, *args: str) -> tuple[Path, list[object]]:
    source = write_csv(bulkreset.home / "users.csv", people(ROWS))
    run_dir = bulkreset.home / "runs" / "one"
    return run_dir, [*bulkreset.against(source), "--yes", "--workers", "4", "--run-dir", run_dir, *args]


def listed(bulkreset: Command) -> str:
    """Return the output of `status` for all runs."""
    with bulkreset.start("status") as process:
        return finish(process, bulkreset.home).stdout


@pytest.fixture
def killed(bulkreset: Command, sim: Simulator) -> Path:
    """The directory of a run that was killed while it sent; some rows are set."""
    run_dir, begin = started(bulkreset, "--rate", "100")
    hold(sim, 20)
    with bulkreset.start(*begin) as process:  # type: ignore[arg-type]
        sent(sim, 20)
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=PATIENCE) == -signal.SIGKILL
    let_go(sim)
    return run_dir


def test_run_whose_log_was_not_copied_is_not_resumed(bulkreset: Command, sim: Simulator, killed: Path) -> None:
    whole = killed.with_name("whole")
    shutil.copytree(killed, whole)
    (killed / "journal.sqlite-wal").unlink()
    (killed / "journal.sqlite-shm").unlink(missing_ok=True)
    before = sim.stats().count(SET)
    for command in ("status", "resume"):
        with bulkreset.start(command, killed) as process:
            ran = finish(process, killed)
        assert ran.code == 3
        assert "has lost what the run did last" in ran.stderr
        assert "may have been set" in ran.stderr
        assert "Nothing was sent" not in ran.stdout
    assert sim.stats().count(SET) == before
    assert listed(bulkreset).startswith(f"{killed.relative_to(bulkreset.home)}: unreadable: The journal")
    assert resume(bulkreset, whole, "--rate", "none").code == 0  # with the log, nothing is missing


def test_run_without_a_journal_is_named(bulkreset: Command, killed: Path) -> None:
    for file in killed.glob("journal.sqlite*"):
        file.unlink()
    with bulkreset.start("status", killed) as process:
        ran = finish(process, killed)
    assert ran.code == 2
    assert "has no journal any more: journal.sqlite is missing. It was a run of " in ran.stderr
    assert "may have been set" in ran.stderr
    assert "has no journal any more" in listed(bulkreset)


@pytest.mark.parametrize("loss", ["removed", "unlinked", "replaced", "moved"])
def test_missing_journal_stops_the_run(bulkreset: Command, sim: Simulator, loss: str) -> None:
    run_dir, begin = started(bulkreset, "--rate", "5")
    with bulkreset.start(*begin) as process:  # type: ignore[arg-type]
        sent(sim, 3)
        if loss == "removed":
            shutil.rmtree(run_dir)
        elif loss == "moved":
            run_dir.rename(run_dir.with_name("moved"))
        else:
            (run_dir / "journal.sqlite").rename(bulkreset.home / "away.sqlite")
            if loss == "replaced":
                (run_dir / "journal.sqlite").write_bytes(b"another")
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3, err
    assert "was moved, deleted or replaced while the run was sending. Nothing more is sent." in err
    assert sim.stats().count(SET) < ROWS
    assert loss != "replaced" or (run_dir / "journal.sqlite").read_bytes() == b"another"
    assert run_dir.exists() == (loss in {"unlinked", "replaced"})
    assert not (run_dir / "report.csv").exists()


def test_moved_directory_is_resumed_in_its_new_location(bulkreset: Command, sim: Simulator) -> None:
    run_dir, begin = started(bulkreset, "--rate", "20")
    moved = run_dir.with_name("moved")
    with bulkreset.start(*begin) as process:  # type: ignore[arg-type]
        sent(sim, 3)
        run_dir.rename(moved)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 3
    ran = resume(bulkreset, moved, "--rate", "none")
    assert ran.code == 0
    assert sim.stats().count(SET) == ROWS  # none was sent twice
    assert json.loads((moved / "summary.json").read_text())["counts"] == {"set": ROWS}
