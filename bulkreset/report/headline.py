"""The outcome of a run in one sentence, and the commands to continue it."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from bulkreset.journal.run_state import RunState
from bulkreset.models import Status
from bulkreset.text import format_count, format_duration, join_words

_STATES = {"time_limit": "time limit reached", "row_limit": "row limit reached"}


def describe_state(run: RunState, *, alive: bool) -> str:
    """Return the state of the run: "running" if a process holds it (`alive`), otherwise how it ended."""
    if alive:
        return "running"
    return _STATES.get(run.state, run.state) if run.end else "crashed"


def run_outcome(run: RunState, counts: Mapping[str, int], *, alive: bool, stayed: int = 0) -> str:
    """Return the outcome as a sentence. `counts` use the report's statuses, or the journal's if the run is alive.

    `stayed` counts users who could not be signed out.
    """
    rows = sum(counts.values())
    if not run.is_planned:
        return f"The plan is not whole: {format_count(rows, 'row')} had been read, and nothing was sent."
    if not rows:
        return "The input has no rows, so nothing was sent."
    if run.is_dry_run:
        rest = join_words(_other_rows(counts, "would be skipped", "rejected"))
        return f"{counts.get(Status.READY, 0):,} of {format_count(rows, 'row')} would be sent{'; ' + rest if rest else ''}. Nothing was sent."
    spent = run.sending_seconds
    passwords = f"{counts.get(Status.SET, 0):,} of {format_count(rows, 'password')}"
    verb = ("has" if rows == 1 else "have") + " been" if alive else "was" if rows == 1 else "were"
    told = f"{passwords} {verb} set{' so far' if alive else f' in {format_duration(spent)}' if spent else ''}"
    left = [f"{format_count(stayed, 'user')} could not be signed out"] if stayed else []
    rest = join_words([*_other_rows(counts, "were skipped", "rejected"), *left])
    return f"{told}{'; ' + rest if rest else ''}."


def _other_rows(counts: Mapping[str, int], skipped: str, rejected: str) -> list[str]:
    """Return a phrase for each group of rows that were not set, the most serious first."""

    def some(status: str, verb: str, singular: str = "") -> str:
        number = counts.get(status, 0)
        return f"{number:,} {singular if number == 1 and singular else verb}" if number else ""

    doubtful = counts.get(Status.IN_DOUBT, 0)
    waiting = some(Status.READY, "are still to be sent", "is still to be sent") if skipped == "were skipped" else ""
    parts = [
        f"{format_count(doubtful, 'row')} {'is' if doubtful == 1 else 'are'} in doubt" if doubtful else "",
        some(Status.CLAIMED, "are on their way", "is on its way"),
        some(Status.FAILED, "failed"),
        some(Status.REJECTED, f"were {rejected}", f"was {rejected}"),
        some(Status.SKIPPED, skipped, skipped.replace("were", "was")),
        some(Status.UNPROCESSED, "were not sent", "was not sent"),
        waiting,
    ]
    return [part for part in parts if part]


def next_commands(
    run: RunState, counts: Mapping[str, int], run_dir: Path, *, resumable: bool, stayed: int
) -> list[tuple[str, str]]:
    """Return the commands to continue, as (effect, command). `stayed` counts users who could not be signed out."""
    if run.is_dry_run and not resumable:
        return []
    resume = f"bulkreset resume {shlex.quote(str(run_dir))}"
    ways = [(_remaining_text(run, counts), resume)] if resumable else []
    if not run.is_dry_run and (counts.get(Status.FAILED) or stayed):
        ways.append(
            ("Send what failed once more, too" if resumable else "Send what failed once more", f"{resume} --failed")
        )
    return ways


def _remaining_text(run: RunState, counts: Mapping[str, int]) -> str:
    if not run.is_planned or counts.get(Status.UNPROCESSED):
        return "Go on where it stopped"
    if counts.get(Status.IN_DOUBT):
        return "Send again what is in doubt"
    if run.mirror_stale:
        return "Go on, and bring its mirror up to date"
    return "Make the sign-outs that are pending"
