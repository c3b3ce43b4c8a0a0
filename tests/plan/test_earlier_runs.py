"""Other runs: those of the same input, and those of a pool since a run began. Found wherever runs are kept."""

from pathlib import Path
from typing import Any

import pytest

from bulkreset.journal.execution import unix_ms
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_state import InputFacts, RunState
from bulkreset.models import Outcome, Status
from bulkreset.plan.earlier_runs import find_earlier_runs, find_later_runs
from tests.journal.journals import ENDED, POOL, commit, done, run_state

UNDONE = {"restore_id": "r", "status": "RESTORE_COMPLETED", "user": "x", "begun_at": "2024-02-04T00:00:00Z"} | {
    "ended_at": "2024-02-04T01:00:00Z"
}
INPUT = InputFacts(path="in.csv", size=5, sha256="5a", files=1)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def target(pool: str = POOL) -> dict[str, str]:
    return {"user_pool_id": pool, "region": "eu-west-1", "endpoint": "https://example.com"}


def state(run_id: str = "now", **facts: Any) -> RunState:  # noqa: ANN401  (fields of RunState)
    return run_state("applying", **({"run_id": run_id, "input": INPUT, "targets": [target()]} | facts))


def made(name: str, *outcomes: Outcome, folder: str = "runs", claims: int = 0, **facts: Any) -> str:  # noqa: ANN401  (as above)
    path = Path(folder) / name
    path.mkdir(parents=True)
    journal = Journal.create(path / "journal.sqlite", [POOL], state(**({"run_id": name} | facts)))
    journal.write.add_rows([(row, POOL, f"user.{row}", True, "ready", "", "") for row in range(1, 6)])
    commit(journal, range(1, claims + 1))
    commit(journal, (), outcomes)
    journal.close()
    return str(path)


def found(path: str = "elsewhere/one") -> list[str]:
    return [run.run_dir for run in find_earlier_runs(state(), Path(path))]


def test_run_of_the_same_input_in_the_same_pool_is_found() -> None:
    first = made("first", done(1), done(2), Outcome(3, Status.IN_DOUBT), started_at="2024-01-30T00:00:00.000Z")
    second = made("second", claims=1, started_at="2024-02-01T00:00:00.000Z")
    runs = find_earlier_runs(state(), Path("runs/now"))
    assert [run.run_dir for run in runs] == [second, first]
    assert [str(run) for run in runs] == [
        "run on 2024-02-01 00:00:00 UTC in runs/second: 0 set, 1 in doubt",
        "run on 2024-01-30 00:00:00 UTC in runs/first: 2 set, 1 in doubt",
    ]


@pytest.mark.parametrize(
    "facts",
    [
        {"input": InputFacts(path="in.csv", size=5, sha256="5b", files=1)},
        {"targets": [target("eu-west-1_Another01")]},
        {"emulated": True},
        {"mode": "dry_run", "phase": "planned"},
        {"run_id": "now"},
    ],
    ids=lambda facts: next(iter(facts)),
)
def test_other_runs_are_not_found(facts: dict[str, Any]) -> None:
    made("one", done(1), **facts)
    assert found() == []


def test_undone_run_is_named_as_undone() -> None:
    made("one", done(1), undos={POOL: UNDONE})
    (run,) = find_earlier_runs(state(), Path("runs/now"))
    assert str(run).endswith("in runs/one: 1 set, undone since")
    assert not run.resumable


def test_only_a_run_with_rows_left_is_resumable() -> None:
    made("left", done(1))
    made("given up", done(1), abandoned_at=ENDED)
    made("complete", *(done(row) for row in range(1, 6)))
    runs = find_earlier_runs(state(), Path("runs/now"))
    assert {Path(run.run_dir).name: run.resumable for run in runs} == {
        "left": True,
        "given up": False,
        "complete": False,
    }


def test_run_that_set_nothing_is_not_found() -> None:
    made("one", Outcome(1, Status.FAILED, "UserNotFoundException"))
    assert found() == []


def test_users_of_the_pools_are_not_an_input() -> None:
    made("one", done(1), input=InputFacts())
    assert find_earlier_runs(state(input=InputFacts()), Path("runs/now")) == ()


def test_folder_of_the_run_is_searched_if_it_has_runs(tmp_path: Path) -> None:
    other = made("one", done(1), folder=str(tmp_path / "data" / "runs"))
    aside = made("two", done(1), folder="elsewhere")
    assert found(str(tmp_path / "data" / "runs" / "now")) == [other]
    assert aside not in found("elsewhere/now")


def test_unreadable_item_is_ignored() -> None:
    good = made("good", done(1))
    for name in ("empty", "damaged"):
        Path("runs", name).mkdir()
    Path("runs", "damaged", "journal.sqlite").write_text("no journal " * 500)
    Path("runs", "file").touch()
    assert found() == [good]


def test_later_runs_of_a_pool_are_found_beside_the_run_and_with_other_inputs() -> None:
    point, before, after = (f"2024-02-0{day}T00:00:00Z" for day in (2, 1, 3))
    other = InputFacts(path="b.csv", size=9, sha256="b", files=1)
    later = made("later", done(1), done(2), folder="data", recovery_point=after, input=other)
    made("unsent", folder="data", recovery_point=after)
    made("undone", done(1), folder="data", recovery_point=after, undos={POOL: UNDONE})
    made("over", done(1), folder="data", recovery_point=before)
    resumed = made(
        "resumed", Outcome(1, Status.SET, attempts=1, started_at=1, finished_at=unix_ms(after)), recovery_point=before
    )
    found = find_later_runs(state(recovery_point=point), Path("data/now"), POOL)
    assert {run.run_dir: run.set_rows for run in found} == {later: 2, resumed: 1}
    assert find_later_runs(state(recovery_point=point), Path("data/now"), "eu-west-1_Another01") == ()
