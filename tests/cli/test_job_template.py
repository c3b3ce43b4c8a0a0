"""A drafted job file is a job, says what was answered, and takes nobody's place."""

import stat
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkreset.cli.job_template import JobKind, fill_defaults, render_job, write_job
from bulkreset.errors import JobError, RecordError
from bulkreset.job import Job

POOL = "eu-west-1_Example01"
AGE = "age1kdyps0de7lj9xhq9zwrzdktwz7ag9565wsxmujez9ax9t58sxd7qkxml0h"
SAID = {"input": "users.csv", "user_pool_id": POOL}


def told(kind: str, **more: str) -> dict[str, str]:
    """What flags say of such a job."""
    asked = {"kind": kind, **SAID, **({"recipient": AGE} if kind == "temporary" else {}), **more}
    if kind == "from-pool":
        del asked["input"]
    return fill_defaults(asked)


@pytest.mark.parametrize(
    ("kind", "holds"),
    [
        ("nightly", lambda job: job.permanent and not job.generates and not job.signs_out),
        ("temporary", lambda job: not job.permanent and job.generates and job.handout.recipients and job.signs_out),
        ("scramble", lambda job: job.scrambles and job.signs_out and job.input.path),
        ("from-pool", lambda job: job.scrambles and job.signs_out and job.input.from_pool),
    ],
)
def test_each_kind_is_the_job_that_it_says(
    kind: str, holds: Callable[[Job], bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs").mkdir()
    path = tmp_path / "jobs" / "x.toml"
    job = write_job(told(kind), path)
    assert holds(job)
    assert (job.name, job.targets[0].user_pool_id, job.targets[0].region) == (kind, POOL, "eu-west-1")
    assert job.input.path in {tmp_path / "jobs" / ".." / "users.csv", None}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["x.toml"]


def test_answers_are_heard(tmp_path: Path) -> None:
    more = {"name": "autumn", "region": "us-east-1", "profile": "ops", "permanent": "no", "rate": "12.5"}
    job = write_job(told("nightly", **more), tmp_path / "x.toml")
    assert (job.name, job.permanent, job.pace.rate) == ("autumn", False, 12.5)
    assert (job.targets[0].region, job.targets[0].profile) == ("us-east-1", "ops")


def test_an_address_stays_an_address_and_a_command_can_be_copied(tmp_path: Path) -> None:
    where = tmp_path / "my job.toml"
    assert write_job(told("nightly", input="s3://nightly/in/*.csv"), where).input.path == "s3://nightly/in/*.csv"
    assert "bulkreset run 'my job.toml' --dry-run" in where.read_text()


def test_what_is_missing_is_named_all_at_once() -> None:
    with pytest.raises(JobError, match="--kind and --input and --user-pool-id are missing"):
        fill_defaults({})
    with pytest.raises(JobError, match="--recipient is missing"):
        fill_defaults({"kind": "temporary", **SAID})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"user_pool_id": "pool"}, "--user-pool-id 'pool' cannot be. A user pool's id is as"),
        ({"name": "no name"}, "--name 'no name' cannot be. A name is up to 64 letters"),
        ({"rate": "quick"}, "--rate 'quick' cannot be"),
        ({"rate": "nan"}, "--rate 'nan' cannot be"),
        ({"recipient": AGE}, "--recipient does not go with --kind nightly"),
    ],
)
def test_wrong_answer_is_refused_by_its_flag(wrong: dict[str, str], said: str) -> None:
    with pytest.raises(JobError) as refused:
        told("nightly", **wrong)
    assert said in str(refused.value)


def test_nothing_is_kept_that_is_no_job_or_takes_a_place(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"This is not a valid job: pace\.rate"):
        write_job(told("nightly", rate="10001"), tmp_path / "x.toml")
    with pytest.raises(RecordError, match="cannot be written: No such file"):
        write_job(told("nightly"), tmp_path / "none" / "x.toml")
    (tmp_path / "old.toml").write_text("mine")
    with pytest.raises(JobError, match="already exists"):
        write_job(told("nightly"), tmp_path / "old.toml")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old.toml": "mine"}


HOSTILE = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)


@pytest.mark.parametrize("examples", [30, pytest.param(2000, marks=pytest.mark.soak)])
def test_whatever_is_answered_is_text_and_nothing_else(examples: int, tmp_path: Path) -> None:
    @settings(deadline=None, max_examples=examples)
    @given(kind=st.sampled_from(JobKind), input_=HOSTILE, profile=HOSTILE)
    def holds(kind: str, input_: str, profile: str) -> None:
        tables = tomllib.loads(render_job(told(kind, input=f"/{input_}", profile=profile), tmp_path / "x.toml"))
        assert tables["targets"] == [{"user_pool_id": POOL, "region": "eu-west-1", "profile": profile}]
        assert tables["input"] == ({"from_pool": True} if kind == "from-pool" else {"path": f"/{input_}"})

    holds()
