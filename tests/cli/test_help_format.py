"""The help: groups, correct examples, plain text for narrow terminals, and shell completion."""

import os
import re
import shlex
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from bulkreset.cli.help_format import EXAMPLES, GROUPS
from bulkreset.cli.main import app

COMMANDS = {command.name: command for command in typer.main.get_group(app).commands.values()}


@pytest.mark.parametrize("name", sorted(map(str, COMMANDS)))
def test_help_is_plain_and_fits(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"], terminal_width=80, env={"COLUMNS": "80"})
    lines = shown.output.splitlines()
    assert shown.exit_code == 0
    assert max(map(len, lines)) <= 80
    assert shown.output.isascii()
    assert "Examples:" in lines


def test_man_page_has_the_help_of_every_command() -> None:
    page = CliRunner().invoke(app, ["help", "--man"]).output
    assert re.findall(r'^\.SH "BULKRESET (.*)"$', page, re.MULTILINE) == [str(name).upper() for name in COMMANDS]
    assert all(
        f"\\-\\-{flag[2:].replace('-', chr(92) + '-')}" in page for flag in ("--approved", "--run-dir", "--within")
    )
    assert r"scramble \-\-input users.csv \e" in page
    assert set(re.findall(r"^\.\S*", page, re.MULTILINE)) == {".TH", ".SH", ".nf", ".fi"}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples_have_flags_that_there_are(name: str) -> None:
    known = {flag for param in COMMANDS[name].params for flag in (*param.opts, *param.secondary_opts)}
    for line in EXAMPLES[name]:
        words = shlex.split(line.replace("\\\n", " ").partition("|")[0])
        assert {word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)} <= known


def test_options_of_a_group_exist_and_every_option_of_run_has_one() -> None:
    params = {str(param.name) for command in COMMANDS.values() for param in command.params}
    grouped = [name for names in GROUPS.values() for name in names]
    assert set(grouped) <= params
    assert len(set(grouped)) == len(grouped)
    assert {str(param.name) for param in COMMANDS["run"].params} - {*grouped} == {"job"}


@pytest.mark.process
def test_shell_completes_commands() -> None:
    asked = {"_BULKRESET_COMPLETE": "complete_bash", "COMP_WORDS": "bulkreset re", "COMP_CWORD": "1"}
    program = "import sys; sys.argv = ['bulkreset']; from bulkreset.cli.main import main; main()"
    printed = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert printed.stdout.split() == ["resume", "report"]
