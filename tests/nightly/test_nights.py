"""The nights: one that is not alone any more sends nothing, and a run that is lost is not taken for one that never was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bulkreset.job.file import load
from bulkreset.nightly.nights import Night
from bulkreset.rows import Summary
from bulkreset.run import Mode
from bulkreset.watch import Progress, Stop
from tests.bucket import BUCKET, Storage
from tests.e2e.command import SET, Command, people, write_csv, write_job
from tests.sim import Simulator

OTHERS = {"holder": "x", "host": "another", "seconds": 60, "until": 9e9}


class Onlooker:
    """A Ui that says yes, keeps the remarks, and does something once rows are being sent."""

    def __init__(self, sending: Callable[[], None] = lambda: None) -> None:
        self.remarks: list[str] = []
        self._sending = sending

    def __getattr__(self, _name: str) -> Callable[..., bool]:
        return lambda *_args: True

    def remark(self, text: str) -> None:
        self.remarks.append(text)

    def sending(self, _progress: Progress) -> None:
        self._sending()
        self._sending = lambda: None


@pytest.fixture(autouse=True)
def here(bulkreset: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own process as the command line would be."""
    for name, value in bulkreset.environment.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(bulkreset.home)
    return bulkreset.home


def night(job: Path, run_dir: Path, ui: Any, stop: Stop | None = None) -> list[Summary]:  # noqa: ANN401  (an Onlooker)
    """What came of a night's runs."""
    asked = load(job, {})
    assert asked.input.state
    one = Night(asked, asked.input.state, Mode(None, yes=True), ui, stop or Stop())
    return [summary for _, summary in one.run(lambda: run_dir)]


def sent(sim: Simulator) -> list[str]:
    return [call.username for call in sim.calls(SET)]


@pytest.mark.parametrize("lost", ["another process has taken it", "could not be renewed for 1 seconds"])
def test_night_that_loses_its_lease_sends_nothing_more(
    here: Path, sim: Simulator, storage: Storage, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    for name, value in storage.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("bulkreset.nightly.state.SECONDS", 1.0)
    write_csv(here / "mon.csv", people(400))
    state = f"s3://{BUCKET}/nightly.json"
    job = write_job(here, sim.url, f'path = "mon.csv"\nstate = "{state}"', "[pace]\nrate = 100\n")

    def lose() -> None:
        if "taken" in lost:
            storage.put("nightly.json.lease", json.dumps(OTHERS).encode())
        else:
            storage.configure(faults=[["^(GET|PUT) .*lease", 403, "AccessDenied", 999]])

    (summary,) = night(job, here / "run", Onlooker(lose))
    assert (summary.exit_code, summary.state, summary.resumable) == (4, "stopped", True)
    assert lost in (summary.stopped_by or {})["message"]
    assert summary.counts["set"] == len(sent(sim)) < 300
