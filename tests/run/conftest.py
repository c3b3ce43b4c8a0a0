"""The fixtures of the end-to-end tests, for scheduled runs, with a separate folder for locks."""

import tempfile
from pathlib import Path

import pytest

from bulkreset.s3 import Bucket
from tests.bucket import shared_client
from tests.e2e.conftest import bulkreset, sim, storage

__all__ = ["bulkreset", "sim", "storage"]


@pytest.fixture(autouse=True)
def of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A night whose state is in S3 has its machine's lock in the folder for temporary files, by the state's address."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(autouse=True)
def with_shared_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """To make a client of S3 takes longer than what is asked through it."""
    monkeypatch.setattr(Bucket, "client", property(shared_client))
