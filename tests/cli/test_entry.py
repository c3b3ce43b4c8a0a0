"""The first module of the command line: a process that ends before its command begins, and failing libraries."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

PROGRAM = """
import ctypes, os, signal, sys
from bulkreset.cli.entry import guarded
def command():
    {}
guarded(command)
"""


def ran(body: str, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(body.replace("\n", "\n    ")), *argv]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 70])
def test_exit_code_of_the_command_is_kept(code: int) -> None:
    assert ran(f"raise SystemExit({code})").returncode == code


@pytest.mark.parametrize("status", [0, 1])
def test_library_that_ends_the_process_is_an_abort(status: int) -> None:
    """Exit code 1 would mean that the run has finished."""
    assert ran(f"ctypes.CDLL(None).exit({status})").returncode == -6


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signal_before_the_command_handles_it_is_reported_in_one_line(name: str, code: int) -> None:
    for body in (
        f"os.kill(os.getpid(), signal.{name})",
        f"try: os.kill(os.getpid(), signal.{name})\nexcept Exception: pass",
    ):
        ended = ran(body)
        assert (ended.returncode, ended.stderr) == (code, "bulkreset: Interrupted. Nothing was sent.\n")


def test_signal_is_an_event_if_events_are_requested() -> None:
    ended = ran("os.kill(os.getpid(), signal.SIGINT)", "--log-format", "json")
    (line,) = ended.stderr.splitlines()
    event = json.loads(line)
    assert (event["event"], event["exit_code"], event["state"]) == ("ended", 130, "interrupted")


def test_second_signal_ends_the_process_at_once() -> None:
    body = "try: os.kill(os.getpid(), signal.SIGINT)\nfinally:\n    os.kill(os.getpid(), signal.SIGINT)\n    print('still here')"
    ended = ran(body)
    assert (ended.returncode, ended.stdout) == (130, "")


def test_ignored_signal_stays_ignored() -> None:
    command = [sys.executable, "-c", PROGRAM.format("os.kill(os.getpid(), signal.SIGHUP); raise SystemExit(0)")]
    ended = subprocess.run(["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *command], capture_output=True, check=False)  # noqa: S607  (the shell of the machine)
    assert ended.returncode == 0


def test_modules_that_take_long_are_loaded_after_the_signals_are_handled() -> None:
    program = (
        "import bulkreset.cli.entry, sys; print(*(name in sys.modules for name in ('typer', 'pydantic', 'numpy')))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert found.stdout.split() == ["False"] * 3


def test_command_line_begins_there() -> None:
    """A signal arrives while the commands are loaded."""
    program = """
import builtins, os, signal
real = builtins.__import__
def importing(name, *given):
    if name == "typer":
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *given)
builtins.__import__ = importing
from importlib.metadata import entry_points
(found,) = [it for it in entry_points(group="console_scripts") if it.name == "bulkreset"]
found.load()()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, "status"], capture_output=True, encoding="utf-8", check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "bulkreset: Interrupted. Nothing was sent.\n")
