"""The execution reporter: figures during a run, and the final ones at its end."""

import time
from pathlib import Path
from typing import Any

import pytest

from bulkreset.errors import InputError, RecordError
from bulkreset.notify import execution_reporter
from bulkreset.notify.execution_reporter import ExecutionReporter
from bulkreset.report.run_status import RunStatus
from tests.journal.journals import run_state
from tests.notify.test_metrics import SUMMARY, read
from tests.targets import EU, job
from tests.waiting import wait_until

UNDER_WAY = RunStatus(
    *(
        "run",
        "nightly",
        "run",
        "applying",
        True,
        "",
        10,
        {"set": 4, "claimed": 2, "ready": 4},
        {},
        5,
        1,
        6,
        2.0,
        None,
        False,
    )
)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(execution_reporter, "EVERY", 0.01)
    monkeypatch.setattr(execution_reporter, "_PART", 0)
    return tmp_path / "b.prom"


def watched(path: Path, said: list[str], *, counts: bool = True, begun: bool = False) -> ExecutionReporter:
    wanted: dict[str, Any] = {
        "name": "nightly",
        "metrics": {"textfile": path},
        "notify": {"urls_from": "env:NO_SUCH_HOOK"},
    }
    return ExecutionReporter(job(EU, **wanted), path.parent / "run", None, said.append, counts=counts, begun=begun)


def test_figures_of_a_run_under_way_and_of_its_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    asked: list[Path] = []

    def status_of(run_dir: Path) -> RunStatus:
        asked.append(run_dir)
        return UNDER_WAY

    monkeypatch.setattr(execution_reporter, "read_status", status_of)
    with watched(path, said) as telling, telling.along(said.append):
        wait_until(path.exists)
        found = read(path)
        assert found["bulkreset_running", ""] == 1
        assert (found["bulkreset_rows", "set"], found["bulkreset_rows", "ready"]) == (
            4,
            6,
        )  # two of them are in flight
        telling.of(SUMMARY, run_state(rows=10), said.append)
        seen = len(asked)
        time.sleep(0.05)
        assert len(asked) <= seen + 1
        assert read(path)["bulkreset_running", ""] == 0
    assert said == ['Not all notifications were sent: notify.urls_from = "env:NO_SUCH_HOOK": that variable is not set.']


def test_failing_figures_give_one_warning(path: Path) -> None:
    said: list[str] = []
    with watched(path, said) as telling, telling.along(said.append):
        wait_until(lambda: said)  # there is no run directory
        time.sleep(0.05)
    assert len(said) == 1
    assert "does not exist" in said[0]
    assert not path.exists()


def test_scheduled_run_without_input_is_a_success_and_a_refused_one_is_not(path: Path) -> None:
    said: list[str] = []
    with watched(path, said) as telling:
        telling.idle()
    found = read(path)
    success = found["bulkreset_last_success_timestamp_seconds", ""]
    assert (found["bulkreset_exit_code", ""], found["bulkreset_rows", "set"], said) == (0, 0, [])
    with watched(path, said, counts=False) as telling:
        telling.idle()
    assert read(path) == found
    with pytest.raises(InputError), watched(path, said):
        raise InputError("")
    assert read(path)["bulkreset_last_success_timestamp_seconds", ""] == success


def test_refused_resume_leaves_the_figures_of_its_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution_reporter, "read_status", lambda _: UNDER_WAY)
    home = path.parent / "run"
    with pytest.raises(InputError), watched(path, [], begun=True):
        raise InputError("")
    assert (read(path)["bulkreset_rows", "set"], read(path)["bulkreset_attempts", ""]) == (0, 0)  # there is no run
    home.mkdir()
    (home / "journal.sqlite").touch()
    with pytest.raises(InputError), watched(path, [], begun=True):
        raise InputError("")
    found = read(path)
    assert [found["bulkreset_rows", status] for status in ("set", "in_doubt", "unprocessed", "ready")] == [4, 2, 4, 0]
    assert (found["bulkreset_exit_code", ""], found["bulkreset_attempts", ""]) == (2, 5)
    with pytest.raises(InputError), watched(path, []):  # refused because of another run
        raise InputError("")
    assert read(path)["bulkreset_rows", "set"] == 0

    def unreadable(_: Path) -> RunStatus:
        raise RecordError("")

    monkeypatch.setattr(execution_reporter, "read_status", unreadable)
    with pytest.raises(InputError), watched(path, [], begun=True):
        raise InputError("")
    assert ("bulkreset_rows", "set") not in read(path)


def test_dry_run_sends_no_notification_and_warns_of_failures(path: Path) -> None:
    said: list[str] = []
    with watched(path, said, counts=False) as telling, telling.along(said.append):
        telling.of(SUMMARY, run_state(rows=10), said.append)
    (problem,) = said
    assert problem.startswith("Notifications at the end of a run would fail")
    assert not path.exists()
