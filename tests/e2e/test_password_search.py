"""Run every command at every verbosity, and search all files, streams, arguments and variables for passwords."""

import csv
import shutil
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.bucket import BUCKET, Storage
from tests.canary import Canary, files, process_of
from tests.e2e.campaigns import make_key, write_campaign, write_names
from tests.e2e.command import LAX, PATIENCE, POOL, SET, Argument, Command, CommandResult, finish, write_csv, write_job
from tests.sim import Simulator

pytestmark = [pytest.mark.fresh, pytest.mark.soak, pytest.mark.timeout(300)]

VERBOSITIES: Sequence[Sequence[str]] = (
    ("--no-progress",),
    (),
    ("-v",),
    ("-vv",),
    ("--log-format", "json"),
    ("-vv", "--log-format", "json"),
)
FORMATS = ("csv", "parquet", "jsonl", "html")


class SearchedCommand:
    """The command line in a home that is searched for canaries all the time, except files that may contain them."""

    def __init__(self, bulkreset: Command, *canaries: Canary, except_for: Sequence[Path]) -> None:
        self.bulkreset, self.canaries, self.except_for = bulkreset, canaries, except_for
        self.found: set[str] = set()
        self.searches = self.commands = 0

    def __call__(self, *args: Argument) -> CommandResult:
        argv, run_dir = self.bulkreset.with_run_dir(args) if args[0] == "run" else (args, Path(args[-1]))
        self.commands += 1
        with self.bulkreset.start(*argv) as process:
            self._search(process.pid)
            while process.poll() is None:
                self._search(process.pid)
                time.sleep(0.1)  # between two searches
            ran = finish(process, run_dir)
        self._search()
        said = (f"what {args[0]} said", (ran.stdout + ran.stderr).encode())
        self.found |= {where for one in self.canaries for where in one.among([said])}
        assert self.found == set()
        return ran

    def _search(self, pid: int = 0) -> None:
        places = [*files(self.bulkreset.home, *self.except_for), *(process_of(pid) if pid else ())]
        self.found |= {where for one in self.canaries for where in one.among(places)}
        self.searches += 1


@pytest.mark.parametrize("how", VERBOSITIES, ids=" ".join)
def test_no_command_around_a_run_shows_a_password(
    how: Sequence[str], tmp_path: Path, bulkreset: Command, sim: Simulator, storage: Storage
) -> None:
    """Dry run, approved run, resume, resume from the mirror, status, reports, verify, its new input, init."""
    canary = Canary()
    people = [f"user.{n}" for n in range(1, 7)]
    sim.add_pool(POOL, people, LAX)
    refused, lost = {"error": "InvalidPasswordException"}, {"cut": "after"}
    sim.configure(faults={"echo_password": True, "users": {"user.2": [refused] * 2, "user.3": [lost] * 9}})
    source = write_csv(tmp_path / "in.csv", [(name, canary.password) for name in [*people, "not.there", ""]])
    more = f"""
        [pace]
        rate = 50
        max_attempts = 2
        [mirror]
        to = "s3://{BUCKET}/runs/"
        [report]
        html = true
    """
    job = write_job(tmp_path, sim.url, 'path = "in.csv"', textwrap.dedent(more), plan="")
    watched = SearchedCommand(bulkreset, canary, except_for=[source])
    reviewed = watched("run", job, "--dry-run", *how)
    assert reviewed.code == 1
    ran = watched("run", job, "--approved", reviewed.run_dir, *how)
    assert ran.summary["counts"] == {"set": 4, "failed": 1, "in_doubt": 1, "rejected": 2}
    assert watched("resume", "--failed", "--yes", *how, ran.run_dir).code == 1
    elsewhere = tmp_path / "elsewhere"
    assert watched("resume", f"s3://{BUCKET}/runs/{ran.run_dir.name}", "--yes", *how, "--run-dir", elsewhere).code == 1
    assert watched("status").code == watched("status", "--json", elsewhere).code == 0
    for form in FORMATS:
        assert watched("report", "--format", form, "-o", tmp_path / f"again.{form}", elsewhere).code == 0
    assert watched("report", "--format", "jsonl", "-o", "-", elsewhere).code == 0
    assert watched("verify", "--within", "30", "--reissue", "expired.csv", elsewhere).code == 1
    assert (tmp_path / "expired.csv").read_text(encoding="utf-8").count("user.") >= 1
    new = ("--kind", "file", "--name", "new", "--input", source, "--user-pool-id", POOL, "--permanent")
    assert watched("init", *new, "-o", tmp_path / "new.toml").code == 0
    assert canary.password in {call.password for call in sim.calls(SET)}
    keys = storage.keys()
    objects = [(key, storage.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()) for key in keys]
    assert len(objects) > 3
    assert canary.among(objects) == set()
    assert watched.searches >= 2 * watched.commands
    assert not [path for path in tmp_path.glob("*") if "history" in path.name]


@pytest.mark.parametrize("where", ["output", "terminal"])
def test_generated_passwords_are_only_in_decrypted_files(
    where: str, tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    """A run, its status and verification; then the passwords, decrypted to a file or to standard output."""
    key = make_key(tmp_path)
    people = [f"user.{n}" for n in range(8)]
    sim.add_pool(POOL, people, LAX)
    job = write_campaign(bulkreset, write_names(tmp_path, people), key, more="[pace]\nrate = 60\n", plan="")
    ran = bulkreset("run", job, "--yes", "-vv")
    assert ran.code == 0
    made = [Canary(str(call.password)) for call in sim.calls(SET)]
    assert len(made) == 8
    shutil.copytree(ran.run_dir, tmp_path / "kept")
    out = tmp_path / "opened.csv"
    watched = SearchedCommand(bulkreset, *made, except_for=[out])
    assert watched("verify", "--reissue", "again.csv", "--within", "30", ran.run_dir).code in {0, 1}
    assert watched("report", "--format", "parquet", "-o", tmp_path / "again.parquet", ran.run_dir).code == 0
    if where == "output":
        assert watched("passwords", "--identity", key.path, "-o", out, ran.run_dir).code == 0
        opened = out.read_text(encoding="utf-8")
    else:
        with bulkreset.start("passwords", "--identity", key.path, ran.run_dir) as process:
            opened, told = process.communicate(timeout=PATIENCE)
        assert not [one for one in made if one.is_in(told.encode())]
        assert not [one for one in made if one.among(files(tmp_path))]
    assert {row["password"] for row in csv.DictReader(opened.splitlines())} == {one.password for one in made}
