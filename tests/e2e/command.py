"""Run the command line in a test, and read all its files and output."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

from tests.e2e.preloaded_command import FIRST, Started, Warm, can_warm
from tests.sim import Call, Simulator
from tests.sim.handle import ACCESS_KEY, SIGNING_KEY

ROOT: Final = Path(__file__).resolve().parents[2]
SAMPLES: Final = ROOT / "samples"
POOL: Final = "us-east-1_Test00001"
REGION: Final = "us-east-1"
ACCOUNT: Final = "123456789012"
SET: Final = "AdminSetUserPassword"
PATIENCE: Final = 90.0
# What may be asked at any time: it changes nothing, and makes no user a billed one (as AdminGetUser would).
FREE: Final = frozenset(
    {
        *("DescribeUserPool", "GetProvisionedLimit", "ListUsers", "ListUsersInGroup"),
        *("GetUserPoolMfaConfig", "GetUserPoolSessionConfiguration"),
        *("ListUserPoolReplicas", "ListPointInTimeRecoveries"),
        *("GetServiceQuota", "GetAWSDefaultServiceQuota", "GetCallerIdentity"),
    }
)
THROTTLED: Final = frozenset(
    {"TooManyRequestsException", "ThrottlingException", "Throttling", "RequestLimitExceeded", "LimitExceededException"}
)
# A pool whose policy takes any password that the syntax takes.
LAX: Final = {
    "MinimumLength": 1,
    "RequireUppercase": False,
    "RequireLowercase": False,
    "RequireNumbers": False,
    "RequireSymbols": False,
}
WITHOUT_PAGE: Final = "\n[report]\nhtml = false\n"  # it costs a fifth of a short run; tests/e2e/test_page.py draws it
Argument = str | Path
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Ran:
    """One execution of the command line, ended."""

    code: int
    stdout: str
    stderr: str
    run_dir: Path

    @property
    def complaints(self) -> list[str]:
        """The sentences with which the program itself ended."""
        return [line for line in self.stderr.splitlines() if line.startswith("bulkreset: ")]

    @property
    def header(self) -> list[str]:
        with (self.run_dir / "report.csv").open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file))

    @cached_property
    def report(self) -> list[dict[str, str]]:
        with (self.run_dir / "report.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @cached_property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.run_dir / "summary.json").read_text(encoding="utf-8"))
        return found

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        lines = (self.run_dir / "log.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def column(self, name: str) -> list[str]:
        return [row[name] for row in self.report]

    def of(self, username: str) -> dict[str, str]:
        """The only line of the report about a user."""
        (found,) = (row for row in self.report if row["username"] == username)
        return found


class Command:
    """Runs the command line in `home`, with no AWS configuration but the simulator's.

    `fresh`: always in an interpreter of its own; else, where that makes no difference, in one that has loaded the modules.
    """

    def __init__(self, home: Path, sim: Simulator, *, fresh: bool = False) -> None:
        self.home = home
        self.fresh = fresh
        self.sim = sim
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TMPDIR": str(home),
            "TERM": "xterm",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SIGNING_KEY,
            "AWS_ENDPOINT_URL_STS": sim.url,
            "AWS_ENDPOINT_URL_SERVICE_QUOTAS": sim.url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self._runs = 0

    def __call__(self, *args: Argument, env: Mapping[str, str | None] | None = None, patience: float = PATIENCE) -> Ran:
        """Run to the end; a variable that `env` maps to None is not set."""
        argv, run_dir = self.with_run_dir(args)
        with self.start(*argv, env=env) as process:
            return finish(process, run_dir, patience)

    def reset(self, input_: Path, *args: Argument, env: Mapping[str, str | None] | None = None) -> Ran:
        """Run an input against the simulator's pool, confirmed."""
        return self(*self.against(input_), "--yes", *args, env=env)

    def against(self, input_: Path) -> tuple[Argument, ...]:
        """The options that name an input and the simulator's pool, whose users are made as they are met: none is looked up."""
        return (*self.checked(input_), "--no-check-users")

    def checked(self, input_: Path, pool: str = POOL) -> tuple[Argument, ...]:
        """The options that name an input and a pool in which each user is looked up."""
        where = ("--user-pool-id", pool, "--region", REGION, "--endpoint-url", self.sim.url)
        return ("run", self._plain(input_), "--input", input_, *where)

    def _plain(self, input_: Path) -> Path:
        """A job that has nothing but no page, and the name that an input without a job gives."""
        path = self.home / ".plain" / f"{input_.name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(WITHOUT_PAGE, encoding="utf-8")
        return path

    def with_run_dir(self, args: Sequence[Argument]) -> tuple[tuple[Argument, ...], Path]:
        """The arguments with a run directory of their own, where they name none."""
        if "--run-dir" in args:
            return tuple(args), Path(args[args.index("--run-dir") + 1])
        self._runs += 1
        run_dir = self.home / f"run-{self._runs}"
        return (*args, "--run-dir", run_dir), run_dir

    def start(
        self,
        *args: Argument,
        env: Mapping[str, str | None] | None = None,
        terminal: int | None = None,
        out: int = subprocess.PIPE,
        cwd: Path | None = None,
        first: str = "",
    ) -> subprocess.Popen[str]:
        """Start it and do not wait; with `terminal` (a file descriptor) it talks to that alone, what it prints goes to `out`.

        It starts in `cwd`, if not in `home`. `first` is Python that its process runs before the command.
        """
        wanted = self.environment | dict(env or {})
        given = {name: value for name, value in wanted.items() if value is not None}
        argv = list(map(str, args))
        if first:
            script = self.home / ".first" / "sitecustomize.py"
            script.parent.mkdir(exist_ok=True)
            script.write_text(first, encoding="utf-8")
            given |= {"PYTHONPATH": str(script.parent)} if self.fresh else {FIRST: str(script)}
        warm = not self.fresh and can_warm(argv, given)
        return (Warm if warm else Started)(
            argv if warm else [sys.executable, "-m", "bulkreset.cli.main", *argv],
            cwd=cwd or self.home,
            env=given,
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=out if terminal is None else terminal,
            stderr=subprocess.PIPE if terminal is None else terminal,
            start_new_session=True,
            encoding="utf-8",
        )


