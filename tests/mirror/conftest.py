"""What the tests of the mirror share: clients of S3, which take longer to make than what is asked through them."""

import pytest

from bulkreset.s3 import Bucket
from tests.bucket import shared_client


@pytest.fixture(autouse=True)
def with_shared_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bucket, "client", property(shared_client))
