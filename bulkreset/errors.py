"""The exceptions that can end a run, each class with its exit code.

    BulkresetError
    ├── Refused            2   nothing was sent
    │   ├── JobError           the job file or a flag
    │   ├── InputError         the input file
    │   │   └── EmptyInput         it has no content
    │   ├── TargetError        the Region, the credentials, the endpoint
    │   ├── RunDirError        the run directory
    │   ├── ClusterError       the cluster, or a worker of it
    │   └── ApprovalError      what would run is not what was approved
    ├── Stopped            3   resumable
    │   ├── GuardTripped       a guard of the job
    │   ├── ServiceError       the service answered that no call can succeed
    │   ├── ClusterLost        the scheduler or all workers are gone
    │   └── RecordError        the journal or a report cannot be written
    ├── Busy               4   another process holds the run
    ├── TimeLimit          5   resumable
    ├── RowLimit           5   resumable
    ├── Bug               70   a bug on another machine, told by its place in the code
    └── Interrupted  130/143   resumable

Every message says what happened, to which row or key, and what to do next.
"""

import traceback
from collections.abc import Iterator
from pathlib import Path

EXIT_OK = 0
EXIT_ROWS = 1
EXIT_BUG = 70
SIGNALLED = 128  # plus the signal number


class BulkresetError(Exception):
    """An error that ends a run. `message` says what happened, `advice` what to do next.

    `run_dir` is the directory of a run that can be resumed; None if there is none or the command line knows it.
    """

    exit_code = EXIT_BUG
    run_dir: Path | None = None

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()


class Refused(BulkresetError):
    """The run did not start because of usage, job file or input. Nothing was sent."""

    exit_code = 2


class JobError(Refused):
    """The job file or the flags are not a valid job."""


class InputError(Refused):
    """The input cannot be read as rows up to its end. `where` is the path or address of the file, "" if it is not one's."""

    where: str = ""


class EmptyInput(InputError):
    """An input file has no content at all, not even a header."""


class TargetError(Refused):
    """A target cannot be reached at all: no Region, no credentials, no such profile."""


class RunDirError(Refused):
    """The run directory cannot be used."""


class ClusterError(Refused):
    """The cluster cannot be used, or one of its workers does not meet the requirements."""


class ApprovalError(Refused):
    """The run would differ from the reviewed dry run."""


class Stopped(BulkresetError):
    """The run was stopped on purpose. The remaining rows can be resumed."""

    exit_code = 3


class GuardTripped(Stopped):
    """A guard of the job stopped the run."""


class ServiceError(Stopped):
    """The service answered that no further call can succeed. `code` is its error code."""

    def __init__(self, code: str, message: str, advice: str = "") -> None:
        super().__init__(message, advice)
        self.code = code


class ClusterLost(Stopped):
    """The scheduler or all workers were lost while rows were sent."""


class RecordError(Stopped):
    """The journal or a report cannot be written, so the run must not continue."""


class Busy(BulkresetError):
    """Another process holds this run."""

    exit_code = 4


class TimeLimit(BulkresetError):
    """The run reached its time limit."""

    exit_code = 5


class RowLimit(BulkresetError):
    """The run sent as many rows as one execution may send."""

    exit_code = 5


class Bug(BulkresetError):
    """A bug on another machine. `message` has its exception class and its place in the code, but no values."""


class Interrupted(BulkresetError):
    """A signal ended the run. The exit code is 128 + the signal number."""

    def __init__(self, message: str, advice: str = "", signal_number: int = 2) -> None:
        super().__init__(message, advice)
        self.signal_number = signal_number
        self.exit_code = SIGNALLED + signal_number


def error_from_summary(exit_code: int, code: str, message: str, advice: str) -> BulkresetError:
    """Return the error for a summary's `exit_code` and `stopped_by`. `code` is its class name or the service's code."""
    if exit_code > SIGNALLED:
        return Interrupted(message, advice, exit_code - SIGNALLED)
    kinds = {kind.__name__: kind for kind in _below(BulkresetError) if kind not in {ServiceError, Interrupted}}
    if code in kinds and kinds[code].exit_code == exit_code:
        return kinds[code](message, advice)
    if exit_code == ServiceError.exit_code:
        return ServiceError(code, message, advice)
    return {Refused.exit_code: Refused, Busy.exit_code: Busy, TimeLimit.exit_code: TimeLimit}.get(exit_code, Bug)(
        message, advice
    )


def _below(kind: type[BulkresetError]) -> Iterator[type[BulkresetError]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


def place_of(error: BaseException) -> str:
    """Return the class of an error and its place in the code. Its message and values may be secret."""
    frames = traceback.extract_tb(error.__traceback__)
    place = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-6:]))
    return f"{type(error).__name__} at {place}"
