"""What each session and client of botocore works out again, worked out once for all of them: it takes longer than most tests."""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import botocore.session
from botocore import hooks


def share() -> None:
    """Share the loaded models, the signatures of event handlers and the events' names among all sessions."""
    botocore.session.create_loader = cache(botocore.session.create_loader)
    accepts = lru_cache(512)(vars(hooks)["accepts_kwargs"])
    vars(hooks)["accepts_kwargs"] = lambda handler: accepts(getattr(handler, "__func__", handler))
    aliaser: Any = hooks.EventAliaser
    make: Callable[..., None] = aliaser.__init__
    names: dict[str, str] = {}

    def make_with_names(self: Any, *given: Any) -> None:  # noqa: ANN401  (of botocore)
        make(self, *given)
        self._alias_name_cache = names

    aliaser.__init__ = make_with_names
