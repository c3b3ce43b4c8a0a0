"""Reads and validates every row and writes it to the journal without its password; sends nothing."""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet

from bulkreset.cognito.list_users import group_members
from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import InputError
from bulkreset.input.batch import CARRIED, RowBatch
from bulkreset.input.swapped_columns import require_not_swapped
from bulkreset.input.validation import RowValidator, ValidatedRow
from bulkreset.job import Job
from bulkreset.journal.journal_writer import JournalWriter


def write_plan(
    job: Job,
    batches: Iterable[RowBatch],
    facts: Mapping[str, PoolFacts],
    protected: AbstractSet[str],
    plan: JournalWriter,
    seen: Callable[[RowBatch], None],
) -> int:
    """Write every row with its status to the plan and return the number of rows. `seen` is called with each batch.

    Raises InputError if the input has no rows, cannot be read, or if its columns seem to be swapped.
    """
    validator = RowValidator(job, protected, {pool: pool_facts.policy for pool, pool_facts in facts.items()})
    read, file = 0, None
    carrying = bool(job.report.columns)
    for chunk in batches:
        if chunk.file != file and not job.generates:
            require_not_swapped(job.input, chunk)
            file = chunk.file
        if carrying:
            carried, validated = _carried(job, chunk), list(validator.validate(chunk))
            plan.add_rows(validated)
            plan.add_carried(chunk.first, map(_without_shifted, validated, carried))
        else:
            plan.add_rows(validator.plain_rows(chunk))
        read = chunk.last
        seen(chunk)
    if not read:
        if job.input.from_pool:
            raise InputError("[input.select] selects no user of the pools.", "Check it: there is nothing to do.")
        raise InputError(f"The input {job.input.named} has no rows.", "Check that it is the right file.")
    if validator.hashes and validator.hashes == validator.passwords:
        raise InputError(
            f"All {validator.hashes:,} passwords of the input {job.input.named} look like hashes. Cognito would take each"
            " hash as the password, and no user could sign in.",
            'Set password.source = "generate" or use a user migration trigger. If they are no hashes:'
            ' input.on_suspect_password = "send".',
        )
    return read


def _carried(job: Job, chunk: RowBatch) -> Iterable[tuple[str, ...]]:
    """Return the cells of the additional columns, row by row. Raises InputError if one is the row's password.

    The journal and the report never have a password, whatever column it is in.
    """
    cells = {name: chunk.cells(CARRIED + name) for name in job.report.columns}
    passwords = chunk.cells("password")
    for name, column in cells.items():
        for offset, (cell, password) in enumerate(zip(column, passwords, strict=True)):
            if password and cell == password:
                raise InputError(
                    f"The column {name!r} of report.columns has the password in row {chunk.first + offset}.",
                    "Remove this column from report.columns.",
                )
    return zip(*cells.values(), strict=True)


def _without_shifted(row: ValidatedRow, cells: tuple[str, ...]) -> tuple[str, ...]:
    """Return the additional cells of a row. If the row may be shifted, all are "", because one may be its password."""
    return cells if row.pool and row.permanent is not None else ("",) * len(cells)


def protected_names(job: Job, sessions: Mapping[str, TargetSession]) -> set[str]:
    """Return every name that the job protects, case-folded. Raises TargetError if a group cannot be read."""
    asked = job.guards.protected
    members = (
        name for session in sessions.values() for group in asked.groups for name in group_members(session, group)
    )
    return {name.casefold() for name in (*asked.usernames, *members)}
