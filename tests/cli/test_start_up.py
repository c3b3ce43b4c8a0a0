"""Which modules a command loads. Start-up is fast because unneeded libraries are not loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bulkreset.cli.options import complete_run_dir

# Runs a command line, then prints the third-party packages and the project's packages that are loaded.
_LOADED = """
import atexit, json, os, sys
def loaded():
    names = {name.partition(".")[0] for name, module in list(sys.modules.items())
             if "site-packages" in (getattr(module, "__file__", None) or "")}
    rooms = {".".join(name.split(".")[:2]) for name in sys.modules if name.startswith("bulkreset.")}
    with open(os.environ["LOADED"], "w") as file:
        json.dump([sorted(names), sorted(rooms)], file)
atexit.register(loaded)
from bulkreset.cli.main import main
main()
"""
_PARSER = {"typer", "annotated_doc", "shellingham", "bulkreset", "_distutils_hack"}  # shellingham: in older typer
# Newer versions of typer check the values of arguments with pydantic.
_VALUES = {"pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"}
_LISTS = {
    "bulkreset.job",
    "bulkreset.cognito",
    "bulkreset.input",
    "bulkreset.run",
    "bulkreset.send",
    "bulkreset.mirror",
}

pytestmark = pytest.mark.process


def loaded(folder: Path, *argv: str, code: int = 0, printed: list[str] | None = None) -> tuple[set[str], set[str]]:
    """Run a command line. Return the third-party packages and the project's packages that it has loaded."""
    environment = os.environ | {"LOADED": str(folder / "loaded.json")}
    ran = subprocess.run(
        [sys.executable, "-c", _LOADED, *argv], cwd=folder, env=environment, capture_output=True, check=False
    )
    assert ran.returncode == code, ran.stderr.decode()
    assert printed is None or ran.stdout.decode().split() == printed
    names, rooms = json.loads((folder / "loaded.json").read_text(encoding="utf-8"))
    return set(names), set(rooms)


@pytest.mark.parametrize("argv", [["--help"], ["run", "--help"], ["status", "--help"], ["--version"], ["init", "-h"]])
def test_help_loads_only_the_parser(tmp_path: Path, argv: list[str]) -> None:
    names, rooms = loaded(tmp_path, *argv)
    assert names <= (_PARSER if argv == ["--help"] else _PARSER | _VALUES)
    assert not rooms & (_LISTS | {"bulkreset.journal", "bulkreset.report", "bulkreset.plan"})


def test_status_loads_the_journal_and_no_job(tmp_path: Path) -> None:
    names, rooms = loaded(tmp_path, "status")
    assert names <= _PARSER | _VALUES
    assert "bulkreset.journal" in rooms
    assert not rooms & _LISTS


def test_mistake_in_a_job_is_found_without_aws_and_without_tables(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text("[pace]\nrat = 5\n", encoding="utf-8")
    names, rooms = loaded(tmp_path, "run", "job.toml", code=2)
    assert not names & {"boto3", "botocore", "pandas", "numpy", "pyarrow", "rich", "structlog", "tenacity", "awscrt"}
    assert "bulkreset.job" in rooms
    assert not rooms & {"bulkreset.cognito", "bulkreset.send", "bulkreset.run"}


# Imports what a run imports, and judges a row.
_SMALL_RUN = """
import sys
from pathlib import Path
import bulkreset.cli.run, bulkreset.plan.planner, bulkreset.run.scheduled
from bulkreset.input.reader import open_rows
from bulkreset.input.validation import RowValidator
from bulkreset.job import Job
job = Job.model_validate({"name": "x", "input": {"path": Path("users.csv")}, "targets": [{"user_pool_id": "eu-west-1_Small0001"}]})
(batch,) = open_rows(job.input).batches()
print(*[row.status for row in RowValidator(job).validate(batch)], *sys.modules)
"""


def test_small_run_loads_no_tables_and_no_cluster(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("username,password\nann,Sunny-Harbour.42\n", encoding="utf-8")
    ran = subprocess.run([sys.executable, "-c", _SMALL_RUN], cwd=tmp_path, capture_output=True, text=True, check=True)
    status, *modules = ran.stdout.split()
    assert status == "ready"
    assert {"bulkreset.run.start_and_resume", "bulkreset.send.coordinator"} <= {*modules}
    assert not {"pandas", "numpy", "pyarrow", "distributed", "bulkreset.cluster", "moto"} & {*modules}


def test_completion_lists_run_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "journal.sqlite").touch()
    (tmp_path / "runs" / "other").mkdir()
    (tmp_path / "runs" / "file").touch()
    monkeypatch.chdir(tmp_path)
    for word, shown in (("", ["runs/one", "runs/other/"]), ("runs/on", ["runs/one"]), ("none/", []), ("x", [])):
        assert complete_run_dir(word) == shown


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("bulkreset re", ["resume", "report"]),
        ("bulkreset status runs/on", ["runs/one"]),
        ("bulkreset report --format html runs/on", ["runs/one"]),
        ("bulkreset report runs/one --forma", ["--format"]),
    ],
)
def test_completion_loads_only_the_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, shown: list[str]
) -> None:
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "journal.sqlite").touch()
    monkeypatch.setenv("_BULKRESET_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    names, rooms = loaded(tmp_path, printed=shown)
    assert names <= _PARSER
    assert not rooms & (_LISTS | {"bulkreset.report", "bulkreset.plan"})
