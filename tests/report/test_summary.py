"""The summary: exit code and state of a run, and figures that agree with the journal."""

from pathlib import Path

import pytest

from bulkreset.errors import (
    BulkresetError,
    Busy,
    GuardTripped,
    InputError,
    Interrupted,
    RecordError,
    RowLimit,
    ServiceError,
    StoppedBy,
    TimeLimit,
)
from bulkreset.journal.run_state import End
from bulkreset.models import EndState, LaneSummary, Outcome, Status
from bulkreset.report.headline import resent_text
from bulkreset.report.summary import build_summary, end_state, exit_code_of
from bulkreset.statuses import public_counts
from tests.journal.journals import ENDED, POOL, commit, done, planned, run_state

ENDINGS: list[tuple[BulkresetError | None, str, int]] = [
    (None, "finished", 0),
    (GuardTripped("x"), "stopped", 3),
    (ServiceError("AccessDenied", "x"), "stopped", 3),
    (RecordError("x"), "stopped", 3),
    (InputError("x"), "stopped", 2),
    (Busy("x"), "stopped", 4),
    (TimeLimit("x"), "time_limit", 5),
    (RowLimit("x"), "row_limit", 5),
    (Interrupted("x"), "interrupted", 130),
    (Interrupted("x", signal_number=15), "interrupted", 143),
]


@pytest.mark.parametrize(("ended", "state", "code"), ENDINGS)
def test_state_and_exit_code_of_each_ending(ended: BulkresetError | None, state: str, code: int) -> None:
    assert end_state(ended) == state
    for dry_run in (True, False):
        assert exit_code_of(ended, {"set": 5}, dry_run=dry_run) == code
        assert exit_code_of(ended, {"failed": 5}, dry_run=dry_run) == (code or 1)


@pytest.mark.parametrize(
    ("counts", "run", "dry_run"),
    [
        ({}, 0, 0),
        ({"set": 3}, 0, 0),
        ({"set": 3, "skipped": 2}, 0, 0),
        ({"ready": 3, "skipped": 2}, 1, 0),
        ({"set": 3, "rejected": 0, "failed": 0}, 0, 0),
        ({"set": 3, "rejected": 1}, 1, 1),
        ({"ready": 3, "rejected": 1}, 1, 1),
        ({"set": 3, "failed": 1}, 1, 1),
        ({"set": 3, "in_doubt": 1}, 1, 1),
        ({"set": 3, "claimed": 1}, 1, 1),
        ({"set": 3, "unprocessed": 1}, 1, 1),
    ],
)
def test_finished_run_is_0_only_if_every_row_is_done(counts: dict[str, int], run: int, dry_run: int) -> None:
    assert exit_code_of(None, counts, dry_run=False) == run
    assert exit_code_of(None, counts, dry_run=True) == dry_run


def test_counts_are_in_the_reports_words() -> None:
    counts = {"ready": 1, "claimed": 2, "in_doubt": 4, "set": 8, "failed": 16, "rejected": 32, "skipped": 64}
    kept = {"in_doubt": 6, "set": 8, "failed": 16, "rejected": 32, "skipped": 64}
    assert public_counts(counts, dry_run=False) == kept | {"unprocessed": 1}
    assert public_counts(counts, dry_run=True) == kept | {"ready": 1}


def test_summary_counts_agree_with_the_report(tmp_path: Path) -> None:
    journal = planned(tmp_path, *"abcdefgh")
    journal.write.add_rows([(9, POOL, "", True, "rejected", "missing_username", "x")])
    commit(journal, [1, 2, 3, 4], [])
    commit(
        journal,
        [],
        [
            done(1, attempts=1),
            done(2, attempts=3, throttled=2),
            Outcome(3, Status.FAILED, "UserNotFoundException", "x", 1),
        ],
    )
    ended = End(
        state=EndState.STOPPED,
        exit_code=3,
        finished_at=ENDED,
        stopped_by=ServiceError("AccessDenied", "No.", "Allow it.").describe(),
    )
    lane = {"account": "1", "region": "r", "rate": 24.0, "quota": 30.0, "ceiling": 24.0}
    journal.write.change(**dict(run_state(seconds=12.34567, sending_seconds=4.0, lanes=[lane])))
    summary = build_summary(journal, ended)
    counted: dict[str, int] = {}
    for row in journal.read.report_rows(dry_run=False):
        counted[row[3]] = counted.get(row[3], 0) + 1
    assert summary.counts == counted == {"set": 2, "failed": 1, "in_doubt": 1, "unprocessed": 4, "rejected": 1}
    assert summary.rows == 9
    assert summary.codes == {"UserNotFoundException": 1, "missing_username": 1}
    assert (summary.attempts, summary.throttled) == (5, 2)
    assert (summary.rows_per_second, summary.seconds) == (0.5, 12.346)
    assert summary.lanes == (LaneSummary("1", "r", 24.0, 30.0, 24.0),)
    assert summary.stopped_by == StoppedBy("ServiceError", "AccessDenied", "No.", "Allow it.", 3)
    assert (summary.state, summary.exit_code, summary.finished_at) == ("stopped", 3, ENDED)


def test_run_that_sent_nothing_has_no_rate(tmp_path: Path) -> None:
    journal = planned(tmp_path, "a")
    journal.write.change(mode="dry_run", emulated=True)
    summary = build_summary(journal, End(state=EndState.FINISHED, exit_code=0, finished_at=ENDED))
    assert (summary.rows_per_second, summary.sending_seconds, summary.stopped_by) == (0.0, 0.0, None)
    assert summary.counts == {"ready": 1}


def test_rows_that_a_dead_process_had_claimed_are_counted_as_sent_again(tmp_path: Path) -> None:
    """Over all executions. The figure is committed with the mark, so that a second death does not count a row twice."""
    journal = planned(tmp_path, *"abcd")
    ended = End(state=EndState.FINISHED, exit_code=0, finished_at=ENDED)
    journal.write.change(**dict(run_state()))
    assert (build_summary(journal, ended).resent, resent_text(0)) == (0, "")
    commit(journal, [1, 2, 3], [])
    commit(journal, [], [done(1)])
    for claimed, again in ((2, [2]), (1, [])):
        found = journal.read.counts()["claimed"]
        execution = journal.state.execution.model_copy(update={"claimed_before": found})
        journal.write.mark_claimed_in_doubt(executions=(*journal.state.executions, execution))
        assert (found, journal.read.counts().get("claimed")) == (claimed, None)
        commit(journal, again, [])
    assert build_summary(journal, ended).resent == 3
    assert resent_text(3) == "3 rows may have been sent twice, because a process died: marked in_doubt."
