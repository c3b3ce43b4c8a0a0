"""No secret appears in reports, mirror, state, archive, messages, metrics, the Python interface or crashes."""

import json
import logging
import os
import re
import resource
import signal
import stat
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkreset import api
from bulkreset.errors import BulkresetError
from tests.bucket import BUCKET, Storage
from tests.canary import Canary, files
from tests.e2e.command import PATIENCE, POOL, SET, Argument, Command, CommandResult, finish, write_csv, write_job
from tests.notify.hook import web_hook
from tests.sim import Simulator
from tests.waiting import wait_until

# A worker's transport that raises with the row, and so its password, in its frames.
INJECTED = """
import os, signal, sys
if any(argument in {"run", "resume"} for argument in sys.argv):
    import bulkreset.cognito.boto3_transport as client
    def set_password(self, row):
        kept = [row, row.password.reveal()]
%s
    client.BotoTransport.set_password = set_password
"""
# Exceptions outside the run's own threads, warnings, and an uncaught exception at the end.
BESIDE = """
import threading, warnings
class Broken:
    def __init__(self, held): self.held = held
    def __del__(self): raise ValueError(self.held)
Broken(kept[1])
def fail(held): raise ValueError(held)
thread = threading.Thread(target=fail, args=kept[1:])
thread.start()
thread.join()
try:
    raise ValueError(kept)
except ValueError:
    sys.excepthook(*sys.exc_info())  # as the C runtime does with what its callbacks raise
warnings.warn(f"unexpected value: input_value={kept[1]}")
raise BaseException(*kept)
"""
# botocore's messages about invalid parameters contain the values.
INVALID = """
from types import SimpleNamespace
from botocore.exceptions import ParamValidationError
def refuse(**parameters): raise ParamValidationError(report=f"Invalid type for parameter Password, value: {parameters}")
return self._send((SimpleNamespace(admin_set_user_password=refuse), None), row)
"""
# Ask for a core dump, as far as this process can.
DUMP = """
import contextlib, ctypes, resource
with contextlib.suppress(ValueError):
    resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))
os.write(1, b"dumpable: %d" % ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
os.abort()
"""


class Secrets:
    """All secrets of a test: a password, the token in a URL, a session token."""

    def __init__(self) -> None:
        self.password = Canary()
        self.token = Canary()
        self.session = Canary()

    def found_in(self, content: bytes) -> list[str]:
        return [name for name, canary in vars(self).items() if canary.is_in(content)]


@pytest.fixture
def secrets(bulkreset: Command) -> Secrets:
    found = Secrets()
    bulkreset.environment["AWS_SESSION_TOKEN"] = found.session.core
    return found


def output_of(ran: CommandResult) -> bytes:
    return (ran.stdout + ran.stderr).encode()


def test_no_file_of_a_scheduled_run_has_a_secret(
    tmp_path: Path, secrets: Secrets, bulkreset: Command, sim: Simulator, storage: Storage
) -> None:
    """Check mirror, state, archive, hook, textfile and EMF; then every report format, status, verify and a resume."""
    (tmp_path / "in").mkdir()
    rows = [(f"user.{n}", secrets.password.password) for n in range(1, 9)]
    source = write_csv(tmp_path / "in" / "mon.csv", rows)
    refused = {"error": "InvalidPasswordException"}
    sim.configure(faults={"echo_password": True, "users": {"user.3": [refused], "user.4": [{"cut": "after"}] * 20}})
    with web_hook() as hook:
        more = f"""
            [pace]
            rate = 200
            max_attempts = 2
            [notify]
            urls_from = "env:HOOK"
            urls = ["json://127.0.0.1:1/{secrets.token.core}"]
            [metrics]
            textfile = "b.prom"
            emf = "stdout"
            [mirror]
            to = "s3://{BUCKET}/runs/"
            [report]
            redact = "usernames"
        """
        job = write_job(
            tmp_path,
            sim.url,
            'path = "in"\n[schedule]\nstate = "nightly.json"\ndone = "archive"',
            textwrap.dedent(more),
        )
        env = {"HOOK": f"{hook.url}?password={secrets.token.core}"}

        def run(*args: Argument) -> CommandResult:
            with bulkreset.start(*args, env=env) as process:
                ran = finish(process, tmp_path)
            assert secrets.found_in(output_of(ran)) == []
            return ran

        assert run("run", job, "--yes", "-vv", "--log-format", "json").code == 1
        (home,) = (tmp_path / "runs").iterdir()
        (tmp_path / "archive" / source.name).rename(source)
        assert run("resume", home, "--failed", "--yes", "-vv", "--limit", "1").code in {0, 1, 5}
        assert len(hook.got) == 2
        assert secrets.found_in(json.dumps(hook.got).encode()) == []
    assert run("report", home, "--format", "jsonl", "--redact", "none").code == 0
    assert run("report", home, "--format", "parquet", "-o", tmp_path / "again.parquet").code == 0
    again = ["--within", "30", "--reissue", tmp_path / "expired.csv"]
    for command in (["status", "--json"], ["verify", home, "--json", "--no-progress", *again]):
        assert run(*command).code in {0, 1}
    assert {call.password for call in sim.calls(SET)} == {secrets.password.password}
    left = dict(files(tmp_path, source, job))
    assert {Path(where).name for where in left} >= {
        "b.prom",
        "nightly.json",
        "verify.csv",
        "report.html",
        "log.jsonl",
        "again.parquet",
    }
    assert {where: found for where, content in left.items() if (found := secrets.found_in(content))} == {}
    keys = storage.keys()
    objects = {key: storage.client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}
    assert len(objects) > 3
    assert {key: found for key, body in objects.items() if (found := secrets.found_in(body))} == {}


