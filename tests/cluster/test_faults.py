"""Kill real processes of a cluster midway: no row is lost, no finished row is sent again, and the rate holds."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cluster.dask_processes import ClusterCommand, DaskProcesses, kill, until
from tests.crash.test_resume import hold, let_go, resume, sent
from tests.e2e.command import SET, assert_they_agree, people, write_csv
from tests.lanes.lane_targets import ALL, create_pools, mixed, users, write_input, write_job
from tests.sim import Simulator

pytestmark = [
    pytest.mark.linux("/proc, for the children and threads of processes"),
    pytest.mark.soak,
    pytest.mark.timeout(300),
]
LATE = 2.0  # seconds by which a call may arrive late on a busy machine: a lease with twice the rate takes longer


def assert_rate(times: Sequence[float], rate: float) -> None:
    """Check that no window of w seconds has more than rate·w + 1 calls."""
    for first in range(len(times)):
        for last in range(first + 1, len(times)):
            assert last - first + 1 <= rate * (times[last] - times[first] + LATE) + 1


def test_workers_killed_one_after_the_other_cost_two_batches_each_and_no_row(tmp_path: Path, sim: Simulator) -> None:
    with DaskProcesses(tmp_path / "cluster", sim, workers=2) as dask_processes:
        dask_processes.joined(2)
        bulkreset = ClusterCommand(tmp_path, sim, dask_processes.url, dask_processes.environment)
        sim.configure(latency=0.05)
        run_dir = tmp_path / "run"
        source = write_csv(tmp_path / "users.csv", people(240))
        argv = (*bulkreset.against(source), "--yes", "--rate", "40", "--run-dir", run_dir)
        with bulkreset.start(*argv) as process:
            until(lambda: len(sim.calls(SET)) > 40)
            kill(dask_processes.workers[0])
            until(lambda: len(sim.calls(SET)) > 100)
            dask_processes.join()
            dask_processes.joined(3)
            kill(dask_processes.workers[1])
            stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
        assert "240 rows: 240 set" in stdout
        ran = resume(bulkreset, run_dir)
    assert ran.summary["counts"] == {"set": 240}
    doubted = {row["username"] for row in ran.report if row["in_doubt"] == "true"}
    lost = [event for event in ran.log if event["event"] == "worker_lost"]
    assert lost
    assert all(event["in_doubt"] <= 80 for event in lost)
    assert sum(event["in_doubt"] for event in lost) == len(doubted)
    times = [call.username for call in sim.calls(SET)]
    assert {name for name in times if times.count(name) > 1} <= doubted
    assert_rate([call.time for call in sim.calls(SET)], 40)


def test_killed_scheduler_stops_the_run_which_continues_without_a_cluster(tmp_path: Path, sim: Simulator) -> None:
    with DaskProcesses(tmp_path / "cluster", sim, workers=1) as dask_processes:
        dask_processes.joined(1)
        bulkreset = ClusterCommand(tmp_path, sim, dask_processes.url, dask_processes.environment)
        run_dir = tmp_path / "run"
        source = write_csv(tmp_path / "users.csv", people(300))
        argv = (*bulkreset.against(source), "--yes", "--rate", "30", "--run-dir", run_dir)
        hold(sim, 20)
        with bulkreset.start(*argv) as process:
            sent(sim, 20)
            kill(dask_processes.scheduler)
            let_go(sim)
            _, stderr = process.communicate(timeout=90)
        assert process.returncode == 3
        (sentence,) = (line for line in stderr.splitlines() if line.startswith("bulkreset: "))
        assert sentence.startswith(f"bulkreset: The scheduler of the cluster ({dask_processes.url}) is lost.")
        assert f"Resume with: bulkreset resume {run_dir}" in stderr
        before = [call.username for call in sim.calls(SET)]
    again = resume(bulkreset, run_dir, "--rate", "none", "--cluster", "none")
    assert (again.code, again.summary["counts"]) == (0, {"set": 300})
    after = [call.username for call in sim.calls(SET)][len(before) :]
    twice = {name for name in after if name in before}
    assert twice <= {row["username"] for row in again.report if row["in_doubt"] == "true"}
    assert len(twice) <= 60


@pytest.mark.parametrize("how", ["none", "local:2"])
def test_killed_coordinator_is_resumed_and_no_rate_is_doubled(tmp_path: Path, sim: Simulator, how: str) -> None:
    with DaskProcesses(tmp_path / "cluster", sim, workers=2) as dask_processes:
        dask_processes.joined(2)
        bulkreset = ClusterCommand(tmp_path, sim, dask_processes.url, dask_processes.environment)
        run_dir = tmp_path / "run"
        source = write_csv(tmp_path / "users.csv", people(200))
        argv = (*bulkreset.against(source), "--yes", "--rate", "20", "--run-dir", run_dir)
        hold(sim, 30)
        with bulkreset.start(*argv) as process:
            sent(sim, 30)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        let_go(sim)
        again = resume(bulkreset, run_dir, "--cluster", how)
    assert (again.code, again.summary["counts"]) == (0, {"set": 200})
    times = [call.username for call in sim.calls(SET)]
    doubted = {row["username"] for row in again.report if row["in_doubt"] == "true"}
    assert {name for name in times if times.count(name) > 1} <= doubted
    assert len(doubted) <= 40
    assert_rate([call.time for call in sim.calls(SET)], 20)


def test_lane_of_a_killed_local_worker_continues_at_once(tmp_path: Path, sim: Simulator) -> None:
    bulkreset = ClusterCommand(tmp_path, sim, "local:2")
    run_dir = tmp_path / "run"
    source = write_csv(tmp_path / "users.csv", people(160))
    argv = (*bulkreset.against(source), "--yes", "--rate", "20", "--run-dir", run_dir)
    hold(sim, 30)
    with bulkreset.start(*argv) as process:
        sent(sim, 30)
        for worker in _descendants(process.pid):
            if b"spawn_main" in Path(f"/proc/{worker}/cmdline").read_bytes() and _threads(worker) > 8:
                os.kill(worker, signal.SIGKILL)
                break
        let_go(sim)
        _, stderr = process.communicate(timeout=90)
    assert process.returncode == 0, stderr
    ran = resume(bulkreset, run_dir, "--cluster", "none")
    assert ran.summary["counts"] == {"set": 160}
    assert [event for event in ran.log if event["event"] == "worker_joined"][2:], "Dask's nanny starts it again"
    assert_rate([call.time for call in sim.calls(SET)], 20)


def test_interrupted_cluster_finishes_calls_in_flight(tmp_path: Path, sim: Simulator) -> None:
    """Ctrl-C goes to every process of the terminal: only the coordinator may react."""
    bulkreset = ClusterCommand(tmp_path, sim, "local:2")
    run_dir = tmp_path / "run"
    source = write_csv(tmp_path / "users.csv", people(200))
    argv = (*bulkreset.against(source), "--yes", "--rate", "30", "--run-dir", run_dir)
    hold(sim, 20)
    with bulkreset.start(*argv) as process:
        sent(sim, 20)
        os.killpg(process.pid, signal.SIGINT)
        let_go(sim)
        _, stderr = process.communicate(timeout=90)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    ran = resume(bulkreset, run_dir, "--limit", "1", "--cluster", "none")
    assert ran.summary["counts"].keys() == {"set", "unprocessed"}
    assert_they_agree(ran, sim)
    assert not [row for row in ran.report if row["in_doubt"] == "true"]


def test_many_lanes_share_the_workers_and_each_keeps_its_pace(tmp_path: Path, sim: Simulator) -> None:
    bulkreset = ClusterCommand(tmp_path, sim, "local:2")
    env = create_pools(bulkreset, sim)
    lines = mixed([line for place in ALL for line in users(place, 90)], "interleaved")
    job = write_job(bulkreset, sim, ALL, write_input(bulkreset.home, lines), "[pace]\nrate = 30\n")
    ran = bulkreset("run", job, "--yes", env=env)
    assert ran.code == 0
    assert_they_agree(ran, sim)
    for place in ALL:
        times = [call.time for call in sim.calls(SET) if call.pool == place.pool]
        assert len(times) == 90
        assert_rate(times, 30)


def _descendants(pid: int) -> list[int]:
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return sorted({*found, *(inner for child in set(found) for inner in _descendants(child))})


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
