"""Opens a run's input, records it in the journal and checks that it is unchanged since the plan."""

from collections.abc import Sequence

from bulkreset.errors import InputError, Stopped
from bulkreset.input.archived_input import reopen_archived
from bulkreset.input.batch import carrying
from bulkreset.input.input_set import InputSet, PlannedFile
from bulkreset.input.location import Fingerprint
from bulkreset.job import TAG, Job
from bulkreset.journal.journal import Journal
from bulkreset.journal.records import JournalFile
from bulkreset.journal.run_state import InputFacts
from bulkreset.statuses import REMAINING, Status, count_of


def input_of(job: Job) -> InputSet | None:
    """Return the job's input, or None if the rows are the pools' users.

    Raises InputError if the input does not exist, Stopped if S3 cannot be reached.
    """
    spec = carrying(job.input, job.report.columns)
    return None if job.input.from_pool else InputSet.open(spec, with_passwords=not job.generates)


def reopen_input(job: Job, journal: Journal) -> InputSet | None:
    """Return the input of a resumed run, or None if the rows are the pools' users.

    Looks at the original location, then where a scheduled run archived it (`schedule.done`). Raises InputError if the
    input is not the planned one, Stopped if S3 cannot be reached.
    """
    try:
        rows = input_of(job)
        if rows:
            require_planned_input(rows, journal)
    except InputError as error:
        if job.schedule.done in {None, TAG}:
            raise
        rows = reopen_archived(job.input, job.schedule.done, _planned_files(journal), with_passwords=not job.generates)
        if rows is None:
            raise InputError(f"{error.message} It is not in {job.schedule.done} either.", error.advice) from None
        require_planned_input(rows, journal)
    return rows


def open_new_input(job: Job, remarks: Sequence[str] = ()) -> tuple[InputSet | None, InputFacts]:
    """Return the input of a new run, and the facts about it that are known before it is read.

    `remarks` are sentences about files that were left out before. Raises InputError for every problem with the input,
    including an unreachable S3.
    """
    try:
        rows = input_of(job)
        if rows:
            rows.left_out = remarks
        return rows, InputFacts(**rows.describe()) if rows else InputFacts()
    except Stopped as error:  # no run exists yet that could be resumed
        raise InputError(error.message, error.advice) from None


def input_files(rows: InputSet | None) -> list[JournalFile]:
    """Return the files of the input as journal entries (empty without an input); SHA-256 only after they are read."""
    return [
        JournalFile(it.name, it.fingerprint.size, it.fingerprint.sha256, it.fingerprint.version, it.first_row)
        for it in (rows.planned_files() if rows else ())
    ]


def needs_input(job: Job, journal: Journal, *, again: bool) -> bool:
    """Return whether the run must read its input, to finish the plan or to send rows with passwords from it.

    For steps after the password and for generated passwords the journal is enough, except in an emulated run. So users
    can still be signed out after the password file was deleted.
    """
    if not journal.state.is_planned or journal.state.emulated:
        return True
    return not job.generates and _has_rows_left(journal, again=again)


def may_send(journal: Journal, *, again: bool) -> bool:
    """Return whether anything may remain to be sent. A dry run and a finished run send nothing."""
    state = journal.state
    return not state.is_dry_run and (not state.is_planned or bool(state.steps) or _has_rows_left(journal, again=again))


def _has_rows_left(journal: Journal, *, again: bool) -> bool:
    """Return whether a row must still be sent. If `again`, failed rows count, too."""
    counts = journal.read.counts()
    return bool(count_of(counts, (*REMAINING, *((Status.FAILED,) if again else ()))))


def require_planned_input(rows: InputSet, journal: Journal) -> None:
    """Raise InputError if a file was changed, removed or added since the plan. Also sets the first row of each file."""
    rows.require_unchanged(_planned_files(journal), journal.state.rows)


def _planned_files(journal: Journal) -> list[PlannedFile]:
    return [
        PlannedFile(it.name, Fingerprint(it.size, it.sha256, it.version), it.first_row) for it in journal.read.files()
    ]
