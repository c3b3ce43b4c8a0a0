"""The fixtures of the end-to-end tests, for scheduled runs, with a separate folder for locks."""

import tempfile
from pathlib import Path

import pytest

from bulkreset.s3 import Bucket
from tests.bucket import shared_client
from tests.e2e.conftest import bulkreset, sim, storage

__all__ = ["bulkreset", "sim", "storage"]


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a separate temporary folder: a job with its state in S3 has its lock there, named by the state's address."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(autouse=True)
def with_shared_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Creating a client of S3 takes longer than its requests."""
    monkeypatch.setattr(Bucket, "client", property(shared_client))
