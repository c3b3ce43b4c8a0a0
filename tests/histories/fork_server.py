"""A process with loaded modules that forks for each execution of a run, which may end at any commit or call."""

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

from tests.e2e.preloaded_command import FIRST, Warm

KILLED = 9
UNCLAIMED = 99  # a row was about to be sent whose claim was not committed


@dataclass(frozen=True)
class Asked:
    """One execution. At the `at`-th commit or call (`where`) it ends as `how` says; 0: it is left alone."""

    run_dir: str
    job: str = ""  # the job file of a new run; "" goes on with the one that there is
    again: bool = False
    stop_after: int | None = None
    max_failures: int | None = None
    where: str = "commit"
    at: int = 0
    how: str = "before"


class House:
    """The process. A context manager that ends it."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        served = home / "fork_server.py"
        served.write_text("from tests.histories.fork_server import serve\nserve()\n", encoding="utf-8")
        with (home / "house.txt").open("w") as complaints:
            self._process = Warm(
                [],
                cwd=home,
                env=environment | {FIRST: str(served)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
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

    def run(self, asked: Asked) -> int:
        """Carry one execution out; its exit code, as the command line would end, or KILLED."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asdict(asked)) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def serve() -> None:
    """Be the house, until it is ended."""
    assert len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208
    for line in sys.stdin:
        asked = Asked(**json.loads(line))
        if not (child := os.fork()):
            os._exit(_execute(asked))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    os._exit(0)


def _execute(asked: Asked) -> int:
    from bulkreset.errors import BulkresetError  # noqa: PLC0415  (loaded before it is forked)

    try:
        with _ending(asked) as stop:
            return _run(asked, stop)
    except BulkresetError as error:
        return error.exit_code


def _run(asked: Asked, stop: Any) -> int:  # noqa: ANN401  (loaded in the house only)
    from bulkreset.job.file import load  # noqa: PLC0415
    from bulkreset.run.context import RunOptions  # noqa: PLC0415
    from bulkreset.run.start import resume, start  # noqa: PLC0415

    class Silent:
        def __getattr__(self, _name: str) -> Callable[..., bool]:
            return lambda *_args: True

    keys = {"guards.limit": asked.stop_after, "guards.max_failures": asked.max_failures}
    mode, ui, path = RunOptions(None, yes=True, retry_failed=asked.again), Silent(), Path(asked.run_dir)
    # So that a few rows take many commits.
    lots = patch.multiple("bulkreset.send.lane", UNPACED_BACKLOG=4, UNPACED_SECONDS=0.001)
    groups = patch.multiple("bulkreset.send.coordinator", COMMIT_ROWS=3, COMMIT_SECONDS=0.005)
    with lots, groups, patch("bulkreset.backoff.FIRST_WAIT", 0.005):
        if asked.job:
            return start(load(Path(asked.job), keys), path, mode, ui, stop).summary.exit_code  # type: ignore[arg-type]
        return resume(path, mode, keys, ui, stop).summary.exit_code  # type: ignore[arg-type]


class _Hooks:
    """What is done at every commit and every call in place of it: it, and what was asked for."""

    def __init__(self, asked: Asked, stop: Any) -> None:  # noqa: ANN401  (loaded in the house only)
        self._asked = asked
        self._stop = stop
        self._claimed: set[int] = set()
        self._seen = {"commit": 0, "call": 0}

    def committing(self, transaction: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """In place of a transaction."""

        @contextmanager
        def instead(journal: Any) -> Iterator[None]:  # noqa: ANN401  (as above)
            at = self._at("commit")
            at("before")
            with transaction(journal):
                yield
                at("inside")
            at("after")

        return instead

    def sending(self, send: Callable[..., Any]) -> Callable[..., Any]:
        """In place of a call, whose row must have been claimed."""

        def instead(transport: Any, means: Any, row: Any) -> Any:  # noqa: ANN401  (as above)
            if row.number not in self._claimed:
                os._exit(UNCLAIMED)
            at = self._at("call")
            at("before")
            answer = send(transport, means, row)
            at("after")
            return answer

        return instead

    def recording(self, record: Callable[..., None]) -> Callable[..., None]:
        """In place of a claim: what is claimed is known here once it is committed."""
        from bulkreset.journal.events import Claimed  # noqa: PLC0415

        def instead(writer: Any, events: Any) -> None:  # noqa: ANN401  (as above)
            record(writer, events)
            self._claimed.update(event.row for event in events if isinstance(event, Claimed))

        return instead

    def _at(self, where: str) -> Callable[[str], None]:
        self._seen[where] += 1
        if where != self._asked.where or self._seen[where] != self._asked.at:
            return lambda _now: None
        return lambda now: _end(self._asked.how, now, self._stop)


@contextmanager
def _ending(asked: Asked) -> Iterator[Any]:
    """The block in which hooks are at every commit and every call."""
    from bulkreset.cancellation import CancelToken  # noqa: PLC0415
    from bulkreset.cognito.boto3_transport import BotoTransport  # noqa: PLC0415
    from bulkreset.journal.database import Database  # noqa: PLC0415
    from bulkreset.journal.journal_writer import JournalWriter  # noqa: PLC0415

    stop = CancelToken()
    hooks = _Hooks(asked, stop)
    with (
        patch.object(Database, "writing", hooks.committing(Database.writing)),
        patch.object(BotoTransport, "_send", hooks.sending(BotoTransport._send)),
        patch.object(JournalWriter, "commit", hooks.recording(JournalWriter.commit)),
    ):
        yield stop


def _end(how: str, now: str, stop: Any) -> None:  # noqa: ANN401  (loaded in the house only)
    """Die as after kill -9, ask for a stop, or fill the disk."""
    if how == now:
        os._exit(KILLED)
    if now == "before" and how == "stop":
        stop.request()
    if now == "before" and how == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
