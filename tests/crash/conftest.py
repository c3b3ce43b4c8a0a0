"""The fixtures of the end-to-end tests, for runs that are killed and resumed."""

from tests.e2e.conftest import bulkreset, certificate, front, sim, storage

__all__ = ["bulkreset", "certificate", "front", "sim", "storage"]
