"""The source: only users who are set and committed, none twice, and none forgotten."""

from functools import partial
from pathlib import Path

from bulkreset.journal import schema
from bulkreset.journal.journal import Journal
from bulkreset.journal.records import StepCounts
from bulkreset.models import Outcome, Status, StepOutcome
from bulkreset.send.step_source import BETWEEN_QUERIES_SECONDS, StepSource
from tests.journal.journals import OTHER, POOL, commit, done, planned
from tests.send.fakes import FakeClock


def numbers(source: StepSource, most: int) -> list[int]:
    return sorted(task.number for task in source.take(most))


def made(folder: Path, count: int) -> tuple[Journal, StepSource, FakeClock]:
    journal = planned(folder, *(f"u{number}" for number in range(count)))
    order = journal.read.step_order({"sign_out": (POOL, OTHER)})
    journal.write.begin_steps(order)
    clock = FakeClock()
    return journal, StepSource(partial(journal.read.step_tasks, order, "sign_out"), [POOL, OTHER], clock), clock


def test_only_set_users_are_signed_out_and_each_once(tmp_path: Path) -> None:
    journal, source, clock = made(tmp_path, 9)
    assert numbers(source, 5) == []
    assert source.ended
    commit(journal, [1, 2, 3, 4], [])
    failed = Outcome(2, Status.FAILED, "UserNotFoundException")
    commit(journal, [], [done(1), failed, done(3), Outcome(4, Status.IN_DOUBT)])
    assert numbers(source, 5) == []
    assert not source.ended  # it has not queried again
    clock.advance(BETWEEN_QUERIES_SECONDS)
    assert numbers(source, 5) == [1, 3]
    clock.advance(BETWEEN_QUERIES_SECONDS)
    assert numbers(source, 5) == []
    assert source.ended


def test_claimed_user_is_not_claimed_again_until_it_is_settled(tmp_path: Path) -> None:
    journal, source, clock = made(tmp_path, 30)
    commit(journal, [], [done(number) for number in range(1, 31)])
    seen: list[int] = []
    while batch := numbers(source, 4):
        seen += batch
        if len(seen) % 3:
            out = StepOutcome("sign_out", batch[0], done=True)
            commit(journal, [], [], [out])
            source.on_settled(out)
        clock.advance(BETWEEN_QUERIES_SECONDS)
    assert sorted(seen) == list(range(1, 31))
    assert len(source._in_hand) < 30


def test_journal_counts_sign_outs_and_makes_the_failed_ones_pending_again(tmp_path: Path) -> None:
    journal, source, _ = made(tmp_path, 5)
    commit(journal, [], [done(number, message="early") for number in range(1, 5)])
    commit(
        journal,
        [],
        [],
        [
            StepOutcome("sign_out", 1, done=True),
            StepOutcome("sign_out", 2, done=False, code="Code", message="why"),
            StepOutcome("sign_out", 3, done=None),
        ],
    )
    assert journal.read.step_counts("signed_out") == {POOL: StepCounts(done=1, failed=1, pending=2)}
    report = {row[0]: row for row in journal.read.report_rows(dry_run=False)}
    assert [report[row][10] for row in range(1, 6)] == [1, 0, None, None, None]
    assert report[2][3:6] == ("set", "Code", "why")
    assert report[1][5] == "early"
    assert journal.read.codes() == {"Code": 1}
    assert journal.write.retry_failed() == {}
    assert journal.read.step_counts("signed_out") == {POOL: StepCounts(done=1, failed=0, pending=3)}
    assert journal.read.codes() == {}
    assert numbers(source, 9) == [2, 3, 4]


def test_steps_of_a_user_are_taken_in_order_if_the_pool_has_them(tmp_path: Path) -> None:
    journal = planned(tmp_path, "ann", "bob")
    journal.write.add_rows([(3, OTHER, "cat", True, "ready", "", "")])
    steps = {"sign_out": (POOL, OTHER), "revoke_sessions": (OTHER,), "forget_devices": (POOL,)}
    order = journal.read.step_order(steps)
    journal.write.begin_steps(order)
    commit(journal, [], [done(1), done(2), done(3)])

    def pending() -> dict[str, list[int]]:
        return {
            name: sorted(
                task.number for pool in (POOL, OTHER) for task in journal.read.step_tasks(order, name, pool, 9)
            )
            for name in steps
        }

    assert pending() == {"sign_out": [1, 2, 3], "revoke_sessions": [], "forget_devices": []}
    commit(journal, [], [], [StepOutcome("sign_out", 1, done=True), StepOutcome("sign_out", 3, done=False, code="A")])
    commit(journal, [], [], [StepOutcome("sign_out", 2, done=None)])
    assert pending() == {"sign_out": [2], "revoke_sessions": [3], "forget_devices": [1]}
    failed = [StepOutcome("revoke_sessions", 3, done=False, code="B", message="two")]
    commit(journal, [], [], [*failed, StepOutcome("forget_devices", 1, done=True)])
    assert pending() == {"sign_out": [2], "revoke_sessions": [], "forget_devices": []}
    # The row has the first code and all messages, and counts as one row that needs attention.
    (row,) = journal.read.rows_needing_attention(9)
    assert (row.row, row.code) == (3, "A")
    assert row.message.endswith("two")
    assert journal.read.failed_step_rows() == 1
    journal.write.retry_failed()
    assert pending() == {"sign_out": [2, 3], "revoke_sessions": [], "forget_devices": []}
    assert journal.read.step_counts("devices_forgotten")[POOL] == StepCounts(1, 0, 1)


def test_finding_the_pending_looks_at_no_other_row(tmp_path: Path) -> None:
    journal, _, _ = made(tmp_path, 3)
    order = journal.read.step_order({"sign_out": (POOL, OTHER)})
    asked = "EXPLAIN QUERY PLAN" + schema.TO_STEP.format(order=order)
    plan = journal._db.execute(asked, (1, "sign_out", 5)).fetchall()
    assert "USING INDEX to_step (pool=? AND <expr>=?)" in plan[0][3]
