"""Resume: its refusals, and the rows that it sends."""

import csv
import json
import os
import re
import signal
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import pytest

from bulkreset.cancellation import CancelToken
from bulkreset.cli.prompts import describe_status, describe_summary
from bulkreset.errors import Interrupted, Refused
from bulkreset.job.file import load
from bulkreset.journal import database
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.notify.execution_result import ExecutionResult
from bulkreset.report import report_writers
from bulkreset.report.run_status import read_status
from bulkreset.run import finish as finishing
from bulkreset.run import start_and_resume
from bulkreset.run.context import RunEnd, RunOptions
from tests.e2e.command import (
    PATIENCE,
    POOL,
    SET,
    Command,
    CommandResult,
    assert_they_agree,
    finish,
    people,
    seed,
    write_csv,
    write_job,
)
from tests.sim import Simulator
from tests.waiting import wait_until

DAMAGED = (
    "The journal {}/journal.sqlite is damaged. Restore it from a backup. Without one, plan a new run of the rows"
    " that are not set."
)


def resume(bulkreset: Command, run_dir: Path, *args: str, env: dict[str, str | None] | None = None) -> CommandResult:
    with bulkreset.start("resume", run_dir, *args, env=env) as process:
        return finish(process, run_dir)


def sent(sim: Simulator, count: int) -> None:
    """Wait until the simulator has had so many calls."""
    wait_until(lambda: sim.stats().count(SET) >= count)


def hold(sim: Simulator, call: int, operation: str = SET, **which: str) -> None:
    """Make the service hold its answers from that call on, counted from now: no call ends before let_go()."""
    sim.configure(faults={"every": {"operation": operation, "from_call": call, "hold": True, **which}})


def let_go(sim: Simulator) -> None:
    """Release the held answers, and answer all later calls."""
    sim.configure(faults={"every": None})


def interrupted(bulkreset: Command, sim: Simulator, rows: int = 60, number: int = signal.SIGTERM) -> CommandResult:
    """Start a run of these rows, and end it by a signal midway."""
    source = write_csv(bulkreset.home / "users.csv", people(rows))
    run_dir = bulkreset.home / "run"
    hold(sim, 8)
    with bulkreset.start(
        *bulkreset.against(source), "--yes", "--rate", "40", "--workers", "4", "--run-dir", run_dir
    ) as process:
        sent(sim, 8)
        os.kill(process.pid, number)
        let_go(sim)
        return finish(process, run_dir)


