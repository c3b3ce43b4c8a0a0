"""An answer after which no call can succeed stops the run at once, with one sentence."""

from pathlib import Path

from tests.e2e.command import POOL, SET, Command, assert_they_agree, finish, people, write_csv, write_job
from tests.sim import Simulator

WORKERS = 4


def test_fatal_code_stops_the_run_before_another_call_is_made(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    """The codes themselves are tested in tests/cognito/test_response.py."""
    sim.configure(faults={"every": {"error": "OptInRequired", "status": 403, "operation": SET}})
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", people(40)), "--workers", str(WORKERS), "--rate", "none")
    assert ran.code == 3
    assert 1 <= len(sim.calls(SET)) <= WORKERS
    assert ran.summary["state"] == "stopped"
    assert ran.summary["counts"] == {"unprocessed": 40}
    assert_they_agree(ran, sim)
    (sentence,) = ran.error_lines
    assert "OptInRequired" in sentence
    assert sentence.count(". ") == 1, "what happened, and what to do"
    assert f"bulkreset resume {ran.run_dir}" in ran.stderr


def test_fatal_code_in_the_middle_keeps_set_rows(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    rule = {"error": "AccessDeniedException", "operation": SET, "from_call": 11}
    sim.configure(faults={"every": rule})
    rows = people(60)
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", rows), "--workers", str(WORKERS), "--rate", "none")
    assert ran.code == 3
    assert len(sim.calls(SET)) <= 10 + WORKERS
    assert ran.summary["counts"] == {"set": 10, "unprocessed": 50}
    told = {row["username"] for row in ran.report if row["status"] == "set"}
    assert {name for name, password in sim.passwords(POOL).items() if password} == told
    assert_they_agree(ran, sim)


def test_fatal_code_leaves_a_row_whose_answer_was_lost_in_doubt(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    sim.configure(
        faults={
            "users": {"user.001": [{"cut": "after"}]},
            "every": {"error": "AccessDeniedException", "operation": SET, "from_call": 2},
        }
    )
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", people(3)), "--workers", "1", "--rate", "none")
    assert ran.code == 3
    assert ran.column("status") == ["in_doubt", "unprocessed", "unprocessed"]
    assert ran.column("in_doubt") == ["true", "false", "false"]
    assert_they_agree(ran, sim)


def test_rows_in_doubt_that_are_given_back_keep_why(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    lost, denied = {"cut": "after"}, {"error": "AccessDeniedException"}
    names = [name for name, _ in people(12)]
    sim.configure(faults={"users": {name: [lost] * 2 for name in names}})
    job = write_job(tmp_path, sim.url, 'path = "in.csv"', "[pace]\nworkers = 1\nmax_attempts = 2")
    write_csv(tmp_path / "in.csv", people(12))
    ran = bulkreset("run", job, "--yes", "--rate", "none")
    assert ran.summary["codes"] == {"ConnectionClosedError": 12}
    sim.configure(faults={"users": {names[0]: [denied]}})
    with bulkreset.start("resume", ran.run_dir, "--rate", "none") as process:
        again = finish(process, ran.run_dir)
    assert again.code == 3
    assert set(again.column("status")) == {"in_doubt"}
    assert again.summary["codes"] == {"AccessDeniedException": 1, "ConnectionClosedError": 11}


def test_pool_in_another_region_is_named(tmp_path: Path, bulkreset: Command) -> None:
    input_ = write_csv(tmp_path / "in.csv", people(2))
    for flags in (["--yes"], ["--dry-run"], ["--emulate"]):
        ran = bulkreset(*bulkreset.against(input_), "--region", "eu-west-1", *flags)
        assert (ran.code, ran.run_dir.exists()) == (2, False)
        assert f'--region is "eu-west-1", but the pool {POOL} is in "us-east-1" by its ID' in ran.error_lines[0]
    job = write_job(tmp_path, bulkreset.sim.url, f'path = "{input_}"')
    job.write_text(job.read_text().replace('region = "us-east-1"', 'region = "eu-west-1"\nreplica = true'))
    ran = bulkreset("run", job, "--yes")
    assert (ran.code, ran.summary["resumable"]) == (2, False)  # the same run can never succeed
    (sentence,) = ran.error_lines
    assert POOL in sentence
    assert "Region" in sentence


def test_wrong_secret_key_stops_the_run(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    sim.configure(secret_keys={"AKIDSIMULATED": "simulated"})
    input_ = write_csv(tmp_path / "in.csv", people(20))
    ran = bulkreset.reset(input_, "--workers", "2", env={"AWS_SECRET_ACCESS_KEY": "mistyped"})
    assert ran.code == 3
    assert len(sim.calls(SET)) <= 2
    assert ran.summary["counts"] == {"unprocessed": 20}
