"""Marks these tests `peers`, and prints at the end which part was tried in which version, and with what result."""

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
    """Call it with a part and its version, and what is done with it: a line of the table."""
    return lambda part, what: record_property("tried", f"{part} | {what}")


@pytest.fixture
def bulkreset(tmp_path: Path, running: Simulator) -> Command:
    """The command in a process of its own each time; STS and Service Quotas are the simulator's."""
    running.reset()
    return Command(tmp_path, running, fresh=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table in the form in which CONTRIBUTING.md keeps it."""
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
