"""Other ways to set options: environment variables and --quiet; and the ways to get help."""

import re
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bulkreset.cli.main import app
from tests.e2e.command import SET, Command, finish, people, write_csv
from tests.sim import Simulator

GROUP: Any = typer.main.get_group(app)


@pytest.mark.parametrize("name", sorted(GROUP.commands))
def test_help_is_shown_by_each_of_its_names(name: str) -> None:
    run = CliRunner().invoke
    shown = run(app, [name, "--help"])
    assert shown.exit_code == 0
    assert GROUP.commands[name].help.split(".")[0] in " ".join(shown.output.split())
    assert run(app, [name, "-h"]).output == shown.output == run(app, ["help", name]).output


def test_help_without_a_command_lists_the_commands() -> None:
    run = CliRunner().invoke
    assert run(app, ["help"]).output.strip() == run(app, ["-h"]).output.strip() == run(app, ["--help"]).output.strip()
    assert "Did you mean 'run'" in run(app, ["help", "rum"]).output


def test_version_is_shown_by_both_flags() -> None:
    shown = CliRunner().invoke(app, ["-V"]).output
    assert re.fullmatch(r"bulkreset \d+\.\d+\.\d+\n", shown)
    assert CliRunner().invoke(app, ["--version"]).output == shown


@pytest.mark.parametrize("name", ["run", "resume"])
def test_each_option_has_the_variable_that_its_flag_suggests(name: str) -> None:
    for param in GROUP.commands[name].params:
        if param.param_type_name != "option" or param.multiple:
            continue
        flag = next(opt for opt in param.opts if opt.startswith("--"))
        assert param.allow_from_autoenv
        assert f"BULKRESET_{param.name}".upper() == "BULKRESET_" + flag[2:].replace("-", "_").upper()


def test_variable_sets_what_no_flag_sets(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "in.csv", people(4))
    ran = bulkreset(*bulkreset.against(source), env={"BULKRESET_YES": "1", "BULKRESET_LIMIT": "3"})
    assert (ran.code, ran.summary["counts"]) == (5, {"set": 3, "unprocessed": 1})
    again = bulkreset(*bulkreset.against(source), "--limit", "2", "--yes", env={"BULKRESET_LIMIT": "3"})
    assert (again.code, len(sim.calls(SET))) == (5, 5)


def test_quiet_run_says_nothing_unless_something_went_wrong(bulkreset: Command, sim: Simulator) -> None:
    source = write_csv(bulkreset.home / "in.csv", people(3))
    unreachable = {"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9"}  # gives a warning, if the run is not quiet
    ran = bulkreset.reset(source, "--quiet", env=unreachable)
    assert (ran.code, ran.stdout, ran.stderr) == (0, "", "")
    ran = bulkreset.reset(source, "-q", "--limit", "1")
    assert ran.stdout.startswith("Run stopped at its row limit")
    assert [line.partition(":")[0] for line in ran.stderr.splitlines()] == ["bulkreset", "Resume with"]
    ran = bulkreset.reset(source, "-q", "-v")
    assert (ran.code, "contradict" in ran.error_lines[0]) == (2, True)
    assert len(sim.calls(SET)) == 4


USAGE = [
    (["report", "x", "--format", "parket"], "--format must be csv, parquet, jsonl or html; did you mean parquet?"),
    (["report", "x", "--format", "pdf"], "--format must be csv, parquet, jsonl or html."),
    (["run", "--log-format", "xml"], "--log-format must be console or json."),
    (["run", "--workers", "many"], "--workers must be a whole number."),
    (["run", "--share", "all"], "--share must be a number."),
    (["run", "--limit", "0"], "--limit must be at least 1."),
]


@pytest.mark.parametrize(("args", "said"), USAGE)
def test_wrong_value_of_a_flag_is_reported_with_the_allowed_values(args: list[str], said: str) -> None:
    ran = CliRunner().invoke(app, args)
    assert (ran.exit_code, ran.stderr.splitlines()[-1]) == (2, f"Error: {said}")


def test_wrong_variable_is_reported_with_its_flag() -> None:
    ran = CliRunner().invoke(app, ["run"], env={"BULKRESET_WORKERS": "many"})
    assert (ran.exit_code, ran.stderr.splitlines()[-1]) == (2, "Error: --workers must be a whole number.")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--only", "faild"), "--only: 'faild' is not a status; did you mean failed?"),
        (("-o", "again.xlsx"), "-o again.xlsx: a report cannot be written as .xlsx."),
        (("-o", "none/again.csv"), "The directory none does not exist."),
    ],
)
def test_wrong_request_for_a_report_is_reported(args: tuple[str, ...], said: str, bulkreset: Command) -> None:
    first = bulkreset.reset(write_csv(bulkreset.home / "in.csv", people(1)))
    with bulkreset.start("report", first.run_dir, *args) as process:
        ran = finish(process, first.run_dir)
    assert (ran.code, ran.stdout) == (2, "")
    assert ran.error_lines[0].startswith(f"bulkreset: {said}")
    assert not list(bulkreset.home.glob("again*"))
