"""A process with loaded modules that forks for each execution of a run. An execution may end at any commit or call."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest.mock import patch

from tests.e2e.preloaded_command import FIRST, ForkedCommand

KILLED = 9
UNCLAIMED = 99  # a row was about to be sent before its claim was committed


@dataclass(frozen=True)
class Execution:
    """One execution.

    It ends at the `at`-th commit or call (`where`), in the way that `how` says; 0: it is not disturbed.
    """

    run_dir: str
    job: str = ""  # the job file of a new run; "" resumes the existing one
    again: bool = False
    stop_after: int | None = None
    max_failures: int | None = None
    where: str = "commit"
    at: int = 0
    how: str = "before"


class ForkServer:
    """The process. A context manager that ends it."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        served = home / "fork_server.py"
        served.write_text("from tests.histories.fork_server import serve\nserve()\n", encoding="utf-8")
        with (home / "fork_server.txt").open("w") as error_lines:
            self._process = ForkedCommand(
                [],
                cwd=home,
                env=environment | {FIRST: str(served)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=error_lines,
                start_new_session=True,
                encoding="utf-8",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, execution: Execution) -> int:
        """Run one execution. Return its exit code, as the command line would, or KILLED."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asdict(execution)) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def serve() -> None:
    """Serve executions until the process is killed."""
    assert len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208
    for line in sys.stdin:
        execution = Execution(**json.loads(line))
        if not (child := os.fork()):
            os._exit(_execute(execution))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    os._exit(0)


def _execute(execution: Execution) -> int:
    from bulkreset.errors import BulkresetError  # noqa: PLC0415  (loaded before the fork)

    try:
        with _hooked(execution) as stop:
            return _run(execution, stop)
    except BulkresetError as error:
        return error.exit_code


def _run(execution: Execution, stop: Any) -> int:  # noqa: ANN401  (loaded in the fork server only)
    from bulkreset.job.file import load  # noqa: PLC0415  (as the annotation says)
    from bulkreset.run.context import RunOptions  # noqa: PLC0415  (as above)
    from bulkreset.run.start_and_resume import resume, start  # noqa: PLC0415  (as above)

    class Silent:
        def __getattr__(self, _name: str) -> Callable[..., bool]:
            return lambda *_args: True

    keys = {"guards.limit": execution.stop_after, "guards.max_failures": execution.max_failures}
    mode, ui, path = RunOptions(None, yes=True, retry_failed=execution.again), Silent(), Path(execution.run_dir)
    # So that a few rows take many commits.
    small_batches = patch.multiple("bulkreset.send.lane", UNPACED_BACKLOG=4, UNPACED_SECONDS=0.001)
    small_commits = patch.multiple("bulkreset.send.coordinator", COMMIT_ROWS=3, COMMIT_SECONDS=0.005)
    with small_batches, small_commits, patch("bulkreset.backoff.FIRST_WAIT", 0.005):
        if execution.job:
            return start(load(Path(execution.job), keys), path, mode, ui, stop).summary.exit_code  # type: ignore[arg-type]
        return resume(path, mode, keys, ui, stop).summary.exit_code  # type: ignore[arg-type]


class _Hooks:
    """Wraps every commit and every call, and ends the execution at the requested one."""

    def __init__(self, execution: Execution, stop: Any) -> None:  # noqa: ANN401  (loaded in the fork server only)
        self._asked = execution
        self._stop = stop
        self._claimed: set[int] = set()
        self._seen = {"commit": 0, "call": 0}

    def wrap_transaction(self, transaction: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Wrap a transaction."""

        @contextmanager
        def wrapper(journal: Any) -> Iterator[None]:  # noqa: ANN401  (as above)
            at = self._at("commit")
            at("before")
            with transaction(journal):
                yield
                at("inside")
            at("after")

        return wrapper

    def wrap_call(self, send: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a call: its row must have been claimed."""

        def wrapper(transport: Any, means: Any, row: Any) -> Any:  # noqa: ANN401  (as above)
            if row.number not in self._claimed:
                os._exit(UNCLAIMED)
            at = self._at("call")
            at("before")
            answer = send(transport, means, row)
            at("after")
            return answer

        return wrapper

    def wrap_claims(self, record: Callable[..., None]) -> Callable[..., None]:
        """Wrap the recording of claims: remember them after their commit."""
        from bulkreset.models import Claimed  # noqa: PLC0415

        def wrapper(writer: Any, events: Any) -> None:  # noqa: ANN401  (as above)
            record(writer, events)
            self._claimed.update(event.row for event in events if isinstance(event, Claimed))

        return wrapper

    def _at(self, where: str) -> Callable[[str], None]:
        self._seen[where] += 1
        if where != self._asked.where or self._seen[where] != self._asked.at:
            return lambda _now: None
        return lambda now: _end(self._asked.how, now, self._stop)


@contextmanager
def _hooked(execution: Execution) -> Iterator[Any]:
    """Install the hooks at every commit and every call for the block."""
    from bulkreset.cancellation import CancelToken  # noqa: PLC0415
    from bulkreset.cognito.boto3_transport import BotoTransport  # noqa: PLC0415
    from bulkreset.journal.database import Database  # noqa: PLC0415
    from bulkreset.journal.journal_writer import JournalWriter  # noqa: PLC0415

    stop = CancelToken()
    hooks = _Hooks(execution, stop)
    with (
        patch.object(Database, "writing", hooks.wrap_transaction(Database.writing)),
        patch.object(BotoTransport, "_send", hooks.wrap_call(BotoTransport._send)),
        patch.object(JournalWriter, "commit", hooks.wrap_claims(JournalWriter.commit)),
    ):
        yield stop


def _end(how: str, now: str, stop: Any) -> None:  # noqa: ANN401  (loaded in the fork server only)
    """Die as after kill -9, request a stop, or fill the disk."""
    if how == now:
        os._exit(KILLED)
    if now == "before" and how == "stop":
        stop.request()
    if now == "before" and how == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
