"""Dask's own commands over TLS on two hosts, each a network namespace. The cable between them is cut midway."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import distributed
import pytest
import trustme

from tests.e2e.command import WITHOUT_PAGE, Command, CommandResult, finish, write_csv
from tests.e2e.live import query, rows_set
from tests.peers.conftest import Tried
from tests.peers.parts import run
from tests.peers.user_pools import OLD, SIGNED_IN, Pool, make_pool, ministack
from tests.sim import Simulator
from tests.waiting import wait_until

_NAMES: Final = (f"peers-a-{os.getpid()}", f"peers-b-{os.getpid()}")
_CABLE: Final = ("cable-a", "cable-b")
HERE, THERE = "10.77.0.1", "10.77.0.2"
_CLONE_NEWNET: Final = 0x40000000
DASK: Final = Path(sys.executable).with_name("dask")


@pytest.fixture
def two_hosts() -> Iterator[tuple[str, str]]:
    """The names of two network namespaces that are connected only to each other."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    made: list[str] = []
    try:
        for name in _NAMES:
            try:
                run("ip", "netns", "add", name)
            except AssertionError as error:
                pytest.skip(f"no network namespace can be made here: {error}")
            made.append(name)
        first, second = _NAMES
        run("ip", "-n", first, "link", "add", _CABLE[0], "type", "veth", "peer", "name", _CABLE[1], "netns", second)
        for name, cable, address in zip(_NAMES, _CABLE, (HERE, THERE), strict=True):
            run("ip", "-n", name, "address", "add", f"{address}/24", "dev", cable)
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "link", "set", cable, "up")
        yield first, second
    finally:
        for name in made:
            run("ip", "netns", "delete", name)


def on(host: str, work: Callable[[], None]) -> None:
    """Call a function in a thread on this host; its processes are there, too. Raises what it raises."""
    failed: list[BaseException] = []

    def entered() -> None:
        try:
            with Path("/run/netns", host).open("rb") as namespace:
                assert ctypes.CDLL(None).setns(namespace.fileno(), _CLONE_NEWNET) == 0
            work()
        except BaseException as error:  # noqa: BLE001  (raised below)
            failed.append(error)

    thread = threading.Thread(target=entered)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def certify(folder: Path) -> list[str]:
    """Write a certificate authority and a certificate for both hosts; return the options of each Dask command."""
    authority = trustme.CA()
    mine = authority.issue_cert(HERE, THERE)
    authority.cert_pem.write_to_path(folder / "ca.crt")
    mine.private_key_pem.write_to_path(folder / "tls.key")
    mine.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    return [f"--tls-ca-file={folder}/ca.crt", f"--tls-cert={folder}/tls.crt", f"--tls-key={folder}/tls.key"]


@contextmanager
def cluster(folder: Path, there: str, env: dict[str, str]) -> Iterator[dict[str, str]]:
    """A scheduler and a worker on this host and a worker on the other, started as in docs/operations.md.

    Returns the variables that a coordinator needs.
    """
    tls = certify(folder)
    worker: list[str | Path] = [DASK, "worker", f"tls://{HERE}:8786", "--nthreads=1", "--no-nanny", "--no-dashboard"]
    worker += [f"--local-directory={folder}", "--death-timeout=60", *tls]
    commands: Sequence[Sequence[str | Path]] = [
        [DASK, "scheduler", "--protocol=tls", "--port=8786", "--no-dashboard", *tls],
        worker,
        ["ip", "netns", "exec", there, *worker],
    ]
    processes: list[subprocess.Popen[bytes]] = []
    logs = [folder / f"dask-{number}.log" for number in range(len(commands))]
    try:
        for command, log in zip(commands, logs, strict=True):
            with log.open("wb") as out:
                argv = list(map(str, command))
                processes.append(
                    subprocess.Popen(argv, stdout=out, stderr=out, cwd=folder, env=env, start_new_session=True)
                )
        wait_until(lambda: all("Registered to" in log.read_text() for log in logs[1:]), patience=180)
        names = {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": f"{folder}/ca.crt"}
        names |= {"DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT": f"{folder}/tls.crt"}
        names |= {"DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY": f"{folder}/tls.key"}
        yield names
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def two_lanes(home: Path, pools: Sequence[Pool]) -> tuple[Path, list[tuple[str, str, str]]]:
    rows = [(user, f"Quiet-Garden.{number:03d}", pool.id) for pool in pools for number, user in enumerate(pool.users)]
    write_csv(home / "users.csv", rows, header=("username", "password", "user_pool_id"))
    job = home / "job.toml"
    text = 'permanent = true\n[input]\npath = "users.csv"\n' + "".join(pool.target() for pool in pools)
    job.write_text(f"{text}[pace]\nrate = 4\n{WITHOUT_PAGE}", encoding="utf-8")
    return job, rows


def test_lanes_of_a_host_that_is_cut_off_move(two_hosts: tuple[str, str], tmp_path: Path, tried: Tried) -> None:
    here, there = two_hosts
    home, run_dir = tmp_path / "home", tmp_path / "home" / "run"
    home.mkdir()

    def pulled() -> None:
        with Simulator() as sim, ministack(tmp_path / "ministack", HERE) as cognito:
            command = Command(home, sim, fresh=True)
            command.environment |= {"AWS_ENDPOINT_URL_STS": cognito.url}
            pools = [make_pool(replace(cognito, region=region), 60) for region in ("us-east-1", "eu-west-1")]
            job, rows = two_lanes(home, pools)
            with cluster(tmp_path, there, command.environment) as names:
                begin = ("run", job, "--yes", "--run-dir", run_dir, "--cluster", f"tls://{HERE}:8786", "-v")
                with command.start(*begin, env=names) as process:
                    wait_until(lambda: process.poll() is not None or rows_set(run_dir) >= 24)
                    run("ip", "-n", there, "link", "set", _CABLE[1], "down")
                    ended = finish(process, run_dir, patience=300)
            ran = CommandResult(ended.code, ended.stdout, ended.stderr, run_dir)
            assert (ran.code, ran.summary["counts"]) == (0, {"set": 120}), ran.stderr
            joined = {event["worker"] for event in ran.log if event["event"] == "worker_joined"}
            assert {worker.split(":")[1].strip("/") for worker in joined} == {HERE, THERE}
            (lost,) = {event["worker"] for event in ran.log if event["event"] == "worker_lost"}
            assert f"//{THERE}:" in lost
            assert query(run_dir, "SELECT count(*) FROM rows WHERE status = 'set'") == [(120,)]
            by_id = {pool.id: pool for pool in pools}
            assert {by_id[pool].boto3(user, password) for user, password, pool in rows} == {SIGNED_IN}
            assert pools[0].boto3(pools[0].users[0], OLD) != SIGNED_IN

    on(here, pulled)
    tried(
        f"distributed {distributed.__version__}",
        "scheduler and worker on one host, worker on another, over TLS; 120 rows in two Regions; the cable is pulled: the"
        " lane moves, all 120 sign in",
    )
