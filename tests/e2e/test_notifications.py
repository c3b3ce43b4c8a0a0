"""Notifications and metrics at the end of a run. They cannot end or change it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import Argument, Command, CommandResult, finish, people, write_csv, write_job
from tests.notify.hook import Hook, web_hook
from tests.notify.test_metrics import read
from tests.sim import Simulator

TOKEN = "T0ken-of-the-hook"
TOLD = """
[pace]
rate = 200
[notify]
urls_from = "env:HOOK"
[metrics]
textfile = "b.prom"
emf = "stdout"
"""


@pytest.fixture
def hook() -> Iterator[Hook]:
    with web_hook() as made:
        yield made


def nightly(bulkreset: Command, sim: Simulator, hook: Hook, *args: Argument, more: str = TOLD) -> CommandResult:
    """Run the nightly job with the hook as its receiver."""
    job = write_job(bulkreset.home, sim.url, 'path = "in.csv"', more)
    job.write_text(job.read_text(encoding="utf-8").replace('"e2e"', '"nightly"'), encoding="utf-8")
    return bulkreset("run", job, "--yes", *args, env={"HOOK": f"{hook.url}?password={TOKEN}"})


def test_end_is_reported_and_measured(bulkreset: Command, sim: Simulator, hook: Hook) -> None:
    users = people(5)
    write_csv(bulkreset.home / "in.csv", users)
    limited = nightly(bulkreset, sim, hook, "--limit", "2")
    assert limited.code == 5
    figures = read(bulkreset.home / "b.prom")
    assert [figures["bulkreset_rows", status] for status in ("set", "unprocessed")] == [2, 3]
    assert figures["bulkreset_exit_code", ""] == 5
    with bulkreset.start("resume", limited.run_dir, env={"HOOK": f"{hook.url}?password={TOKEN}"}) as process:
        ran = finish(process, limited.run_dir)
    assert ran.code == 0
    assert "warning:" not in ran.stderr
    emf, *summary = ran.stdout.splitlines()
    assert (json.loads(emf)["Success"], json.loads(emf)["RowsSet"]) == (1, 5)
    assert summary[0] == "Run finished: 5 rows: 5 set."
    figures = read(bulkreset.home / "b.prom")
    success = figures["bulkreset_last_success_timestamp_seconds", ""]
    assert figures["bulkreset_rows", "set"] == 5
    assert figures["bulkreset_lane_ceiling", "123456789012,us-east-1"] == 200

    (bulkreset.home / "in.csv").unlink()
    refused = nightly(bulkreset, sim, hook)
    assert refused.code == 2
    figures = read(bulkreset.home / "b.prom")
    assert figures["bulkreset_exit_code", ""] == 2
    assert figures["bulkreset_last_success_timestamp_seconds", ""] == success
    titles = [got["title"].removeprefix("bulkreset nightly: ") for got in hook.got]
    assert titles == ["row_limit, exit code 5", "finished, exit code 0", "refused, exit code 2"]
    assert f"Next: bulkreset resume {limited.run_dir}" in hook.got[0]["message"]
    told = json.dumps(hook.got)
    written = "".join(path.read_text(errors="replace") for path in bulkreset.home.rglob("*") if path.is_file())
    outputs = "".join(each.stdout + each.stderr for each in (limited, ran, refused))
    assert TOKEN not in outputs + written
    for name, password in users:
        assert name not in told
        assert password not in told


def test_failed_notifications_are_one_warning_each_and_change_nothing(
    bulkreset: Command, sim: Simulator, hook: Hook, tmp_path: Path
) -> None:
    write_csv(bulkreset.home / "in.csv", people(3))
    hook.status = 500
    (tmp_path / "a-file").touch()
    more = TOLD.replace('"b.prom"', '"a-file/b.prom"').replace('"stdout"', '"none/emf.log"')
    literal = f'urls = ["json://127.0.0.1:1/{TOKEN}"]\non = ["finish", "guard"]\n[metrics]'
    ran = nightly(bulkreset, sim, hook, "--limit", "1", more=more.replace("[metrics]", literal))
    assert (ran.code, len(hook.got)) == (5, 1)
    problems = [event["problem"] for event in ran.log if event["event"] == "delivery_failed"]
    assert [problem.partition(":")[0].split(" to ")[0] for problem in problems] == [
        "The metrics could not be written",
        "The metrics could not be written",
        "Not all notifications were sent",
    ]
    assert "url 1: it was not accepted; url 2: it was not accepted" in problems[2]
    assert [line.startswith("warning: The metrics") for line in ran.stderr.splitlines() if "warning" in line] == [
        True,
        True,
        False,
    ]
    hook.status = 200
    with bulkreset.start("resume", ran.run_dir, "--limit", "9", env={"HOOK": hook.url}) as process:
        went_on = finish(process, ran.run_dir)
    assert went_on.code == 0  # its job came from the journal, which does not store URLs
    (problem,) = [event["problem"] for event in went_on.log if "Not all notifications" in event.get("problem", "")][1:]
    assert "a resumed run needs notify.urls_from" in problem
    assert [got["title"] for got in hook.got[1:]] == ["bulkreset nightly: finished, exit code 0"]
    assert TOKEN not in "".join(path.read_text(errors="replace") for path in ran.run_dir.iterdir()) + ran.stderr
