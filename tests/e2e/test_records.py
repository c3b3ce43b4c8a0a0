"""The files of a run, their format, and their agreement with the service."""

import json
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.command import (
    ACCOUNT,
    POOL,
    REGION,
    SET,
    Command,
    CommandResult,
    assert_they_agree,
    finish,
    people,
    seed,
    write_csv,
)
from tests.sim import Call, Simulator

COLUMNS = [
    *("row", "user_pool_id", "username", "status", "code", "message", "attempts", "throttled", "in_doubt"),
    *(
        "permanent",
        "signed_out",
        "sessions_revoked",
        "devices_forgotten",
        "totp_deleted",
        "latency_ms",
        "request_id",
        "started_at",
        "finished_at",
        "status_before",
        "recovery",
        "file",
    ),
]
SUMMARY = {
    *("run_id", "job", "mode", "state", "exit_code", "started_at", "finished_at", "seconds", "rows", "counts"),
    *("codes", "attempts", "throttled", "rows_per_second", "lanes", "input", "targets"),
}


@dataclass(frozen=True)
class MixedRun:
    """A run with rows of every result: set, failed, rejected, throttled, in doubt. It keeps the calls that arrived."""

    ran: CommandResult
    calls: list[Call]
    input: Path


@pytest.fixture(scope="module")
def mixed(running: Simulator, tmp_path_factory: pytest.TempPathFactory) -> MixedRun:
    folder = tmp_path_factory.mktemp("mixed")
    running.reset()
    input_ = _mixture(folder, running)
    ran = Command(folder, running).reset(input_)
    assert_they_agree(ran, running)  # here, because every test resets the simulator
    return MixedRun(ran, running.calls(SET), input_)


def _mixture(tmp_path: Path, sim: Simulator) -> Path:
    rows = [*people(6), ("nobody", "Quiet-Garden.1"), ("no.password", ""), ("cut", "Quiet-Garden.2")]
    seed(sim, [name for name, _ in rows if name != "nobody"])
    sim.configure(faults={"users": {"user.002": [{"throttle": 2}], "cut": [{"cut": "after"}]}})
    return write_csv(tmp_path / "mixed.csv", rows)


def test_report_has_every_row_once_in_order_under_the_documented_columns(mixed: MixedRun) -> None:
    ran = mixed.ran
    assert ran.code == 1
    assert ran.header == COLUMNS
    assert ran.column("row") == [str(number) for number in range(1, 10)]
    assert ran.column("username") == [f"user.{n:03d}" for n in range(1, 7)] + ["nobody", "no.password", "cut"]
    assert ran.column("status") == ["set"] * 6 + ["failed", "rejected", "set"]
    assert set(ran.column("user_pool_id")) == {POOL}


def test_report_repeats_the_service_s_request_ids_and_gives_times_in_utc(mixed: MixedRun) -> None:
    ran = mixed.ran
    sent = [row for row in ran.report if row["attempts"] != "0"]
    last = {call.username: call.request_id for call in mixed.calls}
    assert {row["username"]: row["request_id"] for row in sent} == last
    for row in sent:
        assert row["started_at"].endswith("Z")
        assert ran.summary["started_at"] <= row["started_at"] <= row["finished_at"] <= ran.summary["finished_at"]
        assert int(row["latency_ms"]) >= 0


def test_report_holds_formulas_harmless(tmp_path: Path, bulkreset: Command) -> None:
    names = ["=cmd|'/C'!A0", "+1", "-1", "@SUM(1)"]
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", [(name, "Quiet-Garden.1") for name in names]))
    assert ran.column("username") == [f"'{name}" for name in names]


def test_summary_has_the_documented_keys_and_agrees_with_the_input(mixed: MixedRun) -> None:
    ran = mixed.ran
    summary = ran.summary
    assert summary.keys() >= SUMMARY
    assert (summary["job"], summary["mode"], summary["state"], summary["exit_code"]) == ("mixed", "run", "finished", 1)
    assert summary["counts"] == {"set": 7, "failed": 1, "rejected": 1}
    assert summary["codes"] == {"UserNotFoundException": 1, "missing_password": 1}
    (lane,) = summary["lanes"]
    assert (lane["account"], lane["region"], lane["quota"], lane["ceiling"]) == (ACCOUNT, REGION, 30.0, 24.0)
    assert summary["input"]["size"] == mixed.input.stat().st_size
    assert Path(summary["input"]["path"]) == mixed.input
    assert [target["user_pool_id"] for target in summary["targets"]] == [POOL]


def test_run_directory_is_for_its_owner_only(mixed: MixedRun) -> None:
    ran = mixed.ran
    assert stat.S_IMODE(ran.run_dir.stat().st_mode) == 0o700
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in ran.run_dir.iterdir()}
    assert files.keys() >= {"journal.sqlite", "report.csv", "summary.json", "log.jsonl"}
    assert set(files.values()) == {0o600}