@pytest.fixture
def begun_run(bulkreset: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of ten rows of which two are set, made in the test process with the command line's environment."""
    for name, value in bulkreset.environment.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    write_csv(bulkreset.home / "users.csv", people(10))
    job = write_job(bulkreset.home, bulkreset.sim.url, 'path = "users.csv"', '[pace]\nrate = "none"\n')
    run_dir = bulkreset.home / "run"
    start_and_resume.start(load(job, {"guards.limit": 2}), run_dir, RunOptions(None, yes=True), Silent(), CancelToken())
    return run_dir


class Silent:
    """A Ui that answers yes."""

    def __getattr__(self, _name: str) -> Any:  # noqa: ANN401  (any method of it)
        return lambda *_: True


def refusal(run_dir: Path, sim: Simulator) -> str:
    """Resume, check that nothing is sent and the exit code is 2, and return the reason."""
    before = len(sim.calls(SET))
    with pytest.raises(Refused) as caught:
        start_and_resume.resume(run_dir, RunOptions(None, yes=True), {}, Silent(), CancelToken())
    assert (caught.value.exit_code, len(sim.calls(SET))) == (2, before)
    return str(caught.value)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)], ids=["int", "term", "hup"]
)
def test_signal_finishes_calls_in_flight_writes_the_report_and_says_how_to_resume(
    bulkreset: Command, sim: Simulator, number: int, code: int
) -> None:
    ran = interrupted(bulkreset, sim, number=number)
    assert ran.code == code
    assert f"Interrupted by {signal.Signals(number).name}." in ran.stderr
    assert ran.stderr.splitlines()[-1].endswith(f"Resume with: bulkreset resume {ran.run_dir}")
    assert ran.summary["state"] == "interrupted"
    assert set(ran.summary["counts"]) == {"set", "unprocessed"}
    assert_they_agree(ran, sim)
    if number != signal.SIGTERM:  # the other signals leave the same state
        return
    again = resume(bulkreset, ran.run_dir, "--rate", "none")
    assert again.code == 0
    assert again.summary["counts"] == {"set": 60}
    assert_they_agree(again, sim)
    assert sim.stats().users_applied_more_than_once == 0


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_second_signal_leaves_at_once_and_the_run_can_be_resumed(
    bulkreset: Command, sim: Simulator, log_format: str
) -> None:
    """The signal is sent repeatedly: two that arrive before the first one is handled count as one."""
    source = write_csv(bulkreset.home / "users.csv", people(30))
    run_dir = bulkreset.home / "run"
    hold(sim, 1, username="user.005")
    with bulkreset.start(
        *bulkreset.against(source), "--yes", "--rate", "40", "--run-dir", run_dir, "--log-format", log_format
    ) as process:
        sent(sim, 12)
        process.send_signal(signal.SIGINT)
        said = re.compile(
            r"stopping: waiting for (1 call|\d+ calls) \(up to \d+ s\); Ctrl-C again leaves (it|them) in doubt"
        )
        wait_until(lambda: said.search((run_dir / "log.jsonl").read_text(encoding="utf-8")))
        assert process.poll() is None, "one call is still in flight"

        def has_stopped() -> bool:
            process.send_signal(signal.SIGINT)
            return process.poll() is not None

        wait_until(has_stopped)
        _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert said.search(stderr)
    left = 'Aborted. Rows in progress are "in doubt"; no report was written.'
    if log_format == "json":
        last = [json.loads(line) for line in stderr.splitlines()][-1]
        assert (last["event"], last["exit_code"], last["message"]) == ("ended", 130, left)
        assert last["resume"] == f"bulkreset resume {run_dir}"
        return
    assert stderr.endswith(f"\nbulkreset: {left}\nResume with: bulkreset resume {run_dir}\n")
    let_go(sim)
    again = resume(bulkreset, run_dir)
    assert again.code == 0
    assert again.of("user.005")["in_doubt"] == "true"
    assert {row["status"] for row in again.report} == {"set"}


def test_a_closed_terminal_counts_as_a_polite_kill(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(60))
    run_dir = bulkreset.home / "run"
    master, slave = os.openpty()
    hold(sim, 5)
    with bulkreset.start(
        *bulkreset.against(source), "--yes", "--rate", "40", "--run-dir", run_dir, terminal=slave
    ) as process:
        os.close(slave)
        sent(sim, 5)
        os.close(master)
        process.send_signal(signal.SIGHUP)
        let_go(sim)
        process.wait(timeout=PATIENCE)
    ran = CommandResult(process.returncode, "", "", run_dir)
    assert ran.code == 143
    assert ran.summary["state"] == "interrupted"
    assert_they_agree(ran, sim)


def test_closed_pipe_does_not_end_the_run(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(20))
    run_dir = bulkreset.home / "run"
    with bulkreset.start(*bulkreset.against(source), "--yes", "--rate", "none", "--run-dir", run_dir) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stderr.close()
        process.stdout = process.stderr = None
        assert process.wait(timeout=PATIENCE) == 0
    assert_they_agree(CommandResult(0, "", "", run_dir), sim)


def test_resume_refuses_a_changed_input(bulkreset: Command, sim: Simulator, begun_run: Path) -> None:
    before = len(sim.calls(SET))
    write_csv(bulkreset.home / "users.csv", [*people(9), ("user.010", "Another-Garden.010")])
    again = resume(bulkreset, begun_run)
    assert again.code == 2
    assert "has changed" in again.stderr
    assert len(sim.calls(SET)) == before


