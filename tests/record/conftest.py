"""An S3 for the tests of what is kept there."""

import pytest

from tests.bucket import Storage


@pytest.fixture
def s3(stored: Storage, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """An empty bucket that boto3 reaches."""
    stored.reset()
    for name, value in stored.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return stored
