"""Campaigns: passwords generated just before sending, discarded or encrypted, and equal to the service's."""

import json
import shutil
import signal
import stat
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from bulkreset.cli.main import app
from bulkreset.errors import Refused
from bulkreset.input.password_policy import failed_rules
from bulkreset.report.passwords_export import read_passwords as in_process
from tests.canary import Canary
from tests.crash.test_resume import resume
from tests.e2e.campaigns import (
    HEADER,
    POLICY,
    STRICT,
    Key,
    decrypted,
    files_below,
    held,
    make_key,
    names,
    open_files,
    opened,
    parse_passwords,
    places_with,
    run_passwords,
    write_campaign,
    write_names,
)
from tests.e2e.command import (
    LAX,
    POOL,
    SET,
    WITHOUT_PAGE,
    Command,
    CommandResult,
    assert_they_agree,
    finish,
    people,
    write_csv,
)
from tests.lanes.lane_targets import ALL, create_pools
from tests.sim import Simulator
from tests.waiting import wait_until

OUT = "AdminUserGlobalSignOut"
FAST = '[pace]\nrate = "none"\nmax_wait = 0.2\n'
ONCE = '[pace]\nrate = "none"\nmax_attempts = 1\n'
VERIFIED = {"email": "x@y.example", "email_verified": "true"}


def assert_not_begun(bulkreset: Command, sim: Simulator, run_dir: Path) -> None:
    """Check that nothing was sent and that the run left nothing."""
    assert sim.calls(SET) == []
    assert not run_dir.exists()
    assert [path for path in bulkreset.home.iterdir() if path.name.startswith(".")] == []


