"""A path that is not a run directory: the error names its kind and the run that may be meant."""

import os
from pathlib import Path

import pytest

from bulkreset.errors import RunDirError
from bulkreset.journal.run_dir import RunDir


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with two runs of a job called reset, and one of another job."""
    for age, name in enumerate(("reset-2", "reset-1", "other-3", ".reset-4.new"), 1):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "journal.sqlite").touch()
        os.utime(tmp_path / "runs" / name, (age * 1000, age * 1000))
    monkeypatch.chdir(tmp_path)


def said(path: str) -> str:
    with pytest.raises(RunDirError) as caught:
        RunDir.open(Path(path))
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_missing_path_is_reported() -> None:
    assert said("runs/reset-9").startswith("runs/reset-9 does not exist. Name a run directory.")


@pytest.mark.parametrize(
    ("name", "text"),
    [("reset.toml", "x = "), ("a.toml", 'name = "reset"\n'), ("reset.toml", "\udcff"), ("reset.toml", "")],
)
def test_job_file_is_reported_with_its_last_run(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8", errors="surrogateescape")
    assert said(name) == f"{name} is a job file, not a run directory. Its last run is runs/reset-1."


def test_job_file_without_a_run_is_reported() -> None:
    Path("new.toml").touch()
    assert said("new.toml") == "new.toml is a job file, not a run directory. To list the runs: bulkreset status."


def test_other_file_is_named() -> None:
    Path("users.csv").touch()
    assert said("users.csv").startswith("users.csv is a file, not a run directory.")


def test_folder_of_runs_is_reported_with_its_runs() -> None:
    assert said("runs") == (
        "runs contains runs; it is not a run directory itself."
        " Choose one, such as runs/other-3, runs/reset-1, runs/reset-2."
    )


def test_directory_without_a_journal_is_reported() -> None:
    Path("empty").mkdir()
    assert said("empty").startswith("empty is not a run directory: it has no journal.sqlite.")
