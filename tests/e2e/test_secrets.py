"""A password is in the input and at the service, and in nothing else that a run shows or leaves, in any spelling."""

import base64
import json
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pandas as pd
import pytest

from tests.e2e.command import PATIENCE, POOL, SET, Command, Ran, assert_they_agree, finish, write_csv
from tests.sim import Simulator

pytestmark = pytest.mark.fresh


class Canary:
    """A password like no other, with what every spelling changes: quotes, a backslash, a percent sign, accents."""

    def __init__(self) -> None:
        self.core = f"Zq7{secrets.token_hex(12)}"
        self.password = f"{self.core}\"\\/%&+\u00e9 \u20ac<>\u200b'!Aa1"

    def spellings(self) -> Iterator[bytes]:
        """Every spelling of the password, and of its middle: a part of a password is told like the whole of it."""
        for text in (self.password, self.core):
            yield text.encode()
            yield text.encode("utf-16-le")
            yield text.encode("utf-16-be")
            for encoding in ("utf-8", "utf-16-le"):
                raw = text.encode(encoding)
                yield raw.hex().encode()
                yield raw.hex().upper().encode()
                for shift in range(3):  # base64 of a text that it stands in, at each of three offsets
                    coded = base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 : -4]
                    yield coded
                    yield coded.translate(bytes.maketrans(b"+/", b"-_"))
            yield quote(text, safe="").encode()
            yield quote_plus(text).encode()
            for ascii_only in (True, False):
                yield json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode()
            yield repr(text)[1:-1].encode()

    def is_in(self, content: bytes) -> bool:
        return any(spelling in content for spelling in self.spellings())


@pytest.fixture
def canary() -> Canary:
    return Canary()


def _places(folder: Path, input_: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below `folder`, which is home, working and temporary directory in one, but the input."""
    for path in sorted(folder.rglob("*")):
        try:
            if path.is_file() and path != input_:
                yield str(path), path.read_bytes()
        except FileNotFoundError:  # gone between the listing and the look
            continue


def _process(process: subprocess.Popen[str]) -> Iterator[tuple[str, bytes]]:
    for name in ("cmdline", "environ"):
        try:
            yield name, Path(f"/proc/{process.pid}/{name}").read_bytes()
        except OSError:
            continue


def _watched(bulkreset: Command, canary: Canary, input_: Path, *args: str) -> Ran:
    """Run the input at the greatest verbosity; look everywhere while it runs and after it."""
    argv, run_dir = bulkreset.with_run_dir([*bulkreset.against(input_), "--yes", "-vv", *args])
    found: set[str] = set()
    with bulkreset.start(*argv) as process:
        while process.poll() is None:
            found |= {where for where, content in _process(process) if canary.is_in(content)}
            found |= {where for where, content in _places(bulkreset.home, input_) if canary.is_in(content)}
            time.sleep(0.1)
        ran = finish(process, run_dir)
    found |= {where for where, content in _places(bulkreset.home, input_) if canary.is_in(content)}
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


@pytest.mark.parametrize("rate", ["none", "300"])  # through the C runtime, and through boto3
@pytest.mark.parametrize(
    ("what", "log_format"),
    [
        *((what, "json") for what in FAULTS),
        ("refused with the password in the message", "console"),
        ("fatal with the password in the message", "console"),
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
        running = [where for where, content in _places(tmp_path, input_) if canary.is_in(content)]
        process.send_signal(signal.SIGTERM)
        ran = finish(process, run_dir)
    left = [where for where, content in _places(tmp_path, input_) if canary.is_in(content)]
    assert (running, left, canary.is_in((ran.stdout + ran.stderr).encode())) == ([], [], False)
    assert ran.code == 143
    assert ran.summary["state"] == "interrupted"
    assert 8 <= ran.summary["counts"]["set"] < 60
    assert set(ran.summary["counts"]) == {"set", "unprocessed"}
    told = {row["username"] for row in ran.report if row["status"] == "set"}
    assert {name for name, password in sim.passwords(POOL).items() if password} == told
    assert_they_agree(ran, sim)


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
