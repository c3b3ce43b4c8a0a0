"""A scheduled job recovers when its mistake is fixed, reads no file too early, and continues despite one bad file."""

import json
import os
import shlex
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bulkreset as bulkreset_api
from bulkreset.cancellation import CancelToken
from bulkreset.errors import EXIT_ROWS, InputError, RunDirError
from bulkreset.input.discovery import InputMissing
from bulkreset.job.file import load
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_state import UndoFacts
from bulkreset.models import Summary
from bulkreset.run.abandon import AbandonedRun, abandon
from bulkreset.run.context import RunOptions
from bulkreset.run.scheduled import ScheduledJob
from bulkreset.run.start_and_resume import resume
from bulkreset.text import format_iso
from tests.bucket import BUCKET, Storage
from tests.e2e.command import LAX, POOL, Command, finish, people, write_csv, write_job
from tests.input.inputs import encrypted_file, key_file
from tests.journal.journals import BEGUN, ENDED
from tests.run.test_scheduled import SilentUi, home, sent, while_sending
from tests.sim import Simulator

__all__ = ["home"]

LATER = 4e9  # Unix time; every file has settled by then
SCHEDULE = 'path = "in"\n[schedule]\nstate = "state.json"\n'


class Schedule:
    """A scheduled job in a folder, run several times in this process."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.number = 0
        (folder / "in").mkdir(exist_ok=True)
        self.write()

    def write(self, more: str = "", input_: str = SCHEDULE) -> None:
        write_job(self.folder, self.url, input_, more)

    def put(self, name: str, *usernames: str) -> Path:
        return write_csv(self.folder / "in" / name, [(user, "Quiet-Garden.1") for user in usernames])

    def run(
        self, stop: CancelToken | None = None, wall: float = LATER, *, dry: bool = False
    ) -> tuple[list[Summary], ScheduledJob, list[str]]:
        """Make one scheduled run; return its runs, the scheduled job, and its remarks."""
        self.number += 1
        job = load(self.folder / "job.toml", {})
        ui: Any = SilentUi()
        assert job.schedule.state
        mode = RunOptions(None, dry_run=dry, yes=True)
        one = ScheduledJob(job, job.schedule.state, mode, ui, stop or CancelToken(), wall=lambda: wall)
        runs = [end.summary for end in one.run(lambda: self.folder / f"run-{self.number}")]
        return runs, one, ui.remarks

    @property
    def state(self) -> dict[str, dict[str, dict[str, str]]]:
        found: dict[str, dict[str, dict[str, str]]] = json.loads((self.folder / "state.json").read_text())
        return found


@pytest.fixture
def schedule(home: Path, sim: Simulator) -> Schedule:
    return Schedule(home, sim.url)


def stopped_after_some(schedule: Schedule, sim: Simulator) -> set[str]:
    """Stop a scheduled run while it sends, and return the users who were set."""
    write_csv(schedule.folder / "in" / "mon.csv", people(150))
    schedule.write("[pace]\nrate = 100\nworkers = 2\n")
    stop = CancelToken()
    with while_sending(sim, stop.request):
        ((summary,), _, _) = schedule.run(stop)
    assert 0 < summary.counts["set"] < 150
    return set(sent(sim))


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ("[guards]\nmax_rows = 1\n", "[guards]\nmax_rows = 9\n", "guards.max_rows"),
        ("[guards]\nmax_rows = 0\n", "", "guards.max_rows"),
    ],
)
def test_run_without_set_rows_is_abandoned_when_the_job_is_fixed(
    schedule: Schedule, sim: Simulator, before: str, after: str, key: str
) -> None:
    schedule.put("mon.csv", "ann", "ben")
    schedule.write(before)
    assert [run.exit_code for run in schedule.run()[0]] == [3]
    assert [run.exit_code for run in schedule.run()[0]] == [3], "the same job is resumed"
    schedule.write(after)
    schedule.put("tue.csv", "cat")
    (summary,), _, remarks = schedule.run()
    assert (summary.exit_code, summary.counts, sorted(sent(sim))) == (0, {"set": 3}, ["ann", "ben", "cat"])
    assert f"has changed since the unfinished run {schedule.folder}/run-1 was begun ({key})" in remarks[0]
    ui: Any = SilentUi()
    with pytest.raises(RunDirError, match="was given up; it cannot be resumed"):
        resume(schedule.folder / "run-1", RunOptions(None, yes=True), {}, ui, CancelToken())
    assert schedule.run()[0] == []


def test_refused_rows_do_not_prevent_a_fixed_job_from_running(schedule: Schedule, sim: Simulator) -> None:
    """A wrong column, and a guard that stops the run: nobody was set, so the corrected job starts again."""
    sim.add_pool(POOL, ["ann", "ben", "cat"], LAX)
    path = schedule.folder / "in" / "mon.csv"
    path.write_text("id,username,password\nann,1,Quiet-1\nben,2,Quiet-1\ncat,3,Quiet-1\n", encoding="utf-8")
    guard = "[guards]\nmax_failures = 0\nfailures_sample = 1\n[pace]\nworkers = 1\n"
    schedule.write(guard)
    ((first,), _, _) = schedule.run()
    assert (first.exit_code, first.counts["failed"] > 0) == (3, True)
    schedule.write(guard, 'path = "in"\ncolumns = { username = "id" }\n[schedule]\nstate = "state.json"\n')
    (summary,), _, remarks = schedule.run()
    assert (summary.exit_code, summary.counts) == (0, {"set": 3})
    assert "(input.columns.username)" in remarks[0]


def test_run_that_set_some_is_resumed_with_its_own_job_and_says_so(schedule: Schedule, sim: Simulator) -> None:
    stopped_after_some(schedule, sim)
    schedule.write("[pace]\nrate = 150\n")
    (summary,), _, remarks = schedule.run()
    assert (summary.exit_code, summary.counts, len(sent(sim))) == (0, {"set": 150}, 150)
    assert "(pace.rate, pace.workers)" in remarks[0]
    assert f"bulkreset abandon {schedule.folder}/run-1" in remarks[0]


def test_inputs_of_an_abandoned_run_are_not_new_by_accident(schedule: Schedule, sim: Simulator) -> None:
    before = stopped_after_some(schedule, sim)
    found = abandon(schedule.folder / "run-1")
    assert (found.perhaps_set, found.counts["set"] + found.counts["unprocessed"]) == (len(before), 150)
    schedule.put("tue.csv", "tom")
    schedule.write(input_=SCHEDULE + 'done = "archive"\n')
    (summary,), _, remarks = schedule.run()
    assert (summary.counts, set(sent(sim)) - before) == ({"set": 1}, {"tom"})
    assert f"{len(before)} rows of it are set, or may be, so its inputs are not new" in remarks[0]
    assert remarks[0].endswith(f"who are not set: bulkreset extract {schedule.folder}/run-1 -o FILE")
    assert (schedule.folder / "in" / "mon.csv").exists(), "it is not archived as finished"
    assert schedule.run()[0] == []
    schedule.put("mon.csv", "max")  # written again, so new
    assert schedule.run()[0][0].counts == {"set": 1}


def test_inputs_of_an_abandoned_run_without_set_rows_are_new(schedule: Schedule, sim: Simulator) -> None:
    schedule.put("mon.csv", "ann")
    schedule.write("[guards]\nmax_rows = 0\n")
    schedule.run()
    assert abandon(schedule.folder / "run-1").perhaps_set == 0
    assert [run.exit_code for run in schedule.run()[0]] == [3]
    assert sent(sim) == []


def test_finished_and_dry_runs_are_not_given_up(schedule: Schedule) -> None:
    schedule.put("mon.csv", "ann")
    schedule.run(dry=True)
    schedule.run()
    for number, why in ((1, "is a dry run"), (2, "is finished")):
        with pytest.raises(RunDirError, match=why):
            abandon(schedule.folder / f"run-{number}")


def note_undo(run_dir: Path, **facts: Any) -> None:  # noqa: ANN401  (fields of UndoFacts)
    """Record an undo of a run in its journal."""
    known = {"status": "RESTORING", "user": "ops", "begun_at": BEGUN, "restore_id": "r"} | facts
    with closing(Journal.open(run_dir / "journal.sqlite")) as journal:
        journal.write.change(undos={POOL: UndoFacts(**known)})


def test_nothing_is_run_after_an_undo_until_that_run_is_given_up(schedule: Schedule, sim: Simulator) -> None:
    schedule.put("mon.csv", "ann")
    schedule.run()
    note_undo(schedule.folder / "run-1")
    schedule.put("tue.csv", "tom")
    with pytest.raises(RunDirError, match=r"An undo of the run .*run-1 is in progress"):
        schedule.run()
    with pytest.raises(RunDirError, match="is in progress"):
        abandon(schedule.folder / "run-1")
    note_undo(schedule.folder / "run-1", status="RESTORE_COMPLETED", ended_at=ENDED)
    with pytest.raises(RunDirError, match=r"The last run .*run-1 was undone.* bulkreset abandon .*run-1"):
        schedule.run()
    assert sent(sim) == ["ann"]
    abandon(schedule.folder / "run-1")
    assert [summary.counts for summary in schedule.run()[0]] == [{"set": 1}]
    assert sent(sim) == ["ann", "tom"], "the inputs of the undone run are not run again"
    assert schedule.run()[0] == []


@pytest.mark.parametrize("kept", [b"", b"no journal"])
def test_finished_run_whose_journal_cannot_be_read_stops_nothing_and_is_said(
    schedule: Schedule, sim: Simulator, kept: bytes
) -> None:
    schedule.put("mon.csv", "ann")
    schedule.run()
    (schedule.folder / "run-1" / "journal.sqlite").write_bytes(kept)
    schedule.put("tue.csv", "tom")
    runs, _, said = schedule.run()
    assert [summary.counts for summary in runs] == [{"set": 1}]
    assert sent(sim) == ["ann", "tom"]
    assert any(f"not known whether the last run {schedule.folder}/run-1 was undone" in line for line in said)


def test_cancelled_undo_prevents_no_run(schedule: Schedule, sim: Simulator) -> None:
    schedule.put("mon.csv", "ann")
    schedule.run()
    note_undo(schedule.folder / "run-1", status="PREVIEW_CANCELLED", ended_at=ENDED)
    schedule.put("tue.csv", "tom")
    assert [summary.counts for summary in schedule.run()[0]] == [{"set": 1}]
    assert sent(sim) == ["ann", "tom"]


def test_undone_unfinished_run_is_not_resumed_and_not_forgotten(schedule: Schedule, sim: Simulator) -> None:
    before = stopped_after_some(schedule, sim)
    note_undo(schedule.folder / "run-1", status="RESTORE_COMPLETED", ended_at=ENDED)
    with pytest.raises(RunDirError, match="was undone"):
        schedule.run()
    abandon(schedule.folder / "run-1")
    assert schedule.run()[0] == []
    assert set(sent(sim)) == before


def test_bad_input_stops_the_scheduled_run_and_names_the_waiting_inputs(schedule: Schedule, sim: Simulator) -> None:
    schedule.put("a.csv", "ann")
    (schedule.folder / "in" / "b.csv").write_text('username,password\nx,y\n"u,v\n"e,f\n', encoding="utf-8")
    schedule.put("c.csv", "cat")
    with pytest.raises(InputError, match=r"b\.csv .*2 other new inputs wait; schedule\.on_bad_input = \"skip\""):
        schedule.run()
    assert sent(sim) == []


@pytest.mark.parametrize("bad", ["user,password\nben,Quiet-1\n", 'username,password\nx,y\n"u,v\n"e,f\n', ""])
def test_bad_input_is_set_aside_until_it_or_the_reading_changes(schedule: Schedule, sim: Simulator, bad: str) -> None:
    schedule.write(input_=SCHEDULE + 'on_bad_input = "skip"\n')
    schedule.put("a.csv", "ann")
    path = schedule.folder / "in" / "b.csv"
    path.write_text(bad, encoding="utf-8")
    schedule.put("c.csv", "cat")
    (summary,), one, remarks = schedule.run()
    assert (summary.exit_code, sorted(sent(sim))) == (0, ["ann", "cat"])
    if not bad:  # an empty part among others has no rows, and is not a bad input
        assert (one.left_out.set_aside, summary.input["remarks"]) == (
            [],
            ["1 file has no content, so no rows: b.csv."],
        )
        return
    assert [f"The input {path} is set aside" in line for line in (*one.left_out.set_aside, remarks[0])] == [True, True]
    assert summary.input["remarks"] == one.left_out.set_aside
    runs, one, remarks = schedule.run()
    assert (runs, len(one.left_out.set_aside), remarks) == ([], 1, one.left_out.set_aside)
    assert f"The input {path} is still set aside" in remarks[0]
    schedule.put("b.csv", "ben")
    runs, one, _ = schedule.run()
    assert ([run.counts for run in runs], one.left_out.set_aside, schedule.state["aside"]) == ([{"set": 1}], [], {})


def test_inputs_that_all_are_bad_are_not_set_aside_for_it_may_be_the_job(schedule: Schedule, sim: Simulator) -> None:
    schedule.write(
        input_='path = "in"\ncolumns = { username = "id" }\n[schedule]\nstate = "state.json"\non_bad_input = "skip"\n'
    )
    schedule.put("a.csv", "ann")
    schedule.put("b.csv", "ben")
    with pytest.raises(InputError, match="has no column 'id'"):
        schedule.run()
    schedule.write(input_=SCHEDULE + 'on_bad_input = "skip"\n')
    assert [run.counts for run in schedule.run()[0]] == [{"set": 2}]
    assert sorted(sent(sim)) == ["ann", "ben"]


def test_file_that_changes_still_is_not_read_yet(schedule: Schedule, sim: Simulator) -> None:
    schedule.write(input_=SCHEDULE + 'settle = "5m"\n')
    old = schedule.put("mon.csv", "ann")
    written = max(old.stat().st_mtime, old.stat().st_ctime)
    runs, one, _ = schedule.run(wall=written + 290)
    assert (runs, len(one.left_out.held)) == ([], 1)
    at = format_iso(written * 1000, "seconds")
    assert one.left_out.held[0] == f"The input {old} is not read yet: changed at {at}, and schedule.settle is 5 min."
    runs, one, _ = schedule.run(wall=written - 60)
    assert (runs, len(one.left_out.held)) == ([], 1), "by its time it changes in the future"
    os.utime(old, (0, 0))  # a copy with old time stamps does not count as older
    assert schedule.run(wall=written + 10)[0] == []
    changed = old.stat().st_ctime
    (summary,), one, _ = schedule.run(wall=changed + 301)
    assert (summary.counts, one.left_out.held, sent(sim)) == ({"set": 1}, [], ["ann"])


def test_folder_is_read_when_its_marker_is_there(schedule: Schedule, sim: Simulator) -> None:
    schedule.write(
        input_='path = "in/**/*.csv"\n[schedule]\nstate = "state.json"\nmarker = "_SUCCESS"\nexpected = true\n'
    )
    for day, user in (("mon", "ann"), ("tue", "ben")):
        (schedule.folder / "in" / day).mkdir()
        schedule.put(f"{day}/part-0.csv", user)
    for number in range(1, 13):
        schedule.put(f"tue/part-{number}.csv", f"ben{number}")
    with pytest.raises(InputMissing, match=r"mon/part-0\.csv is not read yet: no _SUCCESS in its folder"):
        schedule.run()
    (schedule.folder / "in" / "mon" / "_SUCCESS").touch()
    (summary,), one, _ = schedule.run()
    assert (summary.counts, sent(sim)) == ({"set": 1}, ["ann"])
    first, *_, last = summary.input["remarks"]
    assert first == f"The input {schedule.folder}/in/tue/part-0.csv is not read yet: no _SUCCESS in its folder."
    assert last == "3 more inputs are not read yet."
    assert summary.input["remarks"] == one.left_out.held
    assert len(one.left_out.held) == 11


def test_marker_is_not_an_input_or_an_unread_file(schedule: Schedule) -> None:
    schedule.write(input_='path = "in/*"\n[schedule]\nstate = "in/state.json"\ndone = "in/done"\nmarker = "READY"\n')
    schedule.put("mon.csv", "ann")
    (schedule.folder / "in" / "READY").touch()
    for runs in (1, 0):
        found, one, remarks = schedule.run()
        assert (len(found), one.left_out.held, remarks) == (runs, [], [])


def test_objects_are_read_when_they_have_settled_and_their_marker_is_there(
    schedule: Schedule, sim: Simulator, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in storage.environment().items():
        monkeypatch.setenv(name, value)
    at = f"s3://{BUCKET}"
    schedule.write(
        input_=f'path = "{at}/in/"\n[schedule]\nstate = "{at}/in/state.json"\ndone = "{at}/in/done/"\n'
        'settle = 60\nmarker = "READY"\n'
    )
    storage.put("in/mon.csv", b"username,password\nann,Quiet-Garden.1\n")
    storage.put("in/", b"")
    runs, one, remarks = schedule.run()
    assert (runs, one.left_out.held, remarks) == (
        [],
        [f"The input {at}/in/mon.csv is not read yet: no READY in its folder."],
        [],
    )
    storage.put("in/READY", b"")
    runs, one, _ = schedule.run(wall=1e9)
    assert (runs, "and schedule.settle is 1 min" in one.left_out.held[0]) == ([], True)
    assert [run.counts for run in schedule.run()[0]] == [{"set": 1}]
    runs, one, remarks = schedule.run()
    assert (runs, one.left_out.held, remarks, sent(sim)) == ([], [], [], ["ann"])


def test_unread_files_are_named_in_each_scheduled_run(schedule: Schedule) -> None:
    schedule.put("mon.csv", "ann")
    (schedule.folder / "in" / "tue.csv.bz2").write_bytes(b"BZh9")
    remark = f"1 file is not read: {schedule.folder}/in/tue.csv.bz2 (bzip2: unpack it with bunzip2)."
    (summary,), _, remarks = schedule.run()
    assert (remarks, summary.input["remarks"]) == ([remark], [remark])
    runs, _, remarks = schedule.run()
    assert (runs, remarks) == ([], [remark])
    schedule.write(input_=SCHEDULE + "expected = true\n")
    with pytest.raises(InputMissing, match=r"There is no new input.*1 file is not read"):
        schedule.run()


def test_scheduled_run_with_only_plain_new_inputs_among_encrypted_ones(schedule: Schedule, tmp_path: Path) -> None:
    key = key_file(tmp_path)
    schedule.write(input_=f'path = "in"\nidentity = "{key}"\n[schedule]\nstate = "state.json"\n')
    encrypted_file(schedule.put("a.csv", "ann"), key)
    assert [run.counts for run in schedule.run()[0]] == [{"set": 1}]
    schedule.put("b.csv", "ben")
    assert [run.counts for run in schedule.run()[0]] == [{"set": 1}]


def test_quiet_scheduled_run_that_succeeds_prints_nothing(bulkreset: Command, schedule: Schedule) -> None:
    schedule.put("mon.csv", "ann")

    def run() -> tuple[int, str, str]:
        with bulkreset.start("run", schedule.folder / "job.toml", "--yes", "--quiet") as process:
            ran = finish(process, schedule.folder)
        return ran.code, ran.stdout, ran.stderr

    assert run() == run() == (0, "", "")
    (schedule.folder / "in" / "tue.csv.bz2").write_bytes(b"BZh9")
    code, _, said = run()
    assert (code, "tue.csv.bz2 (bzip2: unpack it with bunzip2)" in said) == (0, True)


def test_command_gives_a_run_up_and_says_how_many_were_set(
    bulkreset: Command, schedule: Schedule, sim: Simulator
) -> None:
    before = stopped_after_some(schedule, sim)
    ran = bulkreset_abandon(bulkreset, schedule.folder / "run-1")
    assert (ran[0], ran[2]) == (0, "")
    assert f"{len(before)} rows are set, or may be." in ran[1]
    advised = shlex.split(ran[1].rpartition("who are not set: ")[2])
    assert (advised[0], advised[-1]) == ("bulkreset", "FILE")
    with bulkreset.start(*advised[1:-1], schedule.folder / "rest.csv") as process:
        assert finish(process, schedule.folder).code == 0
    rest = (schedule.folder / "rest.csv").read_text(encoding="utf-8").splitlines()
    assert (rest[0], len(rest) - 1) == ("username,password", 150 - len(before)), (
        "the advised file can be the next input"
    )
    with bulkreset.start("status", schedule.folder / "run-1") as process:
        output = finish(process, schedule.folder).stdout
    assert ("run-1: abandoned" in output, "resume with" in output) == (True, False)


def test_advice_for_a_run_of_the_pools_users_is_a_report_which_has_the_names(tmp_path: Path) -> None:
    run = AbandonedRun(tmp_path / "a b", {"set": 1, "unprocessed": 2}, 1, from_pool=True)
    assert run.list_remaining == f"bulkreset report '{tmp_path}/a b' --only failed,rejected,unprocessed -o FILE"
    assert replace(run, counts={"set": 3, "in_doubt": 1}).list_remaining == ""


def bulkreset_abandon(bulkreset: Command, run_dir: Path) -> tuple[int, str, str]:
    with bulkreset.start("abandon", run_dir) as process:
        ran = finish(process, run_dir)
    return ran.code, ran.stdout, ran.stderr


def test_exit_code_of_a_scheduled_run_with_a_bad_input_is_not_zero(bulkreset: Command, schedule: Schedule) -> None:
    schedule.write(input_=SCHEDULE + 'on_bad_input = "skip"\n')
    schedule.put("a.csv", "ann")
    (schedule.folder / "in" / "b.csv").write_text("user,password\nben,Quiet-1\n", encoding="utf-8")
    for _ in range(2):
        with bulkreset.start("run", schedule.folder / "job.toml", "--yes") as process:
            ran = finish(process, schedule.folder)
        assert (ran.code, "b.csv is " in ran.stderr) == (EXIT_ROWS, True)


def test_unread_files_are_in_preflight_summary_and_page(bulkreset: Command, schedule: Schedule) -> None:
    schedule.write("[report]\nhtml = true\n", 'path = "in"')
    (schedule.folder / "in" / "a.csv").write_text("username,password\nann,Quiet-Garden.1", encoding="utf-8")
    (schedule.folder / "in" / "b.csv").touch()
    (schedule.folder / "in" / "c.csv.bz2").write_bytes(b"BZh9")
    remarks = [
        f"1 file is not read: {schedule.folder}/in/c.csv.bz2 (bzip2: unpack it with bunzip2).",
        "1 file has no content, so no rows: b.csv.",
        "a.csv: the last line has no line break: is the file whole?",
    ]
    ran = bulkreset("run", schedule.folder / "job.toml", "--yes")
    page = (ran.run_dir / "report.html").read_text(encoding="utf-8")
    assert (ran.code, ran.summary["input"]["remarks"]) == (0, remarks)
    for sentence in remarks:
        assert (sentence in ran.stderr, sentence in ran.stdout, sentence in page) == (True, True, True)


def test_program_gives_a_run_up_as_the_command_does(schedule: Schedule) -> None:
    schedule.put("mon.csv", "ann")
    schedule.write("[guards]\nmax_rows = 0\n")
    schedule.run()
    found = bulkreset_api.abandon(schedule.folder / "run-1")
    assert (found.perhaps_set, found.counts) == (0, {"unprocessed": 1})
