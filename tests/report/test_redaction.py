"""The redaction: one hash for one user, and no name anywhere."""

import json
import re
import stat
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bulkreset.errors import RunDirError
from bulkreset.models import Outcome, ReportRow, Status
from bulkreset.report.redaction import WITHHELD, Redaction
from bulkreset.report.report_writers import ReportSpec, write_report
from bulkreset.steps import COLUMNS as STEP_COLUMNS
from bulkreset.text import is_redacted
from tests.journal.journals import OTHER, POOL, commit, planned

KEYED = Redaction(bytes(32))


def row(username: str, **said: str) -> ReportRow:
    """Return a row of a report."""
    fields = {"user_pool_id": POOL, "code": "", "message": "", "request_id": "", "canonical": username} | said
    numbers = dict.fromkeys(("attempts", "throttled", "in_doubt"), 0)
    nothing = dict.fromkeys(("permanent", *STEP_COLUMNS, "latency_ms", "started_at", "finished_at"))
    known = dict.fromkeys(("status_before", "recovery", "file"), "")
    return ReportRow(row=1, username=username, status="failed", **known, **fields, **numbers, **nothing)  # type: ignore[arg-type]


def test_same_user_of_the_same_pool_has_one_hash() -> None:
    ann = KEYED.redact_name(POOL, "ann")
    assert is_redacted(ann)
    assert (
        KEYED.redact_row(row("ann@example.com", canonical="ann")).username
        == ann
        == KEYED.redact_row(row("ann")).username
    )
    assert (
        len(
            {
                ann,
                KEYED.redact_name(OTHER, "ann"),
                KEYED.redact_name(POOL, "bob"),
                Redaction(b"k" * 32).redact_name(POOL, "ann"),
            }
        )
        == 4
    )
    assert KEYED.redact_row(row("")).username == ""


@given(
    name=st.text(min_size=1, max_size=12),
    before=st.text(max_size=9),
    after=st.text(max_size=9),
    spell=st.sampled_from([str, str.upper, str.casefold, lambda name: json.dumps(name)[1:-1]]),
)
def test_name_is_nowhere(name: str, before: str, after: str, spell: "type[str]") -> None:
    assume(name.casefold() not in WITHHELD.casefold())
    text = f"{before} {spell(name)} {after}"
    kept = KEYED.redact_row(row(name, message=text, code=text, user_pool_id=text, request_id=text))
    assert kept.message == kept.code == kept.user_pool_id == kept.request_id == WITHHELD
    assert is_redacted(kept.username)
    assert is_redacted(kept.canonical)


@pytest.mark.parametrize("name", ["user", "e", "ann", "west"])
def test_codes_and_pools_that_are_words_stay(name: str) -> None:
    kept = KEYED.redact_row(row(name, code="UserNotFoundException", message="none", request_id="a-nn-1"))
    assert (kept.code, kept.user_pool_id, kept.request_id) == ("UserNotFoundException", POOL, "a-nn-1")


def test_random_key_is_created_once_and_is_private(tmp_path: Path) -> None:
    first, other = tmp_path / "a.key", tmp_path / "b.key"
    hashes = [Redaction.load(path).redact_name(POOL, "ann") for path in (first, first, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"a.key", "b.key"}


@pytest.mark.parametrize("content", [b"", b"00", b"\xff" * 64, b"xy" * 32])
def test_damaged_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "redaction.key").write_bytes(content)
    with pytest.raises(RunDirError, match=r"redaction\.key is not a redaction key"):
        Redaction.load(tmp_path / "redaction.key")
    assert (tmp_path / "redaction.key").read_bytes() == content


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_redacted_report_has_no_name_and_no_key(tmp_path: Path, form: str) -> None:
    journal = planned(tmp_path, "ann.smith", "bob.jones")
    journal.write.add_rows([(3, "ann.smith", "ann.smith", None, "rejected", "unknown_pool", "no target is ann.smith")])
    commit(journal, [], [Outcome(2, Status.FAILED, "Refused: bob.jones", "User BOB.JONES is disabled.", 1)])
    redaction = Redaction.load(tmp_path / "redaction.key")
    report = tmp_path / f"report.{form}"
    write_report(journal, report, ReportSpec(form, redaction=redaction), dry_run=True)
    content = str(pq.read_table(report).to_pylist()) if form == "parquet" else report.read_text(encoding="utf-8")
    assert not re.findall(r"smith|jones", content.lower())
    assert (tmp_path / "redaction.key").read_text(encoding="ascii").strip() not in content
    for name in ("ann.smith", "bob.jones"):
        assert redaction.redact_name(POOL, name) in content
