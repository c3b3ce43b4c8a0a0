"""The user check: the directory's finding for each row before anything is sent, and reasons to skip the check."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.read_calls import UnknownFact
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import Interrupted, ServiceError
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_state import Phase
from bulkreset.plan import user_check as check_module
from bulkreset.plan.user_check import UserCheck
from bulkreset.send.paged_reader import ATTEMPTS
from tests.journal.journals import run_state
from tests.send.fakes import FakeClock
from tests.targets import EU, EU2, job, sessions
from tests.user_directory import DENIED, LOST, FakeDirectory, crowd, listed_user

FOUND = [
    listed_user("ann"),
    listed_user("fed", "EXTERNAL_PROVIDER"),
    listed_user("linked", identities='[{"providerName":"Google"}]'),
    listed_user("out", enabled=False),
    listed_user("fedout", "EXTERNAL_PROVIDER", enabled=False),
    listed_user("new", "UNCONFIRMED"),
    listed_user("temp", "FORCE_CHANGE_PASSWORD"),
]
NAMES = ["ann", "fed", "linked", "out", "fedout", "new", "temp", "nobody"]


class CheckRun:
    """The check of rows that name `names`, one each, in the pools of `directories`."""

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        directories: Mapping[str, FakeDirectory],
        names: Sequence[tuple[str, str]],
        *,
        emulated: bool = False,
        protected: Sequence[str] = (),
        **keys: Any,  # noqa: ANN401  (job keys)
    ) -> None:
        asked = job(*directories, **keys)
        facts = {pool: directory.facts for pool, directory in directories.items()}

        def directory_of(_session: TargetSession, of: PoolFacts) -> FakeDirectory:
            return directories[of.user_pool_id]

        monkeypatch.setattr(check_module, "UserLister", directory_of)
        self.folder = folder
        self.scratch = folder / "users.sqlite"
        self.journal = Journal.create(folder / "journal.sqlite", list(directories), run_state())
        self.journal.write.add_rows(
            [(row, pool, name, True, "ready", "", "") for row, (pool, name) in enumerate(names, 1)]
        )
        opened = sessions(asked, emulated=emulated)
        self.check = UserCheck(asked, opened, facts, [list(directories)], set(protected), FakeClock())

    def run(self) -> tuple[dict[str, str], list[UnknownFact]]:
        gaps = self.check.run(self.journal, self.scratch, lambda _made, _calls: None)
        return dict(self.journal.state.unchecked), gaps

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return status, code, message and status before of every row."""
        return [(row[3], row[4], row[5], row.status_before) for row in self.journal.read.report_rows(dry_run=False)]

    @property
    def codes(self) -> list[str]:
        return [code or status for status, code, _, _ in self.rows]


def here(*names: str) -> list[tuple[str, str]]:
    return [(EU, name) for name in names]


def test_each_row_has_the_status_of_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = CheckRun(tmp_path, monkeypatch, {EU: FakeDirectory(FOUND)}, here(*NAMES))
    assert checked.run() == ({}, [])
    federated = ("skipped", "federated", "the user signs in through an identity provider")
    assert checked.rows == [
        ("unprocessed", "", "", "CONFIRMED"),
        (*federated, "EXTERNAL_PROVIDER"),
        (*federated, "CONFIRMED"),
        ("skipped", "disabled", "the user is disabled", "CONFIRMED"),
        (*federated, "EXTERNAL_PROVIDER"),
        ("unprocessed", "", "", "UNCONFIRMED"),
        ("unprocessed", "", "", "FORCE_CHANGE_PASSWORD"),
        ("rejected", "user_not_found", "no user with this name in the pool", ""),
    ]


@pytest.mark.parametrize(
    ("skip", "codes"),
    [
        ([], ["unprocessed"] * 7),
        (["disabled"], [*["unprocessed"] * 3, "disabled", "disabled", *["unprocessed"] * 2]),
        (
            ["unconfirmed", "federated"],
            ["unprocessed", "federated", "federated", "unprocessed", "federated", "unconfirmed", "unprocessed"],
        ),
    ],
    ids=str,
)
def test_job_says_which_users_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skip: list[str], codes: list[str]
) -> None:
    checked = CheckRun(tmp_path, monkeypatch, {EU: FakeDirectory(FOUND)}, here(*NAMES[:-1]), plan={"skip": skip})
    checked.run()
    assert checked.codes == codes


