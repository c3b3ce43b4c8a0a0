"""Fixtures for tests of any room: one S3 process for a worker's tests."""

from collections.abc import Iterator

import pytest

from tests.bucket import Storage


@pytest.fixture(scope="session")
def stored() -> Iterator[Storage]:
    with Storage() as storage:
        yield storage
