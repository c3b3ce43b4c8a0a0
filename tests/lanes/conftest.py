"""The fixtures of the end-to-end tests, for runs over several accounts and Regions."""

from tests.e2e.conftest import bulkreset, sim

__all__ = ["bulkreset", "sim"]
