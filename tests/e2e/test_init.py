"""`bulkreset init` asks questions on a terminal, and uses flags without one."""

import os
import pty
import tomllib
from contextlib import suppress
from pathlib import Path

from tests.e2e.command import Command, finish
from tests.sim import Simulator

POOL = "eu-west-1_Example01"


def test_questions_are_repeated_until_the_job_is_valid(tmp_path: Path, bulkreset: Command) -> None:
    outside, inside = pty.openpty()
    os.write(outside, f"sometimes\nscramble\n\n\nnot a pool\n{POOL}\n\n\n7\n".encode())
    with bulkreset.start("init", terminal=inside) as process:
        os.close(inside)
        shown = b""
        with suppress(OSError):  # a terminal raises this after its last program has ended
            while found := os.read(outside, 65536):
                shown += found
    os.close(outside)
    assert process.returncode == 0
    assert b"Please answer file, scheduled, temporary, scramble or from-pool." in shown
    assert b"That is not a user pool ID. It looks like eu-west-1_Example01." in shown
    assert b"AWS Region [eu-west-1]: " in shown
    assert b"yes or no" not in shown
    assert b"AWS profile [default credential chain]: " in shown
    assert b"Calls per second [auto = 50% of the AWS quota]: " in shown
    assert b"warning: the input file users.csv does not exist." in shown
    assert b"Next: bulkreset run scramble.toml --dry-run" in shown
    job = tomllib.loads((tmp_path / "scramble.toml").read_text())
    assert (job["pace"]["rate"], job["targets"][0]["user_pool_id"]) == (7, POOL)


def test_without_a_terminal_flags_are_needed(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    with bulkreset.start("init", "--kind", "file", "--input", "x.csv", "-o", "x.toml") as process:
        ran = finish(process, tmp_path)
    assert (ran.code, ran.stdout) == (2, "")
    assert ran.stderr == (
        "bulkreset: There is no terminal to ask, and --user-pool-id is missing. Pass them, or answer at a terminal.\n"
    )
    assert not (tmp_path / "x.toml").exists()
    assert sim.calls() == []
