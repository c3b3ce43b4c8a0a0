"""Many inputs, local and in S3, through the real command line: one run, one report, and no changed input."""

import gzip
import io
import re
import signal
from pathlib import Path

import pandas as pd
import pytest

from tests.bucket import BUCKET, Storage
from tests.e2e.command import POOL, SET, Command, CommandResult, assert_they_agree, finish, people, write_csv, write_job
from tests.input.inputs import encrypted_file, key_file
from tests.sim import Simulator
from tests.waiting import wait_until

PACED = "[pace]\nrate = 40\nworkers = 2"


def started(bulkreset: Command, sim: Simulator, *argv: str | Path, calls: int = 8) -> CommandResult:
    """Start a run of more rows than are claimed at a time, and stop it with SIGINT while calls are held."""
    args, run_dir = bulkreset.with_run_dir(argv)
    sim.configure(faults={"every": {"hold": True, "operation": SET, "from_call": calls}})
    with bulkreset.start(*args) as process:
        wait_until(lambda: len(sim.calls(SET)) > calls)
        process.send_signal(signal.SIGINT)
        sim.configure(faults={"every": None})
        return finish(process, run_dir)


def resumed(bulkreset: Command, ran: CommandResult) -> CommandResult:
    with bulkreset.start("resume", ran.run_dir, "--rate", "none") as process:
        return finish(process, ran.run_dir)


def test_files_of_a_folder_are_one_run_and_resume_holds_to_them(bulkreset: Command, sim: Simulator) -> None:
    folder = bulkreset.home / "in"
    folder.mkdir()
    rows = people(90)
    for number in range(3):
        write_csv(folder / f"{number}.csv", rows[number * 30 : number * 30 + 30])
    job = write_job(bulkreset.home, sim.url, 'path = "in/*.csv"', PACED)
    ran = started(bulkreset, sim, "run", job, "--yes")
    assert ran.code == 130
    sent = len(sim.calls(SET))
    write_csv(folder / "1a.csv", [])
    refused = resumed(bulkreset, ran)
    assert (refused.code, refused.error_lines) == (
        2,
        ["bulkreset: The input 1a.csv was not there when the run was planned. Remove it, or plan a new run."],
    )
    (folder / "1a.csv").unlink()
    assert len(sim.calls(SET)) == sent
    again = resumed(bulkreset, ran)
    assert again.code == 0
    assert sim.passwords(POOL) == dict(rows)
    assert again.column("file") == [f"{number}.csv" for number in range(3) for _ in range(30)]
    assert again.summary["input"]["files"] == 3
    assert_they_agree(again, sim)


def test_objects_of_every_format_are_read_from_s3_and_never_lie_on_disk(
    bulkreset: Command, sim: Simulator, storage: Storage
) -> None:
    rows = people(60)
    key = key_file(bulkreset.home)
    plain = write_csv(bulkreset.home / "x.csv", rows[:20])
    storage.put("in/a.csv", plain)
    storage.put("in/b.csv.gz", gzip.compress(write_csv(plain, rows[20:30]).read_bytes()))
    storage.put("in/c.csv.age", encrypted_file(write_csv(plain, rows[30:40]), key))
    whole = io.BytesIO()
    pd.DataFrame(rows[40:], columns=["username", "password"]).to_parquet(whole)
    storage.put("in/d.parquet", whole.getvalue())
    (bulkreset.home / "x.csv.age").unlink()
    job = write_job(bulkreset.home, sim.url, f'path = "s3://{BUCKET}/in/"\nidentity = "{key.name}"', PACED)
    ran = started(bulkreset, sim, "run", job, "--yes")
    assert ran.code == 130
    assert re.match(
        r"bulkreset: Interrupted by SIGINT\. \d+ of 60 rows set\. Calls in progress were finished", ran.error_lines[0]
    )
    assert not [path for path in bulkreset.home.rglob("*") if path.is_file() and b"Quiet-Garden" in path.read_bytes()]
    again = resumed(bulkreset, ran)
    assert again.code == 0
    assert sim.passwords(POOL) == dict(rows)
    assert [again.column("file").count(name) for name in ("a.csv", "b.csv.gz", "c.csv.age", "d.parquet")] == [
        20,
        10,
        10,
        20,
    ]
    assert_they_agree(again, sim)


@pytest.mark.soak
def test_object_that_changes_or_may_not_be_read_is_refused(
    bulkreset: Command, sim: Simulator, storage: Storage
) -> None:
    uri = storage.put("in.csv", write_csv(bulkreset.home / "x.csv", people(60)))
    flags = ("--user-pool-id", POOL, "--region", "us-east-1", "--endpoint-url", sim.url, "--no-check-users", "--yes")
    ran = started(
        bulkreset, sim, "run", "--input", uri, *flags, "--rate", "40", "--workers", "2", "--read-timeout", "60"
    )
    assert ran.code == 130
    storage.put("in.csv", write_csv(bulkreset.home / "x.csv", people(61)))
    sent = len(sim.calls(SET))
    refused = resumed(bulkreset, ran)
    assert refused.code == 2
    assert f"The input {uri} has changed since it was planned." in refused.error_lines[0]
    storage.configure(faults=[["^(HEAD|GET) /nightly/in", 403, "AccessDenied", 99]])
    refused = bulkreset("run", "--input", uri, *flags)
    assert refused.code == 2
    assert f"Allow s3:GetObject on arn:aws:s3:::{BUCKET}/in.csv." in refused.error_lines[0]
    assert not refused.run_dir.exists()
    assert len(sim.calls(SET)) == sent
