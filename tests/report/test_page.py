"""The page: its content for every kind of run, and all text of a journal stays text."""

import base64
import errno
import hashlib
import os
import re
import resource
import stat
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkreset.errors import RecordError, StoppedBy
from bulkreset.journal.journal import Journal
from bulkreset.models import Status
from bulkreset.report.page import ROWS
from bulkreset.report.redaction import WITHHELD, Redaction
from bulkreset.text import show_invisible
from tests.journal.journals import OTHER, POOL, commit
from tests.report.pages import (
    ARN,
    BEGUN,
    EXECUTION,
    journal_of,
    lane,
    of_all_kinds,
    page_text,
    parsed,
    ready,
    sent,
    text_of,
)

HOSTILE = (
    "</script><script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    '" autofocus onfocus="alert(1)',
    "' onmouseover='alert(1)",
    "<!--",
    "]]></svg><svg onload=alert(1)>",
    "{{ facts }}{% raw %}",
    "javascript:alert(1)",
    "&lt;b&gt;&amp;",
    "\x1b[31mred\x07",
    "a\u202eb\u2066c",
    "\u0639\u0631\u0628\u064a",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\ufeff\u200b",
    "E" * 256,
)


def rows_of(tree: Element, name: str) -> list[list[str]]:
    """Return the cells of the table with this heading."""
    tables = [table for table in tree.iter("table") if table.get("id") == name]
    assert len(tables) == 1
    body = tables[0].find("tbody")
    assert body is not None
    return [["".join(cell.itertext()).strip() for cell in row] for row in body]


@dataclass(frozen=True)
class ParsedPage:
    """A page, and its parsed form."""

    run_dir: Path
    page: str
    tree: Element


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> ParsedPage:
    """The page of a run with every kind of result."""
    folder = tmp_path_factory.mktemp("full")
    page = page_text(of_all_kinds(folder))
    return ParsedPage(folder, page, parsed(page))


def test_page_shows_the_outcome_of_the_run_and_how_to_continue(full: ParsedPage) -> None:
    tree = full.tree
    text = text_of(tree)
    headings = ["".join(heading.itertext()) for heading in tree.iter("h1")]
    assert headings == [
        "958 of 1,700 passwords were set in 10 min; 2 in doubt, 427 failed, 114 rejected, 113 skipped and 86 not sent."
    ]
    commands = ["".join(found.itertext()) for found in tree.iter("pre")]
    assert commands == [f"bulkreset resume {full.run_dir}", f"bulkreset resume {full.run_dir} --failed"]
    assert "More than 1% of the rows failed. Fix the cause, then resume." in text
    for asked in ("nightly", "/data/users.csv, 2.0 KiB", "ab" * 32, ARN, "ops on batch-1", "max_rows 5,000", "1 user"):
        assert asked in text
    assert "UserNotFoundException ✕" not in text  # symbols come from the style sheet, words from the page
    assert "Check the name and the pool: no user of the pool signs in with this name." in text


