"""The console: output fits the terminal."""

import io
import sys
from pathlib import Path

import pytest

from bulkreset.cli.process import TerminalStream
from bulkreset.cli.prompts import wrap_lines
from bulkreset.cli.run import _print_end
from bulkreset.run.context import RunEnd
from tests.report.test_report import SUMMARY


def test_preflight_is_wrapped_between_words() -> None:
    text = "Policy      12 characters, an upper-case letter, a digit\n            and more\n\nRows        1"
    assert wrap_lines(text, 40).splitlines() == [
        "Policy      12 characters, an upper-case",
        "            letter, a digit",
        "            and more",
        "",
        "Rows        1",
    ]
    assert wrap_lines(text, 200) == text


def test_word_longer_than_the_line_is_still_printed() -> None:
    assert wrap_lines(f"Caller      {'x' * 60}", 40).replace("\n", "").replace(" ", "") == f"Caller{'x' * 60}"


def test_command_to_copy_cannot_control_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", TerminalStream(out))
    ways = [("Retry failed rows", "bulkreset resume 'run\x1b[2J' --failed")]
    _print_end(RunEnd(Path("run\x1b[2J"), SUMMARY, ways=ways), quiet=False, as_json=False)
    assert "Retry failed rows:\n  bulkreset resume" in out.getvalue()
    assert "\x1b" not in out.getvalue()
