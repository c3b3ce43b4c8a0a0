"""Many lanes in one run: none delays or stops another, and each is reported separately."""

import json
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.test_resume import resume
from tests.e2e.command import SET, Command, assert_they_agree, finish
from tests.e2e.live import rows_set
from tests.lanes.lane_targets import ALL, A, B, C, R, create_pools, mixed, users, write_input, write_job
from tests.sim import Simulator
from tests.waiting import wait_until

FAST = "[pace]\nrate = 300\n"
HELD_SECONDS = 90.0  # a held call must not time out
UNPACED = '[pace]\nrate = "none"\n'


def lane_of(summary: dict[str, object], account: str, region: str) -> dict[str, object]:
    """Return the only lane of that pool."""
    lanes = summary["lanes"]
    assert isinstance(lanes, list)
    (found,) = (lane for lane in lanes if (lane["account"], lane["region"]) == (account, region))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("users.parquet", "interleaved"),
        pytest.param("users.parquet", "sorted", marks=pytest.mark.soak),
        pytest.param("users.csv.gz", "interleaved", marks=pytest.mark.soak),
        pytest.param("users.csv", "sorted", marks=pytest.mark.soak),
    ],
)
def test_every_row_goes_to_its_own_lane(bulkreset: Command, sim: Simulator, name: str, order: str) -> None:
    env = create_pools(bulkreset, sim)
    sizes = {A: 200, B: 40, C: 3, R: 60}
    lines = mixed([line for place, size in sizes.items() for line in users(place, size)], order)
    job = write_job(bulkreset, sim, ALL, write_input(bulkreset.home, lines, name), UNPACED)
    ran = bulkreset("run", job, "--yes", env=env)
    assert ran.code == 0
    assert_they_agree(ran, sim)
    assert [(row["username"], row["user_pool_id"]) for row in ran.report] == [(line[0], line[2]) for line in lines]
    for place, size in sizes.items():
        lane = lane_of(ran.summary, place.account, place.region)
        assert (lane["rows"], lane["counts"], lane["stopped_by"]) == (size, {"set": size}, None)
        assert sim.passwords(place.pool) == {line[0]: line[1] for line in lines if line[2] == place.pool}
    assert {call.access_key[:4] for call in sim.calls(SET) if call.account == R.account} == {"ASIA"}
    assert sim.stats().users_applied_more_than_once == 0


@pytest.mark.soak
@pytest.mark.parametrize("name", ["users.csv", "users.csv.gz", "users.parquet"])
def test_last_lane_of_a_sorted_input_does_not_wait_for_the_others(
    bulkreset: Command, sim: Simulator, name: str
) -> None:
    """The last lane's rows come after more rows of the first lane than any buffer holds; the first lane hangs."""
    env = create_pools(bulkreset, sim, (A, B))
    lines = [*users(A, 12_000), *users(B, 40)]
    sim.configure(faults={"every": {"hold": True, "operation": SET, "pool": A.pool}})
    input_ = write_input(bulkreset.home, lines, name)
    job = write_job(bulkreset, sim, (A, B), input_, "[pace]\nrate = 40\nworkers = 2\n", HELD_SECONDS)
    argv, run_dir = bulkreset.with_run_dir(["run", job, "--yes"])
    with bulkreset.start(*argv, env=env) as process:
        wait_until(lambda: rows_set(run_dir) == 40)
        process.send_signal(signal.SIGINT)
        sim.configure(faults={"every": None})
        ran = finish(process, run_dir)
    assert ran.code == 130
    assert lane_of(ran.summary, B.account, B.region)["counts"] == {"set": 40}
    assert_they_agree(ran, sim)


def test_only_a_denied_lane_stops_and_resume_continues_it(bulkreset: Command, sim: Simulator) -> None:
    env = create_pools(bulkreset, sim)
    lines = mixed([line for place in ALL for line in users(place, 30)], "interleaved")
    denied = {"error": "AccessDeniedException", "operation": SET, "pool": B.pool, "from_call": 11}
    sim.configure(faults={"every": denied})
    job = write_job(bulkreset, sim, ALL, write_input(bulkreset.home, lines), FAST)
    ran = bulkreset("run", job, "--yes", env=env)
    assert ran.code == 3
    assert ran.summary["state"] == "stopped"
    assert ran.summary["stopped_by"]["code"] == "AccessDeniedException"
    assert f"Account {B.account}, {B.region}: Cognito answered AccessDeniedException" in ran.stderr
    assert f"Resume with: bulkreset resume {ran.run_dir}" in ran.stderr
    assert [event["message"] for event in ran.log if event["event"] == "lane_stopped"] == [
        ran.summary["stopped_by"]["message"]
    ]
    assert lane_of(ran.summary, B.account, B.region)["counts"] == {"set": 10, "unprocessed": 20}
    stopped = lane_of(ran.summary, B.account, B.region)["stopped_by"]
    assert isinstance(stopped, dict)
    assert stopped["code"] == "AccessDeniedException"
    for place in (A, C, R):
        lane = lane_of(ran.summary, place.account, place.region)
        assert (lane["counts"], lane["stopped_by"]) == ({"set": 30}, None)
    assert_they_agree(ran, sim)
    with bulkreset.start("status", ran.run_dir, "--json") as process:
        status = json.loads(process.communicate()[0])
    assert status["rows_left"] == 20
    assert [lane["counts"] for lane in status["lanes"]] == [lane["counts"] for lane in ran.summary["lanes"]]
    with bulkreset.start("status", ran.run_dir) as process:
        assert f"{B.account} {B.region}: 10 set, 20 not sent" in process.communicate()[0].replace(
            "10 set, 20 unprocessed", "10 set, 20 not sent"
        )
    before = len(sim.calls(SET))
    sim.configure(faults={"every": None})
    again = resume(bulkreset, ran.run_dir, env=env)
    assert again.code == 0
    assert {call.pool for call in sim.calls(SET)[before:]} == {B.pool}
    assert [lane["rows"] for lane in again.summary["lanes"]] == [0, 20, 0, 0]
    assert sim.stats().users_applied_more_than_once == 0


