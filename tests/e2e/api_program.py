"""A program that uses the Python interface as an orchestrator does. It runs as a script and asserts at each step.

Its arguments are the working directory and the simulator's URL. It prints nothing: a test checks that the package
prints nothing.
"""

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import bulkreset

HEAVY = {"boto3", "pandas", "pydantic", "bulkreset.api"} & sys.modules.keys()

import pytest  # noqa: E402

from bulkreset import ApiProgress, CancelToken, DryRun, Job, Result, apply, dry_run, errors, load, resume  # noqa: E402

NAMES = [f"user.{number:02d}" for number in range(30)]
PASSWORD = "Quiet-Garden.1"
SLOWLY = {"pace.rate": 0.5}  # all rows take a minute, so a run can be stopped midway on any machine


def around() -> tuple[Any, ...]:
    """Settings of the host program, which must be unchanged afterwards."""
    mask = os.umask(0)
    os.umask(mask)
    libraries = [logging.getLogger(name) for name in ("boto3", "botocore", "urllib3")]
    return (
        mask,
        logging.getLogger().handlers[:],
        [(library.handlers[:], library.propagate) for library in libraries],
        [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        sys.excepthook,
        threading.excepthook,
    )


def job_for(url: str, **keys: Any) -> Job:  # noqa: ANN401  (job keys)
    target = {"user_pool_id": "us-east-1_Test00001", "region": "us-east-1", "endpoint_url": url}
    return load({"input": {"path": "in.csv"}, "targets": [target]}, {"pace.rate": 40, "permanent": True, **keys})


def review_and_apply(url: str) -> None:
    moments: list[ApiProgress] = []
    planned = dry_run(job_for(url), run_dir="dry", on_progress=moments.append)
    assert isinstance(planned, DryRun)
    assert (planned.summary.mode, planned.summary.counts) == ("dry_run", {"ready": 30, "rejected": 1})
    assert (planned.exit_code, planned.ok) == (1, False)
    assert "30 ready, 1 rejected" in planned.briefing
    assert {moment.phase for moment in moments} == {"planning", "checking"}
    done = apply(planned, run_dir="run", on_progress=moments.append)
    assert done.summary.counts == {"set": 30, "rejected": 1}
    assert (done.summary.approved or {})["run_dir"] == str(Path("dry").absolute())
    assert moments[-1] == ApiProgress("sending", 30, 30, {"set": 30}, 30, 0)
    assert done.report.read_text(encoding="utf-8").count("\n") == 32
    assert Result.load("run") == done


def ask_first(url: str) -> None:
    with pytest.raises(errors.NotConfirmed) as raised:
        apply(job_for(url), run_dir="unasked")
    assert raised.value.run_dir == Path("unasked")
    done = resume("unasked", confirm=lambda preflight: preflight.ready == 30, overrides={"pace.rate": 200})
    assert done.summary.counts["set"] == 30


def stop_and_go_on(url: str) -> None:
    stop = CancelToken()

    def seen(moment: ApiProgress) -> None:
        if moment.phase == "sending" and moment.done:
            logging.getLogger("botocore.endpoint").warning("sent %s", PASSWORD)
            threading.Thread(target=stop.request).start()
            with pytest.raises(errors.Busy):
                resume("stopped")

    with pytest.raises(errors.Interrupted) as raised:
        apply(job_for(url, **SLOWLY), run_dir="stopped", confirm=True, on_progress=seen, stop=stop)
    error = raised.value
    assert (error.exit_code, error.run_dir) == (143, Path("stopped"))
    assert error.message.startswith("Interrupted by request")
    first = Result.load("stopped").summary
    assert (first.state, first.resumable) == ("interrupted", True)
    assert 0 < first.counts["set"] < 30
    log = Path("stopped/log.jsonl").read_text(encoding="utf-8")
    assert "library_warning" in log
    assert PASSWORD not in log
    assert resume("stopped", overrides={"pace.rate": 200}).summary.counts == {"set": 30, "rejected": 1}


def fail(url: str) -> None:
    class OursError(Exception):
        pass

    def broken(moment: ApiProgress) -> None:
        if moment.phase == "sending":
            raise OursError

    for wanted, call in (
        (OursError, lambda: apply(job_for(url, **SLOWLY), run_dir="broken", confirm=True, on_progress=broken)),
        (errors.JobError, lambda: job_for(url, **{"pace.speed": 1})),
        (errors.InputError, lambda: apply(job_for(url, **{"input.path": "none.csv"}), run_dir="none", confirm=True)),
        (errors.RunDirError, lambda: apply(job_for(url), run_dir="run", confirm=True)),
        (errors.RunDirError, lambda: Result.load("nowhere")),
        (errors.RowLimit, lambda: apply(job_for(url, **{"guards.limit": 2}), run_dir="limit", confirm=True)),
        (errors.GuardTripped, lambda: dry_run(job_for(url, **{"guards.max_rows": 2}), run_dir="guarded")),
    ):
        with pytest.raises(wanted):
            call()
    assert not Path("none").exists()
    assert Result.load("broken").summary.resumable
    assert Result.load("limit").summary.counts["set"] == 2


def main(folder: str, url: str) -> None:
    os.chdir(folder)
    assert not HEAVY
    assert set(dir(bulkreset)) >= {"Job", "apply", "dry_run", "resume", "load", "errors", "__version__"}
    Path("in.csv").write_text(
        "username,password\n" + "".join(f"{name},{PASSWORD}\n" for name in [*NAMES, "nobody"]), encoding="utf-8"
    )
    before = around()
    for part in (review_and_apply, ask_first, stop_and_go_on, fail):
        part(url)
    assert around() == before
    for path in Path().rglob("*"):
        assert path.name == "in.csv" or path.stat().st_mode & 0o077 == 0, path


if __name__ == "__main__":
    main(*sys.argv[1:])
