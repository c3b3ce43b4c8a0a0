"""Shared S3 clients of the mirror's tests: creating one takes longer than its requests."""

import pytest

from bulkreset.s3 import Bucket
from tests.bucket import shared_client


@pytest.fixture(autouse=True)
def with_shared_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bucket, "client", property(shared_client))
