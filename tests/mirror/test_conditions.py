"""An S3 that ignores or refuses conditional writes is detected before anything depends on them."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from bulkreset.errors import JobError
from bulkreset.mirror.lease import S3Lease, require_conditions
from bulkreset.s3 import Bucket, BucketError
from tests.bucket import BUCKET, Storage

URI = f"s3://{BUCKET}/runs/lease.json"


def test_s3_with_conditions_is_accepted_and_no_object_is_left(s3: Storage) -> None:
    require_conditions(Bucket(), URI)
    assert s3.keys() == []


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
def test_s3_that_ignores_a_condition_is_refused_before_the_lease_is_written(s3: Storage, header: str) -> None:
    s3.configure(ignored=[header])
    with pytest.raises(JobError) as caught:
        S3Lease(Bucket(), URI, "one").acquire()
    assert f"S3 at {s3.url} ignores {header}, so two processes could hold {URI} at once." in caught.value.message
    assert "--mirror none" in caught.value.advice
    assert s3.keys() == []
    assert not any("lease.json HTTP" in seen or seen.endswith("lease.json") for seen in s3.requests("PUT"))


class CustomS3:
    """An S3 whose answers to writes a test chooses."""

    def __init__(self, answer: Callable[[str | None, bool], str]) -> None:
        """`answer` gets the condition, and whether the object exists; it returns an error code or ""."""
        self.answer = answer
        self.there: dict[str, bytes] = {}
        self.etags = itertools.count(1)
        self.etag = ""
        self.lost = 0  # the number of the write whose answer is lost, so that boto3 repeats it
        self.client = self
        self.meta = self
        self.endpoint_url = "http://strange"

    def put(self, uri: str, body: bytes, *, match: str | None = None) -> str:
        """Write, or fail."""
        if code := self.answer(match, uri in self.there):
            raise BucketError(uri, "s3:PutObject", code)
        self.there[uri] = body
        self.lost -= 1
        self.etag = f'"{next(self.etags)}"'
        if self.lost == 0:
            raise BucketError(uri, "s3:PutObject", "PreconditionFailed")
        return self.etag

    def get(self, uri: str, _most: int | None = None) -> tuple[bytes, str]:
        """Read."""
        if uri not in self.there:
            raise BucketError(uri, "s3:GetObject", "NoSuchKey")
        return self.there[uri], self.etag

    def delete(self, uris: list[str]) -> None:
        """Delete."""
        for uri in uris:
            self.there.pop(uri, None)


def correct_answer(bucket: CustomS3, match: str | None, there: bool) -> str:  # noqa: FBT001
    """Answer as S3 does."""
    if match == "":
        return "PreconditionFailed" if there else ""
    return "" if there and match == bucket.etag else "PreconditionFailed"


def checked(bucket: CustomS3) -> str:
    """Return why it is refused, or ""."""
    s3: Any = bucket  # only the methods that the check needs
    try:
        require_conditions(s3, URI)
    except JobError as error:
        return error.message
    finally:
        assert not bucket.there
    return ""


def test_s3_that_refuses_conditions_is_named() -> None:
    assert "refuses If-None-Match (NotImplemented)" in checked(CustomS3(lambda _match, _there: "NotImplemented"))
    assert "refuses If-None-Match (501)" in checked(CustomS3(lambda _match, _there: "501"))
    without = CustomS3(lambda match, there: correct_answer(without, match, there) if match == "" else "NotImplemented")
    assert "refuses If-Match (NotImplemented)" in checked(without)
    quoted = CustomS3(
        lambda match, there: correct_answer(quoted, match, there) if match == "" else "PreconditionFailed"
    )
    assert "refuses every write with If-Match" in checked(quoted)
    closed = CustomS3(lambda _match, _there: "PreconditionFailed")
    assert "refuses every write with If-None-Match" in checked(closed)


def test_answer_that_is_lost_once_decides_nothing() -> None:
    """boto3 repeats a write after a lost answer, and the repetition meets the object of the first one."""
    for lost in (1, 2):
        bucket = CustomS3(lambda _match, _there: "")
        bucket.answer = partial(correct_answer, bucket)
        bucket.lost = lost
        assert checked(bucket) == ""
        assert bucket.lost <= 0


@pytest.mark.parametrize("code", ["SlowDown", "NoSuchBucket"])
def test_other_failures_are_raised_as_they_are(code: str) -> None:
    with pytest.raises(BucketError, match=code):
        checked(CustomS3(lambda _match, _there: code))
