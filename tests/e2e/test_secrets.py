"""A password is in the input and at the service, and in nothing else that a run shows or leaves, in any spelling."""

import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.canary import Canary, files, process_of
from tests.e2e.command import PATIENCE, POOL, SET, Command, Ran, assert_they_agree, finish, write_csv
from tests.sim import Simulator


@pytest.fixture
def canary() -> Canary:
    return Canary()


def _watched(bulkreset: Command, canary: Canary, input_: Path, *args: str) -> Ran:
    """Run the input at the greatest verbosity; look everywhere while it runs and after it."""
    argv, run_dir = bulkreset.with_run_dir([*bulkreset.against(input_), "--yes", "-vv", *args])
    found: set[str] = set()
    with bulkreset.start(*argv) as process:
        while process.poll() is None:
            found |= canary.among(process_of(process.pid))
            found |= canary.among(files(bulkreset.home, input_))
            time.sleep(0.1)
        ran = finish(process, run_dir)
    found |= canary.among(files(bulkreset.home, input_))
    found |= {name for name in ("stdout", "stderr") if canary.is_in(getattr(ran, name).encode())}
    assert found == set()
    return ran


def _input(tmp_path: Path, canary: Canary) -> Path:
    return write_csv(tmp_path / "in.csv", [(f"user.{n}", canary.password) for n in range(1, 9)])


ECHO: dict[str, Any] = {"echo_password": True}
FAULTS: Mapping[str, tuple[Mapping[str, Any], int]] = {
    "set": ({}, 0),
    "refused with the password in the message": (
        ECHO | {"every": {"error": "InvalidPasswordException", "operation": SET}},
        1,
    ),
    "garbage that repeats the password": (
        ECHO | {"users": {"*": [{"garbage": True}, {"garbage": "truncated", "status": 500}] * 3}},
        0,
    ),
    "an internal error that repeats the password": (
        ECHO | {"users": {"*": [{"error": "InternalErrorException"}] * 5}},
        0,
    ),
    "throttled with the password in the message": (ECHO | {"users": {"*": [{"throttle": 3}]}}, 0),
    "cut": ({"users": {"*": [{"cut": "after"}, {"cut": "before"}] * 2}}, 0),
    "fatal with the password in the message": (
        ECHO | {"every": {"error": "AccessDeniedException", "operation": SET}},
        3,
    ),
}


@pytest.mark.parametrize(
    ("what", "log_format", "rate"),  # through the C runtime, and through boto3
    [
        *((what, "json", rate) for what in FAULTS for rate in ("none", "300")),
        ("refused with the password in the message", "console", "none"),
        ("fatal with the password in the message", "console", "300"),
    ],
)
def test_password_shows_nowhere(
    what: str, log_format: str, rate: str, tmp_path: Path, canary: Canary, bulkreset: Command, sim: Simulator
) -> None:
    faults, code = FAULTS[what]
    sim.configure(latency=0.02, faults=dict(faults))
    ran = _watched(bulkreset, canary, _input(tmp_path, canary), "--log-format", log_format, "--rate", rate)
    assert ran.code == code
    (started,) = (event for event in ran.log if event["event"] == "sending_started")
    assert started["transport"] == {"none": "crt", "300": "boto3"}[rate]
    assert {call.password for call in sim.calls(SET)} == {canary.password}
    assert_they_agree(ran, sim)


@pytest.mark.fresh
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
    ran = _watched(bulkreset, canary, input_, "--log-format", "json")
    assert ran.code == 1
    assert ran.summary["counts"] == {"rejected": 11}
    assert sim.calls(SET) == []


@pytest.mark.fresh
def test_password_of_an_input_that_is_refused_shows_nowhere(
    tmp_path: Path, canary: Canary, bulkreset: Command, sim: Simulator
) -> None:
    frame = pd.DataFrame({"username": ["ann"], "password": [int(canary.core[3:], 16) % 10**18]})
    number = str(frame["password"][0])
    frame.to_parquet(tmp_path / "in.parquet")
    ran = _watched(bulkreset, canary, tmp_path / "in.parquet")
    assert ran.code == 2
    assert number not in ran.stderr
    unclosed = tmp_path / "unclosed.csv"
    unclosed.write_text(f'username,password\nann,"{canary.core}\nbob,"{canary.core}"x\n', encoding="utf-8")
    assert _watched(bulkreset, canary, unclosed).code == 2
    assert sim.calls(SET) == []


@pytest.mark.fresh
def test_password_shows_nowhere_after_sigterm_and_the_report_agrees_with_the_service(
    tmp_path: Path, canary: Canary, bulkreset: Command, sim: Simulator
) -> None:
    sim.configure(latency=0.3)
    input_ = write_csv(tmp_path / "in.csv", [(f"user.{n:02d}", f"{canary.password}{n}") for n in range(60)])
    argv, run_dir = bulkreset.with_run_dir(
        [*bulkreset.against(input_), "--yes", "-vv", "--rate", "none", "--workers", "4"]
    )
    with bulkreset.start(*argv) as process:
        deadline = time.monotonic() + PATIENCE
        while len(sim.calls(SET)) < 8 and time.monotonic() < deadline:
            time.sleep(0.05)
        running = canary.among(files(tmp_path, input_))
        process.send_signal(signal.SIGTERM)
        ran = finish(process, run_dir)
    left = canary.among(files(tmp_path, input_))
    assert (running, left, canary.is_in((ran.stdout + ran.stderr).encode())) == (set(), set(), False)
    assert ran.code == 143
    assert ran.summary["state"] == "interrupted"
    assert 8 <= ran.summary["counts"]["set"] < 60
    assert set(ran.summary["counts"]) == {"set", "unprocessed"}
    told = {row["username"] for row in ran.report if row["status"] == "set"}
    assert {name for name, password in sim.passwords(POOL).items() if password} == told
    assert_they_agree(ran, sim)


@pytest.mark.fresh
def test_sigint_stops_the_run_resumably(tmp_path: Path, canary: Canary, bulkreset: Command, sim: Simulator) -> None:
    sim.configure(latency=0.2)
    input_ = write_csv(tmp_path / "in.csv", [(f"user.{n:02d}", canary.password) for n in range(40)])
    argv, run_dir = bulkreset.with_run_dir([*bulkreset.against(input_), "--yes", "--rate", "none", "--workers", "2"])
    with bulkreset.start(*argv) as process:
        deadline = time.monotonic() + PATIENCE
        while len(sim.calls(SET)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        ran = finish(process, run_dir)
    assert (ran.code, ran.summary["state"]) == (130, "interrupted")
    assert len(sim.calls(SET)) < 40
    assert_they_agree(ran, sim)
