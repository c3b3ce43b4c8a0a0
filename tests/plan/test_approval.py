"""The approval: only the reviewed plan may run; every difference is named."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from bulkreset.errors import ApprovalError, RunDirError
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir
from bulkreset.journal.run_state import ApprovalFacts, RunState
from bulkreset.plan.approval import Approval
from tests.journal.journals import run_state
from tests.targets import ACCOUNT, EU, EU2, job

TARGET = {"user_pool_id": EU, "region": "eu-west-1", "endpoint": "https://a", "profile": None, "account": ACCOUNT}


def facts(state: str = "finished", **change: Any) -> RunState:  # noqa: ANN401  (whatever a journal knows)
    """Return the run state of a finished dry run."""
    known = {
        "job": job(EU).model_dump(mode="json"),
        "mode": "dry_run",
        "rows": 2,
        "input": {"path": "/a/users.csv", "size": 10, "sha256": "0a"},
        "targets": [TARGET],
    }
    return run_state(state, **{key: value for key, value in (known | change).items() if value is not ...})


def made(path: Path, *rows: tuple[str, str], **change: Any) -> Path:  # noqa: ANN401  (as above)
    """Make a run directory whose rows have these statuses and codes."""
    home = RunDir.create(path, lambda journal: Journal.create(journal, [EU], facts(**change)).close())
    journal = Journal.open(home.journal)
    journal.write.add_rows([(row, EU, f"user{row}", True, *said, "") for row, said in enumerate(rows, 1)])
    journal.close()
    home.release()
    return path


def test_finished_dry_run_is_an_approval(tmp_path: Path) -> None:
    path = made(tmp_path / "dry")
    approval = Approval(path)
    assert approval.facts == ApprovalFacts(run_dir=str(path), run_id="r", finished_at="2024-01-31T00:01:00.000Z")
    (path / "report.csv").write_text("row\n", encoding="utf-8")
    assert Approval(path).facts.report_sha256 == hashlib.sha256(b"row\n").hexdigest()
    approval.require_same_job(facts("planning", mode="run", run_id="other", started_at="2025-01-31T00:00:00Z"))


def test_approval_is_named_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "dry")
    monkeypatch.chdir(tmp_path)
    assert Approval(Path("dry")).facts.run_dir == str(tmp_path / "dry")


def test_real_run_is_not_an_approval(tmp_path: Path) -> None:
    with pytest.raises(ApprovalError, match="is not a dry run"):
        Approval(made(tmp_path / "run", mode="run"))


@pytest.mark.parametrize(
    "change", [{"state": "planning"}, {"state": "interrupted"}, {"state": "stopped"}, {"rows": ...}], ids=str
)
def test_unfinished_dry_run_is_not_an_approval(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ApprovalError, match="did not finish") as caught:
        Approval(made(tmp_path / "dry", **change))
    assert caught.value.exit_code == 2


def test_directory_without_a_run_is_not_an_approval(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match="is not a run directory"):
        Approval(tmp_path)


def test_input_may_lie_elsewhere(tmp_path: Path) -> None:
    elsewhere = job(EU, input={"path": Path("/b/users.csv")}).model_dump(mode="json")
    moved = facts(job=elsewhere, input={"path": "/b/users.csv", "size": 10, "sha256": "0a"})
    Approval(made(tmp_path / "dry")).require_same_job(moved)


JOBS: dict[str, tuple[dict[str, Any], str]] = {
    "permanent": ({"permanent": True}, "permanent was False and is True"),
    "rate": ({"pace": {"rate": 7}}, "pace.rate was 'auto' and is 7.0"),
    "a guard": ({"guards": {"max_rows": 5}}, "guards.max_rows was not set and is 5"),
    "a protected user": ({"guards": {"protected": {"usernames": ["ann"]}}}, "guards.protected.usernames was"),
    "what is skipped": ({"plan": {"skip": []}}, "plan.skip was"),
    "the name": ({"name": "other"}, "name was 'test' and is 'other'"),
    "a column": ({"input": {"path": Path("u.csv"), "delimiter": ";"}}, "input.delimiter was ',' and is ';'"),
}


@pytest.mark.parametrize("what", JOBS)
def test_key_of_the_job_that_changed_is_named(tmp_path: Path, what: str) -> None:
    change, said = JOBS[what]
    with pytest.raises(ApprovalError) as caught:
        Approval(made(tmp_path / "dry")).require_same_job(facts(job=job(EU, **change).model_dump(mode="json")))
    assert said in str(caught.value)
    assert str(tmp_path / "dry") in str(caught.value)


LANE = {"account": ACCOUNT, "region": "eu-west-1", "quota": 30.0, "ceiling": 24.0, "pools": [EU]}


@pytest.mark.parametrize(
    ("was", "now", "allowed"),
    [
        ({"rate": 10}, {"rate": 9}, True),
        ({"rate": 10}, {"rate": 11}, False),
        ({"rate": 10}, {}, False),  # the quota is not known yet
        ({"rate": 10}, {"rate": "none"}, False),
        ({}, {"rate": 24}, True),  # the plan's ceiling
        ({}, {"rate": 25}, False),
        ({}, {"rate": "none"}, False),
        ({"rate": "none"}, {"rate": 9}, True),
        ({"rate": "none"}, {}, True),
        ({"share": 0.5}, {"share": 0.4}, True),
        ({"share": 0.5}, {"share": 0.6}, False),
        ({"workers": 4}, {"workers": 3}, True),
        ({"workers": 4}, {"workers": 5}, False),
        ({"workers": 4}, {}, False),
        ({}, {"workers": 4}, True),
        ({"rate": "none"}, {"rate": "none", "workers": 4}, False),
        ({"max_attempts": 9}, {"max_attempts": 8}, False),
    ],
)
def test_pace_may_only_be_lowered(tmp_path: Path, was: dict[str, Any], now: dict[str, Any], *, allowed: bool) -> None:
    reviewed, changed = (job(EU, pace=pace).model_dump(mode="json") for pace in (was, now))
    approval = Approval(made(tmp_path / "dry", job=reviewed, lanes=[LANE]))
    if allowed:
        approval.require_same_job(facts(job=changed))
        return
    with pytest.raises(ApprovalError, match="pace"):
        approval.require_same_job(facts(job=changed))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"emulated": True}, "one of the two runs is emulated"),
        ({"input": {"path": "/a/users.csv", "size": 11, "sha256": "0a"}}, "the input /a/users.csv has changed"),
        ({"input": {"path": "/a/users.csv", "size": 10, "sha256": "0b"}}, "the input /a/users.csv has changed"),
        ({"targets": [TARGET | {"region": "us-east-1"}]}, f"the region of {EU} was eu-west-1 and is us-east-1"),
        ({"targets": [TARGET | {"endpoint": "https://b"}]}, f"the endpoint of {EU} was https://a and is https://b"),
        ({"targets": [TARGET | {"account": "4"}]}, f"the account of {EU} was {ACCOUNT} and is 4"),
        ({"job": job(EU2).model_dump(mode="json")}, f"user_pool_id was '{EU}' and is '{EU2}'"),
        ({"job": job(EU, EU2).model_dump(mode="json")}, "targets[2].user_pool_id was not set"),
    ],
)
def test_input_and_target_that_changed_are_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ApprovalError) as caught:
        Approval(made(tmp_path / "dry")).require_same_job(facts(**change))
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


def test_everything_that_changed_is_named_at_once(tmp_path: Path) -> None:
    change = facts(emulated=True, job=job(EU, permanent=True, name="other").model_dump(mode="json"))
    with pytest.raises(ApprovalError) as caught:
        Approval(made(tmp_path / "dry")).require_same_job(change)
    assert str(caught.value).count(";") == 2


def test_unknown_account_is_not_a_difference(tmp_path: Path) -> None:
    Approval(made(tmp_path / "dry")).require_same_job(facts(targets=[TARGET | {"account": ""}]))
    Approval(made(tmp_path / "other", targets=[TARGET | {"account": ""}])).require_same_job(facts())


PLANNED = [("ready", ""), ("rejected", "user_not_found")]


def test_same_plan_is_approved(tmp_path: Path) -> None:
    approval = Approval(made(tmp_path / "dry", *PLANNED))
    journal = Journal.open(made(tmp_path / "run", *PLANNED) / "journal.sqlite")
    approval.require_same_rows(journal.read)
    journal.close()


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (
            [("rejected", "user_not_found"), PLANNED[1]],
            "1 row is .* row 1 was ready and is rejected \\(user_not_found\\) now",
        ),
        ([PLANNED[0], ("ready", "")], "1 row is .* row 2 was rejected \\(user_not_found\\) and is ready now"),
        (
            [("skipped", "federated"), ("skipped", "disabled")],
            "2 rows are .* row 1 was ready and is skipped \\(federated\\)",
        ),
    ],
)
def test_row_whose_status_changed_is_named(tmp_path: Path, now: list[tuple[str, str]], said: str) -> None:
    approval = Approval(made(tmp_path / "dry", *PLANNED))
    journal = Journal.open(made(tmp_path / "run", *now) / "journal.sqlite")
    with pytest.raises(ApprovalError, match=said):
        approval.require_same_rows(journal.read)
    journal.close()


@pytest.mark.parametrize(
    ("reviewed", "now", "said"),
    [
        (2, None, "limit was 2 and is not set this time"),
        (2, 3, "limit was 2 and is 3 this time"),
        (2, 2, ""),
        (2, 1, ""),
        (None, 1, ""),
    ],
)
def test_no_more_rows_may_be_sent_at_first_than_approved(
    tmp_path: Path, reviewed: int | None, now: int | None, said: str
) -> None:
    approval = Approval(made(tmp_path / "dry", limit=reviewed))
    if not said:
        approval.require_same_job(facts(limit=now))
        return
    with pytest.raises(ApprovalError, match=said):
        approval.require_same_job(facts(limit=now))


def test_pool_that_was_looked_up_and_is_not_now_is_named(tmp_path: Path) -> None:
    denied = {EU: "AccessDeniedException"}
    with pytest.raises(ApprovalError, match=f"the users of {EU} were looked up and are not now .AccessDeniedException"):
        Approval(made(tmp_path / "dry")).require_same_job(facts(unchecked=denied))
    Approval(made(tmp_path / "other", unchecked=denied)).require_same_job(facts(unchecked=denied))


def test_emulator_is_another_endpoint_each_time(tmp_path: Path) -> None:
    approval = Approval(made(tmp_path / "dry", emulated=True))
    approval.require_same_job(facts(emulated=True, targets=[TARGET | {"endpoint": "http://127.0.0.1:1"}]))
