"""jobs/airflow_dag.py in Airflow itself: loaded without a deprecated call, run, and resumed by a second try."""

import json
import os
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.command import LAX, POOL, ROOT, SET, Command, people, write_csv, write_job
from tests.peers.conftest import Tried
from tests.peers.parts import python_environment, python_version, run
from tests.sim import Simulator

DAG: Final = ROOT / "jobs" / "airflow_dag.py"


@pytest.fixture(scope="module")
def airflow() -> Path:
    """The commands of an environment with Airflow and this checkout."""
    return python_environment("airflow", "apache-airflow", "apache-airflow-providers-standard", "-e", str(ROOT))


@pytest.fixture
def environment(airflow: Path, bulkreset: Command) -> dict[str, str]:
    home = bulkreset.home / "airflow"
    (home / "dags").mkdir(parents=True)
    own = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "NO_COLOR": "1"}
    return bulkreset.environment | own | {"PATH": f"{airflow}{os.pathsep}{os.environ['PATH']}"}


def test_dag_is_loaded_without_deprecated_calls(airflow: Path, environment: dict[str, str], tried: Tried) -> None:
    strict = ("-W", "error::DeprecationWarning", "-W", "error::FutureWarning")
    run(airflow / "python", *strict, DAG, env=environment)
    parts = [python_version(airflow, f"apache-airflow{more}") for more in ("", "-providers-standard")]
    tried(", ".join(parts), "jobs/airflow_dag.py is loaded without a deprecated call")


def test_dag_is_run_and_resumed_after_a_stop(
    airflow: Path, environment: dict[str, str], bulkreset: Command, running: Simulator, tried: Tried
) -> None:
    running.add_pool(POOL, policy=LAX, auto_users=True)
    write_csv(bulkreset.home / "in.csv", people(30))
    job = write_job(bulkreset.home, running.url, 'path = "in.csv"', "[pace]\nrate = 200\n[guards]\nlimit = 20\n")
    text = DAG.read_text(encoding="utf-8")
    for theirs, ours in (
        ("/srv/bulkreset/nightly.toml", str(job)),
        ("/srv/bulkreset/runs", str(bulkreset.home / "runs")),
        ("timedelta(minutes=10)", "timedelta(seconds=1)"),
    ):
        assert theirs in text
        text = text.replace(theirs, ours)
    (Path(environment["AIRFLOW_HOME"]) / "dags" / "nightly.py").write_text(text, encoding="utf-8")
    run(airflow / "airflow", "db", "migrate", env=environment)
    done = subprocess.run(
        [airflow / "airflow", "dags", "test", "nightly_passwords", "--mark-success-pattern", "approve"],
        cwd=bulkreset.home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-4000:]
    assert "RowLimit" in said, "the first try stops at the limit"
    assert running.passwords(POOL) == dict(people(30))
    assert len(running.calls(SET)) == 30, "and the second one sends only what is left"
    (summary,) = (
        found
        for found in (json.loads(path.read_text()) for path in (bulkreset.home / "runs").glob("*/summary.json"))
        if found["mode"] != "dry_run"
    )
    assert (summary["state"], summary["counts"]) == ("finished", {"set": 30})
    tried(
        python_version(airflow, "apache-airflow"),
        "`airflow dags test`: dry run, 30 rows, a try that stops, one that resumes",
    )
