"""Longer time limits for optional requests of a run: with the product's own, a busy machine decides a result."""

from importlib import import_module
from typing import Final

PATIENCE: Final = 90.0  # seconds
LIMITS: Final = (
    ("bulkreset.cognito.session", "SIDE_SERVICE_SECONDS"),
    ("bulkreset.cognito.background", "SECONDS"),
    ("bulkreset.cognito.account", "POOL_SECONDS"),
    ("bulkreset.cognito.pool_status", "SECONDS"),
    ("bulkreset.notify.notifier", "PATIENCE"),
)


def wait_long() -> None:
    """Give all of them PATIENCE seconds in this process."""
    for module, name in LIMITS:
        assert isinstance(getattr(import_module(module), name), float)
        setattr(import_module(module), name, PATIENCE)
