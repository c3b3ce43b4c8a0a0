"""Pass 1, the plan: every row read, screened and written to the journal without its password. Nothing is sent."""

from collections.abc import Callable, Mapping

from bulkreset.cognito.directory import group_members
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import InputError
from bulkreset.intake.chunk import Chunk
from bulkreset.intake.reader import Rows
from bulkreset.intake.screen import Screen
from bulkreset.job import Job
from bulkreset.record.journal import Journal


def write_plan(
    job: Job, rows: Rows, sessions: Mapping[str, TargetSession], journal: Journal, seen: Callable[[Chunk], None]
) -> int:
    """Write every row down with its status; how many there are. `seen` is told of each chunk.

    Raises InputError for an input that has no rows or cannot be read, TargetError for a protected group that cannot.
    """
    screen = Screen(job, _protected(job, sessions))
    read = 0
    for chunk in rows.chunks():
        journal.plan(screen.rows(chunk))
        read = chunk.last
        seen(chunk)
    if not read:
        raise InputError(f"The input {job.input.path} has no rows.", "Check that it is the right file.")
    journal.reject_twins(job.input.on_duplicate)
    return read


def _protected(job: Job, sessions: Mapping[str, TargetSession]) -> set[str]:
    groups = job.guards.protected.groups
    return {name for session in sessions.values() for group in groups for name in group_members(session, group)}
