"""Two runs of one user in one account and Region: they split the quota, or the later one is refused."""

import signal

from tests.e2e.command import LAX, POOL, Command, finish, people, write_csv, write_job
from tests.e2e.test_control import limited_by, start_run
from tests.sim import Simulator
from tests.waiting import wait_until


def test_two_runs_split_the_quota_until_one_of_them_ends(bulkreset: Command, sim: Simulator) -> None:
    process, first = start_run(bulkreset, sim, rows=5000)
    second = bulkreset.home / "second"
    path = write_csv(bulkreset.home / "more.csv", people(5000))
    again = bulkreset.start(*bulkreset.against(path), "--yes", "--rate", "20", "--run-dir", second)
    with process, again:
        wait_until(lambda: second.exists() and limited_by(first, "shared") and limited_by(second, "shared"))
        again.send_signal(signal.SIGTERM)
        assert finish(again, second).code == 143
        wait_until(lambda: limited_by(first, ""))
        process.send_signal(signal.SIGTERM)
        ran = finish(process, first)
    assert ran.code == 143
    changes = [(event["ceiling"], event["reason"]) for event in ran.log if event["event"] == "ceiling_changed"]
    assert changes == [(12, "shared"), (20, "job")]
    assert [event["others"] for event in ran.log if event["event"] == "lane_shared"] == [1]


def test_later_run_is_refused_if_its_job_says_so(bulkreset: Command, sim: Simulator) -> None:
    sim.add_pool(POOL, [], LAX, auto_users=True)
    process, first = start_run(bulkreset, sim, rate="5")
    with process:
        path = write_csv(bulkreset.home / "more.csv", people(3))
        job = write_job(bulkreset.home, sim.url, f'path = "{path}"', '[pace]\nshared = "refuse"')
        refused = bulkreset("run", job, "--yes")
        assert refused.code == 4
        assert str(first) in refused.summary["stopped_by"]["message"]
        process.send_signal(signal.SIGTERM)
        assert finish(process, first).code == 143
    with bulkreset.start("resume", refused.run_dir) as resumed:
        assert finish(resumed, refused.run_dir).code == 0