@pytest.mark.parametrize(
    "change",
    [{"region": "eu-west-1", "replica": True}, {"endpoint_url": "http://127.0.0.1:9"}],
    ids=["region", "endpoint"],
)
def test_resume_refuses_a_changed_target(sim: Simulator, begun_run: Path, change: dict[str, object]) -> None:
    """The test edits the target in the journal, as if its settings had changed since."""
    with closing(sqlite3.connect(begun_run / "journal.sqlite")) as journal, journal:
        for key, value in change.items():
            journal.execute(
                "UPDATE meta SET value = json_set(value, '$.targets[0].' || ?, json(?)) WHERE key = 'job'",
                (key, json.dumps(value)),
            )
    assert "was begun" in refusal(begun_run, sim)


def test_resume_refuses_credentials_of_another_account(
    sim: Simulator, begun_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim.configure(accounts={"AKIDOTHER": "210987654321"})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOTHER")
    before = len(sim.calls(SET))
    ended = start_and_resume.resume(begun_run, RunOptions(None, yes=True), {}, Silent(), CancelToken())
    assert (ended.summary.exit_code, len(sim.calls(SET))) == (2, before)
    assert "210987654321" in str(ended.error)


def test_resume_refuses_a_journal_of_an_unknown_version(sim: Simulator, begun_run: Path) -> None:
    with closing(sqlite3.connect(begun_run / "journal.sqlite")) as journal, journal:
        journal.execute("PRAGMA user_version = 99")
    assert "version 99" in refusal(begun_run, sim)


@pytest.mark.parametrize("what", ["nothing", "an empty directory", "a directory without a journal"])
def test_resume_refuses_other_directories(bulkreset: Command, sim: Simulator, what: str) -> None:
    path = bulkreset.home / "no-run"
    if what != "nothing":
        path.mkdir()
    if what == "a directory without a journal":
        (path / "report.csv").write_text("row\n")
    assert str(path) in refusal(path, sim)


def test_journal_that_is_not_a_database_is_damaged_and_named_among_all_runs(bulkreset: Command) -> None:
    path = bulkreset.home / "runs" / "broken"
    path.mkdir(parents=True)
    (path / "journal.sqlite").write_text("hello " * 1000)
    ran = resume(bulkreset, path)
    assert (ran.code, ran.error_lines) == (3, [f"bulkreset: {DAMAGED.format(path)}"])
    for as_json in ([], ["--json"]):
        with bulkreset.start("status", *as_json) as process:
            shown = finish(process, path)
        assert shown.code == 0
        expected = {"run_dir": "runs/broken", "problem": DAMAGED.format("runs/broken"), "state": "unreadable"}
        if as_json:
            assert json.loads(shown.stdout) == [expected]
        else:
            assert shown.stdout == f"runs/broken: unreadable: {DAMAGED.format('runs/broken')}\n"


def test_two_processes_never_hold_one_run(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(20))
    run_dir = bulkreset.home / "run"
    hold(sim, 3)
    with bulkreset.start(*bulkreset.against(source), "--yes", "--rate", "40", "--run-dir", run_dir) as process:
        sent(sim, 3)
        second = resume(bulkreset, run_dir)
        let_go(sim)
        first = finish(process, run_dir)
    assert second.code == 4
    assert "Another process" in second.stderr
    assert first.code == 0
    assert_they_agree(first, sim)


def test_resume_of_a_finished_run_sends_nothing_and_writes_the_reports_again(
    bulkreset: Command, sim: Simulator
) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(5))
    ran = bulkreset.reset(source, "--rate", "none")
    (ran.run_dir / "report.csv").unlink()
    again = resume(bulkreset, ran.run_dir)
    assert again.code == 0
    assert len(again.report) == 5
    assert len(sim.calls(SET)) == 5


def test_resume_sends_failed_rows_again_only_when_asked(bulkreset: Command, sim: Simulator) -> None:
    seed(sim, [name for name, _ in people(5)][:3])
    source = write_csv(bulkreset.home / "users.csv", people(5))
    ran = bulkreset.reset(source, "--rate", "none")
    assert (ran.code, ran.summary["counts"]) == (1, {"failed": 2, "set": 3})
    seed(sim, [name for name, _ in people(5)])
    again = resume(bulkreset, ran.run_dir)
    assert (again.code, again.summary["counts"]) == (1, {"failed": 2, "set": 3})
    assert len(sim.calls(SET)) == 5
    again = resume(bulkreset, ran.run_dir, "--failed")
    assert (again.code, again.summary["counts"]) == (0, {"set": 5})
    assert len(sim.calls(SET)) == 7
    assert again.summary["codes"] == {}


