"""No password appears in a cluster with full logging: while it sends, after our own failure, after a kill."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkreset.cluster import secret_envelope
from bulkreset.cognito import boto3_transport
from bulkreset.send import lane, operations
from tests.canary import Canary, files, process_of
from tests.cluster.dask_processes import ClusterCommand, DaskProcesses, kill, until
from tests.crash.test_resume import resume
from tests.e2e.command import SET, write_csv
from tests.sim import Simulator

pytestmark = [pytest.mark.linux("/proc, for the memory of processes"), pytest.mark.soak, pytest.mark.timeout(300)]

# Code of ours that fails on a worker with the row and its password in its frames; tracebacks show local variables.
FAILS = """
from rich.traceback import install
install(show_locals=True)
import %s as module
def fail(self, *args):
    kept = [args, [getattr(one, "password", one) for one in args]]
    kept += [one.reveal() for one in kept[1] if hasattr(one, "reveal")]
    raise %s
module.%s = fail
"""
# Turns on the debug output of libraries in a worker before the handshake.
LOUDER = """
import http.client, boto3
for name in ("", "botocore", "botocore.endpoint", "botocore.auth", "urllib3.connectionpool"):
    boto3.set_stream_logger(name, 1)
http.client.HTTPConnection.debuglevel = 9
"""
PLACES = {
    "transport": (boto3_transport.__name__, "ValueError(kept)", "BotoTransport.set_password"),
    "operation": (operations.__name__, "RuntimeError(*kept)", "SetPassword.send"),
    "base": (operations.__name__, "BaseException(*kept)", "SetPassword.send"),
    "batch": (lane.__name__, "KeyError(args, [one.password.reveal() for one in args[0]])", "Lane.put"),
    "envelope": (secret_envelope.__name__, "ValueError(self._packed)", "SecretEnvelope.unpack"),
}


def among(
    canary: Canary, dask_processes: DaskProcesses, bulkreset: ClusterCommand, source: Path, said: str
) -> set[str]:
    """Return the places with the canary in everything that cluster and run have shown and written."""
    return canary.among([*dask_processes.everything_shown(), *files(bulkreset.home, source), ("said", said.encode())])


def rows(canary: Canary, number: int) -> Iterator[tuple[str, str]]:
    return ((f"user.{n}", canary.password) for n in range(number))


@pytest.mark.parametrize("where", PLACES)
def test_failing_code_on_a_worker_reports_only_its_place(where: str, tmp_path: Path, sim: Simulator) -> None:
    canary = Canary()
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(FAILS % PLACES[where], encoding="utf-8")
    source = write_csv(tmp_path / "in.csv", rows(canary, 8))
    with DaskProcesses(tmp_path / "cluster", sim, workers=0) as dask_processes:
        dask_processes.join({"PYTHONPATH": str(site)})
        dask_processes.joined(1)
        bulkreset = ClusterCommand(tmp_path, sim, dask_processes.url, dask_processes.environment)
        argv, _ = bulkreset.with_run_dir([*bulkreset.against(source), "--yes", "-vv", "--rate", "40"])
        with bulkreset.start(*argv) as process:
            stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 70, stderr
        assert "bulkreset: A bug" in stderr, stderr
        assert among(canary, dask_processes, bulkreset, source, stdout + stderr) == set()
    assert sim.calls(SET) == []


def test_cluster_shows_nothing_while_it_sends_and_once_a_worker_is_killed(tmp_path: Path, sim: Simulator) -> None:
    """Its pages, call stacks and dumps are read while rows are in flight."""
    canary = Canary()
    sim.configure(
        latency=0.2, faults={"echo_password": True, "users": {"user.3": [{"error": "InternalErrorException"}]}}
    )
    source = write_csv(tmp_path / "in.csv", rows(canary, 240))
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(LOUDER, encoding="utf-8")
    with DaskProcesses(tmp_path / "cluster", sim, workers=0) as dask_processes:
        dask_processes.workers += [dask_processes.join({"PYTHONPATH": str(site)}) for _ in range(2)]
        dask_processes.joined(2)
        bulkreset = ClusterCommand(tmp_path, sim, dask_processes.url, dask_processes.environment)
        run_dir = tmp_path / "run"
        argv = (
            *bulkreset.against(source),
            "--yes",
            "-vv",
            "--rate",
            "20",
            "--run-dir",
            run_dir,
            "--log-format",
            "json",
        )
        found: set[str] = set()
        with bulkreset.start(*argv) as process:
            until(lambda: len(sim.calls(SET)) > 10)
            for pid in (process.pid, *(one.pid for one in dask_processes.processes)):
                found |= canary.among(process_of(pid))
            found |= canary.among(dask_processes.everything_shown())
            assert process.poll() is None, "it was looked at while it sent"
            holder = max(dask_processes.workers, key=lambda one: _sent(one.pid))
            kill(holder)
            dask_processes.workers.remove(holder)
            found |= canary.among(files(tmp_path, source))
            process.send_signal(signal.SIGTERM)
            stdout, stderr = process.communicate(timeout=120)
        assert process.returncode in {143, 3}, stderr
        found |= among(canary, dask_processes, bulkreset, source, stdout + stderr)
        ran = resume(bulkreset, run_dir, "--rate", "none")
        found |= among(canary, dask_processes, bulkreset, source, ran.stdout + ran.stderr)
    assert found == set()
    assert ran.summary["counts"] == {"set": 240}


def test_processes_of_a_local_cluster_show_nothing(tmp_path: Path, sim: Simulator) -> None:
    """Dask's and Python's debug switches are on; one process aborts."""
    canary = Canary()
    sim.configure(latency=0.1)
    bulkreset = ClusterCommand(tmp_path, sim, "local:2")
    source = write_csv(tmp_path / "in.csv", rows(canary, 120))
    run_dir = tmp_path / "run"
    loud = {"DASK_LOGGING__DISTRIBUTED": "debug", "PYTHONASYNCIODEBUG": "1", "PYTHONFAULTHANDLER": "1"}
    argv = (*bulkreset.against(source), "--yes", "-vv", "--rate", "20", "--run-dir", run_dir)
    with bulkreset.start(*argv, env=loud) as process:
        until(lambda: len(sim.calls(SET)) > 20)
        ours = [pid for pid in _below(process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        found = {where for pid in (process.pid, *ours) for where in canary.among(process_of(pid))}
        found |= canary.among(files(tmp_path, source))
        os.kill(ours[0], signal.SIGABRT)
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    found |= canary.among([*files(tmp_path, source), ("said", (stdout + stderr).encode())])
    assert found == set()
    assert not [path for path in tmp_path.rglob("core*") if path.is_file()]


def _sent(pid: int) -> int:
    """Return the processor time of a process: the one that sends uses more."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _below(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text(encoding="ascii").split()):
            yield child
            yield from _below(child)