def test_a_fatal_answer_may_stop_the_run(bulkreset: Command, sim: Simulator) -> None:
    env = create_pools(bulkreset, sim, (A, B))
    lines = [*users(A, 400), *users(B, 20)]
    denied = {"error": "AccessDeniedException", "operation": SET, "pool": B.pool}
    # The first lane cannot end before the second one is denied.
    sim.configure(faults={"every": [denied, {"hold": True, "operation": SET, "pool": A.pool}]})
    more = '[pace]\nrate = 50\nworkers = 2\n[guards]\nscope = "run"\n'
    job = write_job(bulkreset, sim, (A, B), write_input(bulkreset.home, lines), more, HELD_SECONDS)
    argv, run_dir = bulkreset.with_run_dir(["run", job, "--yes"])
    with bulkreset.start(*argv, env=env) as process:
        wait_until(lambda: "lane_stopped" in log_of(run_dir))
        sim.configure(faults={"every": denied})
        ran = finish(process, run_dir)
    assert ran.code == 3
    # The first lane has only what it had claimed: half a second's rows, and one for each thread.
    assert ran.summary["counts"]["unprocessed"] > 100
    assert lane_of(ran.summary, B.account, B.region)["counts"] == {"unprocessed": 20}
    assert_they_agree(ran, sim)


def log_of(run_dir: Path) -> str:
    """Return the log of a run so far."""
    path = run_dir / "log.jsonl"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def test_a_guard_of_a_lane_stops_that_lane(bulkreset: Command, sim: Simulator) -> None:
    env = create_pools(bulkreset, sim, (A, B))
    sim.configure(faults={"every": {"error": "UserNotFoundException", "operation": SET, "pool": B.pool}})
    # The stopped lane has many more rows than it claims at a time.
    lines = mixed([*users(A, 30), *users(B, 200)], "interleaved")
    more = "[pace]\nrate = 100\nworkers = 2\n[guards]\nmax_refused_in_a_row = 8\n"
    ran = bulkreset(
        "run", write_job(bulkreset, sim, (A, B), write_input(bulkreset.home, lines), more), "--yes", env=env
    )
    assert ran.code == 3
    assert ran.summary["stopped_by"]["code"] == "GuardTripped"
    assert f"Account {B.account}, {B.region}: " in ran.stderr
    assert lane_of(ran.summary, A.account, A.region)["counts"] == {"set": 30}
    counts = lane_of(ran.summary, B.account, B.region)["counts"]
    assert isinstance(counts, dict)
    assert 8 <= counts["failed"] < 200
    assert counts["failed"] + counts["unprocessed"] == 200
    assert_they_agree(ran, sim)


def test_a_number_of_failures_is_of_the_whole_run(bulkreset: Command, sim: Simulator) -> None:
    env = create_pools(bulkreset, sim, (A, B))
    # Each lane has fewer failures than the guard allows. After its last one it waits for the other lane's.
    missing = {"error": "UserNotFoundException", "operation": SET, "until_call": 6}
    rules = [{**rule, "pool": at.pool} for at in (A, B) for rule in (missing, {"hold": True, "operation": SET})]
    sim.configure(faults={"every": rules})
    lines = mixed([*users(A, 400), *users(B, 400)], "interleaved")
    more = "[pace]\nrate = 60\nworkers = 1\n[guards]\nmax_failures = 11\n"
    job = write_job(bulkreset, sim, (A, B), write_input(bulkreset.home, lines), more, HELD_SECONDS)
    argv, run_dir = bulkreset.with_run_dir(["run", job, "--yes"])
    with bulkreset.start(*argv, env=env) as process:
        wait_until(lambda: sim.stats().count(SET, "UserNotFoundException") == 12)
        sim.configure(faults={"every": None})
        ran = finish(process, run_dir)
    assert ran.code == 3
    assert ran.summary["stopped_by"]["code"] == "GuardTripped"
    assert ran.summary["counts"]["failed"] == 12
    assert all(lane["counts"]["unprocessed"] for lane in ran.summary["lanes"])
    assert all(lane["stopped_by"] is None for lane in ran.summary["lanes"])
    assert_they_agree(ran, sim)


