"""What cannot begin: exit code 2, one sentence, no call, nothing left behind."""

import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.command import FREE, POOL, Argument, Command, people, write_csv, write_job
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
# Each: the input, and a word that the sentence about it must have.
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
    "a Parquet file that is none": (_text("username,password\nann,x\n", "in.parquet"), "cannot be read"),
    "numbers as passwords": (_numbers, "int64"),
}


def _refused(bulkreset: Command, sim: Simulator, args: Sequence[Argument], **env: str | None) -> str:
    """Run it; give the one sentence of the refusal, having seen that nothing else came of it."""
    before = {path for path in bulkreset.home.iterdir() if path.name != ".cache"}
    ran = bulkreset(*args, env=env)
    assert ran.code == 2
    assert ran.stdout == ""
    assert sim.stats().operations.keys() <= FREE, "only what changes nothing may have been asked"
    assert {path for path in bulkreset.home.iterdir() if path.name != ".cache"} == before
    (sentence,) = ran.complaints
    return sentence


@pytest.mark.parametrize("what", INPUTS)
def test_unusable_input_is_refused_and_named(what: str, tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    make, word = INPUTS[what]
    sentence = _refused(bulkreset, sim, [*bulkreset.against(make(tmp_path)), "--yes"])
    assert word in sentence
    assert "70450918226" not in sentence


JOBS = {
    "an unknown key": ("[pace]\nraet = 3", "did you mean rate?"),
    "not TOML": ("[pace\nrate = 3", "not TOML"),
    "text for a number": ('[guards]\nmax_rows = "10"', "guards.max_rows"),
    "a pool id that is none": ('[[targets]]\nuser_pool_id = "nonsense"', "user_pool_id"),
}


@pytest.mark.parametrize("what", JOBS)
def test_wrong_job_file_is_refused_and_the_key_named(
    what: str, tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    more, word = JOBS[what]
    GOOD(tmp_path)
    job = write_job(tmp_path, sim.url, 'path = "in.csv"', more)
    assert word in _refused(bulkreset, sim, ["run", job, "--yes"])


def test_job_without_an_input_is_refused(bulkreset: Command, sim: Simulator) -> None:
    assert "--input" in _refused(bulkreset, sim, ["run", "--user-pool-id", POOL, "--yes"])


def test_run_without_a_pool_is_refused(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    assert "--user-pool-id" in _refused(bulkreset, sim, ["run", "--input", GOOD(tmp_path), "--yes"])


@dataclass(frozen=True)
class Circumstance:
    """Options and variables under which a good input cannot be run, and a word of the sentence."""

    word: str
    options: Sequence[str] = ("--yes",)
    env: Mapping[str, str | None] = field(default_factory=dict)


CIRCUMSTANCES = {
    "no credentials": Circumstance(
        "credentials", env={"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_CONFIG_FILE": "/dev/null"}
    ),
    "half the credentials": Circumstance("AWS_SECRET_ACCESS_KEY", env={"AWS_SECRET_ACCESS_KEY": None}),
    "an unknown profile": Circumstance("'nobody'", ("--yes", "--profile", "nobody")),
    "an unknown profile in the environment": Circumstance("profile", env={"AWS_PROFILE": "nobody"}),
    "no terminal and no --yes": Circumstance("--yes", ()),
    "a rate in words": Circumstance("pace.rate", ("--yes", "--rate", "fast")),
    "a rate of nothing": Circumstance("pace.rate", ("--yes", "--rate", "0")),
    "a rate that is no number": Circumstance("pace.rate", ("--yes", "--rate", "nan")),
    "no workers": Circumstance("workers", ("--yes", "--workers", "0")),
    "an endpoint that is no URL": Circumstance("endpoint_url", ("--yes", "--endpoint-url", "localhost")),
}


@pytest.mark.parametrize("what", CIRCUMSTANCES)
def test_circumstance_that_forbids_a_run_is_named(
    what: str, tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    circumstance = CIRCUMSTANCES[what]
    args = [*bulkreset.against(GOOD(tmp_path)), *circumstance.options]
    assert circumstance.word in _refused(bulkreset, sim, args, **circumstance.env)


def test_missing_region_is_refused_with_the_one_that_the_pool_suggests(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    args = ("run", "--input", GOOD(tmp_path), "--user-pool-id", POOL, "--endpoint-url", sim.url, "--yes")
    assert "us-east-1" in _refused(bulkreset, sim, args)


@pytest.mark.parametrize("args", [("--nonsense",), ("--workers", "many")])
def test_option_that_does_not_exist_is_refused(
    args: Sequence[str], tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    ran = bulkreset(*bulkreset.against(GOOD(tmp_path)), "--yes", *args)
    assert ran.code == 2
    assert "rror" in ran.stderr
    assert sim.stats().total == 0
    assert not ran.run_dir.exists()


def test_existing_run_directory_is_left_alone(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    kept = tmp_path / "kept"
    first = bulkreset.reset(write_csv(tmp_path / "in.csv", people(2)), "--run-dir", kept)
    assert first.code == 0
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    calls = len(sim.calls())
    again = bulkreset.reset(tmp_path / "in.csv", "--run-dir", kept)
    assert again.code == 2
    (sentence,) = again.complaints
    assert "exists already" in sentence
    assert "resume" in sentence
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    assert len(sim.calls()) == calls


@pytest.mark.linux("/proc, where no directory can be made")
def test_run_directory_that_cannot_be_made_is_refused(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    args = [*bulkreset.against(GOOD(tmp_path)), "--yes", "--run-dir", "/proc/bulkreset/run"]
    assert "cannot be made" in _refused(bulkreset, sim, args)
    inside_a_file = tmp_path / "in.csv" / "run"
    sentence = _refused(bulkreset, sim, [*args[:-1], inside_a_file])
    assert "exists already" not in sentence


def test_input_without_a_header_is_refused_without_showing_its_first_password(
    tmp_path: Path, bulkreset: Command
) -> None:
    core = secrets.token_hex(12)
    input_ = tmp_path / "in.csv"
    input_.write_text(f"ann,Aa1!{core}\nbob,Quiet-Garden.1\n", encoding="utf-8")
    ran = bulkreset.reset(input_)
    assert ran.code == 2
    assert core not in ran.stderr


def test_malformed_header_line_shows_no_password(tmp_path: Path, bulkreset: Command) -> None:
    core = secrets.token_hex(12)
    input_ = tmp_path / "in.csv"
    input_.write_text(f"Ann Lee;Aa1!{core}\n", encoding="utf-8")
    assert core not in bulkreset.reset(input_).stderr


def test_unknown_profile_of_the_environment_is_named(tmp_path: Path, bulkreset: Command) -> None:
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", people(1)), env={"AWS_PROFILE": "nobody"})
    assert "nobody" in ran.stderr


def test_run_directory_s_name_that_the_terminal_cannot_show_does_not_change_the_exit_code(
    tmp_path: Path, bulkreset: Command
) -> None:
    d = tmp_path / "r\u00fcn\u20ac"
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", people(1)), "--run-dir", d, env={"PYTHONIOENCODING": "ascii"})
    assert ran.code == 0


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["run", "--help"],
        ["nonsense"],
        ["status"],
        ["report", "none"],
        ["handout", "none", "--identity", "k"],
    ],
    ids=" ".join,
)
def test_command_that_calls_nobody_loads_nothing_for_it(args: list[str], bulkreset: Command) -> None:
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bulkreset.cli", *args],
        cwd=bulkreset.home,
        env=bulkreset.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert {"typer", "bulkreset.terminal.options"} <= loaded
    assert not loaded & {"boto3", "botocore", "pandas", "pyarrow", "rich", "structlog", "awscrt"}
