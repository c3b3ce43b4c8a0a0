"""A password is only in the input and at the service. No output or file of a run has it, in any spelling."""

import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.canary import Canary, files, process_of
from tests.e2e.command import POOL, SET, Argument, Command, CommandResult, assert_they_agree, finish, write_csv
from tests.sim import Simulator
from tests.waiting import wait_until

PATIENT = ("--read-timeout", "90")  # a held call must not time out


@pytest.fixture
def canary() -> Canary:
    return Canary()


def _started(bulkreset: Command, input_: Path, *args: Argument) -> tuple[tuple[Argument, ...], Path]:
    """Return the arguments of a run at the greatest verbosity, and its run directory."""
    return bulkreset.with_run_dir([*bulkreset.against(input_), "--yes", "-vv", *args])


def _places_with(canary: Canary, bulkreset: Command, input_: Path, ran: CommandResult) -> set[str]:
    """Return the places where a finished run has the canary, except its input."""
    found = canary.among(files(bulkreset.home, input_))
    return found | {name for name in ("stdout", "stderr") if canary.is_in(getattr(ran, name).encode())}


def _run_and_search(bulkreset: Command, canary: Canary, input_: Path, *args: Argument) -> CommandResult:
    """Run an input that sends nothing. Search everywhere while it runs and after it."""
    argv, run_dir = _started(bulkreset, input_, *args)
    found: set[str] = set()
    with bulkreset.start(*argv) as process:
        while process.poll() is None:
            found |= canary.among([*process_of(process.pid), *files(bulkreset.home, input_)])
            time.sleep(0.1)  # only between two searches: the result does not depend on it
        ran = finish(process, run_dir)
    assert found | _places_with(canary, bulkreset, input_, ran) == set()
    return ran


def _run_and_search_midway(
    bulkreset: Command, canary: Canary, held: str, rules: Sequence[Mapping[str, Any]], *args: Argument
) -> CommandResult:
    """Run eight rows. One is held at the service while everything is searched; search again at the end."""
    sim = bulkreset.sim
    input_ = write_csv(bulkreset.home / "in.csv", [(f"user.{n}", canary.password) for n in range(1, 9)])
    sim.configure(faults={"echo_password": True, "every": [{"hold": True, "username": held}, *rules]})
    argv, run_dir = _started(bulkreset, input_, *args, *PATIENT)
    job = Path(str(argv[1]))
    job.write_text(f'{job.read_text()}\n[pace]\ntransport = "{TRANSPORTS[str(args[-1])]}"\n')
    with bulkreset.start(*argv) as process:
        wait_until(lambda: any(call.username == held for call in sim.calls(SET)))
        found = canary.among([*process_of(process.pid), *files(bulkreset.home, input_)])
        sim.configure(faults={"every": rules})
        ran = finish(process, run_dir)
    assert found | _places_with(canary, bulkreset, input_, ran) == set()
    assert {call.password for call in sim.calls(SET)} == {canary.password}
    assert_they_agree(ran, sim)
    return ran


TRANSPORTS = {"none": "crt", "300": "boto3"}
# Each of these answers repeats the password, except in the truncated part.
STEPS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "user.2": [{"error": "InvalidPasswordException"}],
    "user.3": [{"garbage": True}, {"garbage": "truncated", "status": 500}] * 3,
    "user.4": [{"error": "InternalErrorException"}] * 5,
    "user.5": [{"throttle": 3}],
    "user.6": [{"cut": "after"}, {"cut": "before"}] * 2,
}


@pytest.mark.parametrize(("rate", "log_format"), [("none", "json"), ("300", "console")])
def test_password_appears_nowhere_with_any_answer(
    rate: str, log_format: str, canary: Canary, bulkreset: Command, sim: Simulator
) -> None:
    sim.configure(faults={"users": STEPS})
    args = ("--log-format", log_format, "--rate", rate)
    ran = _run_and_search_midway(bulkreset, canary, "user.8", [], *args)
    assert (ran.code, ran.summary["counts"]) == (1, {"set": 7, "failed": 1})
    (started,) = (event for event in ran.log if event["event"] == "sending_started")
    assert started["transport"] == TRANSPORTS[rate]


@pytest.mark.parametrize(("rate", "log_format"), [("none", "console"), ("300", "json")])
def test_fatal_answer_that_repeats_the_password_shows_it_nowhere(
    rate: str, log_format: str, canary: Canary, bulkreset: Command
) -> None:
    rules = [{"error": "AccessDeniedException", "operation": SET}]
    args = ("--log-format", log_format, "--workers", "1", "--rate", rate)
    ran = _run_and_search_midway(bulkreset, canary, "user.1", rules, *args)
    assert (ran.code, ran.summary["counts"]) == (3, {"set": 1, "unprocessed": 7})


