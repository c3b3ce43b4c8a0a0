"""Longer time limits for optional requests of a run: with the product's own limits, a busy machine changes results."""

from importlib import import_module
from typing import Final

PATIENCE: Final = 90.0  # seconds
LIMITS: Final = (
    ("bulkreset.cognito.session", "SIDE_SERVICE_SECONDS"),
    ("bulkreset.cognito.background_call", "SECONDS"),
    ("bulkreset.cognito.account", "POOL_SECONDS"),
    ("bulkreset.cognito.pool_status", "SECONDS"),
    ("bulkreset.notify.notifier", "PATIENCE"),
)


def wait_long() -> None:
    """Set all of them to PATIENCE seconds in this process."""
    for module, name in LIMITS:
        assert isinstance(getattr(import_module(module), name), float)
        setattr(import_module(module), name, PATIENCE)