@pytest.mark.parametrize(("skip", "skipped"), [(["passwordless"], True), ([], False)])
def test_pool_without_password_sign_in_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skip: list[str], *, skipped: bool
) -> None:
    directory = FakeDirectory(FOUND, PoolFacts(EU, users=7, passwordless=True))
    checked = CheckRun(tmp_path, monkeypatch, {EU: directory}, here("ann", "nobody"), plan={"skip": skip})
    checked.run()
    assert checked.codes == ["passwordless" if skipped else "unprocessed", "user_not_found"]


@pytest.mark.parametrize("protected", ["ann", "sub-ann", "annie", "ann@x.example"])
def test_protected_user_is_skipped_under_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protected: str
) -> None:
    ann = listed_user("Ann", email="Ann@X.example", email_verified="true", preferred_username="annie", sub="sub-ann")
    facts = PoolFacts(EU, users=1, aliases=frozenset({"email", "preferred_username"}))
    names = ["Ann", "annie", "Ann@X.example", "sub-ann", "bob"]
    checked = CheckRun(
        tmp_path,
        monkeypatch,
        {EU: FakeDirectory([ann, listed_user("bob")], facts)},
        here(*names),
        protected=[protected],
    )
    checked.run()
    assert checked.codes == [*["protected"] * 4, "unprocessed"]
    assert checked.rows[0][2] == "the job protects this user"


def test_rows_that_were_not_ready_stay_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = CheckRun(tmp_path, monkeypatch, {EU: FakeDirectory(FOUND)}, here("ann"))
    checked.journal.write.add_rows([(2, EU, "nobody", True, "rejected", "password_policy", "why")])
    checked.run()
    assert checked.codes == ["unprocessed", "password_policy"]


@pytest.mark.parametrize(
    ("how", "facts", "reason"),
    [
        ({"emulated": True}, None, "the emulator has every user of the input"),
        ({"plan": {"check_users": False}}, None, "the job asks for no check (plan.check_users)"),
        (
            {},
            PoolFacts(EU, unknown=UnknownFact("x", "y", "AccessDeniedException", denied=True)),
            "the pool could not be read (DescribeUserPool: AccessDeniedException)",
        ),
    ],
)
def test_pool_that_is_not_checked_has_its_reason_and_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], facts: PoolFacts | None, reason: str
) -> None:
    directory = FakeDirectory(FOUND, facts)
    checked = CheckRun(tmp_path, monkeypatch, {EU: directory}, here(*NAMES), **how)
    assert checked.run() == ({EU: reason}, [])
    assert checked.journal.state.unchecked == {EU: reason}
    assert directory.asked == []
    assert checked.codes == ["unprocessed"] * len(NAMES)
    assert not checked.scratch.exists()


def test_pool_whose_users_may_not_be_listed_leaves_its_rows_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut, open_ = FakeDirectory(crowd(100)), FakeDirectory(FOUND, PoolFacts(EU2, users=7))
    shut.always = DENIED
    rows = [(EU, "nobody"), (EU2, "nobody"), (EU2, "out")]
    checked = CheckRun(tmp_path, monkeypatch, {EU: shut, EU2: open_}, rows)
    unchecked, gaps = checked.run()
    assert unchecked == {EU: "ListUsers was denied (AccessDeniedException)"} == checked.journal.state.unchecked
    assert [(gap.action, gap.denied) for gap in gaps] == [("cognito-idp:ListUsers", True)]
    assert checked.codes == ["unprocessed", "user_not_found", "disabled"]


def test_names_are_compared_as_each_pool_compares_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folding, exact = (
        FakeDirectory([listed_user("Ann")], PoolFacts(EU, users=1, case_insensitive=True)),
        FakeDirectory([listed_user("Ann")], PoolFacts(EU2, users=1)),
    )
    rows = [(EU, "ANN"), (EU2, "ANN"), (EU2, "Ann")]
    checked = CheckRun(tmp_path, monkeypatch, {EU: folding, EU2: exact}, rows)
    checked.run()
    assert checked.codes == ["unprocessed", "user_not_found", "unprocessed"]


def test_findings_are_kept_if_the_search_stops_and_deleted_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = FakeDirectory(crowd(180), PoolFacts(EU, users=0))
    checked = CheckRun(tmp_path, monkeypatch, {EU: directory}, here("user00000", "user00179", "nobody"))

    def stop(_made: int, _calls: int) -> None:
        raise Interrupted("Stopped by SIGINT.")

    with pytest.raises(Interrupted):
        checked.check.run(checked.journal, checked.scratch, stop)
    assert checked.scratch.exists()
    assert checked.journal.state.phase is Phase.READING
    assert checked.codes == ["unprocessed"] * 3
    checked.run()
    assert directory.pages[-2:] == ["60", "120"], "it goes on from the page that it was at"
    assert len(directory.pages) <= 4
    assert checked.codes == ["unprocessed", "unprocessed", "user_not_found"]
    assert not checked.scratch.exists()


