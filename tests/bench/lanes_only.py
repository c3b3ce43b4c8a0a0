"""Lanes without the service: the rate of claims, sources, pacers and threads if a call is a wait of 60 ms ± 30 %.

Takes LANES ROWS (of each lane); prints the slowest and the mean lane's share of its rate, and CPU seconds.
"""

import json
import random
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from bulkreset.cancellation import CancelToken, SendProgress
from bulkreset.clock import SystemClock
from bulkreset.cognito.response import Disposition, Response
from bulkreset.input.input_set import InputSet
from bulkreset.job import Job
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.log import Log, open_log
from bulkreset.models import Row
from bulkreset.plan.preflight import PlannedLane, Preflight
from bulkreset.run import apply
from bulkreset.run.context import RunContext, RunOptions
from bulkreset.run.control import RunControl
from bulkreset.send.sharing import SharedLanes
from tests.journal.journals import run_state
from tests.lanes.lane_targets import Line, write_input

RATE: Final = 30.0


class Waiting:
    """A transport that only waits."""

    def __init__(self, *_of_boto: object) -> None:
        self.left: list[float] = []

    def set_password(self, _row: Row) -> Response:
        self.left.append(time.monotonic())
        time.sleep(0.06 * random.uniform(0.7, 1.3))
        return Response(Disposition.DONE)


class Silent:
    """A Ui without output."""

    def on_send_progress(self, _progress: SendProgress) -> None:
        pass


def context(job: Job, folder: Path, journal: Journal, rows: InputSet, sessions: Any, log: Log) -> RunContext:  # noqa: ANN401  (fakes)
    """Make a run that has only its lanes."""
    unused: Any = None
    ui: Any = Silent()
    stop = CancelToken()
    opened = (job, RunOptions(None), unused, ui, stop, RunDir(folder), journal, rows, sessions, None, None)
    control = RunControl(folder, lambda: "", stop, SystemClock(), log)
    return RunContext(*opened, log, None, None, None, control)


def main(lanes: int, rows: int) -> None:
    """Send so many rows through so many lanes, interleaved."""
    transports: list[Waiting] = []

    def made(*of_boto: object) -> Waiting:
        transports.append(Waiting(*of_boto))
        return transports[-1]

    pools = [f"us-east-1_Lane{number:05d}" for number in range(lanes)]
    lines: list[Line] = [(f"u{row:06d}", f"Quiet-Pw.{row:07d}", pool) for row in range(rows) for pool in pools]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.setattr("bulkreset.send.lane.open_transport", made)
        targets = [{"user_pool_id": pool, "region": "us-east-1"} for pool in pools]
        source = {"path": write_input(folder, lines)}
        job = Job.model_validate({"name": "x", "input": source, "targets": targets, "pace": {"rate": RATE}})
        lane_facts = [
            {"account": f"{number:012d}", "region": "us-east-1", "quota": RATE, "ceiling": RATE, "pools": [pool]}
            for number, pool in enumerate(pools)
        ]
        journal = Journal.create(folder / "journal.sqlite", pools, run_state(lanes=lane_facts))
        journal.write.add_rows((row, pool, user, True, "ready", "", "") for row, (user, _, pool) in enumerate(lines, 1))
        journal.write.begin_sending()
        plans = [
            PlannedLane(f"{number:012d}", "us-east-1", (pool,), RATE, "said here", RATE)
            for number, pool in enumerate(pools)
        ]
        preflight = Preflight(
            job=job,
            emulated=False,
            lanes=tuple(plans),
            callers={},
            pools={},
            endpoints={},
            counts={},
            sendable=[(pool, 1, rows) for pool in pools],
            status_before={},
            unchecked={},
            unknown=(),
            seconds=None,
        )
        sessions: Any = {pool: SimpleNamespace(cognito=lambda: None, renewal=lambda: lambda: False) for pool in pools}
        with (folder / "log").open("w") as log, Path("/dev/null").open("w") as console:
            events = open_log(log, "x", console)
            cpu = time.process_time()
            source_rows = InputSet.open(job.input)
            apply._send(
                context(job, folder, journal, source_rows, sessions, events),
                preflight,
                source_rows.change_detector(),
                SharedLanes("split", 1.0, events),
            )
            cpu = time.process_time() - cpu
        journal.close()
    shares = [(len(it.left) - 1) / (it.left[-1] - it.left[0]) / RATE for it in transports]
    figures = {"slowest": min(shares), "mean": sum(shares) / len(shares), "cpu_per_1000": cpu / len(lines) * 1000}
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