def test_rows_that_need_attention_are_sorted_and_limited(tmp_path: Path) -> None:
    journal = of_all_kinds(tmp_path)
    journal.write.add_rows([(row, OTHER, f"late{row}", True, "skipped", "disabled", "") for row in range(1701, 2501)])
    tree = parsed(page_text(journal))
    shown = rows_of(tree, "rows")
    assert len(shown) == ROWS
    assert [row[3] for row in shown[:3]] == ["in doubt", "in doubt", "failed"]
    assert Counter(row[3] for row in shown) == {"in doubt": 2, "failed": 427, "rejected": 114, "skipped": ROWS - 543}
    assert "the first 1,000 of 1,456 rows" in text_of(tree)
    assert "report.csv" in text_of(tree)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"mode": "dry_run", "lanes": [], "confirmed": False}, "3 of 3 rows would be sent. Nothing was sent."),
        (
            {"state": "interrupted", "rows": ..., "lanes": ...},
            "The run stopped while planning, after 3 rows. Nothing was sent.",
        ),
        ({"state": "applying"}, "crashed"),
        ({"emulated": True}, "Emulated: no real user was changed."),
        ({"executions": [{key: it for key, it in EXECUTION.items() if key != "callers"}]}, "not known"),
        (
            {"approved": {"run_dir": "/runs/dry", "run_id": "d", "finished_at": "2026"}},
            "the dry run /runs/dry, planned 2026",
        ),
        ({"input": {"path": "", "size": 0, "sha256": ""}}, "the users of the user pools"),
        ({"executions": [{**EXECUTION, "user": "sam"}, EXECUTION]}, "sam on batch-1"),
        ({"lanes": [lane(ceiling=None, rate=None)]}, "none"),
        ({"unchecked": {}}, "Users checked: every user was looked up in the pool"),
        ({"unchecked": {POOL: "why"}}, "Users not checked in 1 user pool: why"),
    ],
    ids=[
        "dry run",
        "no plan",
        "crashed",
        "emulated",
        "older",
        "approved",
        "pools",
        "resumed",
        "unpaced",
        "checked",
        "unchecked",
    ],
)
def test_every_kind_of_run_can_be_written(tmp_path: Path, facts: dict[str, Any], words: str) -> None:
    text = text_of(parsed(page_text(journal_of(tmp_path, ready(3), **({"rows": 3} | facts)))))
    assert words in text


PREFLIGHT = [
    ["Policy", "12 characters, a digit"],
    ["Users", "3 found in the pool: 3 CONFIRMED"],
    ["", "A permanent password confirms UNCONFIRMED users"],
    ["Billing", "Up to 3 users will count as monthly active users (billed)"],
    ["Pace", "eu-west-1: 24 calls/s (80 % of the quota of 30/s; source: provisioned limit)"],
]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"preflight": PREFLIGHT}, "Check before sending What the terminal showed before the confirmation. Policy 12"),
        ({"preflight": PREFLIGHT}, "3 CONFIRMED A permanent password confirms UNCONFIRMED users Billing Up to 3 users"),
        ({"preflight": PREFLIGHT}, "80 % of the quota of 30/s; source: provisioned limit"),
        (
            {"confirmation": {"how": 'typed "customers" at the terminal', "at": "2026-11-21T12:00:09.000Z"}},
            'Confirmed typed "customers" at the terminal, 2026-11-21 12:00:09 UTC, by ops on batch-1',
        ),
        ({"confirmed": False}, "Confirmed not confirmed"),
        (
            {
                "approved": {
                    "run_dir": "/d",
                    "run_id": "d",
                    "finished_at": "2026-11-20T00:00:00Z",
                    "report_sha256": "ab" * 32,
                }
            },
            f"the dry run /d, planned 2026-11-20 00:00:00 UTC; SHA-256 of its report {'ab' * 32}",
        ),
        (
            {"targets": [{"user_pool_id": POOL, "region": "eu-west-1", "endpoint": "http://127.0.0.1:1"}]},
            "http://127.0.0.1:1: not AWS's own, NOT ENCRYPTED",
        ),
    ],
)
def test_page_is_evidence_of_what_was_confirmed(tmp_path: Path, facts: dict[str, Any], words: str) -> None:
    assert words in text_of(parsed(page_text(journal_of(tmp_path, ready(3), **({"rows": 3} | facts)))))


@pytest.mark.parametrize(
    ("facts", "is_shown"),
    [
        ({"recovery_point": "2026-11-21T12:00:10Z"}, True),
        ({}, False),
        (
            {
                "recovery_point": "2026-11-21T12:00:10Z",
                "undos": {POOL: {"status": "RESTORING", "user": "ops", "begun_at": "2026-11-21T13:00:00Z"}},
            },
            False,
        ),
    ],
    ids=["sent", "not sent", "undo in progress"],
)
def test_page_says_how_the_run_is_undone(tmp_path: Path, facts: dict[str, Any], *, is_shown: bool) -> None:
    expected = [["Undo", "can be undone from 15 minutes after the run's start until 2026-11-22 (feature plan Plus)"]]
    text = text_of(parsed(page_text(journal_of(tmp_path, ready(3), rows=3, preflight=expected, **facts))))
    command = f"Undo bulkreset undo {tmp_path}"
    assert (command in text) is is_shown
    assert ("restores the whole pool to 2026-11-21 12:00:10 UTC" in text) is is_shown


