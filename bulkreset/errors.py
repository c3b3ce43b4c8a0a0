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
    │   ├── NotConfirmed       nobody confirmed the run or its undo
    │   ├── ServiceError       the service answered that no call can succeed
    │   ├── ClusterLost        the scheduler or all workers are gone
    │   └── RecordError        the journal or a report cannot be written
    ├── Busy               4   another process holds the run
    ├── TimeLimit          5   resumable
    ├── RowLimit           5   resumable
    │   └── WavePause          a wave was sent, or the next one may not be sent yet
    ├── Bug               70   a bug on another machine, known by its place in the code
    └── Interrupted  130/143   resumable

Every message says what happened, to which row or key, and what to do next.
"""

import traceback
from dataclasses import dataclass
from pathlib import Path

from bulkreset.causes import resume_helps

EXIT_OK = 0
EXIT_ROWS = 1
EXIT_BUG = 70
SIGNALLED = 128  # plus the signal number


@dataclass(frozen=True, slots=True)
class StoppedBy:
    """An error that stopped a run or a lane, as a value.

    `kind` is its class; `code` is the service's, else the class.
    """

    kind: str
    code: str
    message: str
    advice: str
    exit_code: int


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
        self.code = type(self).__name__

    def describe(self) -> StoppedBy:
        """Return the error as the journal and the summary store it."""
        return StoppedBy(type(self).__name__, self.code, self.message, self.advice, self.exit_code)

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()


class Refused(BulkresetError):
    """The run did not start because of usage, job file or input. Nothing was sent."""

    exit_code = 2


class JobError(Refused):
    """The job file or the flags are not a valid job."""


def missing_extra(what: str, extra: str) -> JobError:
    """Return the error for `what` a job needs and this installation lacks, with the extra that has it."""
    return JobError(f"{what} is not installed.", f"Install bulkreset with its extra: pip install 'bulkreset[{extra}]'.")


class InputError(Refused):
    """The input cannot be read as rows up to its end.

    `where` is the path or address of the file, "" if the error is not about one file.
    """

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


class NotConfirmed(Stopped):
    """Nobody confirmed the run or its undo. Nothing was changed."""


class ServiceError(Stopped):
    """The service answered that no further call can succeed. `code` is its error code.

    The exit code is 2 if the job is wrong, so that resuming cannot help.
    """

    def __init__(self, code: str, message: str, advice: str = "") -> None:
        super().__init__(message, advice)
        self.code = code
        if not resume_helps(code):
            self.exit_code = Refused.exit_code


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


class WavePause(RowLimit):
    """A wave of the campaign was sent, or the next one may not be sent yet."""


class Bug(BulkresetError):
    """A bug on another machine. `message` has its exception class and code location, but no values."""


class Interrupted(BulkresetError):
    """A signal ended the run. The exit code is 128 + the signal number."""

    def __init__(self, message: str, advice: str = "", signal_number: int = 2) -> None:
        super().__init__(message, advice)
        self.signal_number = signal_number
        self.exit_code = SIGNALLED + signal_number


def place_of(error: BaseException) -> str:
    """Return the class of an error and its code location. Its message and values may be secret."""
    frames = traceback.extract_tb(error.__traceback__)
    place = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-6:]))
    return f"{type(error).__name__} at {place}"
