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

from tests.e2e.preloaded_command import FIRST, CommandProcess, ForkedCommand, can_fork
from tests.sim import Call, Simulator
from tests.sim.handle import ACCESS_KEY, SIGNING_KEY

ROOT: Final = Path(__file__).resolve().parents[2]
SAMPLES: Final = ROOT / "samples"
POOL: Final = "us-east-1_Test00001"
REGION: Final = "us-east-1"
ACCOUNT: Final = "123456789012"
SET: Final = "AdminSetUserPassword"
PATIENCE: Final = 90.0
# Calls that are allowed at any time: they change nothing, and make no user billable (AdminGetUser would).
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
# A policy that accepts every password that the API's syntax accepts.
LAX: Final = {
    "MinimumLength": 1,
    "RequireUppercase": False,
    "RequireLowercase": False,
    "RequireNumbers": False,
    "RequireSymbols": False,
}
# the page takes a fifth of a short run; tests/e2e/test_page.py tests it
WITHOUT_PAGE: Final = "\n[report]\nhtml = false\n"
Argument = str | Path
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class CommandResult:
    """The result of one finished command."""

    code: int
    stdout: str
    stderr: str
    run_dir: Path

    @property
    def error_lines(self) -> list[str]:
        """Return the error messages that bulkreset printed."""
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
        """Return the only report line of a user."""
        (found,) = (row for row in self.report if row["username"] == username)
        return found


class Command:
    """Runs the command line in `home`. Its only AWS configuration is the simulator's.

    `fresh`: always start a new interpreter. Otherwise fork a process that has loaded the modules, if the result is the
    same.
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

    def __call__(
        self, *args: Argument, env: Mapping[str, str | None] | None = None, patience: float = PATIENCE
    ) -> CommandResult:
        """Run to the end. A variable that `env` maps to None is not set."""
        argv, run_dir = self.with_run_dir(args)
        with self.start(*argv, env=env) as process:
            return finish(process, run_dir, patience)

    def reset(self, input_: Path, *args: Argument, env: Mapping[str, str | None] | None = None) -> CommandResult:
        """Run an input against the simulator's pool, confirmed."""
        return self(*self.against(input_), "--yes", *args, env=env)

    def against(self, input_: Path) -> tuple[Argument, ...]:
        """Return the options for an input and the simulator's pool, without looking users up.

        The simulator creates each user at its first call.
        """
        return (*self.checked(input_), "--no-check-users")

    def checked(self, input_: Path, pool: str = POOL) -> tuple[Argument, ...]:
        """Return the options for an input and a pool in which each user is looked up."""
        where = ("--user-pool-id", pool, "--region", REGION, "--endpoint-url", self.sim.url)
        return ("run", self._plain_job(input_), "--input", input_, *where)

    def _plain_job(self, input_: Path) -> Path:
        """Write a job file that only turns the page off. Its name is the one that an input without a job file gives."""
        path = self.home / ".plain" / f"{input_.name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(WITHOUT_PAGE, encoding="utf-8")
        return path

    def with_run_dir(self, args: Sequence[Argument]) -> tuple[tuple[Argument, ...], Path]:
        """Return the arguments with a new run directory, if they name none."""
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
        """Start the command without waiting.

        With `terminal` (a file descriptor) all three streams are the terminal; otherwise standard output goes to `out`.
        The working directory is `cwd`, or `home`. `first` is Python code that the process runs before the command.
        """
        wanted = self.environment | dict(env or {})
        given = {name: value for name, value in wanted.items() if value is not None}
        argv = list(map(str, args))
        if first:
            script = self.home / ".first" / "sitecustomize.py"
            script.parent.mkdir(exist_ok=True)
            script.write_text(first, encoding="utf-8")
            given |= {"PYTHONPATH": str(script.parent)} if self.fresh else {FIRST: str(script)}
        can_be_forked = not self.fresh and can_fork(argv, given)
        return (ForkedCommand if can_be_forked else CommandProcess)(
            argv if can_be_forked else [sys.executable, "-m", "bulkreset.cli.main", *argv],
            cwd=cwd or self.home,
            env=given,
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=out if terminal is None else terminal,
            stderr=subprocess.PIPE if terminal is None else terminal,
            start_new_session=True,
            encoding="utf-8",
        )


def finish(process: subprocess.Popen[str], run_dir: Path, patience: float = PATIENCE) -> CommandResult:
    """Wait for the end. A traceback is always a bug."""
    try:
        stdout, stderr = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    ran = CommandResult(process.returncode, stdout or "", stderr or "", run_dir)
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
    """Return usernames with passwords that every policy accepts."""
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
    """Write a job file.

    `input_` is the text of its [input] table and `plan` of [plan]; `more` is appended after the targets.
    `read_timeout` is long, so that a late answer on a busy machine is not a lost one.
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
    """Create a pool with exactly these users. It accepts any password of at least `shortest` characters."""
    sim.add_pool(pool, list(usernames), LAX | {"MinimumLength": shortest}, history)


class CallSource(Protocol):
    """Knows which calls arrived: a simulator, or calls saved before it was reset."""

    def calls(self, operation: str | None = None) -> Sequence[Call]:
        """Return the calls of one operation or all, in order of arrival."""
        ...


def assert_they_agree(ran: CommandResult, sim: CallSource) -> None:
    """Check that report, summary and simulator agree on rows, counts, attempts and passwords."""
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
