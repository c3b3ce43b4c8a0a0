"""The outcome of a run in one sentence, and the commands to continue it."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from bulkreset.journal.run_state import RunState, WaveFacts
from bulkreset.statuses import Status, facts_of, label_of, sorted_counts
from bulkreset.steps import BY_COLUMN, Counted
from bulkreset.text import format_count, format_duration, format_time, join_words, quoted

_STATES = {
    "time_limit": "stopped at its time limit",
    "row_limit": "stopped at its row limit",
    "wave": "waits between two waves",
}


def describe_state(run: RunState, *, alive: bool) -> str:
    """Return the state of the run: "running" if a process holds it (`alive`), otherwise how it ended."""
    if alive:
        return "running"
    return state_text(run.state) if run.end or run.abandoned_at else "crashed"


def state_text(state: str) -> str:
    """Return the state of a run that is not running, as text for people."""
    return _STATES.get(state, state)


def run_outcome(run: RunState, counts: Mapping[str, int], *, alive: bool, steps: Counted = MappingProxyType({})) -> str:
    """Return the outcome as a sentence. `counts` use the report's statuses, or the journal's if the run is alive.

    `steps` are the counts of the steps after the password.
    """
    rows = sum(counts.values())
    if not run.is_planned and alive:
        return f"Reading the input: {format_count(rows, 'row')} so far. Nothing was sent."
    if not run.is_planned:
        return f"The run stopped while planning, after {format_count(rows, 'row')}. Nothing was sent."
    if not rows:
        return "The input has no rows, so nothing was sent."
    if run.is_dry_run:
        rest = join_words(_other_rows(counts, dry_run=True))
        return f"{counts.get(Status.READY, 0):,} of {format_count(rows, 'row')} would be sent{'; ' + rest if rest else ''}. Nothing was sent."
    spent = run.sending_seconds
    passwords = f"{counts.get(Status.SET, 0):,} of {format_count(rows, 'password')}"
    verb = ("has" if rows == 1 else "have") + " been" if alive else "was" if rows == 1 else "were"
    sentence = f"{passwords} {verb} set{' so far' if alive else f' in {format_duration(spent)}' if spent else ''}"
    left = [
        f"{format_count(step['failed'], 'user')} {BY_COLUMN[column].undone}"
        for column, step in steps.items()
        if step["failed"]
    ]
    rest = join_words([*_other_rows(counts), *left])
    return f"{sentence}{'; ' + rest if rest else ''}.{undo_text(run)}"


def wave_text(number: int, wave: WaveFacts) -> str:
    """Return the known facts about a wave, as text for people."""
    if wave.ended_at is None:
        return f"Wave {number}: in progress"
    sent = f"Wave {number}: sent {format_time(wave.ended_at)}"
    if wave.checked_at is None:
        return sent
    share = f" ({100 * wave.recovered / wave.users:.1f} %)" if wave.users else ""
    back = f"{wave.recovered:,} of {format_count(wave.users, 'user')} have recovered{share}"
    return f"{sent}; {back}, {format_count(wave.expired, 'temporary password')} expired, as of {format_time(wave.checked_at)}"


def wave_texts(run: RunState) -> tuple[str, ...]:
    """Return the known facts about each wave of a campaign, as text for people."""
    return tuple(wave_text(number, wave) for number, wave in enumerate(run.waves, 1))


def undo_text(run: RunState) -> str:
    """Return as sentences whether this run or an earlier one was undone, or an undo is in progress; "" if neither."""
    sentences = [f" UNDONE: {pool} was restored on {format_time(at)}." for pool, at in run.undone.items()]
    sentences += [f" An undo is in progress in {pool}." for pool, it in run.undos.items() if it.is_open]
    sentences += [
        f" {pool} was restored on {format_time(it.at)} to {format_time(it.point)}, by the undo of {it.run_dir}: what this"
        " run set there in between may be reverted."
        for pool, it in run.restored.items()
    ]
    return "".join(sentences)


def resent_text(rows: int) -> str:
    """Return as a sentence how many rows a process that died may have sent; "" if none."""
    return (
        f"{format_count(rows, 'row')} may have been sent twice, because a process died: marked in_doubt."
        if rows
        else ""
    )


def _other_rows(counts: Mapping[str, int], *, dry_run: bool = False) -> list[str]:
    """Return a phrase for each group of rows that are not set, the most serious first."""
    phrases: dict[str, int] = {}
    for status, rows in sorted_counts(counts).items():
        if status != Status.SET and not (dry_run and facts_of(status).dry_done):
            phrases[label_of(status)] = phrases.get(label_of(status), 0) + rows
    return [f"{rows:,} {label}" for label, rows in phrases.items()]


def next_commands(
    run: RunState, counts: Mapping[str, int], run_dir: Path, *, resumable: bool, steps: Counted
) -> list[tuple[str, str]]:
    """Return the commands to continue, as (effect, command). `steps` are the counts of the steps after the password."""
    if run.is_dry_run and not resumable:
        sends = bool(counts.get(Status.READY))
        approved = f"{run.command or 'bulkreset run JOB'} --approved {quoted(run_dir)}"
        return [("Run exactly what this dry run planned", approved)] if sends else []
    resume = f"bulkreset resume {quoted(run_dir)}"
    ways = [(_remaining_text(run, counts), resume)] if resumable else []
    if any(it.is_open for it in run.undos.values()):
        ways.append(("Continue the undo", f"bulkreset undo {quoted(run_dir)}"))
    retries = not (run.is_dry_run or run.abandoned_at or run.undos_forbid_sending)
    if retries and (counts.get(Status.FAILED) or any(step["failed"] for step in steps.values())):
        ways.append(("Also retry failed rows" if resumable else "Retry failed rows", f"{resume} --failed"))
    if _can_decrypt(run) and counts.get(Status.SET):
        decrypt = f"bulkreset passwords {quoted(run_dir)} --identity KEY_FILE"
        ways.append(("Decrypt the generated passwords, with a recipient's private key", decrypt))
    return ways


def _can_decrypt(run: RunState) -> bool:
    """Return whether the run keeps generated passwords, encrypted for recipients."""
    password = run.job.get("password") or {}
    return password.get("source") == "generate" and bool(password.get("recipients"))


def _remaining_text(run: RunState, counts: Mapping[str, int]) -> str:
    if not run.is_planned or counts.get(Status.UNPROCESSED):
        return "Continue where it stopped"
    if counts.get(Status.IN_DOUBT):
        return "Retry rows in doubt"
    if run.mirror_stale:
        return "Continue, and bring the mirror up to date"
    return "Sign out the remaining users" if [*run.steps] == ["sign_out"] else "Take the remaining steps for users"
