"""The fixtures of the end-to-end tests, for nights; and a folder for locks that no other worker's tests share."""

import tempfile
from pathlib import Path

import pytest

from tests.e2e.conftest import bulkreset, sim, storage

__all__ = ["bulkreset", "sim", "storage"]


@pytest.fixture(autouse=True)
def of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A night whose state is in S3 has its machine's lock in the folder for temporary files, by the state's address."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
