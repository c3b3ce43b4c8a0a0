"""A DAG for Airflow 3.2 or newer: every night a dry run, a person's approval, the run; a stopped run is resumed.

It needs apache-airflow-providers-standard 1.15 or newer, which may limit the time of an approval.
Copy it into the folder of DAGs, and change what is marked CHANGE. Every worker that may get these tasks needs bulkreset
(`pip install` it in Airflow's environment) and RUNS on a disk of its own: send them to one machine by a queue. The
machine's AWS credentials are used, or those of the job file.

Which ends are tried again is said by the exception, as the command says it by its exit code:

    Stopped, TimeLimit, RowLimit,     3, 5, 130, 143   Airflow tries again, and that resumes the run
    Interrupted
    a killed worker                   137              the same
    Refused, Busy                     2, 4             not tried again: a person must look
    anything else                     70               not tried again
    rows that were not set            1                not tried again: the report says which
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowFailException

JOB = Path("/srv/bulkreset/nightly.toml")  # CHANGE
RUNS = Path("/srv/bulkreset/runs")  # CHANGE. A local disk: not every network file system keeps locks
QUEUE = "bulkreset"  # CHANGE. The queue of the one machine that has them


@task(queue=QUEUE, retries=3, retry_delay=timedelta(minutes=10))
def review() -> dict[str, Any]:
    """Make a dry run. What it found is shown to who approves it."""
    from bulkreset import dry_run, errors, load  # a DAG file is read every few seconds: import where it is used

    try:
        planned = dry_run(load(JOB), run_dir=RUNS / f"{JOB.stem}-{uuid4().hex[:8]}-dry")
    except (errors.Refused, errors.GuardTripped) as error:
        raise AirflowFailException(str(error)) from None
    return {"run_dir": str(planned.run_dir), "briefing": planned.briefing, "report": str(planned.report)}


@task(queue=QUEUE, retries=4, retry_delay=timedelta(minutes=10))
def send(reviewed: dict[str, Any]) -> dict[str, Any]:
    """Run only what was approved; a second try continues where the first one stopped."""
    from bulkreset import errors, load, resume, run_job

    run_dir = Path(reviewed["run_dir"].removesuffix("-dry"))
    try:
        if run_dir.exists():
            ended = [resume(run_dir)]
        else:  # a scheduled job may finish an earlier run first
            ended = [*run_job(load(JOB), run_dir=run_dir, approved=reviewed["run_dir"])]
    except (errors.Stopped, errors.TimeLimit, errors.RowLimit, errors.Interrupted):
        raise
    except Exception as error:  # noqa: BLE001  (none of them is better the second time)
        said = str(error) if isinstance(error, errors.BulkresetError) else type(error).__name__
        raise AirflowFailException(said) from None
    for done in ended:
        if not done.ok:
            raise AirflowFailException(f"Not every row is set: {dict(done.summary.counts)}. See {done.report}.")
    counts: Counter[str] = sum((Counter(done.summary.counts) for done in ended), Counter())
    return {"counts": dict(counts), "reports": [str(done.report) for done in ended]}


@dag(
    schedule="15 1 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["identity"],
)
def nightly_passwords() -> None:
    """Dry run, approval, run."""
    reviewed = review()
    approve = ApprovalOperator(
        task_id="approve",
        subject="Tonight's passwords",
        body="{{ ti.xcom_pull(task_ids='review')['briefing'] }}\n\n{{ ti.xcom_pull(task_ids='review')['report'] }}",
        response_timeout=timedelta(hours=8),
    )
    reviewed >> approve >> send(reviewed)


nightly_passwords()
