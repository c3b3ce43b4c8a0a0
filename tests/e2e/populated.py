"""A pool with users of every kind, an input with all their names, and the expected result of each row."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.command import LAX, POOL, Argument, Command, Ran, finish, write_csv
from tests.sim import Simulator
from tests.waiting import wait_until

LISTS = "ListUsers"
DESCRIBES = "DescribeUserPool"
PASSWORD = "Quiet-Garden.1"
FAST: tuple[Argument, ...] = ("--rate", "none")
# Wherever a sweep is wanted, or look-ups, the pool says that it has as many users.
SWEPT, LOOKED_UP = 0, 10**6


def user(username: str, status: str = "CONFIRMED", *, enabled: bool = True, **attributes: str) -> dict[str, Any]:
    """A user as the simulator takes one."""
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
    """Put the pool of these users in place."""
    sim.add_pool(POOL, USERS, LAX, **({"alias_attributes": ALIASES} | options))


def naming(folder: Path, *names: str, file: str = "in.csv") -> Path:
    """An input of these names."""
    return write_csv(folder / file, [(name, PASSWORD) for name in names])


def verdicts(ran: Ran) -> dict[str, tuple[str, str, str]]:
    """Status, code and status before of every row, by the name that it has (as the report shows it)."""
    return {row["username"].removeprefix("'"): (row["status"], row["code"], row["status_before"]) for row in ran.report}


def codes(ran: Ran) -> list[str]:
    """Each row's code; its status where it has none."""
    return [row["code"] or row["status"] for row in ran.report]


def dry(bulkreset: Command, input_: Path, *args: Argument, pool: str = POOL) -> Ran:
    """A dry run that looks every user up."""
    return bulkreset(*bulkreset.checked(input_, pool), *FAST, *args, "--dry-run")


def real(bulkreset: Command, input_: Path, *args: Argument) -> Ran:
    """A run that looks every user up, confirmed."""
    return bulkreset(*bulkreset.checked(input_), *FAST, *args, "--yes")


def allowed(stderr: str) -> list[dict[str, Any]]:
    """The IAM statements that the preflight proposes."""
    return [json.loads(line[12:]) for line in stderr.splitlines() if '"Effect": "Allow"' in line]


def broken_off(bulkreset: Command, sim: Simulator, args: tuple[Argument, ...], pages: int, number: int) -> Ran:
    """A run that a signal ends after so many pages."""
    argv, run_dir = bulkreset.with_run_dir(args)
    with bulkreset.start(*argv) as process:
        wait_until(lambda: sim.stats().count(LISTS) >= pages)
        os.kill(process.pid, number)
        return finish(process, run_dir)


def resumed(bulkreset: Command, ran: Ran, *args: Argument) -> Ran:
    """Go on with a run to its end."""
    with bulkreset.start("resume", ran.run_dir, *args) as process:
        return finish(process, ran.run_dir)