ALSO = [pytest.mark.fresh, pytest.mark.soak]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        pytest.param("raise ValueError(kept[1], row)", 70, id="raised"),
        pytest.param("raise ValueError(kept[1], row)", 70, id="raised in a fresh interpreter", marks=ALSO),
        pytest.param("raise KeyboardInterrupt(kept)", 130, id="base", marks=ALSO),
        pytest.param(BESIDE, 70, id="beside"),
        pytest.param(BESIDE, 70, id="beside in a fresh interpreter", marks=ALSO),
        pytest.param(INVALID, 1, id="invalid", marks=ALSO),
        pytest.param("import asyncio; raise asyncio.CancelledError(kept)", 70, id="cancelled", marks=ALSO),
        pytest.param(DUMP, -signal.SIGABRT, id="abort"),
        pytest.param(DUMP, -signal.SIGABRT, id="abort in a fresh interpreter", marks=ALSO),
        pytest.param("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV, id="fault", marks=ALSO),
        pytest.param("os.kill(os.getpid(), signal.SIGQUIT)", -signal.SIGQUIT, id="quit", marks=ALSO),
    ],
)
def test_crash_with_a_password_in_its_frames_reports_only_places(
    how: str, code: int, tmp_path: Path, secrets: Secrets, bulkreset: Command, sim: Simulator
) -> None:
    # Where rich's tracebacks are installed, they show local variables. faulthandler reports a crash in C.
    first = (
        "from rich.traceback import install; install(show_locals=True)\n"
        "import faulthandler; faulthandler.enable()\n"
        "import signal; signal.signal(signal.SIGQUIT, signal.SIG_DFL)\n" + INJECTED % textwrap.indent(how, " " * 8)
    )
    source = write_csv(tmp_path / "in.csv", [("ann", secrets.password.password)])
    argv, run_dir = bulkreset.with_run_dir([*bulkreset.against(source), "--yes", "-vv", "--rate", "50"])
    with bulkreset.start(*argv, first=first) as process:
        stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, stderr
    assert secrets.found_in((stdout + stderr).encode()) == []
    assert {where for where, content in files(tmp_path, source) if secrets.found_in(content)} == set()
    if how is BESIDE:
        output_of = [line for line in stderr.splitlines() if "sitecustomize.py" in line]
        assert [line.partition(" at ")[0] for line in output_of if "a bug" in line] == [
            *["bulkreset: a bug outside the run: ValueError"] * 3,
            "bulkreset: a bug: BaseException",
        ]
        assert any("UserWarning" in line for line in output_of)
    if how is INVALID:
        assert "ParamValidationError" in (run_dir / "report.csv").read_text(encoding="utf-8")
    if how is DUMP:
        assert stdout == "dumpable: 0"
        assert not [path for path in tmp_path.iterdir() if path.name.startswith("core")]
    assert sim.calls(SET) == []
    assert run_dir.is_dir()


@pytest.mark.linux("/proc and prlimit")
@pytest.mark.fresh
@pytest.mark.soak
def test_no_process_of_a_run_leaves_its_memory_behind(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    """No core is dumped by the command line or by the workers of its cluster."""
    sim.configure(faults={"every": {"operation": SET, "hold": True}})
    source = write_csv(tmp_path / "in.csv", [(f"user.{n}", "Quiet-Garden.1") for n in range(200)])
    argv, run_dir = bulkreset.with_run_dir(
        [*bulkreset.against(source), "--yes", "--rate", "none", "--cluster", "local:2", "--limit", "60"]
    )
    with bulkreset.start(*argv) as process:
        wait_until(lambda: sim.calls(SET))
        pids = [int(one) for one in _below(process.pid)]
        limits = {pid: resource.prlimit(pid, resource.RLIMIT_CORE)[0] for pid in pids}
        names = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids}
        process.send_signal(signal.SIGTERM)
        sim.configure(faults={"every": None})
        finish(process, run_dir)
    assert sum(b"spawn_main" in name for name in names.values()) == 2
    senders = {pid for pid, name in names.items() if b"resource_tracker" not in name}
    assert {limits[pid] for pid in senders} == {0}


