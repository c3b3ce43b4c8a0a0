"""Run the command line in a process that is forked from one with the modules loaded.

Each command still has its own process, streams, directory, environment, session and exit, and is a child of the test
process. Only two things are shared: the loaded modules, and the work that each start does first (command parsers,
service models, the first text of pandas). Both take most of a second.
"""

import array
import atexit
import ctypes
import gc
import inspect
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import nullcontext, suppress
from functools import cache
from importlib import import_module
from types import TracebackType
from typing import Any, Final, NoReturn, TextIO, cast

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError

from tests.long_time_limits import wait_long
from tests.shared_botocore import share

MESSAGE: Final = 1 << 20
STREAMS: Final = (0, 1, 2)
SUBREAPER: Final = 36  # PR_SET_CHILD_SUBREAPER: orphaned processes become our children
# Variables that an interpreter reads only when it starts.
_SINGLE_THREADED: Final = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
EARLY: Final = ("PYTHON", "LANG", "LC_")
# The path of a Python file to run before the command, as an interpreter runs sitecustomize. Hidden from the command.
FIRST: Final = "TESTS_RUN_FIRST"
# Loaded by name: the linter would remove unused import statements, and every start would be slow without a failing
# test.
LOADED: Final = (
    "bulkreset.cli.main",
    "bulkreset.job.file",
    "bulkreset.input.parquet_reader",
    "bulkreset.plan.planner",
    "bulkreset.run.start_and_resume",
    "bulkreset.run.run",
    "bulkreset.report.charts",
    "bulkreset.report.verify",
    "bulkreset.cli.prompts",
    "bulkreset.cli.progress",
    "bulkreset.mirror.lease",
    "bulkreset.s3",
    "encodings.idna",
    "encodings.utf_8_sig",
    "jinja2",
    "pyarrow.pandas_compat",
)

# One call to each service that a run uses, and an error answer in the service's format.
CALLS: Final[tuple[tuple[str, str, dict[str, str], bytes], ...]] = (
    ("cognito-idp", "DescribeUserPool", {"UserPoolId": "us-east-1_Test00001"}, b"{}"),
    ("service-quotas", "GetServiceQuota", {"ServiceCode": "cognito-idp", "QuotaCode": "L-0"}, b"{}"),
    ("sts", "GetCallerIdentity", {}, b"<ErrorResponse/>"),
    ("s3", "GetObject", {"Bucket": "none", "Key": "none"}, b"<Error/>"),
)


def can_fork(argv: list[str], env: dict[str, str]) -> bool:
    """Return whether a forked process behaves exactly like a new interpreter, except for loading."""
    return bool(argv) and sys.platform == "linux" and not any(name.startswith(EARLY) for name in env)


class CommandProcess(subprocess.Popen[str]):
    """A process that is killed if the test fails while it runs. Otherwise `with` would wait for its end."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        super().__exit__(kind, error, trace)


class ForkedCommand(CommandProcess):
    """A Popen that takes only the command's arguments. All three streams and start_new_session must be given."""

    def _execute_child(self, *given: Any) -> None:  # noqa: ANN401  (Popen's own)
        names = list(inspect.signature(subprocess.Popen._execute_child).parameters)[1:]  # type: ignore[attr-defined]
        wanted = dict(zip(names, given, strict=True))
        assert wanted["start_new_session"]
        request = {"argv": list(map(str, wanted["args"])), "cwd": str(wanted["cwd"]), "env": wanted["env"]}
        streams = [wanted["p2cread"], wanted["c2pwrite"], wanted["errwrite"]]
        self.pid = _fork_server().fork(request, streams)
        self._child_created = True
        self._close_pipe_fds(*(wanted[name] for name in names if name.startswith(("p2c", "c2p", "err"))))  # type: ignore[attr-defined]


class _ForkServer:
    """Holds the process that forks, from the test process's side. It ends with the test process."""

    def __init__(self) -> None:
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.preloaded_command", str(theirs.fileno())],
                # numpy and Arrow start threads when they load, and fork does not copy threads.
                env=_SINGLE_THREADED,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        atexit.register(self._end)

    def _end(self) -> None:
        self._ours.close()  # which ends the process
        self._process.wait()

    def fork(self, request: dict[str, Any], streams: list[int]) -> int:
        """Fork one command and return its process id."""
        sent = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))
        self._ours.sendmsg([json.dumps(request).encode()], [sent])
        return int(self._ours.recv(MESSAGE))


