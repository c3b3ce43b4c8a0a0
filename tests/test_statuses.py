"""The table of statuses: it is complete, and no other module lists statuses."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkreset import statuses
from bulkreset.statuses import Status, describe_counts, facts_of, label_of, public_counts, sorted_counts

PACKAGE = Path(statuses.__file__).parent
WORDS = {status.value for status in Status}
_UNAMBIGUOUS = WORDS - {"set", "ready", "in_doubt"}  # the others are also words of other things
_SQL_LIST = re.compile(r"status\s+(?:NOT\s+)?IN\s*\(\s*'", re.IGNORECASE)
_NAMED = re.compile(rf"\bStatus\b|\b(?:{'|'.join(_UNAMBIGUOUS)})\b")


def lists(source: str) -> Iterator[str]:
    """Return every place in a module that lists two or more statuses, as members or as words."""
    if len(_NAMED.findall(source)) < 2 and not _SQL_LIST.search(source):  # most modules; parsing all takes long
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict):
            parts = [key for key in node.keys if key]
        elif isinstance(node, ast.Set | ast.List | ast.Tuple):
            parts = node.elts
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if _SQL_LIST.search(node.value):
                yield f"line {node.lineno}: {node.value.strip()[:60]}"
            continue
        else:
            continue
        named = [part for part in parts if _is_status(part)]
        if len(named) > 1:
            yield f"line {node.lineno}: {ast.unparse(node)[:60]}"


def _is_status(node: ast.expr) -> bool:
    if isinstance(node, ast.Attribute):
        node = node.value if node.attr == "value" else node
        return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Status"
    return isinstance(node, ast.Constant) and node.value in _UNAMBIGUOUS


def test_no_other_module_lists_statuses() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): named
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "statuses.py" and (named := list(lists(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "DONE = {Status.SET, Status.SKIPPED}",
        "ORDER = ('failed', 'rejected')",
        "NAMES = {Status.SET.value: 1, Status.FAILED.value: 2}",
        '''SQL = "SELECT 1 WHERE status IN ('ready', 'in_doubt')"''',
    ],
)
def test_a_list_of_statuses_is_seen(source: str) -> None:
    assert len(list(lists(source))) == 1


def test_the_style_of_the_page_knows_tones_and_no_status() -> None:
    style = (PACKAGE / "report" / "templates" / "page.css").read_text(encoding="utf-8")
    tones = {status.facts.tone for status in Status} - {"plain"}
    assert all(f".mark.{tone} " in style and f".parts .{tone} " in style for tone in tones)
    assert not [word for word in WORDS if re.search(rf"\.(?:mark|parts)[. ]\.?{word}\b", style)]


@pytest.mark.parametrize("status", Status)
def test_every_status_is_whole(status: Status) -> None:
    facts = status.facts
    assert facts.label
    assert facts.sign
    for sentence in (facts.meaning, facts.advice):
        assert sentence.endswith(".")
    assert facts.journal or facts.reported
    for dry_run in (False, True):
        assert status.at_end(dry_run=dry_run).facts.reported or status.at_end(dry_run=dry_run) is status
    if facts.journal:
        assert status.at_end(dry_run=False).facts.reported
    assert not (facts.done and facts.failure)
    assert facts.done == (facts.severity == 0) or not facts.finished


def test_the_groups_are_the_ones_that_the_run_needs() -> None:
    assert set(statuses.SENDABLE) == {Status.READY, Status.IN_DOUBT}
    assert set(statuses.REMAINING) == {Status.READY, Status.CLAIMED, Status.IN_DOUBT}
    assert set(statuses.FINISHED) == {Status.SET, Status.FAILED, Status.IN_DOUBT}
    assert set(statuses.UNCERTAIN) == {Status.CLAIMED, Status.IN_DOUBT}
    assert set(Status) - set(statuses.REPORTED) == {Status.CLAIMED}


def test_counts_are_words_with_set_rows_first_then_the_most_serious() -> None:
    counts = {"failed": 1, "ready": 2, "set": 1200, "in_doubt": 3, "skipped": 0}
    assert list(sorted_counts(counts)) == ["set", "in_doubt", "failed", "ready"]
    assert describe_counts(counts) == "1,200 set, 3 in doubt, 1 failed, 2 not sent"
    assert describe_counts({"ready": 5, "rejected": 1}, dry_run=True) == "5 ready, 1 rejected"
    assert describe_counts({"unprocessed": 2, "ready": 1}) == "3 not sent"
    assert describe_counts({}) == ""


def test_unknown_status_of_a_damaged_journal_is_shown_as_it_is() -> None:
    assert label_of("half_set") == "half set"
    assert not facts_of("half_set").done
    assert public_counts({"half_set": 1, "claimed": 2, "in_doubt": 1}, dry_run=False) == {"half_set": 1, "in_doubt": 3}
