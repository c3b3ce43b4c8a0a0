"""Settings of a job for its rows: duplicates, permanence, pools, guards, threads."""

from pathlib import Path

import pytest

from tests.e2e.command import POOL, SET, Command, assert_they_agree, finish, people, seed, write_csv, write_job
from tests.e2e.program import Program
from tests.sim import Simulator
from tests.waiting import wait_until

OTHER = "us-east-1_Other00002"


def test_rows_that_name_one_user_are_kept_as_the_job_says(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    """The meaning of each word is tested in tests/journal/test_journal.py."""
    rows = [("ann", "First-Answer.1"), ("bob", "Other-User.1"), ("ann", "Second-Answer.2"), ("ann", "Third-Answer.3")]
    write_csv(tmp_path / "in.csv", rows)
    seed(sim, ["ann", "bob"])
    ran = bulkreset("run", write_job(tmp_path, sim.url, 'path = "in.csv"\non_duplicate = "last"'), "--yes")
    assert ran.code == 1
    assert ran.column("status") == ["rejected", "set", "rejected", "set"]
    assert {row["code"] for row in ran.report if row["status"] == "rejected"} == {"duplicate_username"}
    assert sim.passwords(POOL) == {"ann": "Third-Answer.3", "bob": "Other-User.1"}
    assert_they_agree(ran, sim)


def test_duplicates_are_refused_and_passwords_temporary_by_default(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    rows = [("ann", "First-Answer.1"), ("ann", "Second-Answer.2"), *people(2)]
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", rows))
    assert ran.column("status") == ["rejected", "rejected", "set", "set"]
    assert [call.permanent for call in sim.calls(SET)] == [False, False]
    assert ran.column("permanent")[2:] == ["false", "false"]
    assert {user["status"] for user in sim.users(POOL).values()} == {"FORCE_CHANGE_PASSWORD"}


@pytest.mark.parametrize(("permanent", "wanted"), [(True, "true"), (False, "false")])
def test_permanence_is_as_requested(
    wanted: str, *, permanent: bool, tmp_path: Path, program: Program, sim: Simulator
) -> None:
    job = program.tables(write_csv(tmp_path / "in.csv", people(2))) | {"permanent": not permanent}
    ran = program.apply(job, permanent=permanent)
    assert [call.permanent for call in sim.calls(SET)] == [permanent] * 2
    assert ran.column("permanent") == [wanted] * 2
    status = "CONFIRMED" if permanent else "FORCE_CHANGE_PASSWORD"
    assert {user["status"] for user in sim.users(POOL).values()} == {status}


def test_permanent_column_decides_row_by_row_and_an_empty_cell_follows_the_job(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    cells = ["true", "FALSE", "1", "0", "Yes", "no", ""]
    rows = [(*row, cell) for row, cell in zip(people(len(cells)), cells, strict=True)]
    input_ = write_csv(tmp_path / "in.csv", rows, ("username", "password", "permanent"))
    ran = bulkreset.reset(input_, "--permanent")
    sent = {call.username: call.permanent for call in sim.calls(SET)}
    assert [sent[name] for name, _, _ in rows] == [True, False, True, False, True, False, True]
    assert ran.column("permanent") == ["true", "false", "true", "false", "true", "false", "true"]


def test_pool_column_sends_each_row_to_its_own_target(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    seed(sim, ["ann", "bob"])
    seed(sim, ["ann"], pool=OTHER)
    rows = [
        ("ann", "In-The-First.1", POOL),
        ("ann", "In-The-Other.2", OTHER),
        ("bob", "In-The-First.3", POOL),
        ("cid", "Names-No-Pool.4", ""),
        ("dan", "Names-A-Stranger.5", "us-east-1_Strange99"),
    ]
    write_csv(tmp_path / "in.csv", rows, ("username", "password", "user_pool_id"))
    job = write_job(tmp_path, sim.url, 'path = "in.csv"', pools=(POOL, OTHER))
    ran = bulkreset("run", job, "--yes")
    assert ran.code == 1
    assert ran.column("status") == ["set", "set", "set", "rejected", "rejected"]
    assert ran.column("code")[3:] == ["unknown_pool", "unknown_pool"]
    assert ran.column("user_pool_id") == [POOL, OTHER, POOL, "", ""], "a text that is no pool is kept nowhere"
    assert sim.passwords(POOL) == {"ann": "In-The-First.1", "bob": "In-The-First.3"}
    assert sim.passwords(OTHER) == {"ann": "In-The-Other.2"}
    assert len(ran.summary["lanes"]) == 1, "pools of one account and Region share one rate"
    assert_they_agree(ran, sim)


def test_max_rows_sends_nothing_of_an_input_that_is_larger(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", people(4)), "--max-rows", "3")
    assert ran.code == 3
    assert sim.calls(SET) == []
    assert (ran.summary["state"], ran.summary["counts"]) == ("stopped", {"unprocessed": 4})
    (sentence,) = ran.error_lines
    assert "max_rows" in sentence


def test_max_rows_counts_only_rows_to_send(tmp_path: Path, program: Program, sim: Simulator) -> None:
    rows = [*people(3), ("no.password", "")]
    ran = program.apply(program.tables(write_csv(tmp_path / "in.csv", rows)), guards__max_rows=3)
    assert ran.code == 1
    assert len(sim.calls(SET)) == 3


def test_workers_is_the_most_calls_at_a_time(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    sim.configure(latency=0.02, faults={"every": {"hold": True, "operation": SET, "until_call": 3}})
    input_ = write_csv(tmp_path / "in.csv", people(16))
    argv, run_dir = bulkreset.with_run_dir(
        [*bulkreset.against(input_), "--yes", "--workers", "3", "--rate", "none", "--read-timeout", "60"]
    )
    with bulkreset.start(*argv) as process:
        wait_until(lambda: len(sim.calls(SET)) == 3)  # sent concurrently: none of them is answered yet
        sim.configure(faults={"every": None})
        ran = finish(process, run_dir)
    assert (ran.code, len(sim.calls(SET))) == (0, 16)
    assert sim.stats().max_in_flight <= 3


def test_input_of_rejected_rows_only_asks_nothing_of_the_service(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", [("ann", ""), ("", "Quiet-Garden.1")]))
    assert ran.code == 1
    assert ran.column("code") == ["missing_password", "missing_username"]
    assert sim.calls(SET) == []