def test_interrupted_search_leaves_the_rows_ready_for_look_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = FakeDirectory(FOUND, faults=[LOST] * ATTEMPTS)
    checked = CheckRun(tmp_path, monkeypatch, {EU: directory}, here(*NAMES))
    with pytest.raises(ServiceError):
        checked.run()
    assert checked.codes == ["unprocessed"] * len(NAMES)
    checked.run()
    assert checked.codes[-1] == "user_not_found"


REACHED: dict[str, dict[str, Any]] = {
    "mail": {"email": "a@x.example", "email_verified": "true"},
    "phone": {"phone_number": "+4477", "phone_number_verified": "true"},
    "claimed": {"email": "b@x.example", "email_verified": "false"},
    "bare": {},
    "empty": {"email": "", "email_verified": "true"},
}
SCRAMBLES: dict[str, Any] = {"permanent": True, "password": {"source": "generate"}}
STRANDED = "the pool cannot send this user a code to recover the account"
ACCEPTED: dict[str, Any] = {"campaign": {"accept_lockout": True}}


def reached() -> FakeDirectory:
    return FakeDirectory([listed_user(name, **attributes) for name, attributes in REACHED.items()])


def test_scramble_skips_users_who_could_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = CheckRun(tmp_path, monkeypatch, {EU: reached()}, here(*REACHED), **SCRAMBLES)
    checked.run()
    assert checked.codes == ["unprocessed", "unprocessed", *["unrecoverable"] * 3]
    assert checked.rows[3][:3] == ("skipped", "unrecoverable", STRANDED)
    assert [row.recovery for row in checked.journal.read.report_rows(dry_run=False)] == [
        "email",
        "phone",
        *["none"] * 3,
    ]


def test_scramble_that_accepts_it_locks_users_out_and_says_so_at_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = CheckRun(tmp_path, monkeypatch, {EU: reached()}, here(*REACHED), **SCRAMBLES, **ACCEPTED)
    checked.run()
    assert [(row[0], row[2]) for row in checked.rows] == [
        ("unprocessed", ""),
        ("unprocessed", ""),
        *[("unprocessed", f"locked out: {STRANDED}")] * 3,
    ]


@pytest.mark.parametrize(
    "how", [{}, SCRAMBLES | {"password": {"source": "generate", "recipients": ["age1"]}}], ids=["input", "encrypted"]
)
def test_no_user_is_skipped_if_the_passwords_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    checked = CheckRun(tmp_path, monkeypatch, {EU: reached()}, here(*REACHED), **how)
    checked.run()
    assert {(row[0], row[2]) for row in checked.rows} == {("unprocessed", "")}


@pytest.mark.parametrize("how", [{}, SCRAMBLES | ACCEPTED], ids=["input", "scramble"])
def test_users_without_recovery_are_skipped_if_the_job_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    plan = {"skip": ["unrecoverable"]}
    checked = CheckRun(tmp_path, monkeypatch, {EU: reached()}, here(*REACHED), plan=plan, **how)
    checked.run()
    assert checked.codes == ["unprocessed", "unprocessed", *["unrecoverable"] * 3]


def test_graver_kinds_name_a_user_before_that_it_could_not_recover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [
        listed_user("out", enabled=False),
        listed_user("fed", "EXTERNAL_PROVIDER"),
        listed_user("new", "UNCONFIRMED"),
        listed_user("ann"),
    ]
    plan = {"skip": ["federated", "disabled", "unconfirmed", "unrecoverable"]}
    names = here("out", "fed", "new", "ann")
    checked = CheckRun(tmp_path, monkeypatch, {EU: FakeDirectory(users)}, names, plan=plan, **SCRAMBLES)
    checked.run()
    assert checked.codes == ["disabled", "federated", "unconfirmed", "unrecoverable"]


def test_pool_that_failed_at_first_is_asked_when_the_check_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut = FakeDirectory(
        FOUND, PoolFacts(EU, users=7, unknown=UnknownFact("it", "cognito-idp:DescribeUserPool", "AccessDenied"))
    )
    broken = FakeDirectory(FOUND, PoolFacts(EU2, users=7), [LOST] * ATTEMPTS)
    checked = CheckRun(tmp_path, monkeypatch, {EU: shut, EU2: broken}, [(EU, "fed"), (EU2, "fed")])
    with pytest.raises(ServiceError):
        checked.run()
    shut.facts = PoolFacts(EU, users=7)
    checked.check._pools = {EU: shut.facts, EU2: broken.facts}
    assert checked.run() == ({}, [])
    assert checked.codes == ["federated", "federated"]
