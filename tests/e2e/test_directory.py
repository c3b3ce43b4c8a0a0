"""A run looks its users up before it sends anything, free of charge, and agrees with the pool about each row."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bulkreset.plan.user_search import CONFIRMED
from tests.e2e.command import FREE, LAX, POOL, SET, Command, write_csv, write_job
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
    dry_run,
    populate,
    real_run,
    results,
    user,
    write_names,
)
from tests.sim import Simulator


def assert_free(sim: Simulator) -> None:
    """Check that nothing was changed and that no billable call was made for a user."""
    stats = sim.stats()
    assert stats.operations.keys() <= FREE
    assert (stats.applied, stats.count("AdminGetUser"), stats.count(SET)) == (0, 0, 0)


@pytest.mark.parametrize(
    "users", [pytest.param(SWEPT, id="sweep"), pytest.param(LOOKED_UP, id="look-ups", marks=pytest.mark.soak)]
)
def test_dry_run_shows_the_user_of_every_row_and_changes_nothing(
    tmp_path: Path, bulkreset: Command, sim: Simulator, users: int
) -> None:
    populate(sim, estimated_users=users)
    ran = dry_run(bulkreset, write_names(tmp_path, *ROWS))
    assert (ran.code, ran.error_lines) == (1, [])
    assert results(ran) == ROWS
    assert ran.summary["counts"] == {"ready": 6, "rejected": 3, "skipped": 3}
    assert " found in the pool: 4 CONFIRMED" in ran.stderr
    assert (sim.stats().count(LISTS) < len(ROWS)) is (users == SWEPT), "a list looks up only the names that it lacks"
    assert_free(sim)
    assert not (ran.run_dir / "users.sqlite").exists()


@dataclass(frozen=True)
class Kind:
    """A kind of pool: its settings and users, and names that may or may not match a user."""

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
    [kind if kind == "folded aliases" else pytest.param(kind, marks=pytest.mark.soak) for kind in KINDS],
)
def test_real_run_agrees_with_the_dry_run_for_either_kind_of_check(
    kind: str, tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    has = KINDS[kind]
    job = write_job(tmp_path, sim.url, f'path = "{write_names(tmp_path, *has.names)}"', plan="skip = []")
    planned = []
    for users in (SWEPT, LOOKED_UP):
        sim.add_pool(POOL, has.users, LAX, estimated_users=users, **has.options)
        planned.append(bulkreset("run", job, *FAST, "--dry-run"))
    assert_free(sim)
    for swept, asked in zip(planned[0].report, planned[1].report, strict=True):
        if has.options.get("case_sensitive") is False and swept["code"] == "user_not_found":
            # A filter is case-sensitive even if the pool is not, so a user it does not find may still exist.
            assert (asked["status"], asked["status_before"]) == ("ready", "")
        else:  # only a sweep sees users with similar names
            assert swept["message"].startswith(asked["message"])
            assert swept | {"message": ""} == asked | {"message": ""}
    met = bulkreset("run", job, *FAST, "--no-check-users", "--yes")
    for said, found in zip(planned[0].report, met.report, strict=True):
        if said["status"] == "ready":
            assert found["status"] == "set"
        else:
            assert (said["code"], found["code"]) == ("user_not_found", "UserNotFoundException")
    assert codes(planned[0]).count("ready") == has.ready


def test_names_of_one_user_are_duplicates(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    populate(sim)
    ran = dry_run(bulkreset, write_names(tmp_path, "ann", "bob", "annie", "eve", "+4512345678", "ann@x.example"))
    assert codes(ran) == [*["duplicate_username"] * 3, "ready", *["duplicate_username"] * 2]
    assert ran.report[0]["message"] == "row 6 names the same user"


def test_first_name_of_a_user_is_kept_if_the_job_says_so_in_any_case_that_the_pool_accepts(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim, case_sensitive=False)
    input_ = write_names(tmp_path, "annie", "ann", "out", "ANN@x.example", "bob", "BOB")
    job = write_job(tmp_path, sim.url, f'path = "{input_}"\non_duplicate = "first"', plan="")
    ran = bulkreset("run", job, *FAST, "--yes")
    duplicate = "duplicate_username"
    assert codes(ran) == ["set", duplicate, "disabled", duplicate, "set", duplicate]
    assert sorted(call.username for call in sim.calls(SET)) == ["annie", "bob"]
    assert sim.passwords(POOL)["ann"] == PASSWORD


def test_users_protected_under_any_name_or_skipped_by_the_job_are_skipped(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim, groups={"admins": ["bob"]})
    input_ = write_names(tmp_path, "ann@x.example", "+4512345678", "eve", "temp", "fed", "out", "new")
    guards = '[guards.protected]\nusernames = ["ANNIE", "Eve"]\ngroups = ["admins"]'
    skip = 'skip = ["unconfirmed", "disabled"]'
    ran = bulkreset("run", write_job(tmp_path, sim.url, f'path = "{input_}"', guards, plan=skip), *FAST, "--yes")
    assert (ran.code, codes(ran)) == (0, [*["protected"] * 3, "set", "set", "disabled", "unconfirmed"])
    assert sorted(call.username for call in sim.calls(SET)) == ["fed", "temp"]
    before = ran.column("status_before")
    assert before[0] == "CONFIRMED"
    assert before[3:] == ["FORCE_CHANGE_PASSWORD", "EXTERNAL_PROVIDER", "CONFIRMED", "UNCONFIRMED"]


def test_run_sends_only_to_users_that_it_found(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    populate(sim, estimated_users=LOOKED_UP)
    ran = real_run(bulkreset, write_names(tmp_path, *ROWS))
    assert ran.code == 1
    assert ran.summary["counts"] == {"set": 6, "rejected": 3, "skipped": 3}
    # The status before, not the one after.
    ready = {name: ("set", *said) for name, (status, *said) in ROWS.items() if status == "ready"}
    assert results(ran) == {**ROWS, **ready}
    assert {call.answer for call in sim.calls(SET)} == {"ok"}
    assert sim.users(POOL)["new"]["status"] == "FORCE_CHANGE_PASSWORD"
    assert sim.stats().count(LISTS) > 1, "they were looked up"
    assert sim.stats().operations.keys() <= FREE | {SET}


def test_run_that_finds_no_user_sends_nothing(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    populate(sim)
    ran = real_run(bulkreset, write_names(tmp_path, "nobody", "nobody.else"))
    assert (ran.code, ran.summary["counts"]) == (1, {"rejected": 2})
    assert sim.calls(SET) == []


def test_each_of_several_pools_is_searched_for_its_own_rows(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    other, passwordless = "us-east-1_Test00002", "us-east-1_Test00003"
    populate(sim)
    sim.add_pool(other, ["nobody", "ann"], LAX, estimated_users=LOOKED_UP)
    sim.add_pool(passwordless, ["ann"], LAX, first_auth_factors=["EMAIL_OTP"])
    pools = (POOL, other, passwordless)
    rows = [(name, PASSWORD, pool) for name in ("nobody", "ann") for pool in pools]
    write_csv(tmp_path / "in.csv", rows, ("username", "password", "user_pool_id"))
    job = write_job(tmp_path, sim.url, 'path = "in.csv"', plan="", pools=pools)
    found = codes(bulkreset("run", job, *FAST, "--dry-run"))
    assert found[:3] == ["user_not_found", "ready", "user_not_found"]
    assert found[3:] == ["ready", "ready", "passwordless"]


def test_check_can_be_disabled_by_the_job_and_enabled_by_an_option(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    populate(sim)
    job = write_job(tmp_path, sim.url, f'path = "{write_names(tmp_path, "ann", "nobody")}"')
    without = bulkreset("run", job, "--dry-run")
    assert codes(without) == ["ready", "ready"]
    assert "NOT checked: the job asks for no check" in without.stderr
    assert sim.calls(LISTS) == []
    assert set(without.column("status_before")) == {""}
    assert codes(bulkreset("run", job, "--check-users", "--dry-run")) == ["ready", "user_not_found"]


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_hundred_thousand_users_agree_with_the_dry_run(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
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
    input_ = write_names(tmp_path, *random.Random(1).sample(names, len(names)))
    ran = bulkreset(*bulkreset.checked(input_), *FAST, "--dry-run", patience=600)
    assert ran.summary["counts"] == {"ready": 5 * share, "skipped": 2 * share, "rejected": share}
    assert_free(sim)
    guards = "[guards]\nmax_refused_in_a_row = 0"
    met = bulkreset("run", write_job(tmp_path, sim.url, f'path = "{input_}"', guards), *FAST, "--yes", patience=900)
    expected = {"ready": "set", "federated": "set", "disabled": "set", "user_not_found": "UserNotFoundException"}
    assert codes(met) == [expected[code] for code in codes(ran)]
    assert sim.stats().count("AdminGetUser") == 0
    assert sim.stats().count(LISTS) <= 100_000 / 60 + 256 + CONFIRMED  # each of 256 parts has a page that is not full