def test_page_names_the_command_that_comes_next(tmp_path: Path) -> None:
    (tmp_path / "dry").mkdir()
    (tmp_path / "run").mkdir()
    dry = parsed(
        page_text(journal_of(tmp_path / "dry", ready(3), rows=3, mode="dry_run", command="bulkreset run a.toml"))
    )
    assert ["".join(it.itertext()) for it in dry.iter("pre")] == [
        f"bulkreset run a.toml --approved {tmp_path / 'dry'}",
    ]
    job = {"name": "t", "permanent": False, "password": {"source": "generate", "recipients": ["age1x"]}}
    ended = parsed(page_text(journal_of(tmp_path / "run", ready(1), [sent(1)], job=job)))
    assert ["".join(it.itertext()) for it in ended.iter("pre")] == [
        f"bulkreset passwords {tmp_path / 'run'} --identity KEY_FILE",
    ]


@pytest.mark.parametrize(
    ("status", "tone"),
    [(Status.SET, "good"), (Status.FAILED, "bad"), (Status.IN_DOUBT, "doubt")],
)
def test_finished_is_only_green_if_every_row_is_done(tmp_path: Path, status: Status, tone: str) -> None:
    tree = parsed(page_text(journal_of(tmp_path, ready(2), [sent(1), sent(2, status)], rows=2)))
    (state,) = (it for it in tree.iter("span") if "state" in it.get("class", "").split())
    assert (state.text, state.get("class")) == ("finished", f"state {tone}")


