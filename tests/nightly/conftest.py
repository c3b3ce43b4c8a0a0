"""The fixtures of the end-to-end tests, for nights."""

from tests.e2e.conftest import bulkreset, sim, storage

__all__ = ["bulkreset", "sim", "storage"]
