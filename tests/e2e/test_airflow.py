"""jobs/airflow_dag.py with a substitute for Airflow: the order of its tasks, and their work."""

import gc
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.e2e.command import LAX, POOL, ROOT, SET, Command, people, write_csv, write_job
from tests.sim import Simulator


class FailError(Exception):
    """Replaces AirflowFailException: never retried."""


class Node:
    """A task in a DAG."""

    def __init__(self, name: str, order: list[str]) -> None:
        self.name = name
        self._order = order

    def __rshift__(self, after: "Node") -> "Node":
        self._order.append(f"{self.name} >> {after.name}")
        return after


class Task:
    """A decorated function. Calling it while the DAG is built gives a node; a worker runs `body`."""

    def __init__(self, body: Callable[..., Any], order: list[str], options: dict[str, Any]) -> None:
        self.body = body
        self.options = options
        self._order = order

    def __call__(self, *_: object) -> Node:
        return Node(self.body.__name__, self._order)


@pytest.fixture
def dag(monkeypatch: pytest.MonkeyPatch, bulkreset: Command, sim: Simulator) -> Iterator[dict[str, Any]]:
    """The names in the file, with job and runs in the test's folder. `order` is the dependency of its tasks."""
    for name, value in bulkreset.environment.items():
        monkeypatch.setenv(name, value)
    order: list[str] = []
    approvals: list[dict[str, Any]] = []

    def approve(**options: Any) -> Node:  # noqa: ANN401  (an operator's)
        approvals.append(options)
        return Node(options["task_id"], order)

    names: dict[str, dict[str, Any]] = {
        "airflow": {},
        "airflow.sdk": {
            "dag": lambda **_: lambda draw: draw,
            "task": lambda **options: lambda body: Task(body, order, options),
        },
        "airflow.sdk.exceptions": {"AirflowFailException": FailError},
        "airflow.providers": {},
        "airflow.providers.standard": {},
        "airflow.providers.standard.operators": {},
        "airflow.providers.standard.operators.hitl": {"ApprovalOperator": approve},
    }
    for name, inside in names.items():
        module = ModuleType(name)
        vars(module).update(inside)
        monkeypatch.setitem(sys.modules, name, module)
    found = runpy.run_path(str(ROOT / "jobs" / "airflow_dag.py"))
    users = people(30)
    sim.add_pool(POOL, [name for name, _ in users], LAX)
    write_csv(bulkreset.home / "in.csv", users)
    job = write_job(bulkreset.home, sim.url, 'path = "in.csv"', "[pace]\nrate = 200", plan="check_users = true")
    inside = found["review"].body.__globals__
    inside.update(JOB=job, RUNS=bulkreset.home / "runs")
    gc.freeze()  # each run collects everything that is not frozen, which would be all that the tests have loaded
    yield found | {"order": order, "approvals": approvals, "job": job}
    gc.unfreeze()


def test_dry_run_approval_run(dag: dict[str, Any], sim: Simulator) -> None:
    assert dag["order"] == ["review >> approve", "approve >> send"]
    assert "briefing" in dag["approvals"][0]["body"]
    # none of them is deprecated
    assert dag["approvals"][0].keys() == {"task_id", "subject", "body", "response_timeout"}
    reviewed = dag["review"].body()
    assert "30 ready" in reviewed["briefing"]
    assert sim.calls(SET) == []
    done = dag["send"].body(reviewed)
    assert done["counts"] == {"set": 30}
    assert len(sim.calls(SET)) == 30
    assert dag["send"].body(reviewed)["counts"] == {"set": 30}  # a worker that died before it reported the result
    assert len(sim.calls(SET)) == 30


def test_stopped_runs_are_resumed_and_wrong_ones_not_repeated(dag: dict[str, Any], sim: Simulator) -> None:
    from bulkreset import errors  # noqa: PLC0415  (as the DAG has it)

    text = dag["job"].read_text(encoding="utf-8")
    dag["job"].write_text(text + "[guards]\nlimit = 20\n", encoding="utf-8")
    reviewed = dag["review"].body()
    with pytest.raises(errors.RowLimit):
        dag["send"].body(reviewed)
    assert dag["send"].body(reviewed)["counts"] == {"set": 30}
    assert len(sim.calls(SET)) == 30
    again = dag["review"].body()
    with (dag["job"].parent / "in.csv").open("a") as file:
        file.write("late,Quiet-Garden.1\n")
    with pytest.raises(FailError, match="This is not what was approved"):
        dag["send"].body(again)
    dag["job"].write_text(text, encoding="utf-8")
    with pytest.raises(FailError, match="Not every row is set"):
        dag["send"].body(dag["review"].body())
    Path(dag["job"]).unlink()
    with pytest.raises(FailError, match="There is no job file"):
        dag["review"].body()
