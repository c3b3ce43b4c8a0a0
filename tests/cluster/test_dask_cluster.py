"""Runs on Dask's own scheduler and workers over TLS: output, refusals, and places without a password."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from bulkreset import api
from bulkreset.cli.options import parse_cluster
from bulkreset.cluster import dask_cluster
from bulkreset.cluster.dask_cluster import DaskCluster, WorkerRejected
from bulkreset.cluster.protocol import INFO, PROTOCOL, WorkerInfo, pack
from bulkreset.errors import ClusterError, JobError
from bulkreset.job import ClusterConfig
from bulkreset.job.file import load
from bulkreset.version import __version__
from tests.canary import Canary, files
from tests.cluster.dask_processes import ClusterCommand, DaskProcesses
from tests.e2e.command import POOL, SET, assert_they_agree, people, write_csv
from tests.sim import Simulator

OUT = "AdminUserGlobalSignOut"


def test_run_on_a_cluster_is_as_any_run_and_no_password_is_anywhere_else(
    bulkreset: ClusterCommand, sim: Simulator, dask_processes: DaskProcesses
) -> None:
    canary = Canary()
    sim.configure(faults={"echo_password": True, "users": {"user.3": [{"error": "InvalidPasswordException"}]}})
    source = write_csv(bulkreset.home / "users.csv", [(f"user.{n}", canary.password) for n in range(1, 61)])
    ran = bulkreset.reset(source, "--rate", "200", "--sign-out", "-vv")
    assert ran.code == 1
    assert ran.summary["counts"] == {"set": 59, "failed": 1}
    assert ran.summary["signed_out"] == {"done": 59, "failed": 0, "pending": 0}
    assert_they_agree(ran, sim)
    assert f"Cluster     {dask_processes.url}" in ran.stderr
    joined = [event["worker"] for event in ran.log if event["event"] == "worker_joined"]
    (worker,) = joined
    assert worker.startswith("tls://127.0.0.1:")
    assert {call.username for call in sim.calls(OUT)} == {
        row["username"] for row in ran.report if row["status"] == "set"
    }
    places = list(dask_processes.everything_shown())
    shown = b"\n".join(content for _, content in places)
    assert b"Run out-of-band function 'start_agent'" in shown, "or there is nothing to see"
    assert b"SecretEnvelope(********)" in shown, "Dask shows the arguments of what failed"
    assert b"bulkreset_exchange" in shown, "it is loud enough to show what is sent"
    assert canary.among(places) == set()
    assert dict(places)["dumps"] == b"{(0, 0)}"
    assert dask_processes.hidden.among(places) == {str(dask_processes.dump)}, (
        "what a task carries is in a dump: no row goes by a task"
    )
    assert not canary.is_in((ran.stdout + ran.stderr).encode())
    assert canary.among(files(bulkreset.home, source)) == set()


@pytest.mark.soak
def test_worker_of_another_version_is_refused_by_name(sim: Simulator, tmp_path: Path) -> None:
    other = tmp_path / "other" / "bulkreset-9.9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: bulkreset\nVersion: 9.9.9\n")
    with DaskProcesses(tmp_path / "cluster", sim, workers=0) as dask_processes:
        dask_processes.join({"PYTHONPATH": str(other.parent)})
        dask_processes.joined(1)
        on_it = ClusterCommand(tmp_path, sim, dask_processes.url, dask_processes.environment)
        ran = on_it.reset(write_csv(tmp_path / "users.csv", people(2)))
    assert ran.code == 2
    (sentence,) = ran.error_lines
    assert "The worker tls://127.0.0.1:" in sentence
    assert "it has bulkreset 9.9.9, and this is bulkreset 0.1.0" in sentence
    assert not ran.run_dir.exists()
    assert sim.calls(SET) == []


@pytest.mark.parametrize(
    "cluster", ["local:0", "local:99", "somewhere", "tcp://10.0.0.7:8786", "udp://127.0.0.1:1", "tls://"]
)
def test_cluster_that_cannot_be_is_refused(cluster: str) -> None:
    wanted = {"input.path": "users.csv", "targets.user_pool_id": POOL}
    with pytest.raises(JobError) as caught:
        load(None, wanted | parse_cluster(cluster))
    assert caught.value.exit_code == 2
    if cluster.startswith("tcp"):
        assert "only tls:// may leave this machine" in str(caught.value)


@pytest.mark.parametrize(
    "cluster", ["local:2", "tls://scheduler.dask:8786", "tcp://127.0.0.1:8786", "tls://[::1]:8786"]
)
def test_valid_cluster_is_used_and_none_removes_it(cluster: str) -> None:
    wanted = {"input.path": "users.csv", "targets.user_pool_id": POOL}
    job = load(None, wanted | parse_cluster(cluster))
    assert job.cluster.is_asked_for
    assert not load(None, job.model_dump(mode="json") | parse_cluster("none")).cluster.is_asked_for


@pytest.mark.parametrize("cluster", ["local:2", "tls://scheduler.dask:8786"])
def test_dry_run_refuses_a_job_if_dask_is_missing(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_csv(tmp_path / "users.csv", people(2))
    job = load(None, {"input.path": str(source), "targets.user_pool_id": POOL} | parse_cluster(cluster))
    monkeypatch.setattr(dask_cluster, "find_spec", lambda _name: None)
    with pytest.raises(JobError, match=r"bulkreset\[cluster\]") as caught:
        api.dry_run(job, run_dir=tmp_path / "run")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_cluster_over_tls_without_certificates_is_refused_before_a_connection() -> None:
    with pytest.raises(ClusterError, match="needs certificates") as caught:
        asyncio.run(DaskCluster(ClusterConfig(scheduler="tls://127.0.0.1:1")).connect())
    assert caught.value.exit_code == 2


class _Worker:
    """A worker's answer: its version, its protocol's version, and how far its clock is ahead."""

    def __init__(self, version: str | None = __version__, protocol: int = PROTOCOL, ahead: float = 0.0) -> None:
        self._version = version
        self._protocol = protocol
        self._ahead = ahead

    async def ask(self, _worker: str, op: str, **_fields: object) -> object:
        if op == "versions":
            return {"packages": {"bulkreset": self._version}}
        if op == "run":
            return {"status": "OK", "result": {"__Serialized__": 1}}
        return {"info": pack(INFO, (WorkerInfo(self._protocol, time.time() + self._ahead, 1),))}


@pytest.mark.parametrize(
    ("address", "says", "problem"),
    [
        ("tls://10.0.0.7:1", {}, None),
        ("tcp://127.0.0.1:1", {}, None),
        ("tls://10.0.0.7:1", {"ahead": 0.9}, None),
        ("tcp://10.0.0.7:1", {}, "passwords would go to it unencrypted over the network"),
        ("tls://10.0.0.7:1", {"version": "9.9.9"}, "it has bulkreset 9.9.9, and this is bulkreset"),
        ("tls://10.0.0.7:1", {"version": None}, "it has no bulkreset, and this is bulkreset"),
        ("tls://10.0.0.7:1", {"protocol": 99}, "it speaks version 99 of the protocol, and this is version"),
        ("tls://10.0.0.7:1", {"ahead": 3.0}, "its clock is 3.0 s from this one, and 1 s are allowed"),
        ("tls://10.0.0.7:1", {"ahead": -3.0}, "its clock is 3.0 s from this one"),
    ],
)
def test_requirements_of_a_worker(
    address: str, says: dict[str, Any], problem: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = DaskCluster(ClusterConfig(scheduler="tls://scheduler:8786"))
    monkeypatch.setattr(cluster, "_ask", _Worker(**says).ask)
    if problem is None:
        asyncio.run(cluster.handshake(address, "session"))
        return
    with pytest.raises(WorkerRejected, match=problem):
        asyncio.run(cluster.handshake(address, "session"))


@pytest.mark.parametrize("answer", [None, [], {}, {"packages": None}, {"packages": {"bulkreset": __version__}}])
def test_worker_whose_answer_is_nonsense_is_rejected(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = DaskCluster(ClusterConfig(scheduler="tls://scheduler:8786"))

    async def ask(_worker: str, _op: str, **_fields: object) -> object:
        return answer

    monkeypatch.setattr(cluster, "_ask", ask)
    with pytest.raises(WorkerRejected, match="cannot be used"):
        asyncio.run(cluster.handshake("tls://10.0.0.7:1", "session"))