@pytest.mark.linux("/proc, for the limits of a process")
@pytest.mark.parametrize(
    "count",
    [
        pytest.param(40, id="short"),
        pytest.param(10_000, marks=[pytest.mark.fresh, pytest.mark.soak, pytest.mark.timeout(600)], id="long"),
    ],
)
def test_scramble_sets_every_user_to_another_password_signs_them_out_and_keeps_nothing(
    bulkreset: Command, sim: Simulator, count: int
) -> None:
    users = [{"username": name, "attributes": VERIFIED} for name in names(count)]
    sim.add_pool(POOL, users, STRICT)
    sim.configure(faults={"every": {"operation": SET, "from_call": count // 2, "hold": True}})
    job = write_campaign(bulkreset, write_names(bulkreset.home, names(count)), permanent=True, more=FAST, plan="")
    argv, run_dir = bulkreset.with_run_dir(["run", job, "--yes", "-vv", "--log-format", "json"])
    seen: dict[str, set[bytes]] = defaultdict(set)
    with ThreadPoolExecutor(1) as aside, bulkreset.start(*argv) as process:
        said = aside.submit(process.communicate)  # every row is an event: an unread pipe would fill up and stop the run
        wait_until(lambda: sim.stats().count(SET) >= count // 2)
        for where, content in (*open_files(process.pid), *files_below(bulkreset.home)):
            seen[where].add(content)
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        sim.configure(faults={"every": None})
        ran = CommandResult(process.wait(), *said.result(), run_dir)
    assert "Traceback" not in ran.stdout + ran.stderr
    assert (ran.code, ran.summary["counts"]) == (0, {"set": count})
    passwords = held(sim)
    assert len(passwords) == len(set(passwords.values())) == count
    assert all(failed_rules(POLICY, password) == [] for password in passwords.values())
    assert {user["status"] for user in sim.users(POOL).values()} == {"CONFIRMED"}
    assert {(user["applied"], user["sign_outs"]) for user in sim.users(POOL).values()} == {(1, 1)}
    assert ran.summary["signed_out"] == {"done": count, "failed": 0, "pending": 0}
    set_at = {call.username: call.done or call.time for call in sim.calls(SET)}
    assert all(call.time > set_at[call.username] for call in sim.calls(OUT))
    assert_they_agree(ran, sim)
    assert str(run_dir / "journal.sqlite") in seen, "it was looked at while it ran"
    for where, content in files_below(bulkreset.home):
        seen[where].add(content)
    seen["streams"].add((ran.stdout + ran.stderr).encode())
    some = list(passwords.values())[:: max(1, count // 300)]
    assert places_with(seen, [password.encode() for password in some]) == set()
    for password in list(passwords.values())[:3]:
        assert places_with(seen, list(Canary(password).spellings)) == set()
    (core,) = (line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    assert not (run_dir / "passwords").exists()


def test_decrypted_passwords_agree_with_the_service(bulkreset: Command, sim: Simulator) -> None:
    sim.add_pool(POOL, names(60), STRICT | {"TemporaryPasswordValidityDays": 3})
    key, spare = make_key(bulkreset.home), make_key(bulkreset.home, "spare.txt")
    job = write_campaign(bulkreset, write_names(bulkreset.home, [*names(60), "gone"]), key, spare, more=FAST, plan="")
    ran = bulkreset("run", job, "--yes", "-vv", "--log-format", "json")
    assert (ran.code, ran.summary["counts"]) == (1, {"rejected": 1, "set": 60})
    assert "encrypted for 2 recipients, in the run directory" in ran.stderr
    assert decrypted(bulkreset, ran.run_dir, key) == opened(ran.run_dir, spare) == held(sim)
    assert all(failed_rules(POLICY, password) == [] for password in held(sim).values())
    assert {user["status"] for user in sim.users(POOL).values()} == {"FORCE_CHANGE_PASSWORD"}
    assert sim.calls(OUT) == []
    first = next(in_process(ran.run_dir, key.path))
    assert (first.username, first.pool) == ("user.00001", POOL)
    days = (datetime.fromisoformat(first.expires_at).timestamp() - time.time()) / 86_400
    assert 2.9 < days <= 3
    places = {where: {content} for where, content in files_below(bulkreset.home)}
    places["streams"] = {(ran.stdout + ran.stderr).encode()}
    assert places_with(places, [password.encode() for password in held(sim).values()]) == set()
    for password in list(held(sim).values())[:3]:
        assert places_with(places, list(Canary(password).spellings)) == set()


def test_limit_of_rows_is_sent_and_resume_continues(bulkreset: Command, sim: Simulator) -> None:
    key = make_key(bulkreset.home)
    job = write_campaign(bulkreset, write_names(bulkreset.home, names(50)), key, more=FAST)
    ran = bulkreset("run", job, "--yes", "--limit", "20")
    assert (ran.code, ran.summary["state"], len(sim.calls(SET))) == (5, "row_limit", 20)
    assert "after 20 rows" in ran.stderr
    assert "Stopped after 20 rows, as --limit asks. 30 left." in ran.error_lines[-1]
    assert ran.stderr.splitlines()[-1] == f"Resume with: bulkreset resume {ran.run_dir}"
    assert ran.summary["counts"] == {"set": 20, "unprocessed": 30}
    assert opened(ran.run_dir, key) == held(sim)
    last = resume(bulkreset, ran.run_dir, "--limit", "30")
    assert (last.code, last.summary["counts"], len(sim.calls(SET))) == (0, {"set": 50}, 50)
    assert opened(ran.run_dir, key) == held(sim)
    assert sim.stats().users_applied_more_than_once == 0
    assert_they_agree(last, sim)


def test_several_lanes_share_the_row_limit(bulkreset: Command, sim: Simulator) -> None:
    env = create_pools(bulkreset, sim)
    key = make_key(bulkreset.home)
    lines = [(name, place.pool) for name in names(9) for place in ALL]
    input_ = write_csv(bulkreset.home / "users.csv", lines, ("username", "user_pool_id"))
    job = bulkreset.home / "lanes.toml"
    job.write_text(
        f'[input]\npath = "{input_}"\n[plan]\ncheck_users = false\n[password]\nsource = "generate"\n'
        f'recipients = ["{key.public}"]\n{"".join(place.target(sim.url) for place in ALL)}{FAST}{WITHOUT_PAGE}'
    )
    ran = bulkreset("run", job, "--yes", "--limit", "15", env=env)
    assert (ran.code, len(sim.calls(SET))) == (5, 15)
    found = list(in_process(ran.run_dir, key.path))
    for place in ALL:
        assert {one.username: one.password for one in found if one.pool == place.pool} == held(sim, place.pool)
    assert len(found) == 15


def test_row_of_a_scramble_with_a_temporary_password_is_rejected(bulkreset: Command, sim: Simulator) -> None:
    rows = [("ann", ""), ("bob", "false"), ("cid", "true")]
    input_ = write_csv(bulkreset.home / "in.csv", rows, ("username", "permanent"))
    ran = bulkreset("run", write_campaign(bulkreset, input_, permanent=True, more=FAST), "--yes")
    assert (ran.code, ran.column("code")) == (1, ["", "bad_value", ""])
    assert ran.of("bob")["message"] == "a generated temporary password needs password.recipients"
    assert held(sim).keys() == {"ann", "cid"}


def test_folder_that_cannot_be_written_is_found_out_before_anything(bulkreset: Command, sim: Simulator) -> None:
    (bulkreset.home / "in-the-way").write_text("")
    key, input_ = make_key(bulkreset.home), write_names(bulkreset.home, names(3))
    ran = bulkreset("run", write_campaign(bulkreset, input_, key, folder='folder = "in-the-way"'), "--yes")
    assert ran.code == 2
    assert "The generated passwords cannot be written to" in ran.stderr
    assert_not_begun(bulkreset, sim, ran.run_dir)


def test_an_unusable_input_leaves_no_folder_of_passwords(bulkreset: Command, sim: Simulator) -> None:
    key = make_key(bulkreset.home)
    (bulkreset.home / "in.csv").write_text('username\nann\n"bob\n"cid"x\n')
    ran = bulkreset("run", write_campaign(bulkreset, bulkreset.home / "in.csv", key, folder='folder = "safe"'), "--yes")
    assert ran.code == 2
    assert_not_begun(bulkreset, sim, ran.run_dir)
    assert not (bulkreset.home / "safe" / ran.run_dir.name).exists()


def test_only_rows_that_are_set_are_decrypted_and_what_failed_is_later(bulkreset: Command, sim: Simulator) -> None:
    faults = {"user.00002": [{"error": "UserNotFoundException"}], "user.00003": [{"throttle": 1}]}
    sim.configure(faults={"users": faults})
    key = make_key(bulkreset.home)
    ran = bulkreset("run", write_campaign(bulkreset, write_names(bulkreset.home, names(5)), key, more=ONCE), "--yes")
    assert (ran.code, ran.summary["counts"]) == (1, {"failed": 2, "set": 3})
    assert opened(ran.run_dir, key) == held(sim)
    assert len(held(sim)) == 3
    refused = {call.username: call.password for call in sim.calls(SET)}
    again = resume(bulkreset, ran.run_dir, "--failed")
    assert (again.code, len(held(sim))) == (0, 5)
    assert opened(ran.run_dir, key) == held(sim)
    assert held(sim)["user.00002"] != refused["user.00002"]


@pytest.mark.parametrize("history", [pytest.param(None, marks=pytest.mark.soak), 5], ids=["no-history", "history"])
def test_answers_that_are_lost_keep_the_password_within_one_execution(
    bulkreset: Command, sim: Simulator, history: int | None
) -> None:
    sim.add_pool(POOL, names(12), LAX, history)
    lost = [[{"cut": "after"}], [{"cut": "before"}], [{"cut": "after"}, {"http": 502, "apply": True}]]
    sim.configure(faults={"users": {name: lost[number % 3] for number, name in enumerate(names(9))}})
    key = make_key(bulkreset.home)
    ran = bulkreset("run", write_campaign(bulkreset, write_names(bulkreset.home, names(12)), key, more=FAST), "--yes")
    # If the history refuses a generated password after a lost answer, the row stays in doubt: another program's call
    # could have set it.
    assert (ran.code, ran.column("in_doubt").count("true")) == (0 if history is None else 1, 9)
    by_user: dict[str, set[str | None]] = defaultdict(set)
    for call in sim.calls(SET):
        by_user[call.username].add(call.password)
    assert {len(passwords) for passwords in by_user.values()} == {1}
    assert len(sim.calls(SET)) > 20
    parse_passwords = opened(ran.run_dir, key)
    assert (parse_passwords if history is None else parse_passwords | held(sim)) == held(sim)


@pytest.mark.parametrize("history", [pytest.param(None, marks=pytest.mark.soak), 5], ids=["no-history", "history"])
def test_row_in_doubt_gets_another_password_when_it_is_resumed_and_that_is_the_printed_one(
    bulkreset: Command, sim: Simulator, history: int | None
) -> None:
    sim.add_pool(POOL, names(6), LAX, history)
    sim.configure(faults={"users": {"user.00001": [{"cut": "after"}], "user.00002": [{"cut": "before"}]}})
    key = make_key(bulkreset.home)
    ran = bulkreset("run", write_campaign(bulkreset, write_names(bulkreset.home, names(6)), key, more=ONCE), "--yes")
    assert (ran.code, ran.summary["counts"]) == (1, {"in_doubt": 2, "set": 4})
    assert "2 rows are in doubt" in ran.stderr
    assert opened(ran.run_dir, key).keys() == set(names(6)[2:])
    assert "user.00001" in held(sim), "it was set, but nobody can know"
    last = resume(bulkreset, ran.run_dir)
    assert last.code == 0
    assert opened(ran.run_dir, key) == held(sim)
    sent_first = [call.password for call in sim.calls(SET) if call.username == "user.00001"]
    assert len(sent_first) == len(set(sent_first)) == 2
    assert held(sim)["user.00001"] == sent_first[-1]
    assert len({call.password for call in sim.calls(SET)}) == len(sim.calls(SET)) == 8
    assert_they_agree(last, sim)


def test_passwords_of_a_run_that_continues_can_be_opened(bulkreset: Command, sim: Simulator) -> None:
    sim.configure(faults={"every": {"operation": SET, "from_call": 13, "hold": True}})
    key = make_key(bulkreset.home)
    job = write_campaign(bulkreset, write_names(bulkreset.home, names(40)), key, more=FAST)
    run_dir = bulkreset.home / "run"
    with bulkreset.start("run", job, "--yes", "--run-dir", run_dir) as process:
        wait_until(lambda: sim.stats().count(SET) >= 13)
        wait_until(lambda: opened(run_dir, key))  # as soon as the first rows are in the journal
        found = decrypted(bulkreset, run_dir, key)
        assert process.poll() is None
        sim.configure(faults={"every": None})
        assert finish(process, run_dir).code == 0
    assert 0 < len(found) < 40
    assert found.items() <= held(sim).items()
    assert opened(run_dir, key) == held(sim)
    assert len(held(sim)) == 40


def test_users_who_could_not_come_back_are_set_all_the_same_if_the_job_accepts_it(
    bulkreset: Command, sim: Simulator
) -> None:
    users: list[dict[str, Any]] = [{"username": name, "attributes": VERIFIED} for name in ("ann", "bob")]
    users += [{"username": "cid"}, {"username": "dan", "attributes": {"email": "d@y.example"}}]
    sim.add_pool(POOL, users, LAX)
    input_ = write_names(bulkreset.home, ["ann", "bob", "cid", "dan"])
    accepts = f"{FAST}[campaign]\naccept_lockout = true\n"
    job = write_campaign(bulkreset, input_, permanent=True, plan="", more=accepts)
    dry = bulkreset("run", job, "--dry-run")
    assert dry.code == 0
    assert "WARNING     2 users cannot recover without an administrator" in dry.stderr
    assert "generated, 24 characters, kept NOWHERE" in dry.stderr
    assert [bool(row["message"]) for row in dry.report] == [False, False, True, True]
    ran = bulkreset("run", job, "--approved", dry.run_dir)
    assert (ran.code, set(held(sim))) == (0, {"ann", "bob", "cid", "dan"})
    assert set(ran.column("message")) == {""}


def test_row_limit_applies_if_the_input_has_the_passwords(bulkreset: Command, sim: Simulator) -> None:
    ran = bulkreset.reset(write_csv(bulkreset.home / "in.csv", people(40)), "--limit", "15", "--rate", "none")
    assert (ran.code, held(sim)) == (5, dict(people(15)))


def test_input_with_a_column_of_passwords_is_refused(bulkreset: Command, sim: Simulator) -> None:
    input_ = write_csv(bulkreset.home / "in.csv", people(3))
    ran = bulkreset("run", write_campaign(bulkreset, input_, permanent=True), "--yes")
    assert ran.code == 2
    assert "has a column of passwords, but the job generates passwords" in ran.stderr
    assert_not_begun(bulkreset, sim, ran.run_dir)


def test_parquet_of_usernames_is_enough_and_a_row_may_say_whether_its_password_is_permanent(
    bulkreset: Command, sim: Simulator
) -> None:
    key = make_key(bulkreset.home)
    pq.write_table(pa.table({"username": ["ann", "bob"], "permanent": [None, True]}), bulkreset.home / "in.parquet")
    ran = bulkreset("run", write_campaign(bulkreset, bulkreset.home / "in.parquet", key, more=FAST), "--yes")
    assert (ran.code, opened(ran.run_dir, key)) == (0, held(sim))
    assert {name: user["status"] for name, user in sim.users(POOL).items()} == {
        "ann": "FORCE_CHANGE_PASSWORD",
        "bob": "CONFIRMED",
    }


def test_wrong_recipient_is_refused_before_anything_and_a_private_key_not_shown(
    bulkreset: Command, sim: Simulator
) -> None:
    key = make_key(bulkreset.home)
    private = key.path.read_text().splitlines()[1]
    ran = bulkreset("run", write_campaign(bulkreset, write_names(bulkreset.home, names(3)), key, private), "--yes")
    assert ran.code == 2
    assert "A private key was given as a recipient." in ran.stderr
    assert private[16:] not in ran.stderr
    assert private[16:21] not in ran.stderr
    assert_not_begun(bulkreset, sim, ran.run_dir)


def test_folder_elsewhere_belongs_to_its_run_after_a_rename(bulkreset: Command, sim: Simulator) -> None:
    key, input_ = make_key(bulkreset.home), write_names(bulkreset.home, names(9))
    job = write_campaign(bulkreset, input_, key, folder='folder = "safe"', more=FAST)
    ran = bulkreset("run", job, "--yes", "--limit", "3", "--run-dir", bulkreset.home / "one" / "same")
    assert ran.code == 5
    moved = ran.run_dir.rename(bulkreset.home / "moved")
    with bulkreset.start("resume", ".", cwd=moved) as process:
        assert finish(process, moved).code == 0, "what may be sent at a time held for the execution before"
    assert sorted(path.name for path in (bulkreset.home / "safe").rglob("*")) == [
        "00000001.age",
        "00000002.age",
        "same",
    ]
    assert opened(moved, key) == held(sim)
    assert len(held(sim)) == 9


def test_encryption_needs_recipients(bulkreset: Command, sim: Simulator) -> None:
    key = make_key(bulkreset.home)
    without = "import sys; sys.modules['pyrage'] = None"
    plain = bulkreset.against(write_csv(bulkreset.home / "in.csv", people(2)))
    job = write_campaign(bulkreset, write_names(bulkreset.home, names(2)), key, more=FAST)
    for args, code in (((*plain, "--rate", "none"), 0), (("run", job), 2)):
        argv, run_dir = bulkreset.with_run_dir((*args, "--yes"))
        with bulkreset.start(*argv, first=without) as process:
            ran = finish(process, run_dir)
        assert (ran.code, len(sim.calls(SET))) == (code, 2), ran.stderr
    assert "pip install 'bulkreset[age]'" in ran.stderr
    assert not ran.run_dir.exists()


FAULTS: dict[str, tuple[dict[str, Any], int]] = {
    "refused": ({"every": {"error": "InvalidPasswordException", "operation": SET}}, 1),
    "throttled": ({"users": {"*": [{"throttle": 3}]}}, 0),
    "broken": ({"users": {"*": [{"garbage": "truncated", "status": 500}, {"error": "InternalErrorException"}]}}, 0),
    "fatal": ({"every": {"error": "AccessDeniedException", "operation": SET}}, 3),
}
SHORT = {("refused", "encrypted"), ("broken", "scramble"), ("fatal", "scramble")}


@pytest.mark.parametrize(
    ("what", "shape"),
    [
        pytest.param(what, shape, marks=[] if (what, shape) in SHORT else pytest.mark.soak)
        for what in FAULTS
        for shape in ("scramble", "encrypted")
    ],
)
def test_generated_password_appears_nowhere_even_if_the_service_repeats_it(
    bulkreset: Command, sim: Simulator, what: str, shape: str
) -> None:
    faults, code = FAULTS[what]
    sim.configure(faults={"echo_password": True, **faults})
    keys = [make_key(bulkreset.home)] if shape == "encrypted" else []
    input_ = write_names(bulkreset.home, names(6))
    job = write_campaign(bulkreset, input_, *keys, permanent=shape == "scramble", more=FAST)
    ran = bulkreset("run", job, "--yes", "-vv", "--log-format", "json")
    assert ran.code == code
    passwords = {call.password for call in sim.calls(SET) if call.password}
    assert passwords
    places = {where: {content} for where, content in files_below(bulkreset.home)}
    places["stdout"], places["stderr"] = {ran.stdout.encode()}, {ran.stderr.encode()}
    for password in passwords:
        assert places_with(places, list(Canary(password).spellings)) == set()
    assert [json.loads(line) for line in ran.stderr.splitlines() if line.startswith("{")]


@dataclass(frozen=True)
class Ended:
    """A finished run, its key, and the service's passwords."""

    bulkreset: Command
    run_dir: Path
    key: Key
    held: dict[str, str]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, running: Simulator) -> Ended:
    folder = tmp_path_factory.mktemp("ended")
    usernames = ["=1+1", "+4477", "@ann", "-x", "plain", "王小明"]
    running.reset()
    running.add_pool(POOL, usernames, LAX)
    bulkreset, key = Command(folder, running), make_key(folder)
    ran = bulkreset("run", write_campaign(bulkreset, write_names(folder, usernames), key, more=FAST), "--yes")
    assert ran.code == 0
    return Ended(bulkreset, ran.run_dir, key, held(running))


def test_password_file_is_readable_by_its_owner_only_and_has_exact_names(ended: Ended, tmp_path: Path) -> None:
    out = tmp_path / "passwords.csv"
    told = run_passwords(ended.bulkreset, ended.run_dir, ended.key, "-o", out)
    assert (told.code, told.stdout) == (0, f"6 passwords: {out}\n")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    text = out.read_text(encoding="utf-8")
    assert text.startswith(HEADER + "\n")
    assert parse_passwords(text) == ended.held
    assert list(tmp_path.iterdir()) == [out]


def test_passwords_command_with_the_wrong_key_writes_nothing(ended: Ended, tmp_path: Path) -> None:
    other, out = make_key(tmp_path), tmp_path / "out.csv"
    for args in ((), ("-o", out)):
        refused = run_passwords(ended.bulkreset, ended.run_dir, other, *args)
        assert (refused.code, refused.stdout) == (2, "")
        assert "This key cannot decrypt the passwords. Use the private key of a recipient in the job." in refused.stderr
    assert list(tmp_path.iterdir()) == [other.path]


def test_passwords_command_names_the_fault(ended: Ended, tmp_path: Path) -> None:
    key, there = ended.key.path, tmp_path / "there.csv"
    there.write_text("mine")
    damaged = tmp_path / "damaged"
    shutil.copytree(ended.run_dir, damaged)
    (chunk,) = (damaged / "passwords").iterdir()
    chunk.write_bytes(chunk.read_bytes()[:-7])
    bare = tmp_path / "bare"
    shutil.copytree(ended.run_dir, bare)
    shutil.rmtree(bare / "passwords")
    cases = [
        (ended.run_dir, tmp_path / "none.txt", (), "cannot be read: No such file"),
        (ended.run_dir, there, (), "has no key that can be used"),
        (ended.run_dir, key, ("-o", there), "already exists"),
        (ended.run_dir, key, ("-o", tmp_path / "no" / "out.csv"), "no does not exist"),
        (bare, key, (), "There are no generated passwords"),
        (tmp_path, key, (), "is not a run directory"),
        (damaged, key, (), f"{chunk.name} cannot be decrypted: it is damaged"),
        (damaged, key, ("-o", tmp_path / "out.csv"), f"{chunk.name} cannot be decrypted: it is damaged"),
    ]
    for run_dir, identity, args, said in cases:
        told = CliRunner().invoke(app, ["passwords", *map(str, (run_dir, "--identity", identity, *args))])
        assert isinstance(told.exception, Refused), said
        assert (told.exception.exit_code, told.output) == (2, "")
        assert said in str(told.exception)
    assert there.read_text() == "mine"
    assert list(tmp_path.rglob("*out.csv*")) == []


# The command offers permanent passwords only.
ENDLESS = """
import time
from bulkreset.report import passwords_export
whole = passwords_export.read_passwords
def endless(*args, **how):
    given = list(whole(*args, **how))
    while True:
        yield from given
        time.sleep(0.01)  # slow enough to be ended in the middle
passwords_export.read_passwords = endless
"""


def test_passwords_command_that_is_ended_leaves_no_password_behind(ended: Ended, tmp_path: Path) -> None:
    out = tmp_path / "out[1].csv"
    asked = ("passwords", ended.run_dir, "--identity", ended.key.path, "-o", out)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        with ended.bulkreset.start(*asked, first=ENDLESS) as process:
            wait_until(lambda: any(path.stat().st_size for path in tmp_path.iterdir()))
            (partial,) = tmp_path.iterdir()
            process.send_signal(number)
            _, said = process.communicate()
        if number != signal.SIGKILL:
            assert (process.returncode, list(tmp_path.iterdir())) == (128 + number, [])
            assert said == f"bulkreset: Interrupted by {number.name}. Nothing was written.\n"
    assert list(tmp_path.iterdir()) == [partial]
    told = run_passwords(ended.bulkreset, ended.run_dir, ended.key, "-o", out)
    assert (told.code, list(tmp_path.iterdir())) == (0, [out])
    assert told.error_lines == [
        f"bulkreset: {partial} was left by a command that was killed. It contained passwords and was deleted."
    ]


@pytest.mark.linux("/dev/full, a disk that is always full")
def test_unwritable_passwords_are_a_failure(ended: Ended) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        asked = ("passwords", ended.run_dir, "--identity", ended.key.path)
        with ended.bulkreset.start(*asked, out=full.fileno()) as process:
            _, said = process.communicate()
    assert process.returncode == 3
    assert "The passwords could not be written completely to standard output: No space left" in said
    assert len(said.splitlines()) == 1