def test_run_without_rows_and_run_of_one(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    nothing = text_of(parsed(page_text(journal_of(tmp_path, rows=0))))
    assert "The input has no rows, so nothing was sent." in nothing
    one = text_of(parsed(page_text(journal_of(tmp_path / "one", ready(1), [sent(1)]))))
    assert "1 of 1 password was set in 10 min." in one
    assert "None: no row is in doubt, failed, rejected or skipped." in one


def test_live_run_is_reported_as_live(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, ready(4), [sent(1)], rows=4, state="applying")
    commit(journal, [2], [])
    tree = parsed(page_text(journal, alive=True))
    assert "1 of 4 passwords have been set so far; 1 in progress and 2 not sent." in text_of(tree)
    assert not list(tree.iter("pre"))


def test_sign_outs_that_failed_are_shown(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, ready(3), [sent(1), sent(2), sent(3)], rows=3, steps={"sign_out": (POOL,)})
    journal._db.execute("UPDATE rows SET signed_out = row <> 2, code = iif(row = 2, 'AccessDenied', '') WHERE row < 3")
    tree = parsed(page_text(journal))
    assert [row[:5] for row in rows_of(tree, "rows")] == [
        ["2", "user0002", POOL, "set, but a step after it failed", "AccessDenied"]
    ]
    assert "signed out 1 failed 1 pending 1" in text_of(tree)
    assert "3 of 3 passwords were set in 10 min; 1 user not signed out." in text_of(tree)
    assert f"bulkreset resume {tmp_path} --failed" in text_of(tree)


def test_dry_run_signs_no_user_out_and_does_not_mention_it(tmp_path: Path) -> None:
    text = text_of(
        parsed(page_text(journal_of(tmp_path, ready(3), [], rows=3, steps={"sign_out": (POOL,)}, mode="dry_run")))
    )
    assert "signed out" not in text
    assert "every user whose password is set" in text  # the job, as it would be run


@pytest.mark.parametrize(
    ("limited", "alive", "shown"),
    [
        ({"limit": 0.0, "limited_by": "paused"}, True, "0 (paused; the job: 24)"),
        ({"limit": 5.0, "limited_by": "control"}, True, "5 (control; the job: 24)"),
        ({"limit": 12.0, "limited_by": "shared", "ceiling": None}, True, "12 (shared; the job: none)"),
        ({"limit": 24.0}, True, "24"),
        ({"limit": 2.5, "limited_by": "users"}, False, "24"),
    ],
)
def test_lane_has_the_limit_in_force_and_why(
    tmp_path: Path, limited: dict[str, Any], shown: str, *, alive: bool
) -> None:
    journal = journal_of(tmp_path, ready(1), [sent(1)], lanes=[lane(**limited)])
    tree = parsed(page_text(journal, alive=alive))
    (cell,) = (cell for cell in tree.iter("td") if cell.get("data-label") == "Limit")
    assert "".join(cell.itertext()) == shown


def test_forty_lanes(tmp_path: Path) -> None:
    lanes = [lane(account=f"{number:012d}", pools=[]) for number in range(40)]
    text = text_of(parsed(page_text(journal_of(tmp_path, ready(1), [sent(1)], lanes=lanes))))
    assert all(f"{number:012d} eu-west-1" in text for number in range(40))
    assert "960.00" in text  # the sum of their rates


def test_usernames_can_be_redacted(tmp_path: Path) -> None:
    journal = journal_of(
        tmp_path,
        ready(2),
        [sent(1, Status.FAILED, code="X", message="user0001 is not there"), sent(2)],
    )
    redaction = Redaction(b"k" * 32)
    page = page_text(journal, redaction=redaction)
    assert "user000" not in page
    text = text_of(parsed(page))
    assert WITHHELD in text
    assert redaction.redact_name(POOL, "user0001") in text


@given(
    st.lists(
        st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), max_size=128)),
        min_size=12,
        max_size=12,
    )
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_hostile_text_is_text_and_nothing_else(texts: list[str]) -> None:
    """The page with hostile texts has the same elements as one with harmless texts, and shows all texts."""
    with TemporaryDirectory() as hostile:
        page = _page_of(Path(hostile), texts)
        found = parsed(page)
        assert _skeleton(found) == _harmless()
        everything = "".join(found.itertext())
        for text in texts:
            assert show_invisible(text) in everything
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page)


@cache
def _harmless() -> list[tuple[str, tuple[str, ...]]]:
    with TemporaryDirectory() as folder:
        return _skeleton(parsed(_page_of(Path(folder), ["text"] * 12)))


def _page_of(folder: Path, texts: list[str]) -> str:
    """Return a page with a text in every place that can have one."""
    name, pool, code, message, request, path, arn, user, host, said, region, account = (f"~{text}" for text in texts)
    journal = journal_of(
        folder,
        [(1, POOL, name, True, "ready", "", ""), (2, pool, name, None, "rejected", code, message)],
        [],
        input={"path": path, "size": 1, "sha256": "00"},
        executions=[{**EXECUTION, "callers": {POOL: arn}, "user": user, "host": host}],
        lanes=[lane(account=account, region=region, stopped_by=StoppedBy("X", code, said, path, 3))],
        stopped_by=StoppedBy("X", code, said, message, 3),
        state="stopped",
        rows=2,
    )
    journal._db.execute(
        "UPDATE rows SET status = 'failed', code = ?, message = ?, request_id = ?, latency_ms = 5, finished_at = 1 WHERE row = 1",
        (code, message, request),
    )
    journal._db.execute("INSERT INTO rates VALUES (1, ?, ?, 5, ?)", (account, region, said))
    journal.close()
    reader = Journal.open(folder / "journal.sqlite", read_only=True)
    try:
        return page_text(reader)
    finally:
        reader.close()


def _skeleton(tree: Element) -> list[tuple[str, tuple[str, ...]]]:
    """Return all elements and the names of their attributes, in order."""
    return [(str(node.tag), tuple(map(str, sorted(node.attrib)))) for node in tree.iter()]