def test_killed_retry_leaves_its_rows_failed_in_the_status_and_in_a_resume(bulkreset: Command, sim: Simulator) -> None:
    """Three rows failed; two of them were not sent yet when the retry was killed."""
    users = people(6)
    seed(sim, [users[3][0]])
    source = write_csv(bulkreset.home / "users.csv", users)
    ran = bulkreset.reset(source, "--rate", "none", "--workers", "1", "--limit", "4")
    assert ran.summary["counts"] == {"failed": 3, "set": 1, "unprocessed": 2}
    seed(sim, [name for name, _ in users])
    before = sim.stats().count(SET)
    hold(sim, 1)
    with bulkreset.start(
        "resume", ran.run_dir, "--failed", "--rate", "none", "--workers", "1", "--limit", "1"
    ) as process:
        sent(sim, before + 1)
        process.kill()
        process.wait(timeout=PATIENCE)
    let_go(sim)
    status = read_status(ran.run_dir)
    assert status.counts == {"failed": 2, "set": 1, "in_doubt": 1, "unprocessed": 2}
    assert (status.state, status.rows_left) == ("crashed", 3)
    before = sim.stats().count(SET)
    again = resume(bulkreset, ran.run_dir)
    assert sim.stats().count(SET) - before == 3
    assert again.summary["counts"] == {"failed": 2, "set": 4}


def test_resume_failed_names_the_codes_for_which_it_makes_no_sense(bulkreset: Command, sim: Simulator) -> None:
    error: dict[str, Any] = {"error": "InvalidPasswordException"}
    sim.configure(faults={"users": {"user.001": [error, error]}})
    source = write_csv(bulkreset.home / "users.csv", people(2))
    ran = bulkreset.reset(source, "--rate", "none")
    again = resume(bulkreset, ran.run_dir, "--failed")
    assert again.code == 1
    assert "InvalidPasswordException" in again.stderr
    assert "will fail again unless the pool's policy has changed" in again.stderr


def test_a_lost_answer_before_the_stop_is_resolved_by_the_password_history(bulkreset: Command, sim: Simulator) -> None:
    seed(sim, [name for name, _ in people(3)], history=3)
    hold(sim, 1, username="user.002")
    source = write_csv(bulkreset.home / "users.csv", people(3))
    run_dir = bulkreset.home / "run"
    with bulkreset.start(*bulkreset.against(source), "--yes", "--rate", "none", "--run-dir", run_dir) as process:
        sent(sim, 3)
        process.kill()
        process.communicate()
    let_go(sim)
    again = resume(bulkreset, run_dir)
    assert again.code == 0
    row = again.of("user.002")
    assert (row["status"], row["in_doubt"]) == ("set", "true")
    assert "earlier call" in row["message"]
    assert sim.passwords(POOL)["user.002"] == "Quiet-Garden.002"


def test_a_dry_run_cannot_be_resumed(bulkreset: Command) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(2))
    ran = bulkreset(*bulkreset.against(source), "--dry-run")
    again = resume(bulkreset, ran.run_dir)
    assert again.code == 2
    assert "dry run" in again.stderr
    assert f"--approved {ran.run_dir}" in again.stderr


