"""The origin of a run's rows: the job's input as it is found, as the journal keeps it, and whether it still is that."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from bulkreset.errors import InputError, Stopped
from bulkreset.input.archived import reopen_archived
from bulkreset.input.input_set import InputSet, PlannedFile
from bulkreset.input.location import Fingerprint
from bulkreset.job import TAG, Job
from bulkreset.journal.journal import Journal
from bulkreset.journal.records import JournalFile
from bulkreset.journal.run_dir import RunDir

NOWHERE: Mapping[str, Any] = {"path": "", "size": 0, "sha256": "", "files": 0}


def input_of(job: Job) -> InputSet | None:
    """The job's input; None where the pools' own users are the rows.

    Raises InputError where it is not there, Stopped where S3 is out of reach.
    """
    return None if job.input.from_pool else InputSet.open(job.input, with_passwords=not job.generates)


def reopen_input(job: Job, home: RunDir) -> InputSet | None:
    """The input of a run that goes on, where it was or where a night has put it; None where the pools' own users are the rows.

    Raises InputError where it is not what was planned, Stopped where S3 is out of reach.
    """
    try:
        rows = input_of(job)
        if rows:
            require_planned_input(rows, home)
    except InputError as error:
        if job.input.done in {None, TAG}:
            raise
        rows = reopen_archived(job.input, _planned_files(home), with_passwords=not job.generates)
        if rows is None:
            raise InputError(f"{error.message} Nor is it in {job.input.done}.", error.advice) from None
        require_planned_input(rows, home)
    return rows


def open_new_input(job: Job) -> tuple[InputSet | None, Mapping[str, Any]]:
    """The input of a run that is not begun, and what journal and summary keep of it. Raises InputError for all that is wrong with it."""
    try:
        rows = input_of(job)
        return rows, rows.describe() if rows else NOWHERE
    except Stopped as error:  # there is no run yet that could be resumed
        raise InputError(error.message, error.advice) from None


def input_files(rows: InputSet | None) -> list[JournalFile]:
    """Its files as the journal keeps them."""
    return (
        [
            JournalFile(it.name, it.fingerprint.size, it.fingerprint.sha256, it.fingerprint.version, it.first_row)
            for it in rows.planned_files()
        ]
        if rows
        else []
    )


def needs_input(job: Job, facts: Mapping[str, Any], home: RunDir, *, again: bool) -> bool:
    """Whether there is a plan to be made, or a row to be sent: for sign-outs, and where passwords are made, the journal is enough.

    Whoever deletes the passwords once they are set can still have the users signed out.
    """
    if "rows" not in facts or facts["emulated"]:
        return True
    return not job.generates and _has_rows_left(home, again=again)


def may_send(facts: Mapping[str, Any], home: RunDir, *, again: bool) -> bool:
    """Whether there may be anything to send: a dry run sends nothing, and nor does what is settled."""
    left = "rows" not in facts or facts["signs_out"] or _has_rows_left(home, again=again)
    return facts["mode"] == "run" and left


def _has_rows_left(home: RunDir, *, again: bool) -> bool:
    """Whether a row is still to be sent, or `again`."""
    counts = Journal.counts_in(home.journal)
    return any(counts.get(status) for status in ("ready", "claimed", "in_doubt", *(["failed"] if again else [])))


def require_planned_input(rows: InputSet, home: RunDir) -> None:
    """Raise InputError where a file has changed, is missing or was added since; where each begins is learned."""
    with closing(Journal.open(home.journal, read_only=True)) as journal:
        screened = journal.meta().get("screened", 0)
    rows.require_unchanged(_planned_files(home), screened)


def _planned_files(home: RunDir) -> list[PlannedFile]:
    with closing(Journal.open(home.journal, read_only=True)) as journal:
        return [
            PlannedFile(it.name, Fingerprint(it.size, it.sha256, it.version), it.first_row) for it in journal.files()
        ]