@pytest.mark.parametrize("mode", ["--dry-run", "--yes"])
def test_password_in_another_column_shows_nowhere(
    mode: str, tmp_path: Path, canary: Canary, bulkreset: Command, sim: Simulator
) -> None:
    """The columns are swapped, the cells of a row are shifted, or a row has too many cells."""
    secret = canary.password
    swapped = write_csv(tmp_path / "in.csv", [(secret, f"ann.{number}@mail.example.com") for number in range(40)])
    ran = bulkreset.reset(swapped, mode, "-vv")
    assert (ran.code, ran.run_dir.exists()) == (2, False)
    assert "they seem to be swapped" in ran.stderr
    assert _places_with(canary, bulkreset, swapped, ran) == set()
    swapped.unlink()
    rows = [("ann", "", "true", secret), ("bob", "true", secret, POOL), ("cat", "x", "true", POOL, secret)]
    shifted = write_csv(tmp_path / "in.csv", rows, ("username", "password", "permanent", "user_pool_id"))
    ran = bulkreset.reset(shifted, mode, "-vv")
    assert (ran.code, ran.column("status")) == (1, ["rejected"] * 3)
    assert ran.column("user_pool_id")[0] == ""
    assert _places_with(canary, bulkreset, shifted, ran) == set()
    assert not sim.calls(SET)


def test_password_of_a_rejected_row_shows_nowhere(
    tmp_path: Path, canary: Canary, bulkreset: Command, sim: Simulator
) -> None:
    secret = canary.password
    rows: list[tuple[str, ...]] = [
        ("", secret),
        ("white space", secret),
        ("ends.with.space", f"{secret} "),
        ("line.break", f"{secret}\n{secret}"),
        ("much.too.long", secret * 20),
        ("nul", f"{secret}\0"),
        ("too.many.fields", secret, secret),
        ("twice", secret),
        ("twice", secret),
    ]
    input_ = write_csv(tmp_path / "in.csv", rows)
    with input_.open("ab") as file:
        file.write(f'"broken"quoting,{canary.core}\n'.encode())
        file.write(b"bad.bytes," + canary.core.encode() + b"\xff\n")
    ran = _run_and_search(bulkreset, canary, input_, "--log-format", "json")
    assert ran.code == 1
    assert ran.summary["counts"] == {"rejected": 11}
    assert sim.calls(SET) == []


def test_password_of_an_input_that_is_refused_shows_nowhere(
    tmp_path: Path, canary: Canary, bulkreset: Command, sim: Simulator
) -> None:
    frame = pd.DataFrame({"username": ["ann"], "password": [int(canary.core[3:], 16) % 10**18]})
    number = str(frame["password"][0])
    frame.to_parquet(tmp_path / "in.parquet")
    ran = _run_and_search(bulkreset, canary, tmp_path / "in.parquet")
    assert ran.code == 2
    assert number not in ran.stderr
    unclosed = tmp_path / "unclosed.csv"
    unclosed.write_text(f'username,password\nann,"{canary.core}\nbob,"{canary.core}"x\n', encoding="utf-8")
    assert _run_and_search(bulkreset, canary, unclosed).code == 2
    assert sim.calls(SET) == []


@pytest.mark.fresh
def test_password_shows_nowhere_after_sigterm_and_the_report_agrees_with_the_service(
    tmp_path: Path, canary: Canary, bulkreset: Command, sim: Simulator
) -> None:
    sim.configure(faults={"every": {"hold": True, "operation": SET, "from_call": 9}})
    # More rows than are claimed at a time: some cannot have been sent when the signal comes.
    input_ = write_csv(tmp_path / "in.csv", [(f"user.{n:04d}", f"{canary.password}{n}") for n in range(1000)])
    argv, run_dir = _started(bulkreset, input_, "--rate", "none", "--workers", "4", *PATIENT)
    with bulkreset.start(*argv) as process:
        wait_until(lambda: len(sim.calls(SET)) == 12)
        running = canary.among([*process_of(process.pid), *files(tmp_path, input_)])
        process.send_signal(signal.SIGTERM)
        sim.configure(faults={"every": None})
        ran = finish(process, run_dir)
    assert running | _places_with(canary, bulkreset, input_, ran) == set()
    assert ran.code == 143
    assert ran.summary["state"] == "interrupted"
    assert 12 <= ran.summary["counts"]["set"] < 1000
    assert set(ran.summary["counts"]) == {"set", "unprocessed"}
    told = {row["username"] for row in ran.report if row["status"] == "set"}
    assert {name for name, password in sim.passwords(POOL).items() if password} == told
    assert_they_agree(ran, sim)
