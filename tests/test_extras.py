"""A missing extra is named before anything is read or sent."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkreset import age_encryption, s3
from bulkreset.cognito.emulator import run_emulator
from bulkreset.errors import JobError
from bulkreset.job import Job
from bulkreset.s3 import Bucket

JOB = {"name": "small", "input": {"path": "in.csv"}, "targets": [{"user_pool_id": "eu-west-1_Test00001"}]}


def read_object(_: Path) -> object:
    return Bucket().open(s3.Object("s3://nightly/in.csv", 1, "etag", ""))


def emulate(_: Path) -> object:
    with run_emulator(Job.model_validate(JOB)) as emulated:
        return emulated


@pytest.mark.parametrize(
    ("extra", "use"),
    [
        ("age", lambda folder: age_encryption.load_identities(folder / "key.txt")),
        ("emulator", emulate),
        ("s3", read_object),
    ],
)
def test_extra_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: str, use: Callable[[Path], object]
) -> None:
    for name in ("pyrage", "moto.moto_server.werkzeug_app"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(s3, "find_spec", lambda _name: None)
    with pytest.raises(JobError) as raised:
        use(tmp_path)
    assert f"pip install 'bulkreset[{extra}]'" in raised.value.advice
