"""Set passwords for many Amazon Cognito users at once: rate-limited, crash-safe, resumable.

    from bulkreset import apply, dry_run, load, resume

These names are the Python interface. Each is imported when it is first used, except the version.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bulkreset.version import __version__

if TYPE_CHECKING:
    from bulkreset import errors as errors
    from bulkreset.api import *  # noqa: F403  (for type checkers: the names in its __all__)

_PUBLIC = (
    *("AbandonedRun", "ApiProgress", "CancelToken", "ControlOrder", "DryRun", "ExtractResult", "IssuedPassword", "Job"),
    *("Preflight", "Result", "RunStatus", "Summary", "UndoFacts", "VerifyResult"),
    *("abandon", "apply", "contacts", "control", "dry_run", "extract", "list_runs", "load", "passwords", "resume"),
    *("run_job", "status", "undo", "verify", "write_report"),
)

__all__ = ["__version__", "errors", *_PUBLIC]  # noqa: PLE0604  (made below)


def __getattr__(name: str) -> Any:  # noqa: ANN401  (whatever has the name)
    if name == "errors":
        found: Any = import_module("bulkreset.errors")
    elif name in _PUBLIC:
        found = getattr(import_module("bulkreset.api"), name)
    else:
        raise AttributeError(f"module 'bulkreset' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