def test_report_of_a_killed_run_shows_recorded_facts(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(60))
    run_dir = bulkreset.home / "run"
    hold(sim, 10)
    with bulkreset.start(
        *bulkreset.against(source), "--yes", "--rate", "40", "--workers", "4", "--run-dir", run_dir
    ) as process:
        sent(sim, 13)
        wait_until(lambda: read_status(run_dir).counts.get("set") == 9)
        process.kill()
        process.communicate()
    let_go(sim)
    with bulkreset.start("report", run_dir) as process:
        assert finish(process, run_dir).code == 0
    with (run_dir / "report.csv").open(encoding="utf-8", newline="") as file:
        report = list(csv.DictReader(file))
    assert [row["row"] for row in report] == [str(number) for number in range(1, 61)]
    text = {row["username"] for row in report if row["status"] in {"set", "in_doubt"}}
    assert {call.username for call in sim.calls(SET)} <= text
    assert {row["status"] for row in report} == {"set", "in_doubt", "unprocessed"}
    answered = [row for row in report if row["status"] == "set"]
    took = moment(max(row["finished_at"] for row in answered)) - moment(min(row["started_at"] for row in answered))
    again = resume(bulkreset, run_dir, "--rate", "none")
    assert again.code == 0
    assert took.total_seconds() < again.summary["sending_seconds"] < again.summary["seconds"]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