def test_with_one_lane_a_fatal_answer_names_none(bulkreset: Command, sim: Simulator) -> None:
    env = create_pools(bulkreset, sim, (A,))
    sim.configure(faults={"every": {"error": "AccessDeniedException", "operation": SET}})
    job = write_job(bulkreset, sim, (A,), write_input(bulkreset.home, users(A, 5)), FAST)
    ran = bulkreset("run", job, "--yes", env=env)
    assert ran.code == 3
    assert ran.error_lines[0].startswith("bulkreset: Cognito answered AccessDeniedException")


# ---- roles


def test_role_that_may_not_be_assumed_refuses_the_run(bulkreset: Command, sim: Simulator) -> None:
    env = create_pools(bulkreset, sim)
    sim.configure(roles={R.arn: "another-id"})
    job = write_job(bulkreset, sim, ALL, write_input(bulkreset.home, users(R, 2)))
    ran = bulkreset("run", job, "--yes", env=env)
    assert ran.code == 2
    (sentence,) = ran.error_lines
    assert R.arn in sentence
    assert "AccessDenied" in sentence
    assert not ran.run_dir.exists()
    assert sim.calls(SET) == []


def test_role_is_assumed_with_its_name_and_its_external_id(bulkreset: Command, sim: Simulator) -> None:
    env = create_pools(bulkreset, sim)
    sim.configure(roles={R.arn: "ext-1"})
    job = write_job(bulkreset, sim, (R,), write_input(bulkreset.home, users(R, 3)), UNPACED)
    ran = bulkreset("run", job, "--yes", env=env)
    assert ran.code == 0
    assert ran.summary["targets"][0]["role_arn"] == R.arn
    assert ran.summary["lanes"][0]["account"] == R.account
    (assumed,) = sim.calls("AssumeRole")
    assert (assumed.pool, assumed.access_key, assumed.region) == (R.arn, "AKIDSIMULATED", R.region)


@pytest.mark.soak
def test_role_is_assumed_anew_before_its_credentials_expire(bulkreset: Command, sim: Simulator) -> None:
    env = create_pools(bulkreset, sim)
    sim.configure(role_seconds=2, latency=0.05)  # always about to expire: each check assumes the role again
    job = write_job(bulkreset, sim, (R,), write_input(bulkreset.home, users(R, 60)), "[pace]\nrate = 20\n")
    ran = bulkreset("run", job, "--yes", env=env)
    assert ran.code == 0
    keys = Counter(call.access_key for call in sim.calls(SET))
    assert len(keys) > 1
    assert_they_agree(ran, sim)


@pytest.mark.soak
def test_revoked_role_stops_its_lane(bulkreset: Command, sim: Simulator) -> None:
    env = create_pools(bulkreset, sim)
    denied = {"error": "AccessDenied", "status": 403, "operation": "AssumeRole", "from_call": 12}
    sim.configure(role_seconds=1, faults={"every": denied})
    lines = [*users(R, 100), *users(A, 100)]
    job = write_job(bulkreset, sim, (R, A), write_input(bulkreset.home, lines), "[pace]\nrate = 40\n")
    ran = bulkreset("run", job, "--yes", env=env)
    assert ran.code == 3
    assert lane_of(ran.summary, A.account, A.region)["counts"] == {"set": 100}
    stopped = lane_of(ran.summary, R.account, R.region)["stopped_by"]
    assert isinstance(stopped, dict)
    assert stopped["code"] == "CredentialRetrievalError"
    sim.configure(role_seconds=3600, faults={"every": None})
    again = resume(bulkreset, ran.run_dir, "--rate", "none", env=env)
    assert (again.code, again.summary["counts"]) == (0, {"set": 200})
    assert sim.stats().users_applied_more_than_once == 0


# ---- rates


@pytest.mark.soak
def test_every_change_of_a_rate_is_reported_with_its_reason(bulkreset: Command, sim: Simulator) -> None:
    env = create_pools(bulkreset, sim, (A,))
    lines = users(A, 300)
    sim.configure(faults={"users": {lines[30][0]: [{"throttle": 1}]}})  # one cut, and six seconds to the old rate
    job = write_job(bulkreset, sim, (A,), write_input(bulkreset.home, lines), "[pace]\nrate = 30\n")
    ran = bulkreset("run", job, "--yes", env=env)
    assert ran.code == 0
    changes = [event for event in ran.log if event["event"] == "rate_changed"]
    reasons = [event["reason"] for event in changes]
    assert reasons[:2] == ["throttled", "recovered"]
    assert set(reasons[2:]) <= {"probing", "at the ceiling"}
    assert all(event["call"] == SET for event in changes)
    assert 2 <= ran.summary["lanes"][0]["changes"] <= len(changes)  # at most one per second
