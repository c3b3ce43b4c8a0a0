"""Undo a run: restore its pool to the time before it, after a preview. A killed undo can be continued."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.session import get_session

from bulkreset import api
from bulkreset.cancellation import CancelToken
from bulkreset.errors import Interrupted, NotConfirmed, Refused, RunDirError, ServiceError
from bulkreset.journal.execution import unix_ms
from bulkreset.journal.journal import Journal, locked_run
from bulkreset.journal.run_state import UndoFacts
from bulkreset.mirror.restore import restore
from bulkreset.models import EntityChange
from bulkreset.report.run_status import read_status
from bulkreset.run.undo import undo
from bulkreset.text import format_iso
from tests.bucket import BUCKET, Storage
from tests.e2e.command import LAX, POOL, Argument, Command, CommandResult, finish, people, write_csv
from tests.e2e.program import Program
from tests.e2e.test_confirmation import at_a_terminal
from tests.sim import Simulator
from tests.sim.clients import cognito
from tests.waiting import wait_until

BEFORE = "Before-the-run.1"
INITIATE, START, CANCEL = "InitiatePointInTimeRecovery", "StartPointInTimeRecovery", "CancelPointInTimeRecovery"
MINUTE, DAY = 60, 86_400
USERS = [name for name, _ in people(3)]


class Person(CancelToken):
    """Answers the questions in turn and keeps the output. Time passes only while it waits."""

    def __init__(self, *answers: str, now: int = 0, waits: int = 100) -> None:
        super().__init__()
        self.answers = list(answers)
        self.shown: list[str] = []
        self.asked: list[str] = []
        self.now = now
        self.waits = waits  # number of waits before a signal comes

    def notice(self, text: str) -> None:
        self.shown.append(text)

    def agree(self, question: str, answers: Sequence[str]) -> bool:
        self.asked.append(question)
        return self.answers.pop(0) in answers

    def unix_ms(self) -> int:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += round(seconds * 1000)
        self.waits -= 1
        if self.waits < 0:
            self.on_signal(2)
        self.check()

    @property
    def text(self) -> str:
        return "\n".join(self.shown)


def pool(sim: Simulator, tier: str = "ESSENTIALS", polls: int = 2, **more: Any) -> None:  # noqa: ANN401  (settings)
    """Create a pool in which three users have had a password for a long time."""
    old = {"created": 1e9, "modified": 1e9, "password": BEFORE, "status": "CONFIRMED"}
    users = [{"username": name} | old for name in (*USERS, "bystander")]
    time = {"polls": polls} | more
    sim.add_pool(POOL, users, LAX, name="customers", extra={"UserPoolTier": tier}, point_in_time=time)


@pytest.fixture
def ran(tmp_path: Path, program: Program, sim: Simulator) -> Path:
    """A run of three users that began to send 20 minutes ago."""
    pool(sim)
    end = program.apply(program.tables(write_csv(tmp_path / "in.csv", people(3))), permanent=True)
    assert end.code == 0
    shift(end.run_dir, timedelta(minutes=20))
    return end.run_dir


def shift(run_dir: Path, back: timedelta) -> None:
    """Move the recovery point back in time."""
    with closing(Journal.open(run_dir / "journal.sqlite")) as journal:
        point = unix_ms(journal.state.recovery_point or "") - back // timedelta(milliseconds=1)
        journal.write.change(recovery_point=format_iso(point, "seconds"))


def point_of(run_dir: Path) -> int:
    return unix_ms(Journal.state_in(run_dir / "journal.sqlite").recovery_point or "")


def undone(run_dir: Path, person: Person, after: float = 20 * MINUTE, **request: bool) -> dict[str, UndoFacts]:
    """Undo the run, with the clock this many seconds after the recovery point."""
    person.now = point_of(run_dir) + round(after * 1000)
    return undo(run_dir, person, person, **request, now=person.unix_ms)


def run_command(bulkreset: Command, command: str, run_dir: Path, *args: Argument) -> CommandResult:
    """Run a command for a run to its end."""
    with bulkreset.start(command, run_dir, *args) as process:
        return finish(process, run_dir)


def passwords(sim: Simulator) -> set[str | None]:
    return {password for name, password in sim.passwords(POOL).items() if name != "bystander"}


def called(sim: Simulator) -> list[str]:
    return [call.operation for call in sim.calls() if call.operation in {INITIATE, START, CANCEL}]


def writes(sim: Simulator) -> str:
    """Write to the pool as another program and return the answer."""
    try:
        cognito(sim.url).admin_set_user_password(UserPoolId=POOL, Username="bystander", Password=BEFORE)
    except cognito(sim.url).exceptions.ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


def test_undo_restores_the_passwords_after_a_preview(ran: Path, sim: Simulator) -> None:
    assert BEFORE not in passwords(sim)
    person = Person("customers", "y")
    found = undone(ran, person)
    assert passwords(sim) == {BEFORE}
    assert called(sim) == [INITIATE, START]
    assert found[POOL].status == "RESTORE_COMPLETED"
    assert found[POOL].preview == (EntityChange("User", created=0, updated=3, deleted=0),)
    before, after = person.text.split("Preview of customers", 1)
    for words in ("ACCEPTS NO WRITES", "EVERYTHING since that time", "Not known: AWS says", "is not documented"):
        assert words in before
    assert "User: 0 created, 3 updated, 0 deleted" in after
    assert "This run: 3 passwords set or in doubt in this pool." in after
    assert "The preview is being generated: 0.0 s so far." in after or "The preview is being generated" in before
    assert "customers is as it was on" in after
    assert writes(sim) == "ok"


def test_undone_run_says_so_and_sends_nothing_more(ran: Path, bulkreset: Command) -> None:
    undone(ran, Person("customers", "y"))
    when = Journal.state_in(ran / "journal.sqlite").undone[POOL]
    assert json.loads((ran / "summary.json").read_text())["undone"] == {POOL: when}
    status = run_command(bulkreset, "status", ran, "--json")
    assert json.loads(status.stdout)["undo"].startswith(f"UNDONE: {POOL} was restored on")
    assert f"UNDONE: {POOL} was restored on" in run_command(bulkreset, "status", ran).stdout
    run_command(bulkreset, "report", ran, "--format", "html")
    assert f"UNDONE: {POOL} was restored on" in (ran / "report.html").read_text()
    resumed = run_command(bulkreset, "resume", ran, "--failed", "--yes")
    assert (resumed.code, "was undone on" in resumed.stderr) == (2, True)
    again = Person()
    undone(ran, again)
    assert "the run was undone on" in again.text


def test_later_changes_by_others_are_named(ran: Path, sim: Simulator) -> None:
    assert writes(sim) == "ok"
    person = Person("customers", "n")
    with pytest.raises(NotConfirmed):
        undone(ran, person)
    assert "So 1 or more changes that are NOT this run's would be reverted, too." in person.text


def test_later_runs_beside_it_are_named_before_anybody_agrees(ran: Path, tmp_path: Path, program: Program) -> None:
    later = program.apply(program.tables(write_csv(tmp_path / "later.csv", people(2))), permanent=True).run_dir
    person = Person("no")
    with pytest.raises(NotConfirmed):
        undone(ran, person)
    assert "These runs have set passwords in the pool since then" in person.text
    assert f"in {later}: 2 set" in person.text
    assert read_status(later).undo == ""
    undone(ran, Person("customers", "y"))
    after = program.apply(program.tables(write_csv(tmp_path / "after.csv", people(2))), permanent=True).run_dir
    undone(ran, Person())
    assert (read_status(after).undo, read_status(ran).undo.count("restored")) == ("", 1)
    said = read_status(later).undo
    assert said.startswith(f"{POOL} was restored on ")
    assert said.endswith(f", by the undo of {ran}: what this run set there in between may be reverted.")


def test_later_run_that_is_still_working_is_named_if_it_cannot_say_so(
    ran: Path, tmp_path: Path, program: Program
) -> None:
    later = program.apply(program.tables(write_csv(tmp_path / "later.csv", people(2))), permanent=True).run_dir
    person = Person("customers", "y")
    with locked_run(later):
        undone(ran, person)
    assert f"The status of {later} does not say that it may be reverted: Another process" in person.text
    assert read_status(later).undo == ""


def test_service_may_keep_the_passwords_of_the_run(tmp_path: Path, program: Program, sim: Simulator) -> None:
    """The AWS documentation does not say. The preview says so, and the result claims nothing else."""
    pool(sim, keeps=True)
    end = program.apply(program.tables(write_csv(tmp_path / "in.csv", people(3))), permanent=True)
    shift(end.run_dir, timedelta(minutes=20))
    person = Person("customers", "y")
    undone(end.run_dir, person)
    assert BEFORE not in passwords(sim)
    assert "If it does, the passwords of this run stay." in person.text.partition("Preview")[0]
    assert not [line for line in person.shown if "password" in line.partition("is as it was")[2]]


def test_preview_without_start_is_cancelled(ran: Path, sim: Simulator) -> None:
    person = Person("customers")
    found = undone(ran, person, preview=True)
    assert called(sim) == [INITIATE, CANCEL]
    assert found[POOL].status == "PREVIEW_CANCELLED"
    assert BEFORE not in passwords(sim)
    assert "Cancelled: customers accepts writes again. Nothing was changed." in person.text
    assert writes(sim) == "ok"
    assert "undone" not in json.loads((ran / "summary.json").read_text())


def test_wrong_name_begins_nothing(ran: Path, sim: Simulator) -> None:
    with pytest.raises(NotConfirmed, match="Nothing was changed"):
        undone(ran, Person("clients"))
    assert called(sim) == []
    assert Journal.state_in(ran / "journal.sqlite").undos == {}


def test_second_no_cancels(ran: Path, sim: Simulator) -> None:
    with pytest.raises(NotConfirmed, match="Not started"):
        undone(ran, Person("customers", ""))
    assert called(sim) == [INITIATE, CANCEL]
    assert writes(sim) == "ok"


@pytest.fixture
def interrupted(ran: Path, sim: Simulator) -> Path:
    """An undo that a signal ended while the preview was generated."""
    with pytest.raises(Interrupted, match="accepts no writes meanwhile") as ended:
        undone(ran, Person("customers", waits=0))
    assert "Continue or cancel it: bulkreset undo" in str(ended.value)
    assert writes(sim) == "OperationNotEnabledException"
    return ran


def test_interrupted_undo_is_continued(interrupted: Path, sim: Simulator) -> None:
    person = Person("y")  # it does not ask for the name again: the writes are paused already
    undone(interrupted, person)
    assert called(sim) == [INITIATE, START]
    assert passwords(sim) == {BEFORE}


def test_interrupted_undo_is_cancelled(interrupted: Path, sim: Simulator) -> None:
    undone(interrupted, Person(), cancel=True)
    assert called(sim) == [INITIATE, CANCEL]
    assert writes(sim) == "ok"
    person = Person()
    undone(interrupted, person, cancel=True)
    assert "nothing to cancel" in person.text


def test_run_is_not_resumed_during_an_undo(interrupted: Path, bulkreset: Command) -> None:
    resumed = run_command(bulkreset, "resume", interrupted, "--failed", "--yes")
    assert (resumed.code, "An undo of the run" in resumed.stderr) == (2, True)
    assert "next: bulkreset undo" in run_command(bulkreset, "status", interrupted).stdout


def test_interrupted_restore_is_followed_and_not_cancelled(ran: Path, sim: Simulator) -> None:
    with pytest.raises(Interrupted):
        undone(ran, Person("customers", "y", waits=3))  # the preview takes two waits
    assert called(sim) == [INITIATE, START]
    with pytest.raises(Refused, match="cannot be cancelled any more"):
        undone(ran, Person(), cancel=True)
    found = undone(ran, Person())
    assert found[POOL].status == "RESTORE_COMPLETED"
    assert called(sim) == [INITIATE, START]


def test_recovery_that_ended_meanwhile_is_recorded(interrupted: Path, sim: Simulator) -> None:
    facts = Journal.state_in(interrupted / "journal.sqlite").undos[POOL]
    recovery: Any = cognito(sim.url)
    recovery.cancel_point_in_time_recovery(UserPoolId=POOL, RestoreId=facts.restore_id)
    person = Person("no")
    with pytest.raises(NotConfirmed):
        undone(interrupted, person)
    assert "was cancelled" in person.text


@pytest.mark.parametrize("apply", [True, False])
def test_lost_answer_begins_no_second_recovery(ran: Path, sim: Simulator, apply: bool) -> None:  # noqa: FBT001
    sim.configure(faults={"scripts": {INITIATE: {"*": [{"error": "InternalErrorException", "apply": apply}]}}})
    undone(ran, Person("customers", "y"))
    applied = [call for call in sim.calls(INITIATE) if call.answer == "ok"]
    assert len(applied) == (0 if apply else 1)
    assert passwords(sim) == {BEFORE}


def test_lost_answer_to_the_start_is_not_a_failure(ran: Path, sim: Simulator) -> None:
    sim.configure(faults={"scripts": {START: {"*": [{"error": "InternalErrorException", "apply": True}]}}})
    assert undone(ran, Person("customers", "y"))[POOL].status == "RESTORE_COMPLETED"


def test_crash_before_the_first_answer_is_found_again(ran: Path, sim: Simulator) -> None:
    """The intent is in the journal and the service has a recovery to the same point, so it belongs to this run."""
    recovery: Any = cognito(sim.url)
    recovery.initiate_point_in_time_recovery(UserPoolId=POOL, RestoreTimestamp=point_of(ran) / 1000)
    with closing(Journal.open(ran / "journal.sqlite")) as journal:
        begun = UndoFacts(status="INITIATING", user="ops", begun_at="2026-01-01T00:00:00.000Z")
        journal.write.change(undos={POOL: begun})
    assert undone(ran, Person("y"))[POOL].status == "RESTORE_COMPLETED"
    assert len(sim.calls(INITIATE)) == 1


def test_preview_that_fails_changes_nothing(tmp_path: Path, program: Program, sim: Simulator) -> None:
    pool(sim, fails=True)
    end = program.apply(program.tables(write_csv(tmp_path / "in.csv", people(3))), permanent=True)
    shift(end.run_dir, timedelta(minutes=20))
    with pytest.raises(ServiceError, match="no preview could be generated"):
        undone(end.run_dir, Person("customers", "y"))
    assert called(sim) == [INITIATE]
    assert writes(sim) == "ok"
    assert not Journal.state_in(end.run_dir / "journal.sqlite").undos_forbid_sending


def test_another_recovery_is_skipped(ran: Path, sim: Simulator) -> None:
    recovery: Any = cognito(sim.url)
    recovery.initiate_point_in_time_recovery(UserPoolId=POOL, RestoreTimestamp=point_of(ran) / 1000 - 60)
    with pytest.raises(Refused, match=r"Another recovery of customers to .* UTC is in progress"):
        undone(ran, Person("customers", "y"))
    assert called(sim) == [INITIATE]


@pytest.mark.parametrize(
    ("tier", "after", "said"),
    [
        ("ESSENTIALS", 14.9 * MINUTE, r"too early.*Run undo again after \d{4}-.* UTC"),
        ("ESSENTIALS", DAY + 1, r"too late.*Essentials, and could be restored to .* until \d{4}-.* UTC"),
        ("PLUS", 14 * DAY + 1, r"too late.*Plus"),
        ("LITE", 20 * MINUTE, r"CANNOT be undone in customers: its feature plan Lite"),
    ],
)
def test_undo_is_refused_with_the_time(
    tmp_path: Path, program: Program, sim: Simulator, tier: str, after: float, said: str
) -> None:
    pool(sim, tier)
    end = program.apply(program.tables(write_csv(tmp_path / "in.csv", people(3))), permanent=True)
    person = Person("customers", "y")
    with pytest.raises(Refused, match=said):
        undone(end.run_dir, person, after)
    assert (person.asked, called(sim)) == ([], [])


def test_time_that_passes_at_the_question_counts(ran: Path, sim: Simulator) -> None:
    class Slow(Person):
        def agree(self, question: str, answers: Sequence[str]) -> bool:
            self.now += 2 * DAY * 1000
            return super().agree(question, answers)

    with pytest.raises(Refused, match="too late"):
        undone(ran, Slow("customers", "y"))
    assert called(sim) == []


def test_dry_run_cannot_be_undone(tmp_path: Path, program: Program, sim: Simulator) -> None:
    pool(sim)
    end = program.plan(program.tables(write_csv(tmp_path / "in.csv", people(3))))
    with pytest.raises(RunDirError, match="is a dry run"):
        undo(end.run_dir, Person(), CancelToken())


def test_killed_undo_is_continued_by_the_same_command(ran: Path, bulkreset: Command, sim: Simulator) -> None:
    sim.configure(faults={"every": {"hold": True, "waits": True, "operation": "DescribePointInTimeRecovery"}})
    with at_a_terminal(bulkreset, ["undo", ran], ran) as person:
        assert "type its name" in person.read_until("type its name")
        person.type("customers\n")
        wait_until(lambda: bool(sim.calls(INITIATE)))
        person.process.kill()
    sim.configure(faults={"every": None})
    assert writes(sim) == "OperationNotEnabledException"
    with at_a_terminal(bulkreset, ["undo", ran], ran) as person:
        assert "Start the recovery?" in person.read_until("Start the recovery?")
        person.type("y\n")
        ended = person.end()
    assert ended.code == 0
    assert f"{POOL}: RESTORE_COMPLETED" in ended.stdout
    assert passwords(sim) == {BEFORE}


def in_mirror(folder: Path, storage: Storage, name: str) -> Path:
    """Restore the run from its mirror, as on another machine. Its lease has ended."""
    storage.client.delete_object(Bucket=BUCKET, Key=f"runs/{name}/lease.json")
    restore(f"s3://{BUCKET}/runs/{name}", folder)
    return folder


def test_mirror_learns_of_an_undo_before_it_begins_and_when_it_ends(
    tmp_path: Path, storage: Storage, program: Program, sim: Simulator
) -> None:
    pool(sim)
    tables = program.tables(write_csv(tmp_path / "in.csv", people(3))) | {"mirror": {"to": f"s3://{BUCKET}/runs/"}}
    end = program.apply(tables, permanent=True)
    assert end.code == 0
    shift(end.run_dir, timedelta(minutes=20))
    with pytest.raises(Interrupted):
        undone(end.run_dir, Person("customers", waits=0))
    there = in_mirror(tmp_path / "first", storage, end.run_dir.name)
    with pytest.raises(RunDirError, match=r"An undo of the run .* is in progress"):
        api.resume(there, failed=True)
    # The other machine continues the undo; then this directory is behind its mirror and is not changed.
    undone(there, Person("y"))
    with pytest.raises(RunDirError, match="is behind its mirror"):
        undone(end.run_dir, Person())
    last = in_mirror(tmp_path / "second", storage, end.run_dir.name)
    assert list(Journal.state_in(last / "journal.sqlite").undone) == [POOL]
    with pytest.raises(RunDirError, match="was undone on"):
        api.resume(last, failed=True)
    assert called(sim) == [INITIATE, START]


def test_missing_mirror_does_not_prevent_an_undo(
    tmp_path: Path, storage: Storage, program: Program, sim: Simulator
) -> None:
    pool(sim)
    tables = program.tables(write_csv(tmp_path / "in.csv", people(3))) | {"mirror": {"to": f"s3://{BUCKET}/runs/"}}
    end = program.apply(tables, permanent=True)
    shift(end.run_dir, timedelta(minutes=20))
    storage.configure(faults=[["^(PUT|POST) .*", 403, "AccessDenied", 999]])
    person = Person("customers", "y")
    assert undone(end.run_dir, person)[POOL].is_completed
    assert "the mirror does not record the undo" in person.text


def test_python_undoes_a_run_as_the_command_does(tmp_path: Path, program: Program, sim: Simulator) -> None:
    pool(sim, polls=0)
    end = program.apply(program.tables(write_csv(tmp_path / "in.csv", people(3))), permanent=True)
    shift(end.run_dir, timedelta(minutes=20))
    with pytest.raises(NotConfirmed, match="Not confirmed"):
        api.undo(end.run_dir)
    with pytest.raises(Refused, match="Pass one of the two"):
        api.undo(end.run_dir, preview=True, cancel=True)
    asked: list[str] = []
    told: list[str] = []

    def agree(question: str) -> bool:
        asked.append(question)
        return True

    facts = api.undo(end.run_dir, confirm=agree, on_notice=told.append)
    assert facts[POOL].is_completed
    assert passwords(sim) == {BEFORE}
    assert ["WHOLE POOL ACCEPTS NO WRITES" in asked[0], "Preview of customers" in asked[1], len(asked)] == [
        True,
        True,
        2,
    ]
    assert "is as it was on" in told[-1]


def test_without_a_terminal_nothing_starts(ran: Path, bulkreset: Command, sim: Simulator) -> None:
    ended = run_command(bulkreset, "undo", ran)
    assert (ended.code, "There is no terminal" in ended.stderr) == (2, True)
    assert called(sim) == []


def _names(shape: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401  (a shape of botocore)
    yield from (shape.members if shape.type_name == "structure" else {}).items()


def _require_known(told: object, shape: Any) -> None:  # noqa: ANN401  (as above)
    """Check that every member of an answer is in the API's model and has the right type."""
    if shape.type_name == "structure":
        assert isinstance(told, dict)
        members = dict(_names(shape))
        for name, value in told.items():
            _require_known(value, members[name])
    elif shape.type_name == "list":
        assert isinstance(told, Sequence)
        for one in told:
            _require_known(one, shape.member)
    else:
        kinds = {"string": str, "timestamp": int | float, "long": int}
        assert isinstance(told, kinds[shape.type_name])
        assert told in (getattr(shape, "enum", None) or [told])