_fork_server = cache(_ForkServer)


def _serve(requests: socket.socket) -> dict[str, Any]:
    """Fork for every request. Return only in the forked process."""
    while True:
        message, streams, _, _ = socket.recv_fds(requests, MESSAGE, len(STREAMS))
        if not message:
            os._exit(0)
        pid_reader, pid_writer = os.pipe()
        if not (middle := os.fork()):
            if child := os.fork():
                os.write(pid_writer, str(child).encode())
                os._exit(0)  # orphaned, so the test process becomes the parent
            os.setsid()
            for stream, place in zip(streams, STREAMS, strict=True):
                os.dup2(stream, place)
            os.closerange(len(STREAMS), os.sysconf("SC_OPEN_MAX"))
            found: dict[str, Any] = json.loads(message)
            return found
        os.waitpid(middle, 0)
        requests.send(os.read(pid_reader, 32))
        for number in (*streams, pid_reader, pid_writer):
            os.close(number)


def _set_up_process(request: dict[str, Any]) -> None:
    """Set the process up as a new interpreter would be."""
    os.chdir(request["cwd"])
    first = request["env"].pop(FIRST, "")
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin, sys.stdout, sys.stderr = map(_reopen, STREAMS, (sys.stdin, sys.stdout, sys.stderr))
    sys.argv[1:] = request["argv"]
    if first:
        runpy.run_path(first)


def _reopen(number: int, stream: TextIO) -> TextIO:
    """Open a standard stream again with the same settings.

    A stream checks only once whether it is seekable or a terminal.
    """
    mode, lines = ("w", 1) if number == STREAMS[2] else ("w", -1) if number else ("r", -1)
    return cast("TextIO", os.fdopen(number, mode, lines, stream.encoding, stream.errors, closefd=False))


def load() -> None:
    """Import what runs, resumed runs, verifications and pages import. A name that no longer exists is an error."""
    for name in LOADED:
        import_module(name)
    share()
    for call in CALLS:
        _refuse(*call)
    _build_commands()
    _read_a_row()
    wait_long()
    # What is loaded here is frozen already, and counting it would take longer than the rest of that function.
    vars(import_module("bulkreset.run.apply"))["_frozen_heap"] = nullcontext
    gc.collect()
    gc.freeze()


def _refuse(service: str, operation: str, arguments: dict[str, str], body: bytes) -> None:
    """Refuse a call before it is sent, so that the models of the service, its answers and its errors stay loaded."""
    session = import_module("bulkreset.cognito.session").aws_session(None, "us-east-1")
    client = session.client(service, aws_access_key_id="none", aws_secret_access_key="none")
    refused: Any = AWSResponse(client.meta.endpoint_url, 403, HTTPHeaders(), None)
    refused._content = body
    client.meta.events.register_first("before-send", lambda **_: refused)
    with suppress(ClientError):
        client._make_api_call(operation, arguments)


def _build_commands() -> None:
    """Build the parsers of all commands and their options, which each start would build again."""
    typer_main: Any = import_module("typer.main")
    typer_main.get_command = cache(typer_main.get_command)
    app = import_module("bulkreset.cli.main").app
    for command in typer_main.get_command(app).commands.values():
        for parameter in command.params:
            if hasattr(parameter, "get_runtime_param"):
                parameter.get_runtime_param()


def _read_a_row() -> None:
    """Validate a row as a plan does, so that the set-up of pandas and Arrow for their first text stays loaded."""
    target = {"user_pool_id": "us-east-1_Test00001", "region": "us-east-1"}
    job = import_module("bulkreset.job").Job.model_validate(
        {"name": "x", "input": {"path": "x.csv"}, "targets": [target]}
    )
    rows = import_module("bulkreset.input.batch").RowBatch(1, {"username": ["a"], "password": ["b"]})
    assert len([*import_module("bulkreset.input.validation").RowValidator(job).validate(rows)]) == 1


def leave(ended: SystemExit) -> NoReturn:
    """Exit as an interpreter does, but keep the modules: freeing them would copy each page shared with the parent."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        raise ended from None
    os._exit(ended.code if isinstance(ended.code, int) else int(ended.code is not None))


if __name__ == "__main__":
    load()
    assert len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208
    _set_up_process(_serve(socket.socket(fileno=int(sys.argv[1]))))
    from bulkreset.cli.main import main

    try:
        main()
    except SystemExit as ended:
        leave(ended)