def _below(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _below(int(child))


def test_host_of_the_interface_hears_and_shows_no_secret(
    tmp_path: Path, secrets: Secrets, sim: Simulator, bulkreset: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host program logs everything, prints every result, and prints every exception with its attributes."""
    for name, value in bulkreset.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    heard: list[str] = []

    class ListHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(self.format(record) + repr(record.__dict__))

    handler = ListHandler()
    logging.getLogger().addHandler(handler)
    before = logging.getLogger().level
    logging.getLogger().setLevel(logging.DEBUG)
    refused = {"error": "AccessDeniedException", "operation": SET}
    sim.configure(faults={"echo_password": True, "every": refused})
    source = write_csv(tmp_path / "in.csv", [(f"user.{n}", secrets.password.password) for n in range(4)])
    tables = {
        "input": {"path": str(source)},
        "plan": {"check_users": False},
        "notify": {"urls": [f"json://127.0.0.1:1/{secrets.token.core}"]},
        "targets": [{"user_pool_id": POOL, "region": "us-east-1", "endpoint_url": sim.url}],
    }
    shown: list[object] = []
    try:
        job = api.load(tables)
        plan = api.dry_run(job)
        shown += [job, plan, plan.briefing, job.model_dump_json()]
        with pytest.raises(BulkresetError) as caught:
            api.apply(plan, on_progress=shown.append)
        shown += [caught.value, vars(caught.value)]
        link: BaseException | None = caught.value
        while link:
            trace = link.__traceback__
            while trace:
                if "bulkreset" in trace.tb_frame.f_code.co_filename:
                    shown.append(trace.tb_frame.f_locals)
                trace = trace.tb_next
            link = link.__cause__ or link.__context__
    finally:
        logging.getLogger().setLevel(before)
        logging.getLogger().removeHandler(handler)
    assert len(sim.calls(SET)) >= 1
    own = [one for one in shown if not (isinstance(one, dict) and "tables" in one)]
    assert secrets.found_in("\n".join([*heard, *map(repr, own), *map(str, own)]).encode()) == []
    assert {where for where, content in files(tmp_path, source) if secrets.found_in(content)} == set()


@pytest.mark.fresh
@pytest.mark.soak
def test_every_file_is_private_from_its_creation(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    """The umask allows everything. Only files for monitoring are readable to another user."""
    (tmp_path / "in").mkdir()
    source = write_csv(tmp_path / "in" / "mon.csv", [(f"user.{n}", "Quiet-Garden.1") for n in range(40)])
    more = '[pace]\nrate = 40\n[metrics]\ntextfile = "b.prom"\n[report]\nredact = "usernames"\n'
    job = write_job(tmp_path, sim.url, 'path = "in"\n[schedule]\nstate = "nightly.json"\ndone = "archive"', more)
    known = {*tmp_path.rglob("*")} | {tmp_path / "archive" / source.name}
    open_: dict[str, int] = {}

    def look() -> None:
        for path in {*tmp_path.rglob("*")} - known:
            try:
                found = path.lstat()
            except FileNotFoundError:  # deleted between listing and reading
                continue
            if stat.S_IMODE(found.st_mode) & 0o077 and not re.fullmatch(r"b\.prom|\.b\.prom\.\w+\.partial", path.name):
                open_[str(path)] = stat.S_IMODE(found.st_mode)

    init = (
        "init",
        "--kind",
        "file",
        "--permanent",
        "--name",
        "n",
        "--input",
        source,
        "--user-pool-id",
        POOL,
        "-o",
        "new.toml",
    )
    before = os.umask(0)
    try:
        for args in (("run", job, "--yes"), ("report", "HOME", "--redact", "none"), init):
            home = next((tmp_path / "runs").iterdir(), None) if (tmp_path / "runs").is_dir() else None
            with bulkreset.start(*(home if home and it == "HOME" else it for it in args)) as process:
                while process.poll() is None:
                    look()
                    time.sleep(0.002)
                assert finish(process, tmp_path).code == 0
    finally:
        os.umask(before)
    look()
    assert open_ == {}
    assert stat.S_IMODE((tmp_path / "b.prom").stat().st_mode) == 0o644
    assert (tmp_path / "new.toml").is_file()
    assert len([*tmp_path.rglob("redaction.key")]) == 1