def test_simulator_answers_in_the_shapes_of_the_api(ran: Path, sim: Simulator) -> None:
    """boto3 checks the requests. The answers are compared before boto3 reads them, because it drops unknown members."""
    model = get_session().get_service_model("cognito-idp")
    client: Any = cognito(sim.url)
    seen: list[str] = []

    def compare(event_name: str, response_dict: dict[str, Any], **_rest: object) -> None:
        operation = event_name.rpartition(".")[2]
        if "PointInTime" in operation and response_dict["status_code"] == 200:
            seen.append(operation)
            _require_known(json.loads(response_dict["body"]), model.operation_model(operation).output_shape)

    client.meta.events.register("before-parse.cognito-identity-provider", compare)
    try:
        at = {"UserPoolId": POOL}
        for end in (client.start_point_in_time_recovery, client.cancel_point_in_time_recovery):
            begun = client.initiate_point_in_time_recovery(**at, RestoreTimestamp=point_of(ran) / 1000)
            one = at | {"RestoreId": begun["Restoration"]["RestoreId"]}
            for _ in range(3):
                client.describe_point_in_time_recovery(**one)
            end(**one)
            for _ in range(3):
                client.describe_point_in_time_recovery(**one)
            client.list_point_in_time_recoveries(**at)
    finally:
        client.meta.events.unregister("before-parse.cognito-identity-provider", compare)
    known = {name for name in model.operation_names if "PointInTime" in name}
    assert set(seen) == known