def test_policy_of_the_page_allows_its_own_style_and_script_only(full: ParsedPage) -> None:
    page, tree = full.page, full.tree
    (policy,) = (meta.get("content", "") for meta in tree.iter("meta") if meta.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "style-src": f"'sha256-{_digest(next(tree.iter('style')))}'",
        "script-src": f"'sha256-{_digest(next(tree.iter('script')))}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not [node for node in tree.iter() if "style" in node.attrib or node.get("src") or str(node.tag) == "link"]
    assert {node.get("href", "")[0] for node in tree.iter("a")} == {"#"}
    assert "http" not in re.sub(r"https://cognito\.example", "", page).replace("http-equiv", "")


def _digest(element: Element) -> str:
    return base64.b64encode(hashlib.sha256((element.text or "").encode()).digest()).decode()


def test_charts_have_their_figures_beside_them(full: ParsedPage) -> None:
    tree = full.tree
    charts = [svg for svg in tree.iter("{http://www.w3.org/2000/svg}svg") if svg.get("role") == "img"]
    assert len(charts) == 4  # two charts, each for two kinds of screen
    assert all(chart.get("aria-label") for chart in charts)
    text = text_of(tree)
    assert "Rows finished /s" in text
    assert "p50 64 ms" in text
    assert "max 109 ms" in text


@pytest.mark.linux("/dev/full, a disk that is always full")
@pytest.mark.usefixtures("full_disk")
def test_full_disk_leaves_the_old_page(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, ready(1))
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(RecordError, match=rf"report\.html cannot be written: {os.strerror(errno.ENOSPC)}"):
        page_text(journal)
    assert (tmp_path / "report.html").read_text() == "old"
    assert not list(tmp_path.glob(".*.partial"))


def test_page_is_private_and_reading_changes_nothing(tmp_path: Path) -> None:
    of_all_kinds(tmp_path, 300).close()
    before = (tmp_path / "journal.sqlite").read_bytes()
    journal = Journal.open(tmp_path / "journal.sqlite", read_only=True)
    first = page_text(journal)
    assert first == page_text(journal)
    journal.close()
    assert stat.S_IMODE((tmp_path / "report.html").stat().st_mode) == 0o600
    assert (tmp_path / "journal.sqlite").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"journal.sqlite", "report.html"}


@pytest.mark.soak
def test_page_of_a_million_rows_takes_little_memory(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, rows=1_000_000)
    journal._db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) INSERT INTO rows"
        " (row, pool, username, permanent, status, code, message, attempts, throttled, latency_ms, started_at, finished_at)"
        " SELECT i, 1 + i % 2, 'user' || i || '@example.com', 1, iif(i % 500, 'set', 'failed'), iif(i % 500, '', 'C' || i % 90),"
        " iif(i % 500, '', 'User does not exist.'), 1, i % 97 = 0, 20 + i * 7919 % 400, ? + i * 33, ? + i * 33 + 40 FROM n",
        (BEGUN, BEGUN),
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = text_of(parsed(page_text(journal)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024
    assert "998,000 of 1,000,000 passwords were set" in text


def test_users_are_counted_by_how_they_can_come_back(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, ready(5), state="stopped", rows=5)
    ways = ["email", "email", "email", "none", ""]
    journal.write.store_findings((row, "ready", "", "", "CONFIRMED", way, "") for row, way in enumerate(ways, 1))
    journal.write.store_findings([(4, "skipped", "unrecoverable", "why", "CONFIRMED", "none", "")])
    commit(journal, [], [sent(1), sent(2)])
    text = text_of(parsed(page_text(journal)))
    assert "Coming back" in text
    assert re.search(r"email\s*2 set, 1 not sent\s*none\s*1 skipped", text)


def test_page_without_looked_up_users_has_no_recovery_figures(tmp_path: Path) -> None:
    assert "Coming back" not in text_of(parsed(page_text(journal_of(tmp_path, ready(1)))))
