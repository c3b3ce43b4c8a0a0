"""A run looks its users up before it sends anything, for nothing, and says of each row what the pool would."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import FREE, LAX, POOL, SET, Command, Ran, write_job
from tests.e2e.populated import (
    ALIASES,
    FAST,
    GUS,
    LISTS,
    LOOKED_UP,
    PASSWORD,
    ROWS,
    SWEPT,
    USERS,
    codes,
    dry,
    naming,
    populate,
    real,
    user,
    verdicts,
)
from tests.sim import Simulator

BOTH_WAYS = pytest.mark.parametrize("users", [SWEPT, LOOKED_UP], ids=["sweep", "look-ups"])


def assert_free(sim: Simulator) -> None:
    """Nothing was changed, and no user was asked for by a call that is billed."""
    stats = sim.stats()
    assert stats.operations.keys() <= FREE
    assert (stats.applied, stats.count("AdminGetUser"), stats.count(SET)) == (0, 0, 0)


@BOTH_WAYS
def test_dry_run_says_of_every_row_what_its_user_is_and_changes_nothing(
    tmp_path: Path, bulkreset: Command, sim: Simulator, users: int
) -> None:
    populate(sim, estimated_users=users)
    ran = dry(bulkreset, naming(tmp_path, *ROWS))
    assert (ran.code, ran.complaints) == (1, [])
    assert verdicts(ran) == ROWS
    assert ran.summary["counts"] == {"ready": 6, "rejected": 3, "skipped": 3}
    assert "looked up; those to be set are 4 CONFIRMED" in ran.stderr
    assert (sim.stats().count(LISTS) == 1) is (users == SWEPT)
    assert_free(sim)
    assert not (ran.run_dir / "lookup.sqlite").exists()


@dataclass(frozen=True)
class Kind:
    """A kind of pool: its settings and users, and names that may or may not name them."""

    options: Mapping[str, Any]
    users: Sequence[Mapping[str, Any]]
    names: Sequence[str]
    ready: int


ZOE = {"attributes": {"email": "Zoe@X.example", "phone_number": "+4599"}, "status": "CONFIRMED"}
AWKWARD = ['a"b', "a\\b", "ä🚀", "*", "a=b"]
KINDS = {
    "aliases": Kind({"alias_attributes": ALIASES}, USERS, [*ROWS, "annie2"], 9),
    "folded aliases": Kind(
        {"alias_attributes": ["email", "preferred_username"], "case_sensitive": False, "filters_fold": False},
        [
            user("Ann", email="ann@x.example", email_verified="true"),
            user("Bob", preferred_username="bobby"),
            user("eve"),
        ],
        ["ANN@x.EXAMPLE", "bOBBY", "EVE", "nobody", "+45"],
        3,
    ),
    "nothing but usernames": Kind({}, USERS, ["ann", "Ann", "annie", GUS, "ann@x.example", "fed"], 3),
    "sign-in by address": Kind(
        {"username_attributes": ["email", "phone_number"]},
        [ZOE, {"attributes": {"email": "amy@x.example"}}],
        ["Zoe@X.example", "amy@x.example", "nobody@x.example", "+4512"],
        2,
    ),
    "folded sign-in by address": Kind(
        {"username_attributes": ["email", "phone_number"], "case_sensitive": False},
        [ZOE, {"attributes": {"email": "amy@x.example"}}],
        ["zoe@x.example", "AMY@X.example", "+4512"],
        2,
    ),
    "awkward names": Kind({}, [user(name) for name in AWKWARD], [*AWKWARD, 'a"c', "**", "ä"], len(AWKWARD)),
}


@pytest.mark.parametrize(
    "kind",
    [kind if kind in {"aliases", "folded aliases"} else pytest.param(kind, marks=pytest.mark.soak) for kind in KINDS],
)
def test_real_run_meets_what_the_dry_run_said_whichever_way_that_found_it_out(
    kind: str, tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    has = KINDS[kind]
    job = write_job(tmp_path, sim.url, f'path = "{naming(tmp_path, *has.names)}"', plan="skip = []")
    planned = []
    for users in (SWEPT, LOOKED_UP):
        sim.add_pool(POOL, has.users, LAX, estimated_users=users, **has.options)
        planned.append(bulkreset("run", job, *FAST, "--dry-run"))
    assert_free(sim)
    for swept, asked in zip(planned[0].report, planned[1].report, strict=True):
        if has.options.get("case_sensitive") is False and swept["code"] == "user_not_found":
            # A filter compares case where the pool does not: whom it does not find may be there all the same.
            assert (asked["status"], asked["status_before"]) == ("ready", "")
        else:
            assert swept == asked
    met = bulkreset("run", job, *FAST, "--no-check-users", "--yes")
    for said, found in zip(planned[0].report, met.report, strict=True):
        if said["status"] == "ready":
            assert found["status"] == "set"
        else:
            assert (said["code"], found["code"]) == ("user_not_found", "UserNotFoundException")
    assert codes(planned[0]).count("ready") == has.ready


def test_names_of_one_user_are_duplicates(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    populate(sim)
    ran = dry(bulkreset, naming(tmp_path, "ann", "bob", "annie", "eve", "+4512345678", "ann@x.example"))
    assert codes(ran) == [*["duplicate_username"] * 3, "ready", *["duplicate_username"] * 2]
    assert ran.report[0]["message"] == "row 6 names the same user"


def test_first_of_a_users_names_is_kept_where_the_job_says_so(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim)
    input_ = naming(tmp_path, "annie", "ann", "out", "ann@x.example")
    job = write_job(tmp_path, sim.url, f'path = "{input_}"\non_duplicate = "first"', plan="")
    ran = bulkreset("run", job, *FAST, "--yes")
    assert codes(ran) == ["set", "duplicate_username", "disabled", "duplicate_username"]
    assert [call.username for call in sim.calls(SET)] == ["annie"]
    assert sim.passwords(POOL)["ann"] == PASSWORD


def test_names_that_differ_in_case_are_duplicates_where_the_pool_folds(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    input_ = naming(tmp_path, "Ann", "ANN", "bob")
    for folds, found in ((True, ["duplicate_username"] * 2), (False, ["ready", "user_not_found"])):
        sim.add_pool(POOL, ["Ann", "bob"], LAX, case_sensitive=not folds)
        assert codes(dry(bulkreset, input_)) == [*found, "ready"]


def test_protected_user_is_left_alone_by_whatever_name(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    populate(sim, groups={"admins": ["bob"]})
    input_ = naming(tmp_path, "ann@x.example", "+4512345678", "eve", "temp")
    guards = '[guards.protected]\nusernames = ["ANNIE", "Eve"]\ngroups = ["admins"]'
    ran = bulkreset("run", write_job(tmp_path, sim.url, f'path = "{input_}"', guards, plan=""), *FAST, "--yes")
    assert (ran.code, codes(ran)) == (0, ["protected"] * 3 + ["set"])
    assert [call.username for call in sim.calls(SET)] == ["temp"]
    assert ran.column("status_before")[0] == "CONFIRMED"


def test_job_decides_who_is_left_alone(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    populate(sim)
    input_ = naming(tmp_path, "fed", "out", "new", "temp")
    job = write_job(tmp_path, sim.url, f'path = "{input_}"', plan='skip = ["unconfirmed", "disabled"]')
    ran = bulkreset("run", job, *FAST, "--yes")
    assert codes(ran) == ["set", "disabled", "unconfirmed", "set"]
    assert ran.column("status_before") == ["EXTERNAL_PROVIDER", "CONFIRMED", "UNCONFIRMED", "FORCE_CHANGE_PASSWORD"]


def test_nobody_is_set_in_a_pool_that_lets_nobody_in_by_password(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim, first_auth_factors=["EMAIL_OTP"])
    ran = real(bulkreset, naming(tmp_path, "ann", "nobody"))
    assert codes(ran) == ["passwordless", "user_not_found"]
    assert sim.calls(SET) == []


def test_run_sends_only_to_whom_it_found(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    populate(sim)
    ran = real(bulkreset, naming(tmp_path, *ROWS))
    assert ran.code == 1
    assert ran.summary["counts"] == {"set": 6, "rejected": 3, "skipped": 3}
    assert {call.answer for call in sim.calls(SET)} == {"ok"}
    assert ran.of("new")["status_before"] == "UNCONFIRMED", "what it was before, not what it became"
    assert sim.users(POOL)["new"]["status"] == "FORCE_CHANGE_PASSWORD"
    assert sim.stats().operations.keys() <= FREE | {SET}


def test_run_that_finds_nobody_sends_nothing(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    populate(sim)
    ran = real(bulkreset, naming(tmp_path, "nobody", "nobody.else"))
    assert (ran.code, ran.summary["counts"]) == (1, {"rejected": 2})
    assert sim.calls(SET) == []


def test_each_of_several_pools_is_searched_for_its_own_rows(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    other = "us-east-1_Test00002"
    populate(sim)
    sim.add_pool(other, ["nobody", "ann"], LAX, estimated_users=LOOKED_UP)
    (tmp_path / "in.csv").write_text(
        f"username,password,user_pool_id\nnobody,{PASSWORD},{POOL}\nnobody,{PASSWORD},{other}\n"
        f"ann,{PASSWORD},{POOL}\nann,{PASSWORD},{other}\n",
        encoding="utf-8",
    )
    job = write_job(tmp_path, sim.url, 'path = "in.csv"', plan="", pools=[POOL, other])
    assert codes(bulkreset("run", job, *FAST, "--dry-run")) == ["user_not_found", "ready", "ready", "ready"]


@pytest.mark.parametrize("how", ["option", "job"])
def test_check_can_be_left_out(how: str, tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    populate(sim)
    input_ = naming(tmp_path, "ann", "nobody")
    ran: Ran
    if how == "option":
        ran = dry(bulkreset, input_, "--no-check-users")
    else:
        ran = bulkreset("run", write_job(tmp_path, sim.url, f'path = "{input_}"'), "--dry-run")
    assert codes(ran) == ["ready", "ready"]
    assert "NOT looked up: the job asks for no check" in ran.stderr
    assert sim.calls(LISTS) == []
    assert set(ran.column("status_before")) == {""}


def test_option_asks_for_the_check_that_the_job_leaves_out(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    populate(sim)
    job = write_job(tmp_path, sim.url, f'path = "{naming(tmp_path, "ann", "nobody")}"')
    assert codes(bulkreset("run", job, "--check-users", "--dry-run")) == ["ready", "user_not_found"]


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_hundred_thousand_users_are_what_the_dry_run_said(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    sim.configure(keep_calls=False)
    share = 12_500
    apart = [user(f"fed{number:05d}", "EXTERNAL_PROVIDER") for number in range(share)]
    apart += [user(f"out{number:05d}", enabled=False) for number in range(share)]
    attributes = {"email": "user{number}@x.example", "email_verified": "true"}
    crowd = {"count": 6 * share, "prefix": "user", "digits": 5, "attributes": attributes}
    sim.add_pool(POOL, apart, LAX, generate=crowd, alias_attributes=["email"])
    names = [f"user{number:05d}" for number in range(4 * share)]
    names += [f"user{number:05d}@x.example" for number in range(4 * share, 5 * share)]
    names += [f"{kind}{number:05d}" for kind in ("fed", "out", "absent") for number in range(share)]
    input_ = naming(tmp_path, *random.Random(1).sample(names, len(names)))
    ran = bulkreset(*bulkreset.checked(input_), *FAST, "--dry-run", patience=600)
    assert ran.summary["counts"] == {"ready": 5 * share, "skipped": 2 * share, "rejected": share}
    assert_free(sim)
    guards = "[guards]\nmax_refused_in_a_row = 0"
    met = bulkreset("run", write_job(tmp_path, sim.url, f'path = "{input_}"', guards), *FAST, "--yes", patience=900)
    expected = {"ready": "set", "federated": "set", "disabled": "set", "user_not_found": "UserNotFoundException"}
    assert codes(met) == [expected[code] for code in codes(ran)]
    assert sim.stats().count("AdminGetUser") == 0
    assert sim.stats().count(LISTS) <= 100_000 / 60 + 1
