"""An encrypted input in a whole run: exact passwords, decryption in memory only, early refusals."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.command import LAX, POOL, SET, Command, assert_they_agree, finish, people, write_csv, write_job
from tests.e2e.program import Program
from tests.input.inputs import encrypted_file, key_file
from tests.sim import Simulator
from tests.waiting import wait_until

OTHERS = ("us-west-2_Test00002", "eu-west-1_Test00003")  # of other Regions, so each has its own lane
NAMES = ["users.csv", "users.csv.gz", "users.parquet"]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return key_file(tmp_path)


def encrypted_input(folder: Path, name: str, rows: Sequence[Sequence[str]], header: Sequence[str], key: Path) -> Path:
    """Encrypt rows into a file of that name."""
    frame = pd.DataFrame(rows, columns=list(header))
    path = folder / name
    if name.endswith("parquet"):
        frame.to_parquet(path, row_group_size=1000)
    else:
        frame.to_csv(path, index=False)  # gzip, because of the name
    return encrypted_file(path, key)


def _holds(content: bytes, secret: bytes) -> bool:
    return secret in content or secret.decode().encode("utf-16-le") in content


def places(folder: Path, process: subprocess.Popen[str] | None) -> Iterator[tuple[str, bytes]]:
    """Return every file below `folder`, and the unnamed files that a process has open.

    `folder` is home, working and temporary directory.
    """
    found = [path for path in folder.rglob("*") if path.is_file()]
    for path in Path(f"/proc/{process.pid}/fd").glob("*") if process else ():
        with suppress(OSError):
            if str(path.readlink()).endswith("(deleted)"):
                found.append(path)
    for path in found:
        with suppress(OSError):  # deleted between listing and reading
            yield str(path), path.read_bytes()


@pytest.mark.parametrize("name", [NAMES[1], *(pytest.param(name, marks=pytest.mark.soak) for name in NAMES[::2])])
def test_encrypted_input_is_set_and_nothing_of_it_is_on_disk(
    tmp_path: Path, key: Path, name: str, bulkreset: Command, sim: Simulator
) -> None:
    secret = "Hush-7f3a9c.Garden"
    pools = (POOL, *OTHERS)
    for pool in OTHERS:
        sim.add_pool(pool, policy=LAX, auto_users=True)
    # All rows of one lane come after the others', so reading goes back and forth.
    rows = [(f"user{row:05d}", f"{secret}{row:05d}", pools[row // 3000]) for row in range(0, 9000, 45)]
    path = encrypted_input(tmp_path, name, rows, ("username", "password", "user_pool_id"), key)
    # The last lane's first call is held until everything was searched.
    sim.configure(faults={"every": {"hold": True, "operation": SET, "pool": OTHERS[-1]}})
    more = "\n".join(
        f'[[targets]]\nuser_pool_id = "{pool}"\nregion = "{pool.partition("_")[0]}"\nendpoint_url = "{sim.url}"\n'
        "read_timeout = 60.0"
        for pool in OTHERS
    )
    input_ = f'path = "{path.name}"\nidentity = "{key.name}"'
    job = write_job(tmp_path, sim.url, input_, f"{more}\n[pace]\nrate = 300")
    argv, run_dir = bulkreset.with_run_dir(["run", job, "--yes"])
    with bulkreset.start(*argv) as process:
        wait_until(lambda: {call.pool for call in sim.calls(SET)} == set(pools))
        found = {where for where, content in places(tmp_path, process) if _holds(content, secret.encode())}
        sim.configure(faults={"every": None})
        ran = finish(process, run_dir)
    found |= {where for where, content in places(tmp_path, None) if _holds(content, secret.encode())}
    assert found == set()
    assert (ran.code, ran.error_lines) == (0, [])
    for pool in pools:
        assert sim.passwords(pool) == {username: word for username, word, named in rows if named == pool}
    assert ran.summary["input"]["path"] == str(path)
    assert ran.summary["input"]["size"] == path.stat().st_size
    assert_they_agree(ran, sim)


@pytest.mark.parametrize("name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.soak) for name in NAMES[1:])])
def test_run_of_an_encrypted_input_is_resumed(
    tmp_path: Path, key: Path, name: str, bulkreset: Command, sim: Simulator
) -> None:
    rows = people(60)  # more rows than are claimed at a time: some cannot have been sent when the signal comes
    path = encrypted_input(tmp_path, name, rows, ("username", "password"), key)
    sim.configure(faults={"every": {"hold": True, "operation": SET, "from_call": 4}})
    input_ = f'path = "{path.name}"\nidentity = "{key.name}"'
    job = write_job(tmp_path, sim.url, input_, "[pace]\nrate = 40\nworkers = 2")
    argv, run_dir = bulkreset.with_run_dir(["run", job, "--yes"])
    with bulkreset.start(*argv) as process:
        wait_until(lambda: len(sim.calls(SET)) == 5)
        process.send_signal(signal.SIGINT)
        sim.configure(faults={"every": None})
        ran = finish(process, run_dir)
    assert (ran.code, ran.summary["state"]) == (130, "interrupted")
    assert_they_agree(ran, sim)
    sent = len(sim.calls(SET))
    moved = key.rename(tmp_path / "elsewhere.txt")
    with bulkreset.start("resume", run_dir) as process:
        ran = finish(process, run_dir)
    assert ran.code == 2
    assert "identity file" in ran.error_lines[0]
    assert len(sim.calls(SET)) == sent
    moved.rename(key)
    with bulkreset.start("resume", run_dir, "--rate", "none") as process:
        ran = finish(process, run_dir)
    assert ran.code == 0
    assert sim.passwords(POOL) == dict(rows)
    assert_they_agree(ran, sim)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("no identity", "the job has no input.identity"),
        ("no key file", "cannot be read: No such file or directory"),
        ("another key", "no private key of the identity file matches"),
        ("cut short", "it is damaged"),
        ("not encrypted", "is not an age file"),
    ],
)
def test_unreadable_input_is_refused_before_anything_is_sent(
    tmp_path: Path, key: Path, harm: str, said: str, program: Program, sim: Simulator
) -> None:
    secret = "Hush-7f3a9c.Garden"
    rows = [(f"user{row:05d}", f"{secret}{row}") for row in range(30_000 if harm == "cut short" else 10)]
    path = encrypted_input(tmp_path, "users.csv", rows, ("username", "password"), key)
    input_ = f'path = "{path.name}"\nidentity = "{key.name}"'
    if harm == "no identity":
        input_ = f'path = "{path.name}"'
    elif harm == "no key file":
        key.unlink()
    elif harm == "another key":
        key_file(tmp_path)
    elif harm == "cut short":  # after the first chunk of rows
        os.truncate(path, path.stat().st_size * 9 // 10)
    else:
        write_csv(path, rows)
    ran = program.apply(write_job(tmp_path, sim.url, input_))
    assert ran.code == 2
    assert said in ran.error_lines[0]
    assert secret not in ran.stderr
    assert sim.calls(SET) == []
    assert not ran.run_dir.exists()


def test_approved_run_needs_no_key_in_the_same_place(
    tmp_path: Path, key: Path, bulkreset: Command, sim: Simulator
) -> None:
    rows = people(3)
    path = encrypted_input(tmp_path, "users.csv", rows, ("username", "password"), key)
    job = write_job(tmp_path, sim.url, f'path = "{path.name}"\nidentity = "{key.name}"')
    reviewed = bulkreset("run", job, "--dry-run")
    assert reviewed.code == 0
    key.rename(tmp_path / "mine.txt")
    job = write_job(tmp_path, sim.url, f'path = "{path.name}"\nidentity = "mine.txt"')
    ran = bulkreset("run", job, "--approved", reviewed.run_dir)
    assert (ran.code, ran.error_lines) == (0, [])
    assert sim.passwords(POOL) == dict(rows)
