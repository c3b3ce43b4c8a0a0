"""On a terminal a real run is shown and confirmed before anything is sent."""

import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.command import ACCOUNT, LAX, PATIENCE, POOL, SET, Argument, Command, CommandResult, people, write_csv
from tests.sim import Simulator

PROMPT = "[y/N]"


class Person:
    """A person at a terminal: reads the screen and types."""

    def __init__(self, terminal: int, process: subprocess.Popen[str], run_dir: Path) -> None:
        self._terminal = terminal
        self.process = process
        self.run_dir = run_dir
        self.shown = ""

    def read_until(self, text: str) -> str:
        """Read until `text` is shown or the program has ended."""
        end = time.monotonic() + PATIENCE
        while text not in self.shown and time.monotonic() < end:
            if not self._read(end - time.monotonic()):
                break
        return self.shown

    def read_line_with(self, text: str) -> str:
        """Read to the end of the line that shows `text`, and return that line."""
        end = time.monotonic() + PATIENCE
        while "\n" not in self.shown.partition(text)[2] and self._read(end - time.monotonic()):
            pass
        (line,) = (line for line in self.shown.splitlines() if text in line)
        return line

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def end(self) -> CommandResult:
        """Read to the end."""
        end = time.monotonic() + PATIENCE
        while self._read(end - time.monotonic()):
            pass
        code = self.process.wait(PATIENCE)
        assert "Traceback" not in self.shown
        return CommandResult(code, self.shown, self.shown, self.run_dir)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._terminal], [], [], max(0.0, seconds))[0]:
            return False
        try:
            found = os.read(self._terminal, 65536)
        except OSError:  # a terminal raises this after its last program has ended
            return False
        self.shown += found.decode(errors="replace").replace("\r\n", "\n")
        return bool(found)


@contextmanager
def at_a_terminal(
    bulkreset: Command,
    args: Sequence[Argument],
    run_dir: Path | None = None,
    env: Mapping[str, str | None] | None = None,
) -> Iterator[Person]:
    """Start a command. With `run_dir` it works on that run; otherwise it gets a new run directory."""
    argv, run_dir = (tuple(args), run_dir) if run_dir else bulkreset.with_run_dir(args)
    outside, inside = pty.openpty()
    try:
        with bulkreset.start(*argv, env=env, terminal=inside) as process:
            os.close(inside)
            try:
                yield Person(outside, process, run_dir)
            finally:
                process.kill()
    finally:
        os.close(outside)


