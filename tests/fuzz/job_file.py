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
        _must_not_tell(str(error), data)
        return
    kept = json.loads(json.dumps(job.model_dump(mode="json")))
    assert CANARY not in json.dumps(kept["notify"])
    again = job_from_journal(kept, {})
    assert _without_urls(again) == _without_urls(job)
    _is_of_use(job)


def _must_not_tell(said: str, data: bytes) -> None:
    assert said.isprintable(), repr(said)
    assert CANARY not in said or CANARY in _keys(data), said


def _is_of_use(job: Job) -> None:
    """What is made of a job before anything is sent can be made of it."""
    RowValidator(job)
    guards = GuardMonitor(job.guards, SystemClock(), lambda: datetime(2026, 3, 29, 1, 30, tzinfo=UTC))
    guards.add([Outcome(row, Status.FAILED, "NotAuthorizedException") for row in range(1, 5)])
    guards.violation()


def _without_urls(job: Job) -> Job:
    return job.model_copy(update={"notify": job.notify.model_copy(update={"urls": ()})})


def _keys(data: bytes) -> str:
    """The keys of the file, which a message may name."""
    try:
        return repr(list(_named(tomllib.loads(data.decode()))))
    except (ValueError, RecursionError):
        return ""


def _named(found: object) -> list[str]:
    if isinstance(found, dict):
        return [name for key, value in found.items() for name in (key, *_named(value))]
    return [name for value in found for name in _named(value)] if isinstance(found, list) else []
