"""The exception tree: what can end a run, each class with its exit code.

    BulkresetError
    ├── Refused            2   nothing was sent
    │   ├── JobError           the job file or a flag
    │   ├── InputError         the input file
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
SIGNALLED = 128  # and the number of the signal


class BulkresetError(Exception):
    """Ends a run. `message` says what happened, `advice` what to do next.

    `run_dir` is the directory of the run that can be gone on with; None where there is none, or the command line knows it.
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
    """The run was not begun: usage, job file or input; nothing was sent."""

    exit_code = 2


class JobError(Refused):
    """The job file or the flags do not make a job."""


class InputError(Refused):
    """The input cannot be read to its end as rows."""


class TargetError(Refused):
    """A target cannot be reached at all: no Region, no credentials, no such profile."""


class RunDirError(Refused):
    """The run directory cannot be used."""


class ClusterError(Refused):
    """The cluster cannot be used, or a worker of it is not what it has to be."""


class ApprovalError(Refused):
    """What would run now is not what was reviewed."""


class Stopped(BulkresetError):
    """The run was stopped on purpose; what is left can be resumed."""

    exit_code = 3


class GuardTripped(Stopped):
    """A guard of the job forbids going on."""


class ServiceError(Stopped):
    """The service gave an answer after which no further call can succeed."""

    def __init__(self, code: str, message: str, advice: str = "") -> None:
        super().__init__(message, advice)
        self.code = code


class ClusterLost(Stopped):
    """The scheduler, or every worker, has gone while rows were sent."""


class RecordError(Stopped):
    """What happened cannot be written down, so nothing more may happen."""


class Busy(BulkresetError):
    """Another process holds this run."""

    exit_code = 4


class TimeLimit(BulkresetError):
    """The time given to the run is over."""

    exit_code = 5


class Bug(BulkresetError):
    """A bug on another machine. `message` is its kind and its place in the code, and no value."""


class Interrupted(BulkresetError):
    """A signal ended the run: 128 + its number is the exit code."""

    def __init__(self, message: str, advice: str = "", signal_number: int = 2) -> None:
        super().__init__(message, advice)
        self.signal_number = signal_number
        self.exit_code = SIGNALLED + signal_number


def error_from_summary(exit_code: int, code: str, message: str, advice: str) -> BulkresetError:
    """The error that a summary's `exit_code` and `stopped_by` tell of: `code` is its class, or the service's own code."""
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
    """What kind of error, and where in the code; its message and the values there may be secret."""
    frames = traceback.extract_tb(error.__traceback__)
    place = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-6:]))
    return f"{type(error).__name__} at {place}"
