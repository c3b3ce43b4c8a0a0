"""Options by other ways than their flags: environment variables, --quiet, and the ways to the help."""

import re
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bulkreset.cli.main import app
from tests.e2e.command import SET, Command, people, write_csv
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
    unreachable = {"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9"}  # a warning of a run that is not quiet
    ran = bulkreset.reset(source, "--quiet", env=unreachable)
    assert (ran.code, ran.stdout, ran.stderr) == (0, "", "")
    ran = bulkreset.reset(source, "-q", "--limit", "1")
    assert ran.stdout.startswith("Run stopped at its row limit")
    assert [line.partition(":")[0] for line in ran.stderr.splitlines()] == ["bulkreset", "Resume with"]
    ran = bulkreset.reset(source, "-q", "-v")
    assert (ran.code, "contradict" in ran.complaints[0]) == (2, True)
    assert len(sim.calls(SET)) == 4
