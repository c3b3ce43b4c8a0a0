"""Ten million rows: planned, a tenth of them applied, resumed and reported; CSV and Parquet, time and memory."""

import json
import os
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from tests.bench.bench_setup import measured, say, stage, timed, unpaced, users
from tests.e2e.command import SET
from tests.sim import Simulator

ROWS: Final = int(os.environ.get("SCALE_ROWS", "10000000"))
TIME_LIMIT: Final = 5  # the exit code of a run that --limit has ended


def bench_scale(rows: int = ROWS) -> None:
    """Measure a run that is stopped after a tenth of its rows; then `resume` for one more row, and each report."""
    for suffix in ("csv", "parquet"):
        with stage(keep_calls=False) as (sim, folder):
            source = users(folder / "users.csv", rows)
            if suffix == "parquet":
                source = as_parquet(source)
            _one(sim, source, folder / "run", rows)


def as_parquet(source: Path) -> Path:
    """Write the same rows as Parquet, in chunks."""
    to = source.with_suffix(".parquet")
    with pyarrow.csv.open_csv(source) as pieces, pa.parquet.ParquetWriter(to, pieces.schema) as writer:
        for piece in pieces:
            writer.write_batch(piece)
    source.unlink()
    return to


def _one(sim: Simulator, source: Path, run_dir: Path, rows: int) -> None:
    name = f"{rows:,} {source.suffix[1:]}"
    tenth = rows // 10
    command = (*unpaced(source, sim, run_dir, "crt"), "--limit", tenth)
    took, cpu, memory = timed(sim, [sys.executable, *command], TIME_LIMIT)
    at = dict(_events(run_dir))
    sent = json.loads((run_dir / "summary.json").read_text())["sending_seconds"]
    seconds = {"plan": at["plan_finished"] - at["run_started"], "sending": sent, "whole": took}
    say(
        f"{name}, a tenth set",
        **{key: round(value, 1) for key, value in seconds.items()},
        cpu=round(cpu, 1),
        peak_mb=memory,
    )
    size = (run_dir / "journal.sqlite").stat().st_size
    say(f"{name}, journal", mb=size // 10**6, bytes_per_row=round(size / rows, 1))
    began = sim.stats().count(SET)
    took, cpu, memory = timed(
        sim,
        [sys.executable, "-m", "bulkreset.cli.main", "resume", run_dir, "--limit", 1, "--no-progress"],
        TIME_LIMIT,
    )
    assert sim.stats().count(SET) == began + 1
    say(f"{name}, resumed for a row", whole=round(took, 1), cpu=round(cpu, 1), peak_mb=memory)
    for form in ("csv", "jsonl", "parquet", "html"):
        took, cpu, memory = measured(sim, "-m", "bulkreset.cli.main", "report", run_dir, "--format", form)
        say(f"{name}, report as {form}", seconds=round(took, 1), cpu=round(cpu, 1), peak_mb=memory)


def _events(run_dir: Path) -> Iterator[tuple[str, float]]:
    """Return the times of a run's events, in seconds."""
    with (run_dir / "log.jsonl").open(encoding="utf-8") as log:
        for line in log:
            told = json.loads(line)
            yield told["event"], datetime.fromisoformat(told["timestamp"]).timestamp()
