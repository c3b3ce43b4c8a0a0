"""Errors before a run: exit code 2, one sentence, no call, no file left."""

import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from bulkreset.cli.main import app
from tests.e2e.command import FREE, POOL, Command, CommandResult, finish, people, write_csv, write_job
from tests.e2e.program import Program
from tests.sim import Simulator

Make = Callable[[Path], Path]


def _text(text: str, name: str = "in.csv") -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    return make


def _bytes(content: bytes, name: str) -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def _numbers(folder: Path) -> Path:
    pd.DataFrame({"username": ["ann"], "password": [70450918226]}).to_parquet(folder / "in.parquet")
    return folder / "in.parquet"


GOOD: Make = _text("username,password\nann,Quiet-Garden.1\n")
# Each: the input, and a word that the error message must contain.
INPUTS: Mapping[str, tuple[Make, str]] = {
    "no such file": (lambda folder: folder / "missing.csv", "missing.csv"),
    "a directory": (lambda folder: folder, "has no inputs"),
    "no password column": (_text("username,secret\nann,x\n"), "'password'"),
    "a column twice": (_text("username,password,password\nann,x,y\n"), "2 times"),
    "an empty file": (_text(""), "is empty. Check"),
    "a header only": (_text("username,password\n"), "no rows"),
    "a quote that never closes": (_text('username,password\nann,"x\nbob,y\nzoe,z\n'), "line 2"),
    "an encoding that is not the file's": (_bytes(b"\xff\xfeu\x00s\x00", "in.csv"), "looks like UTF-16. Set"),
    "a gzip that breaks off": (_bytes(b"\x1f\x8b\x08\x00\x00\x00", "in.csv.gz"), "cannot be read"),
    "a Parquet file that is none": (_text("username,password\nann,x\n", "in.parquet"), "is text, not Parquet"),
    "numbers as passwords": (_numbers, "int64"),
}


def _refused(run: Callable[[], CommandResult], home: Path, sim: Simulator) -> str:
    """Return the one sentence of the refusal, after checking that no call was made and no file left."""
    before = {path for path in home.iterdir() if path.name != ".cache"}
    ran = run()
    assert ran.code == 2
    assert ran.stdout == ""
    assert sim.stats().operations.keys() <= FREE, "only what changes nothing may have been asked"
    assert {path for path in home.iterdir() if path.name != ".cache"} == before
    (sentence,) = ran.error_lines
    return sentence


@pytest.mark.parametrize("what", INPUTS)
def test_unusable_input_is_refused_and_named(what: str, tmp_path: Path, program: Program, sim: Simulator) -> None:
    make, word = INPUTS[what]
    job = program.tables(make(tmp_path))
    assert word in _refused(lambda: program.apply(job), tmp_path, sim)


