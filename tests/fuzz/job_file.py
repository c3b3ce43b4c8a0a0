"""The job file: bytes are a valid job, or refused with a message; a job is read back from the journal unchanged."""

import json
import tomllib
from datetime import UTC, datetime

from bulkreset.clock import SystemClock
from bulkreset.errors import JobError
from bulkreset.input.validation import RowValidator
from bulkreset.job import Job
from bulkreset.job.file import job_from_journal, load
from bulkreset.models import Outcome, Status
from bulkreset.send.guards import GuardMonitor
from tests.fuzz.scratch import CANARY, written

_TABLES = [Job, *(field.annotation for field in Job.model_fields.values())]
WORDS = (
    *(f"{key} = ".encode() for table in _TABLES for key in getattr(table, "model_fields", ())),
    *(f"[{name}]\n".encode() for name in Job.model_fields),
    *(b"[[targets]]\n", b'"""', b"{", b"true", b"2026-01-31", b"1e400", b"'90m'", b'"5%"', b"nan", b"\\u0000"),
)


def one(data: bytes) -> None:
    """The bytes are the file."""
    path = written("job.toml", data)
    try:
        job = load(path, {})
    except JobError as error:
        _assert_hides_canary(str(error), data)
        return
    kept = json.loads(json.dumps(job.model_dump(mode="json")))
    assert CANARY not in json.dumps(kept["notify"])
    again = job_from_journal(kept, {})
    assert _without_urls(again) == _without_urls(job)
    _assert_usable(job)


def _assert_hides_canary(said: str, data: bytes) -> None:
    assert said.isprintable(), repr(said)
    assert CANARY not in said or CANARY in _keys(data), said


def _assert_usable(job: Job) -> None:
    """Check that everything that is made of a job before sending can be made of this one."""
    RowValidator(job)
    guards = GuardMonitor(job.guards, SystemClock(), lambda: datetime(2026, 3, 29, 1, 30, tzinfo=UTC))
    guards.add([Outcome(row, Status.FAILED, "NotAuthorizedException") for row in range(1, 5)])
    guards.violation()


def _without_urls(job: Job) -> Job:
    return job.model_copy(update={"notify": job.notify.model_copy(update={"urls": ()})})


def _keys(data: bytes) -> str:
    """Return the keys of the file, which a message may name."""
    try:
        return repr(list(_named(tomllib.loads(data.decode()))))
    except (ValueError, RecursionError):
        return ""


def _named(found: object) -> list[str]:
    if isinstance(found, dict):
        return [name for key, value in found.items() for name in (key, *_named(value))]
    return [name for value in found for name in _named(value)] if isinstance(found, list) else []
