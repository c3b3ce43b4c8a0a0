"""A created job file is valid, has the answers, and overwrites no file."""

import re
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkreset.cli.job_template import JOBS, fill_defaults, missing_input, render_job, template_of, write_job
from bulkreset.cli.options import JobKind
from bulkreset.errors import JobError, RecordError
from bulkreset.job import Job
from bulkreset.steps import SIGN_OUT

POOL = "eu-west-1_Example01"
AGE = "age1kdyps0de7lj9xhq9zwrzdktwz7ag9565wsxmujez9ax9t58sxd7qkxml0h"
SAID = {"input": "users.csv", "user_pool_id": POOL}


def job_flags(kind: str, **more: str) -> dict[str, str]:
    """Return the flags for such a job."""
    asked = {"kind": kind, **SAID, **({"recipient": AGE} if kind == "temporary" else {}), **more}
    if kind == "from-pool":
        del asked["input"]
    return fill_defaults(asked)


@pytest.mark.parametrize(
    ("kind", "holds"),
    [
        (
            "file",
            lambda job: job.permanent and not job.generates and SIGN_OUT not in job.steps and not job.schedule.state,
        ),
        (
            "scheduled",
            lambda job: job.permanent and not job.generates and SIGN_OUT not in job.steps and job.schedule.state,
        ),
        (
            "temporary",
            lambda job: not job.permanent and job.generates and job.password.recipients and (SIGN_OUT in job.steps),
        ),
        ("scramble", lambda job: job.scrambles and (SIGN_OUT in job.steps) and job.input.path),
        ("from-pool", lambda job: job.scrambles and (SIGN_OUT in job.steps) and job.input.from_pool),
    ],
)
def test_each_kind_is_the_job_that_it_says(
    kind: str, holds: Callable[[Job], bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    path = tmp_path / "jobs" / "x.toml"
    job = write_job(job_flags(kind), path)
    assert holds(job)
    assert not re.search(r"\bCHANGE\b", path.read_text())
    assert not job.guards.protected.usernames
    assert (job.name, job.targets[0].user_pool_id, job.targets[0].region) == (kind, POOL, "eu-west-1")
    assert job.input.path in {tmp_path / "jobs" / ".." / "users.csv", None}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["x.toml"]


def test_answers_are_read(tmp_path: Path) -> None:
    more = {"name": "autumn", "region": "eu-west-1", "profile": "ops", "permanent": "no", "rate": "12.5"}
    job = write_job(job_flags("file", **more), tmp_path / "x.toml")
    assert (job.name, job.permanent, job.pace.rate) == ("autumn", False, 12.5)
    assert (job.targets[0].region, job.targets[0].profile) == ("eu-west-1", "ops")


def test_an_address_stays_an_address_and_a_command_can_be_copied(tmp_path: Path) -> None:
    where = tmp_path / "my job.toml"
    assert write_job(job_flags("file", input="s3://nightly/in/*.csv"), where).input.path == "s3://nightly/in/*.csv"
    assert "bulkreset run 'my job.toml' --dry-run" in where.read_text()


def test_all_missing_items_are_named_at_once() -> None:
    with pytest.raises(JobError, match="--kind and --input and --user-pool-id are missing"):
        fill_defaults({})
    with pytest.raises(JobError, match="--recipient is missing"):
        fill_defaults({"kind": "temporary", **SAID})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"user_pool_id": "pool"}, "--user-pool-id 'pool' is not valid. That is not a user pool ID. It looks like"),
        ({"name": "no name"}, "--name 'no name' is not valid. A name has up to 64 letters"),
        ({"rate": "quick"}, "--rate 'quick' is not valid"),
        ({"rate": "nan"}, "--rate 'nan' is not valid"),
        ({"recipient": AGE}, "--recipient does not go with --kind file"),
    ],
)
def test_wrong_answer_is_refused_by_its_flag(wrong: dict[str, str], said: str) -> None:
    with pytest.raises(JobError) as refused:
        job_flags("file", **wrong)
    assert said in str(refused.value)


def test_only_a_valid_job_is_kept_and_no_file_is_replaced(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"This is not a valid job: pace\.rate"):
        write_job(job_flags("file", rate="10001"), tmp_path / "x.toml")
    with pytest.raises(RecordError, match="cannot be written: No such file"):
        write_job(job_flags("file"), tmp_path / "none" / "x.toml")
    (tmp_path / "old.toml").write_text("mine")
    with pytest.raises(JobError, match="already exists"):
        write_job(job_flags("file"), tmp_path / "old.toml")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old.toml": "mine"}


def test_recipient_that_is_a_private_key_is_not_shown() -> None:
    with pytest.raises(JobError) as refused:
        fill_defaults({"kind": "temporary", **SAID, "recipient": "AGE-SECRET-KEY-1QQQQ"})
    assert str(refused.value).startswith("--recipient is not valid. A private key was given")
    assert "QQQQ" not in str(refused.value)


def test_input_that_does_not_exist_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert missing_input({"input": "users.csv"}) == "users.csv"
    assert missing_input({"input": "in/*.csv"}) == "in/*.csv"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "users.csv").touch()
    assert [missing_input({"input": there}) for there in ("in/users.csv", "in", "in/*.csv", "s3://b/x.csv")] == [""] * 4
    assert missing_input({}) == ""


def test_scheduled_job_is_one_that_the_shipped_schedules_take(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    job = write_job(job_flags("scheduled", name="nightly"), path)
    assert job.schedule.state == tmp_path / "nightly.state.json"
    script = JOBS / "schedule" / "nightly.sh"
    (pattern,) = re.findall(r"grep -Eq '([^']+)'", script.read_text())
    assert re.search(pattern.replace("[[:space:]]", r"\s"), path.read_text(), re.MULTILINE)


def test_every_template_is_in_the_wheel() -> None:
    project = tomllib.loads((JOBS.parent / "pyproject.toml").read_text())
    shipped = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    for kind in JobKind:
        template = template_of(kind)
        assert template.is_file()
        assert shipped[f"jobs/{template.name}"] == f"bulkreset/_shipped/jobs/{template.name}"


HOSTILE = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)


@pytest.mark.parametrize("examples", [12, pytest.param(2000, marks=pytest.mark.soak)])
def test_every_answer_is_text_only(examples: int, tmp_path: Path) -> None:
    @settings(deadline=None, max_examples=examples)
    @given(kind=st.sampled_from(JobKind), input_=HOSTILE, profile=HOSTILE)
    def holds(kind: str, input_: str, profile: str) -> None:
        tables = tomllib.loads(render_job(job_flags(kind, input=f"/{input_}", profile=profile), tmp_path / "x.toml"))
        assert tables["targets"] == [{"user_pool_id": POOL, "region": "eu-west-1", "profile": profile}]
        expected = {"from_pool": True} if kind == "from-pool" else {"path": f"/{input_}"}
        assert {key: tables["input"].get(key) for key in expected} == expected

    holds()