def test_command_refuses_an_input_in_one_sentence_without_a_value(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    args = [*bulkreset.against(_numbers(tmp_path)), "--yes"]
    sentence = _refused(lambda: bulkreset(*args), tmp_path, sim)
    assert "int64" in sentence
    assert "70450918226" not in sentence


JOBS = {
    "an unknown key": ("[pace]\nraet = 3", "did you mean rate?"),
    "not TOML": ("[pace\nrate = 3", "not TOML"),
    "text for a number": ('[guards]\nmax_rows = "10"', "guards.max_rows"),
    "a pool id that is none": ('[[targets]]\nuser_pool_id = "nonsense"', "user_pool_id"),
}


@pytest.mark.parametrize("what", JOBS)
def test_wrong_job_file_is_refused_and_the_key_named(
    what: str, tmp_path: Path, program: Program, sim: Simulator
) -> None:
    more, word = JOBS[what]
    GOOD(tmp_path)
    job = write_job(tmp_path, sim.url, 'path = "in.csv"', more)
    assert word in _refused(lambda: program.apply(job), tmp_path, sim)


def test_run_without_an_input_or_a_pool_is_refused_with_the_flag(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    source = GOOD(tmp_path)
    assert "--input" in _refused(lambda: bulkreset("run", "--user-pool-id", POOL, "--yes"), tmp_path, sim)
    assert "--user-pool-id" in _refused(lambda: bulkreset("run", "--input", source, "--yes"), tmp_path, sim)


@dataclass(frozen=True)
class Circumstance:
    """Job keys and variables with which a good input cannot be run, and a word of the error message."""

    word: str
    keys: Mapping[str, object] = field(default_factory=dict)
    env: Mapping[str, str | None] = field(default_factory=dict)


NO_KEYS: Mapping[str, str | None] = {
    "AWS_ACCESS_KEY_ID": None,
    "AWS_SECRET_ACCESS_KEY": None,
    "AWS_CONFIG_FILE": "/dev/null",
}
CIRCUMSTANCES = {
    "no credentials": Circumstance("credentials", env=NO_KEYS),
    "half the credentials": Circumstance("AWS_SECRET_ACCESS_KEY", env={"AWS_SECRET_ACCESS_KEY": None}),
    "an unknown profile": Circumstance("'nobody'", {"targets.profile": "nobody"}),
    "an unknown profile in the environment": Circumstance("'nobody'", env={"AWS_PROFILE": "nobody"}),
    "a rate in words": Circumstance("pace.rate", {"pace.rate": "fast"}),
    "a rate of nothing": Circumstance("pace.rate", {"pace.rate": 0}),
    "a rate that is no number": Circumstance("pace.rate", {"pace.rate": float("nan")}),
    "no workers": Circumstance("workers", {"pace.workers": 0}),
    "an endpoint that is no URL": Circumstance("endpoint_url", {"targets.endpoint_url": "localhost"}),
}


@pytest.mark.parametrize("what", CIRCUMSTANCES)
def test_circumstance_that_forbids_a_run_is_named(
    what: str, tmp_path: Path, program: Program, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    circumstance = CIRCUMSTANCES[what]
    for name, value in circumstance.env.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    job = program.tables(GOOD(tmp_path))
    assert circumstance.word in _refused(lambda: program.apply(job, **circumstance.keys), tmp_path, sim)


def test_region_that_is_not_the_pool_s_is_refused_with_the_pool_s(
    tmp_path: Path, program: Program, sim: Simulator
) -> None:
    job = program.tables(GOOD(tmp_path))
    job["targets"][0]["region"] = "eu-west-1"
    assert f'is "eu-west-1", but the pool {POOL} is in "us-east-1" by its ID' in _refused(
        lambda: program.apply(job), tmp_path, sim
    )


@pytest.mark.parametrize(
    ("word", "options", "env"),
    [
        ("credentials", ["--yes"], NO_KEYS),
        ("--yes", [], {}),  # without a terminal to ask
        ("--rate must be", ["--yes", "--rate", "fast"], {}),
    ],
    ids=["credentials", "confirmation", "rate"],
)
def test_command_says_why_it_cannot_begin(
    word: str,
    options: Sequence[str],
    env: Mapping[str, str | None],
    tmp_path: Path,
    bulkreset: Command,
    sim: Simulator,
) -> None:
    args = [*bulkreset.against(GOOD(tmp_path)), *options]
    assert word in _refused(lambda: bulkreset(*args, env=env), tmp_path, sim)


@pytest.mark.parametrize("args", [("--nonsense",), ("--workers", "many")])
def test_option_that_does_not_exist_is_refused(args: Sequence[str]) -> None:
    ran = CliRunner().invoke(app, ["run", "--yes", *args])
    assert ran.exit_code == 2
    assert "rror" in ran.stderr


def test_missing_input_is_said_before_a_confirmation_is_asked_for(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    command = ["run", "--input", str(source), "--user-pool-id", POOL]
    assert "There is no input file" in str(CliRunner().invoke(app, command).exception)
    source.touch()
    assert "There is no terminal" in str(CliRunner().invoke(app, command).exception)


def test_existing_run_directory_stays_unchanged(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    kept = tmp_path / "kept"
    first = bulkreset.reset(write_csv(tmp_path / "in.csv", people(2)), "--run-dir", kept)
    assert first.code == 0
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    calls = len(sim.calls())
    again = bulkreset.reset(tmp_path / "in.csv", "--run-dir", kept)
    assert again.code == 2
    (sentence,) = again.error_lines
    assert "already exists" in sentence
    assert "resume" in sentence
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    assert len(sim.calls()) == calls


@pytest.mark.linux("/proc, where no directory can be made")
def test_run_directory_that_cannot_be_created_is_refused(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    args = [*bulkreset.against(GOOD(tmp_path)), "--yes", "--run-dir", tmp_path / "in.csv" / "run"]
    sentence = _refused(lambda: bulkreset(*args), tmp_path, sim)
    assert "cannot be created" in sentence
    assert "already exists" not in sentence


@pytest.mark.parametrize("text", ["ann,Aa1!{core}\nbob,Quiet-Garden.1\n", "Ann Lee;Aa1!{core}\n"])
def test_input_without_a_header_is_refused_without_showing_its_first_password(
    text: str, tmp_path: Path, program: Program, sim: Simulator
) -> None:
    core = secrets.token_hex(12)
    job = program.tables(_text(text.format(core=core))(tmp_path))
    assert core not in _refused(lambda: program.apply(job), tmp_path, sim)


def test_command_shows_no_password_of_a_header(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    core = secrets.token_hex(12)
    args = [*bulkreset.against(_text(f"Ann Lee;Aa1!{core}\n")(tmp_path)), "--yes"]
    assert core not in _refused(lambda: bulkreset(*args), tmp_path, sim)


def test_folder_whose_name_standard_output_cannot_show_does_not_change_the_exit_code(
    tmp_path: Path, sim: Simulator
) -> None:
    home = tmp_path / "r\u00fcn\u20ac"
    home.mkdir()
    ran = finish(Command(home, sim).start("status", env={"PYTHONIOENCODING": "ascii"}), home)
    assert (ran.code, "r\\xfcn\\u20ac" in ran.stdout) == (0, True)


COMMANDS = [
    ["--help"],
    ["run", "--help"],
    ["nonsense"],
    ["status"],
    ["report", "none"],
    ["passwords", "none", "--identity", "k"],
]
ONE_BY_ONE = """
import json, sys
from bulkreset.cli.main import main
for args in json.loads(sys.argv[1]):
    sys.argv[1:] = args
    try:
        main()
    except SystemExit:
        print("\\n", "loaded", *args, json.dumps(sorted(sys.modules)), sep="|", file=sys.__stdout__, flush=True)
"""


def test_command_without_calls_loads_no_client(bulkreset: Command) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE, json.dumps(COMMANDS)],
        cwd=bulkreset.home,
        env=bulkreset.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split("|") for line in ran.stdout.splitlines() if line.startswith("|loaded|")]
    assert [args for _, _, *args, _ in lines] == COMMANDS
    for *_, modules in lines:
        loaded = set(json.loads(modules))
        assert {"typer", "bulkreset.cli.options"} <= loaded
        assert not loaded & {"boto3", "botocore", "pandas", "pyarrow", "rich", "structlog", "awscrt"}