def finish(process: subprocess.Popen[str], run_dir: Path, patience: float = PATIENCE) -> Ran:
    """Wait for the end; a traceback is a bug wherever it shows."""
    try:
        stdout, stderr = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    ran = Ran(process.returncode, stdout or "", stderr or "", run_dir)
    assert "Traceback" not in ran.stdout + ran.stderr, ran.stdout + ran.stderr
    return ran


def write_csv(
    path: Path,
    rows: Iterable[Sequence[str]],
    header: Sequence[str] = ("username", "password"),
    delimiter: str = ",",
    encoding: str = "utf-8",
) -> Path:
    """Write an input."""
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def people(count: int) -> list[tuple[str, str]]:
    """Usernames with passwords that any policy takes."""
    return [(f"user.{number:03d}", f"Quiet-Garden.{number:03d}") for number in range(1, count + 1)]


def write_job(
    folder: Path,
    url: str,
    input_: str,
    more: str = "",
    pools: Sequence[str] = (POOL,),
    plan: str = "check_users = false",
    read_timeout: float = 60.0,
) -> Path:
    """Write a job file: `input_` is the text of its [input] table, `plan` of [plan], `more` comes after the targets.

    `read_timeout` is long: an answer that a busy machine gives late is not a lost one.
    """
    targets = "\n".join(
        f'[[targets]]\nuser_pool_id = "{pool}"\nregion = "{REGION}"\nendpoint_url = "{url}"\n'
        f"read_timeout = {read_timeout}"
        for pool in pools
    )
    path = folder / "job.toml"
    page = "" if "[report]" in more else WITHOUT_PAGE
    text = f'name = "e2e"\n[input]\n{input_}\n[plan]\n{plan}\n{targets}\n{more}\n{page}'
    path.write_text(text, encoding="utf-8")
    return path


def seed(
    sim: Simulator, usernames: Iterable[str], pool: str = POOL, history: int | None = None, shortest: int = 1
) -> None:
    """Put a pool that takes any password of `shortest` characters in place, with these users and no others."""
    sim.add_pool(pool, list(usernames), LAX | {"MinimumLength": shortest}, history)


class Called(Protocol):
    """Whoever knows which calls arrived: a simulator, or what was noted of one before it was reset."""

    def calls(self, operation: str | None = None) -> Sequence[Call]:
        """Give the calls of one operation or all, in order of arrival."""
        ...


def assert_they_agree(ran: Ran, sim: Called) -> None:
    """Report, summary and simulator tell one story: rows, counts, attempts, and who was set to what."""
    report, summary = ran.report, ran.summary
    assert [row["row"] for row in report] == [str(number) for number in range(1, len(report) + 1)]
    counts: dict[str, int] = {}
    codes: dict[str, int] = {}
    for row in report:
        counts[row["status"]] = counts.get(row["status"], 0) + 1
        if row["code"]:
            codes[row["code"]] = codes.get(row["code"], 0) + 1
    assert summary["counts"] == counts
    assert summary["codes"] == codes
    assert summary["rows"] == len(report)
    assert summary["exit_code"] == ran.code
    calls = sim.calls(SET)
    assert summary["attempts"] == sum(int(row["attempts"]) for row in report) == len(calls)
    throttled = sum(call.answer in THROTTLED for call in calls)
    assert summary["throttled"] == sum(int(row["throttled"]) for row in report) == throttled
    applied = {(call.pool, call.username) for call in calls if call.applied}
    told = {(row["user_pool_id"], row["username"]) for row in report if row["status"] == "set"}
    assert told <= applied
    unsure = {(row["user_pool_id"], row["username"]) for row in report if row["in_doubt"] == "true"}
    assert applied <= told | unsure
