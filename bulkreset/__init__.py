"""Set passwords for many Amazon Cognito users at once: rate-limited, crash-safe, resumable.

    from bulkreset import apply, dry_run, load, resume

These names are the Python interface. Each is imported when it is first used, except the version.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bulkreset.version import __version__

if TYPE_CHECKING:
    from bulkreset.api import AbandonedRun as AbandonedRun
    from bulkreset.api import ApiProgress as ApiProgress
    from bulkreset.api import CancelToken as CancelToken
    from bulkreset.api import ControlOrder as ControlOrder
    from bulkreset.api import DryRun as DryRun
    from bulkreset.api import ExtractResult as ExtractResult
    from bulkreset.api import IssuedPassword as IssuedPassword
    from bulkreset.api import Job as Job
    from bulkreset.api import Preflight as Preflight
    from bulkreset.api import Result as Result
    from bulkreset.api import RunStatus as RunStatus
    from bulkreset.api import Summary as Summary
    from bulkreset.api import UndoFacts as UndoFacts
    from bulkreset.api import VerifyResult as VerifyResult
    from bulkreset.api import abandon as abandon
    from bulkreset.api import apply as apply
    from bulkreset.api import contacts as contacts
    from bulkreset.api import control as control
    from bulkreset.api import dry_run as dry_run
    from bulkreset.api import extract as extract
    from bulkreset.api import list_runs as list_runs
    from bulkreset.api import load as load
    from bulkreset.api import passwords as passwords
    from bulkreset.api import resume as resume
    from bulkreset.api import run_job as run_job
    from bulkreset.api import status as status
    from bulkreset.api import undo as undo
    from bulkreset.api import verify as verify
    from bulkreset.api import write_report as write_report

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