def test_anything_but_yes_sends_nothing(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    args = bulkreset.against(write_csv(tmp_path / "in.csv", people(3)))
    with at_a_terminal(bulkreset, args) as person:
        assert PROMPT in person.read_until(PROMPT)
        person.type("n\n")
        ran = person.end()
    assert ran.code == 3
    assert "The run was not confirmed. Nothing was sent." in ran.stderr
    assert ran.summary["stopped_by"]["kind"] == "NotConfirmed"
    assert "resume" in ran.stderr
    assert sim.calls(SET) == []
    assert ran.summary["counts"] == {"unprocessed": 3}


def test_earlier_keystrokes_confirm_nothing(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    args = bulkreset.against(write_csv(tmp_path / "in.csv", people(3)))
    with at_a_terminal(bulkreset, args) as person:
        person.type("y\n")
        person.read_until(PROMPT)
        person.type("n\n")
        ran = person.end()
    assert ran.code == 3
    assert sim.calls(SET) == []


def test_input_that_was_run_before_is_not_run_again_by_accident(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    """A dry run warns. On a terminal the pool's name must be typed; without one, --again must be given."""
    sim.add_pool(POOL, policy=LAX, auto_users=True, name="customers")
    args = bulkreset.against(write_csv(tmp_path / "in.csv", people(3)))
    runs = tmp_path / "runs"
    assert bulkreset(*args, "--yes", "--run-dir", runs / "first").code == 0
    told = "runs/first: 3 set"
    dry = bulkreset(*args, "--dry-run", "--run-dir", runs / "dry")
    assert (dry.code, told in dry.stderr) == (0, True)
    confirmations: list[list[Argument]] = [["--yes"], ["--approved", runs / "dry"]]
    for number, confirmed in enumerate(confirmations):
        refused = bulkreset(*args, *confirmed, "--run-dir", runs / f"refused-{number}")
        assert refused.code == 3
        assert f"{told}. Nothing was sent. To set these passwords again, pass --again." in refused.stderr
    assert len(sim.calls(SET)) == 3
    with at_a_terminal(bulkreset, (*args, "--run-dir", runs / "asked")) as person:
        person.read_until('passwords again, type the pool\'s name ("customers"): ')
        person.type("customers\n")
        assert person.end().code == 0
    with bulkreset.start("resume", runs / "refused-0", "--again") as process:
        assert process.wait(timeout=PATIENCE) == 0
    assert len(sim.calls(SET)) == 9
    assert bulkreset(*args, "--yes", "--again", "--run-dir", runs / "again").code == 0


def test_question_is_an_event_if_only_events_are_printed(tmp_path: Path, bulkreset: Command) -> None:
    args = (*bulkreset.against(write_csv(tmp_path / "in.csv", people(3))), "--log-format", "json")
    with at_a_terminal(bulkreset, args) as person:
        question = json.loads(person.read_line_with(PROMPT))
        person.type("y\n")
        ran = person.end()
    assert (question["event"], question["message"]) == ("message", "Set 3 passwords? [y/N]")
    assert ran.code == 0
    assert "\x1b" not in ran.stderr


def test_ctrl_c_at_the_question_ends_the_run(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    with at_a_terminal(bulkreset, bulkreset.against(write_csv(tmp_path / "in.csv", people(2)))) as person:
        person.read_until(PROMPT)
        person.process.send_signal(signal.SIGINT)
        ran = person.end()
    assert (ran.code, ran.summary["state"]) == (130, "interrupted")
    assert ran.summary["counts"] == {"unprocessed": 2}
    assert sim.calls(SET) == []


def test_input_that_changes_at_the_prompt_is_not_sent(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    input_ = write_csv(tmp_path / "in.csv", people(3))
    with at_a_terminal(bulkreset, bulkreset.against(input_)) as person:
        person.read_until(PROMPT)
        write_csv(input_, [("eve", "Somebody-Else.1")])
        person.type("y\n")
        ran = person.end()
    assert ran.code == 2
    assert "has changed since it was planned" in " ".join(ran.stderr.split())  # a terminal wraps it
    assert sim.calls(SET) == []
    assert ran.column("status") == ["unprocessed"] * 3


def test_preflight_shows_the_plan_and_yes_runs_it(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    rows = [(*row, cell) for row, cell in zip(people(5), ["true", "true", "", "", ""], strict=True)]
    input_ = write_csv(tmp_path / "in.csv", [*rows, ("no.password", "", "")], ("username", "password", "permanent"))
    with at_a_terminal(bulkreset, bulkreset.against(input_)) as person:
        shown = person.read_until(PROMPT)
        assert sim.calls(SET) == []
        person.type("y\n")
        ran = person.end()
    lines = {line.split()[0]: line for line in shown.splitlines() if line and not line.startswith(" ")}
    assert POOL in lines["User"]
    assert ACCOUNT in lines["User"]
    assert sim.url in lines["Endpoint"]
    assert "NOT ENCRYPTED" in lines["Endpoint"]
    assert "5 ready" in lines["Rows"]
    assert "1 rejected" in lines["Rows"]
    assert " 3:" in lines["Temporary"]
    assert lines["Permanent"].split() == ["Permanent", "2"]
    assert "5 users" in lines["Billing"]
    assert "24 calls/s" in lines["Pace"]
    assert "about 1 s (done at " in lines["Duration"]
    assert ran.code == 1
    assert sim.passwords(POOL) == dict(people(5))
    assert "5 set" in ran.stdout


def test_pools_name_confirms_many_permanent_passwords(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    sim.add_pool(POOL, policy=LAX, auto_users=True, name="customers")
    args = (*bulkreset.against(write_csv(tmp_path / "in.csv", people(101))), "--permanent", "--rate", "none")
    with at_a_terminal(bulkreset, args) as person:
        person.read_until('name ("customers"): ')
        person.type("costumers\n")
        person.read_until('That is not the name. Type the pool\'s name ("customers"): ')
        person.type("customers\n")
        ran = person.end()
    assert (ran.code, ran.summary["counts"]) == (0, {"set": 101})


def test_preflight_continues_without_the_account_if_sts_fails(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", people(2)), env={"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9"})
    assert ran.code == 0
    assert "account unknown" in ran.stderr
    assert "STS could not be reached" in ran.stderr
    assert len(sim.calls(SET)) == 2


def test_quiet_run_shows_the_plan_with_its_question(tmp_path: Path, bulkreset: Command) -> None:
    args = (*bulkreset.against(write_csv(tmp_path / "in.csv", people(3))), "--quiet")
    with at_a_terminal(bulkreset, args) as person:
        assert POOL in person.read_until(PROMPT)
        person.type("y\n")
        ran = person.end()
    assert (ran.code, "Report:" in ran.stderr + ran.stdout) == (0, False)