# Pages of ten rows, and a signal after the second one.
ENDS_WHILE_IT_PLANS = """
import os
from bulkreset.input import batch, page_reader, text_reader
from bulkreset.journal.journal_writer import JournalWriter
batch.BATCH_ROWS, text_reader.PAGE_ROWS, page_reader.PAGE_ROWS = 10, 5, 5
plan, chunks = JournalWriter.add_rows, []
def ending(journal, rows):
    plan(journal, rows)
    chunks.append(rows)
    if len(chunks) == 2:
        os.kill(os.getpid(), {:d})
JournalWriter.add_rows = ending
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_a_run_stopped_while_it_plans_plans_again(bulkreset: Command, sim: Simulator, number: int) -> None:
    source = write_csv(bulkreset.home / "users.csv", [*((f"no.{row}", "") for row in range(50)), *people(3)])
    run_dir = bulkreset.home / "run"
    argv = (*bulkreset.against(source), "--yes", "--run-dir", run_dir)
    with bulkreset.start(*argv, first=ENDS_WHILE_IT_PLANS.format(number)) as process:
        text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode in {143, -9}
    with closing(sqlite3.connect(run_dir / "journal.sqlite")) as journal, journal:
        assert 20 <= journal.execute("SELECT count(*) FROM rows").fetchone()[0] < 53
    found = read_status(run_dir)
    assert not found.plan_complete
    assert "The run stopped while planning" in describe_status(found)
    if number == signal.SIGTERM:
        half = CommandResult(process.returncode, text, "", run_dir)
        assert "rows read so far" in half.stdout
        assert "The run stopped while planning" in half.stdout
        assert half.summary["plan_complete"] is False
    again = resume(bulkreset, run_dir)
    assert again.code == 1
    assert again.summary["counts"] == {"rejected": 50, "set": 3}
    assert again.summary["plan_complete"] is True
    assert "The run stopped while planning" not in again.stdout + describe_status(read_status(run_dir))
    assert_they_agree(again, sim)


def test_max_rows_can_be_raised_for_a_run_that_it_stopped(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "users.csv", people(5))
    ran = bulkreset.reset(source, "--max-rows", "4")
    assert (ran.code, sim.calls(SET)) == (3, [])
    again = resume(bulkreset, ran.run_dir, "--max-rows", "5")
    assert again.code == 0


def test_doubt_outlives_a_row_that_failed_and_is_tried_again(bulkreset: Command, sim: Simulator) -> None:
    seed(sim, ["user.001"], history=3)
    steps = [{"error": "InternalErrorException", "apply": True}, {"error": "NotAuthorizedException"}]
    sim.configure(faults={"users": {"user.001": steps}})
    ran = bulkreset.reset(write_csv(bulkreset.home / "one.csv", people(1)), "--rate", "none")
    assert (ran.code, ran.summary["counts"]) == (1, {"failed": 1})
    again = resume(bulkreset, ran.run_dir, "--failed")
    assert (again.code, again.summary["counts"]) == (0, {"set": 1})
    assert again.of("user.001")["message"].startswith("set by an earlier call")


def test_sufficient_row_limit_is_not_a_limit(bulkreset: Command, sim: Simulator) -> None:
    sim.configure(faults={"users": {"user.003": [{"error": "InternalErrorException"}] * 50}})
    job = write_job(bulkreset.home, sim.url, f'path = "{write_csv(bulkreset.home / "three.csv", people(3))}"', LIMITED)
    ran = bulkreset("run", job, "--yes", "--limit", "3")
    assert (ran.code, ran.summary["counts"]) == (1, {"set": 2, "in_doubt": 1})
    assert "--limit asks" not in ran.stderr


LIMITED = '[pace]\nrate = "none"\nmax_attempts = 2\nmax_wait = 0.1\n'


def stopping(bulkreset: Command, monkeypatch: pytest.MonkeyPatch, *, dry_run: bool, at: str) -> tuple[RunEnd, Path]:
    """Return a function that resumes a run of ten rows with a slow report, and stops it `at` a method of its Ui."""
    for name, value in bulkreset.environment.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(finishing, "LONG_REPORT_ROWS", 9)
    write_csv(bulkreset.home / "users.csv", people(10))
    job = write_job(bulkreset.home, bulkreset.sim.url, 'path = "users.csv"', '[pace]\nrate = "none"\n[report]\n')
    run_dir, token = bulkreset.home / "run", CancelToken()

    class Stopping(Silent):
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (as above)
            if name == at:
                token.request("SIGTERM")
            return lambda *_: True

    options = RunOptions(None, yes=True, dry_run=dry_run)
    return start_and_resume.start(load(job, {}), run_dir, options, Stopping(), token), run_dir


def resumed(run_dir: Path) -> RunEnd:
    return start_and_resume.resume(run_dir, RunOptions(None, yes=True), {}, Silent(), CancelToken())


@pytest.mark.parametrize("at", ["on_rows_read", "on_send_progress"])
def test_stopped_run_does_not_wait_for_a_long_report(
    bulkreset: Command, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    end, run_dir = stopping(bulkreset, monkeypatch, dry_run=False, at=at)
    assert isinstance(end.error, Interrupted)
    assert "The report of 10 rows is not written: that takes long." in end.error.message
    assert end.error.advice.endswith(f"To write it now: bulkreset report {run_dir}.")
    summary = json.loads((run_dir / "summary.json").read_text())
    assert (summary["state"], summary["exit_code"], summary["rows"]) == ("interrupted", 143, 10)
    assert not list(run_dir.glob("report.*"))
    assert "Report:" not in "".join(describe_summary(end.summary, RunDir(run_dir)))
    with closing(Journal.open(run_dir / "journal.sqlite", read_only=True)) as journal:
        assert ExecutionResult.from_summary(end.summary, journal.state, run_dir, 1.0).report == ""
    assert read_status(run_dir).resumable
    assert resumed(run_dir).error is None
    assert {path.name for path in run_dir.glob("report.*")} == {"report.csv", "report.html"}


def test_stop_while_a_long_report_is_written_ends_it_and_leaves_none(
    bulkreset: Command, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then every row is set and no older report exists. Resume only writes the report."""
    monkeypatch.setattr(database, "_STEPS_BETWEEN_CHECKS", 10)
    write = report_writers.write_facts
    stop = list[CancelToken]()

    def writing(rows: Iterable[Any], out: IO[bytes]) -> None:
        def stopped() -> Iterator[Any]:
            for row in rows:
                stop[0].request("SIGTERM")
                yield row

        write(stopped(), out)

    made = CancelToken.__init__

    def make(token: CancelToken) -> None:
        made(token)
        stop.append(token)  # the run's own is the first

    monkeypatch.setattr(CancelToken, "__init__", make)
    monkeypatch.setattr(report_writers, "write_facts", writing)
    end, run_dir = stopping(bulkreset, monkeypatch, dry_run=False, at="")
    assert (end.summary.state, end.summary.exit_code, dict(end.summary.counts)) == ("interrupted", 143, {"set": 10})
    assert not list(run_dir.glob("report.*"))
    assert not list(run_dir.glob(".report*"))
    monkeypatch.setattr(report_writers, "write_facts", write)
    again = resumed(run_dir)
    assert (again.error, len(sim.calls(SET))) == (None, 10)
    assert (run_dir / "report.csv").exists()
