"""Close the journals that a test left open. Python itself reports those that a run leaves open."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from bulkreset.errors import BulkresetError
from bulkreset.journal.journal import Journal

_OPENED: Final[list[Journal]] = []


def note_journals() -> None:
    """Record each journal that test code creates or opens, until `close_journals`."""
    for name in ("create", "open"):
        setattr(Journal, name, classmethod(_noted(vars(Journal)[name].__func__)))


def _noted(make: Callable[..., Journal]) -> Callable[..., Journal]:
    def made(*given: Any, **named: Any) -> Journal:  # noqa: ANN401  (of both)
        journal = make(*given, **named)
        if sys._getframe(1).f_globals["__name__"].startswith("tests."):
            _OPENED.append(journal)
        return journal

    return made


def close_journals() -> None:
    """Close the recorded journals; closing twice does nothing."""
    while _OPENED:
        with suppress(BulkresetError):  # one that a test has damaged
            _OPENED.pop()._db.close()
