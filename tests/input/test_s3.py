"""Inputs in S3: found by pattern, read by version or ETag, retried after network errors, never another object."""

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from bulkreset.errors import BulkresetError, InputError, Stopped
from bulkreset.input import discovery
from bulkreset.input.input_set import InputSet
from bulkreset.job import InputConfig
from bulkreset.s3 import BLOCK, Bucket
from tests.bucket import BUCKET, Storage

AT = f"s3://{BUCKET}"
ROWS = [f"user{row:06d}" for row in range(2 * BLOCK // 220)]  # more than two blocks


def csv_of(rows: Sequence[str]) -> bytes:
    return ("username,password\n" + "".join(f"{name},Hidden-{name}-{'x' * 200}\n" for name in rows)).encode()


CSV = csv_of(ROWS[:100])


def read(found: InputSet) -> list[str]:
    return [name for chunk in found.batches() for name in chunk.frame["username"]]


def of(path: str) -> InputSet:
    return InputSet.open(InputConfig(path=path))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits before a retry, and botocore makes none."""
    monkeypatch.setattr(discovery, "Bucket", partial(Bucket, tries=1))
    monkeypatch.setattr("smart_open.s3.time.sleep", lambda _seconds: None)


def test_patterns_are_those_of_a_shell(s3: Storage) -> None:
    for key in ("in/a.csv", "in/b.csv", "in/[x].csv", "in/deep/er/c.csv", "in/d.txt", "in/"):
        s3.put(key, b"username,password\n" if key.endswith("v") else b"")

    def named(path: str) -> list[str]:
        return [str(place.where).removeprefix(f"{AT}/in/") for place in of(path).files]

    assert named(f"{AT}/in/") == ["[x].csv", "a.csv", "b.csv"]
    assert named(f"{AT}/in/[ab].csv") == ["a.csv", "b.csv"]
    assert named(f"{AT}/in/[!a].csv") == ["b.csv"]
    assert named(f"{AT}/in/?.*") == ["a.csv", "b.csv", "d.txt"]
    assert named(f"{AT}/in/**/*.csv") == ["[x].csv", "a.csv", "b.csv", "deep/er/c.csv"]
    assert named(discovery.escape_pattern(f"{AT}/in/[x].csv")) == ["[x].csv"]
    for nothing in (f"{AT}/in/*.xml", f"{AT}/out/", f"{AT}/in/none.csv", f"{AT}-other/in.csv"):
        with pytest.raises(discovery.InputMissing):
            of(nothing)


def test_truncated_answers_are_requested_again(s3: Storage) -> None:
    whole = csv_of(ROWS)
    uri = s3.put("in.csv", whole)
    found = of(uri)
    s3.configure(faults=[["GET /nightly/in.csv", 0, "", 3]])
    assert found.describe()["size"] == len(whole)
    s3.configure(faults=[["GET /nightly/in.csv", 0, "", 3]])
    assert read(found) == ROWS


@pytest.mark.parametrize(
    ("status", "code", "kind", "says"),
    [
        (500, "InternalError", Stopped, "could not be read to its end: s3:GetObject failed with InternalError"),
        (403, "ExpiredToken", Stopped, "failed with ExpiredToken. Sign in again"),
        (404, "NoSuchKey", InputError, "has changed in S3 or is gone"),
        (412, "PreconditionFailed", InputError, "has changed in S3 or is gone"),
    ],
)
def test_errors_that_end_a_read_in_the_middle(
    s3: Storage, status: int, code: str, kind: type[BulkresetError], says: str
) -> None:
    found = of(s3.put("in.csv", CSV))
    s3.configure(faults=[["GET /nightly/in.csv", status, code, 99]])
    with pytest.raises(kind) as caught:
        read(found)
    assert says in str(caught.value)
    assert type(caught.value) is kind


def overwritten(s3: Storage) -> None:
    s3.put("in.csv", CSV.replace(b"Hidden", b"Change"))


def deleted(s3: Storage) -> None:
    s3.client.delete_object(Bucket=BUCKET, Key="in.csv")


@pytest.mark.parametrize("change", [overwritten, deleted])
@pytest.mark.parametrize("versions", ["Enabled", ""])
def test_another_object_is_never_read_in_its_place(
    s3: Storage, versions: str, change: Callable[[Storage], None]
) -> None:
    if versions:
        s3.client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    uri = s3.put("in.csv", CSV)
    found = of(uri)
    assert found.describe()["files"] == 1
    assert read(found) == ROWS[:100]
    change(s3)
    if versions:  # the planned version still exists
        assert read(found) == ROWS[:100]
    else:
        with pytest.raises(InputError, match="has changed in S3 or is gone"):
            read(found)
    with pytest.raises(InputError, match=r"has changed|no input"):
        of(uri).require_unchanged(found.planned_files(), found.total)
