"""The report in another format or redacted: by the run itself, and written again."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e.command import POOL, SET, Argument, Command, finish, seed, write_csv, write_job
from tests.sim import Simulator

NAMES = ("ann.smith", "bob.jones", "cat.brown", "dan.young")


def test_redacted_parquet_report_and_parts_of_it(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    seed(sim, NAMES[:2])
    rows = [(name, "" if name == NAMES[3] else "Quiet-Garden.1") for name in NAMES]
    write_csv(tmp_path / "in.csv", rows)
    report = '[report]\nformat = "parquet"\nredact = "usernames"'
    ran = bulkreset("run", write_job(tmp_path, sim.url, 'path = "in.csv"', report), "--yes", "-vv")
    assert ran.code == 1
    assert f"Report: {ran.run_dir}/report.parquet" in ran.stdout
    assert ran.summary["report"] == "report.parquet"
    assert {path.name for path in ran.run_dir.iterdir()} == {
        *(
            "journal.sqlite",
            "journal.mark",
            "log.jsonl",
            "summary.json",
            "report.parquet",
            "report.html",
            "redaction.key",
        )
    }
    page = (ran.run_dir / "report.html").read_text(encoding="utf-8")
    assert page.count("u-") >= 2
    whole = pq.read_table(ran.run_dir / "report.parquet")
    assert whole.column("status").to_pylist() == ["set", "set", "failed", "rejected"]
    assert not any(name in str(whole.to_pylist()) + page + ran.stdout + ran.stderr for name in NAMES)
    assert set(sim.passwords(POOL)) == {*NAMES[:2]}

    with bulkreset.start("report", ran.run_dir, "--only", "failed,rejected", "--format", "jsonl", "-o", "-") as asked:
        shown = finish(asked, ran.run_dir)
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert shown.code == 0
    assert [(line["row"], line["code"]) for line in lines] == [(3, "UserNotFoundException"), (4, "missing_password")]
    assert [line["username"] for line in lines] == whole.column("username").to_pylist()[2:]
    assert all(re.fullmatch(r"u-[0-9a-f]{32}", line["username"]) for line in lines)

    with bulkreset.start("report", ran.run_dir, "--only", "failed", "--only", "gone") as asked:
        refused = finish(asked, ran.run_dir)
    assert (refused.code, refused.stdout) == (2, "")
    assert "--only: 'gone' is not a status. The statuses are ready, rejected," in refused.stderr

    (ran.run_dir / "redaction.key").write_text("damaged")
    calls = len(sim.calls(SET))
    with bulkreset.start("resume", ran.run_dir, "--failed") as asked:
        refused = finish(asked, ran.run_dir)
    assert (refused.code, len(sim.calls(SET))) == (2, calls), "exit 2 says that nothing was sent"
    assert "is not a redaction key" in refused.error_lines[-1]


@pytest.mark.linux("/dev/full, a disk that is always full")
def test_failed_write_to_standard_output_is_reported(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    seed(sim, NAMES)
    argv, run_dir = bulkreset.with_run_dir(
        (*bulkreset.against(write_csv(tmp_path / "in.csv", [(name, "Quiet-Garden.1") for name in NAMES])), "--yes")
    )

    def run_to_full_device(*args: Argument) -> tuple[int, list[str]]:
        with Path("/dev/full").open("wb") as full:
            ran = finish(bulkreset.start(*args, out=full.fileno()), run_dir)
        return ran.code, ran.error_lines

    full = "to standard output: No space left on device"
    kept = f" The report: {run_dir}/report.csv"
    code, (said,) = run_to_full_device(*argv)
    assert (code, said) == (0, f"bulkreset: The summary could not be written {full}.{kept}")
    for args in (
        ("status",),
        ("status", run_dir, "--json"),
        ("report", run_dir, "-o", "-"),
        ("verify", run_dir, "--json"),
    ):
        code, (said,) = run_to_full_device(*args)
        assert (code, full in said) == (3, True), said
