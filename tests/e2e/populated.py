"""A pool with users of every kind, an input with all their names, and the expected result of each row."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.command import LAX, POOL, Argument, Command, CommandResult, finish, write_csv
from tests.sim import Simulator
from tests.waiting import wait_until

LISTS = "ListUsers"
DESCRIBES = "DescribeUserPool"
PASSWORD = "Quiet-Garden.1"
FAST: tuple[Argument, ...] = ("--rate", "none")
# The pool reports this user count, which decides between a sweep and single look-ups.
SWEPT, LOOKED_UP = 0, 10**6


def user(username: str, status: str = "CONFIRMED", *, enabled: bool = True, **attributes: str) -> dict[str, Any]:
    """Return a user in the simulator's form."""
    return {"username": username, "status": status, "enabled": enabled, "attributes": attributes}


USERS = [
    user("ann", email="ann@x.example", email_verified="true", preferred_username="annie"),
    user("bob", phone_number="+4512345678", phone_number_verified="true"),
    user("eve", email="eve@x.example"),
    user("fed", "EXTERNAL_PROVIDER"),
    user("linked", identities='[{"providerName":"Google","userId":"1"}]'),
    user("out", enabled=False),
    user("new", "UNCONFIRMED"),
    user("temp", "FORCE_CHANGE_PASSWORD"),
    user("gus", sub="7d1f3a52-0000-4000-8000-00000000000a"),
]
ALIASES = ["email", "phone_number", "preferred_username"]
GUS = "7d1f3a52-0000-4000-8000-00000000000a"
# Each name with its status, code and status before.
ROWS: Mapping[str, tuple[str, str, str]] = {
    "ann@x.example": ("ready", "", "CONFIRMED"),
    "+4512345678": ("ready", "", "CONFIRMED"),
    "eve": ("ready", "", "CONFIRMED"),
    "eve@x.example": ("rejected", "user_not_found", ""),
    "nobody": ("rejected", "user_not_found", ""),
    "ANN": ("rejected", "user_not_found", ""),
    "fed": ("skipped", "federated", "EXTERNAL_PROVIDER"),
    "linked": ("skipped", "federated", "CONFIRMED"),
    "out": ("skipped", "disabled", "CONFIRMED"),
    "new": ("ready", "", "UNCONFIRMED"),
    "temp": ("ready", "", "FORCE_CHANGE_PASSWORD"),
    GUS: ("ready", "", "CONFIRMED"),
}


def populate(sim: Simulator, **options: Any) -> None:  # noqa: ANN401  (the pool's settings)
    """Create the pool with these users."""
    sim.add_pool(POOL, USERS, LAX, **({"alias_attributes": ALIASES} | options))


def write_names(folder: Path, *names: str, file: str = "in.csv") -> Path:
    """Write an input with these names."""
    return write_csv(folder / file, [(name, PASSWORD) for name in names])


def results(ran: CommandResult) -> dict[str, tuple[str, str, str]]:
    """Return status, code and status before of every row, by the name that the report shows."""
    return {row["username"].removeprefix("'"): (row["status"], row["code"], row["status_before"]) for row in ran.report}


def codes(ran: CommandResult) -> list[str]:
    """Return each row's code, or its status if it has no code."""
    return [row["code"] or row["status"] for row in ran.report]


def dry_run(bulkreset: Command, input_: Path, *args: Argument, pool: str = POOL) -> CommandResult:
    """Make a dry run that looks every user up."""
    return bulkreset(*bulkreset.checked(input_, pool), *FAST, *args, "--dry-run")


def real_run(bulkreset: Command, input_: Path, *args: Argument) -> CommandResult:
    """Make a confirmed run that looks every user up."""
    return bulkreset(*bulkreset.checked(input_), *FAST, *args, "--yes")


def allowed(stderr: str) -> list[dict[str, Any]]:
    """Return the IAM statements that the preflight proposes."""
    return [json.loads(line[12:]) for line in stderr.splitlines() if '"Effect": "Allow"' in line]


def interrupted_run(
    bulkreset: Command, sim: Simulator, args: tuple[Argument, ...], pages: int, number: int
) -> CommandResult:
    """Start a run that a signal ends after this many pages."""
    argv, run_dir = bulkreset.with_run_dir(args)
    with bulkreset.start(*argv) as process:
        wait_until(lambda: sim.stats().count(LISTS) >= pages)
        os.kill(process.pid, number)
        return finish(process, run_dir)


def resumed(bulkreset: Command, ran: CommandResult, *args: Argument) -> CommandResult:
    """Resume a run and wait for its end."""
    with bulkreset.start("resume", ran.run_dir, *args) as process:
        return finish(process, ran.run_dir)
