"""Set many users' passwords in Amazon Cognito: planned, paced, journalled, resumable.

    from bulkreset import apply, load, plan, resume

What is named here is the Python interface. All but the version is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bulkreset.version import __version__

if TYPE_CHECKING:
    from bulkreset.api import ApiProgress as ApiProgress
    from bulkreset.api import CancelToken as CancelToken
    from bulkreset.api import Job as Job
    from bulkreset.api import Plan as Plan
    from bulkreset.api import Preflight as Preflight
    from bulkreset.api import Result as Result
    from bulkreset.api import Summary as Summary
    from bulkreset.api import apply as apply
    from bulkreset.api import load as load
    from bulkreset.api import plan as plan
    from bulkreset.api import resume as resume

_PUBLIC = ("Job", "Moment", "Plan", "Preflight", "Result", "Stop", "Summary", "apply", "load", "plan", "resume")

__all__ = ["__version__", "errors", *_PUBLIC]  # noqa: PLE0604  (made below)


def __getattr__(name: str) -> Any:  # noqa: ANN401  (whatever has the name)
    if name == "errors":
        found: Any = import_module("bulkreset.errors")
    elif name in _PUBLIC:
        found = getattr(import_module("bulkreset.api"), name)
    else:
        msg = f"module 'bulkreset' has no attribute {name!r}"
        raise AttributeError(msg)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
