"""Marks these tests `peers`, and prints at the end each part with its version and result."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.command import Command
from tests.sim import Simulator

Tried = Callable[[str, str], None]
_HERE: Final = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker("peers")


@pytest.fixture
def tried(record_property: Callable[[str, object], None]) -> Tried:
    """Return a function that adds a line to the table: a part, its version, and what was done with it."""
    return lambda part, what: record_property("tried", f"{part} | {what}")


@pytest.fixture
def bulkreset(tmp_path: Path, running: Simulator) -> Command:
    """The command, in a new process each time. STS and Service Quotas are the simulator's."""
    running.reset()
    return Command(tmp_path, running, fresh=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table in the format of CONTRIBUTING.md."""
    lines = [
        f"| {said} | {outcome} |"
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for name, said in report.user_properties
        if name == "tried" and report.when == "call"
    ]
    if lines:
        terminalreporter.write_line("| part | tried | result |\n|---|---|---|")
        terminalreporter.write_line("\n".join(lines))