def test_default_run_directory_is_new_under_runs_and_named_for_the_job(tmp_path: Path, bulkreset: Command) -> None:
    job = bulkreset.against(write_csv(tmp_path / "autumn.csv", people(1)))
    with bulkreset.start(*job, "--yes") as process:
        process.communicate()
    assert process.returncode == 0
    (made,) = (tmp_path / "runs").iterdir()
    assert made.name.startswith("autumn-")
    assert (made / "report.csv").is_file()


def test_log_is_json_lines_that_all_carry_the_run_s_id(mixed: MixedRun) -> None:
    ran = mixed.ran
    assert {event["run_id"] for event in ran.log} == {ran.summary["run_id"]}
    events = [event["event"] for event in ran.log]
    assert (events[0], events[-1]) == ("run_started", "run_finished")
    assert {event["row"] for event in ran.log if event["event"] == "row_finished"} == {7}


def test_console_log_as_json_has_every_row_with_vv(tmp_path: Path, bulkreset: Command) -> None:
    input_ = write_csv(tmp_path / "in.csv", people(3))
    loud = bulkreset.reset(input_, "--log-format", "json", "-vv")
    assert loud.stderr.count('"event": "row_finished"') == 3


def test_json_standard_error_is_events_from_its_first_byte_to_its_last(tmp_path: Path, bulkreset: Command) -> None:
    input_ = write_csv(tmp_path / "in.csv", people(3))
    limited = bulkreset.reset(
        input_, "--log-format", "json", "--limit", "1", env={"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9"}
    )
    missing, preflight, *_, ended = map(json.loads, limited.stderr.splitlines())
    assert (missing["event"], preflight["event"], preflight["ready"]) == ("account_unknown", "preflight", 3)
    assert any(line.startswith(("Caller", "User pool")) for line in preflight["lines"])
    assert {event["run_id"] for event in (missing, preflight, ended)} == {limited.summary["run_id"]}
    assert {key: ended[key] for key in ("event", "level", "exit_code", "state", "run_dir", "resume")} == {
        "event": "ended",
        "level": "error",
        "exit_code": 5,
        "state": "row_limit",
        "run_dir": str(limited.run_dir),
        "resume": f"bulkreset resume {limited.run_dir}",
    }
    assert ended["message"].startswith(limited.summary["stopped_by"]["message"])
    assert limited.stdout.startswith("Run stopped at its row limit: 3 rows: ")
    refused = bulkreset.reset(input_, "--log-format", "json", "--approved", "there")
    (event,) = map(json.loads, refused.stderr.splitlines())
    assert (refused.code, event["event"], event["exit_code"], event["state"]) == (2, "ended", 2, "refused")
    with bulkreset.start("resume", limited.run_dir, "--log-format", "json") as process:
        resumed = finish(process, limited.run_dir)
    assert resumed.code == 0
    assert [json.loads(line)["event"] for line in resumed.stderr.splitlines()][-2:] == ["preflight", "ended"]


def test_result_as_json_is_all_of_standard_output(tmp_path: Path, bulkreset: Command) -> None:
    input_ = write_csv(tmp_path / "in.csv", people(3))
    limited = bulkreset.reset(input_, "--json", "--limit", "1")
    told = json.loads(limited.stdout)
    assert told.pop("run_dir") == str(limited.run_dir)
    assert told.pop("commands") == [f"bulkreset resume {limited.run_dir}"]
    assert told == limited.summary
    for args in (("resume", limited.run_dir), ("report", limited.run_dir, "--format", "jsonl")):
        with bulkreset.start(*args, "--json") as process:
            ran = finish(process, limited.run_dir)
        assert ran.code == 0
        told = json.loads(ran.stdout)
        assert told.get("report") in {"report.csv", str(limited.run_dir / "report.jsonl")}
    refused = bulkreset.reset(input_, "--json", "--approved", "there")
    assert (refused.code, refused.stdout) == (2, "")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("status", "there"), "there does not exist."),
        (("run", "--nonsense"), "No such option: --nonsense. See bulkreset run --help."),
        (("report", "there", "--format", "pdf"), "--format must be csv, parquet, jsonl or html."),
        (("nonsense",), "No such command 'nonsense'."),
    ],
)
def test_error_of_every_command_is_an_event(args: tuple[str, ...], said: str, bulkreset: Command) -> None:
    with bulkreset.start(*args, "--log-format=json") as process:
        ran = finish(process, bulkreset.home)
    (event,) = map(json.loads, ran.stderr.splitlines())
    assert (ran.code, ran.stdout, event["event"], event["exit_code"]) == (2, "", "ended", 2)
    assert event["message"].startswith(said)


def test_summary_on_the_terminal_counts_the_rows_and_names_the_report(mixed: MixedRun) -> None:
    ran = mixed.ran
    assert "9 rows" in ran.stdout
    assert "7 set" in ran.stdout
    assert str(ran.run_dir / "report.csv") in ran.stdout
