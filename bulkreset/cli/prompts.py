"""Terminal output and questions: the preflight, confirmations, a run's status and the summary."""

import select
import sys
import termios
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from bulkreset.cancellation import CancelToken, SendProgress
from bulkreset.cli.json_events import current
from bulkreset.cli.process import require_terminal
from bulkreset.errors import Refused
from bulkreset.journal.run_dir import RunDir
from bulkreset.models import Summary, format_rows
from bulkreset.report.headline import resent_text, state_text
from bulkreset.report.run_status import RunStatus
from bulkreset.report.user_state import SHORT, UserState
from bulkreset.statuses import Status, describe_counts
from bulkreset.steps import BY_COLUMN, SIGN_OUT
from bulkreset.text import format_count, format_duration, format_estimate, format_time, lane_name, quoted, terminal_safe

if TYPE_CHECKING:  # loaded only by the commands that need them
    from rich.console import Console

    from bulkreset.cli.progress import ProgressDisplay
    from bulkreset.plan.preflight import Preflight
    from bulkreset.report.verify import VerifyResult

TYPED_BEYOND = 100  # more passwords than this need a typed name, not only y
TRIES = 3  # how often a name may be typed
_NOT_WHOLE = "The run stopped while planning. Nothing was sent."
_USER_STATES = {UserState.AGREES: "agree", UserState.DIFFERS: "differ"}


class StderrAboveProgress:
    """Standard error for lines written while progress is drawn there: the lines appear above it."""

    def __init__(self, console: "Console", progress: "ProgressDisplay") -> None:
        self._console = console
        self._progress = progress

    def write(self, text: str) -> int:
        """Write complete lines."""
        if not self._progress.is_drawn:
            return _stderr_console().write(text)  # the log has coloured the line and replaced invisible characters
        from rich.text import Text

        self._console.print(Text.from_ansi(text.removesuffix("\n")), soft_wrap=True)
        return len(text)

    def isatty(self) -> bool:
        """Return True if standard error is a terminal."""
        return self._console.is_terminal


class TerminalUi:
    """The Ui of the command line. All output but the summary goes to standard error, as events if that is JSON lines.

    The log writes its lines to `events`. If it `is_quiet`, the plan is shown only with a question, and no progress.
    """

    def __init__(self, stop: CancelToken, *, show_progress: bool, quiet: bool = False) -> None:
        from rich.console import Console

        from bulkreset.cli.progress import ProgressDisplay

        self.confirmed_by = ""
        self._spoken = current()
        self._console = (
            Console(file=sys.stderr, highlight=False, soft_wrap=True, emoji=False, force_terminal=False)
            if self._spoken
            else Console(file=_stderr_console(), highlight=False, soft_wrap=True, emoji=False)
        )
        self._stop = stop
        self.is_quiet = quiet
        self._progress = ProgressDisplay(
            self._console, quiet=quiet or not show_progress, report=self._report_progress if self._spoken else None
        )
        self.events: IO[str] = cast("IO[str]", StderrAboveProgress(self._console, self._progress))

    def on_run_started(self, run_id: str) -> None:
        """Remember the id of the current run for the events."""
        if self._spoken:
            self._spoken.run_id = run_id

    def on_rows_read(self, rows: int) -> None:
        """Show how many rows have been read."""
        self._progress.show("planning", rows, None)

    def on_lookup_progress(self, made: int, calls: int) -> None:
        """Show how many of about `calls` calls to look up users have been made."""
        self._progress.show("checking users", made, max(made, calls), "calls")

    def on_send_progress(self, progress: SendProgress) -> None:
        """Show how many rows have been finished."""
        self._progress.sending(progress)

    def notice(self, text: str) -> None:
        """Show a notice before the command continues."""
        self._console.print(terminal_safe(text), markup=False)

    def show_preflight(self, preflight: "Preflight") -> None:
        """Show the plan of the run."""
        self.close()
        if not self.is_quiet:
            self._show_plan(preflight)

    def _show_plan(self, preflight: "Preflight") -> None:
        from bulkreset.plan.preflight_text import preflight_lines  # `status` starts faster without the job's models

        text = preflight_lines(preflight)
        if self._spoken:
            ready, pending, lines = preflight.ready, preflight.pending, text.splitlines()
            seconds = None if preflight.seconds is None else round(preflight.seconds, 1)
            self._spoken.event("preflight", "info", ready=ready, pending=pending, seconds=seconds, lines=lines)
            return
        self.notice(wrap_lines(text, self._console.width) if self._console.is_terminal else text)

    def confirm(self, preflight: "Preflight") -> bool:
        """Ask for confirmation and return the answer. Raises Refused if there is no terminal."""
        require_terminal()
        if self.is_quiet:  # nobody can confirm a plan unseen
            self._show_plan(preflight)
        wanted = _confirmation_word(preflight)
        if wanted is None:
            ask = (
                f"Set {format_count(preflight.ready, 'password')}"
                if preflight.ready
                else _remaining_steps(preflight, "Sign", "Take")
            )
            self.confirmed_by = "answered y at the terminal"
            return self._answer(f"{ask}? [y/N] ").lower() in {"y", "yes"}
        whose = "pool's" if len(preflight.pools) == 1 else "job's"
        self.confirmed_by = f'typed "{wanted}" at the terminal'
        name = f'the {whose} name ("{terminal_safe(wanted)}"): '
        typed = self._answer(f"{_purpose(preflight)}, type {name}")
        for _ in range(TRIES - 1):
            if not typed or typed in {wanted, terminal_safe(wanted)}:
                break
            typed = self._answer(f"That is not the name. Type {name}")
        return typed in {wanted, terminal_safe(wanted)}

    def ask(self, text: str, shown: str | None) -> str:
        """Ask a question and return the answer, "" for the default. Raises Refused at end of input."""
        self._console.print(terminal_safe(text + (f" [{shown}]" if shown else "") + ": "), end="", markup=False)
        if not (line := self._typed()):
            raise Refused("There was no answer.", "Nothing was written.")
        return line.strip()

    def agree(self, question: str, answers: Sequence[str]) -> bool:
        """Return whether one of these answers is typed."""
        return self.ask(question, None) in answers

    def ask_code(self, prompt: str) -> str:
        """Ask for an MFA code and return it. Raises CredentialRetrievalError if there is no terminal."""
        from bulkreset.cognito.session import refuse_code

        if not sys.stdin.isatty():
            refuse_code(prompt)
        self._console.print(terminal_safe(prompt), end="", markup=False)
        return self._typed().strip()

    def _answer(self, question: str) -> str:
        """Ask, and return the typed line. Drop what was typed before the question: it was no answer to it."""
        with suppress(termios.error):
            termios.tcflush(sys.stdin, termios.TCIFLUSH)
        self._console.print(question, end="", markup=False)
        return self._typed().strip()

    def _typed(self) -> str:
        """Return the line that is typed; "" at the end of the input."""
        while not select.select([sys.stdin], [], [], 0.2)[0]:
            self._stop.check()
        return sys.stdin.readline()

    def close(self) -> None:
        """Remove the progress from the terminal."""
        self._progress.close()

    def _report_progress(self, figures: Mapping[str, object]) -> None:
        if self._spoken:
            self._spoken.event("progress", "info", **figures)


def _stderr_console() -> IO[str]:
    """Return standard error without the filter for control sequences. Make foreign text safe before writing to it."""
    return cast("IO[str]", getattr(sys.stderr, "drawn", sys.stderr))


def wrap_lines(text: str, width: int) -> str:
    """Return the preflight text with its lines wrapped at `width`, and continued at column LABEL."""
    from bulkreset.plan.preflight_text import LABEL

    lines = (
        textwrap.wrap(line, max(width, 2 * LABEL), subsequent_indent=" " * LABEL, break_on_hyphens=False) or [""]
        for line in text.splitlines()
    )
    return "\n".join(chain.from_iterable(lines))


def ask_questions(terminal: TerminalUi, given: Mapping[str, str]) -> dict[str, str]:
    """Ask for each answer that no flag gives, until it is valid. Returns all answers."""
    from bulkreset.cli.job_template import KINDS, QUESTIONS

    known: dict[str, str] = {}
    if "kind" not in given:
        for kind, (meant, _) in KINDS.items():
            terminal.notice(f"  {kind:10} {meant}")
    for question in QUESTIONS:
        if not question.is_due(known, given):
            continue
        answer = given.get(question.key)
        while answer is None or (wrong := question.wrong(answer)):
            if answer is not None:
                terminal.notice(wrong)
            default = question.default(known)
            answer = terminal.ask(question.text, question.shown(known) or default) or default or ""
        known[question.key] = answer
    return known


def describe_status(status: RunStatus) -> str:
    """Return one run's status as lines of text."""
    dry_run = status.mode == "dry_run"
    ended = "" if status.exit_code is None else f", exit code {status.exit_code}"
    times = f"started {format_time(status.started_at)}"
    if status.finished_at and not status.alive:
        times += f", ended {format_time(status.finished_at)}"
    state = f"running ({status.state})" if status.alive else state_text(status.state)
    lines = [
        f"{status.run_dir}: {state}{ended}",
        f"  {status.mode.replace('_', ' ')} of {status.job}, {times}",
        f"  {_rows_read_text(status)}: {describe_counts(status.counts, dry_run=dry_run) or 'no rows yet'}",
    ]
    if not status.plan_complete and not status.alive:
        lines.append(f"  {_NOT_WHOLE}")
    lines += [f"  {_step_text(column, counts)}" for column, counts in status.steps.items()]
    if len(status.lanes) > 1:
        for lane in status.lanes:
            counts = describe_counts(lane.counts, dry_run=dry_run) or "no rows"
            lines.append(f"  {lane.account or 'account unknown'} {lane.region}: {counts}")
    lines += _control_lines(status)
    if status.codes:
        lines.append(f"  codes: {_codes_text(status)}")
    if status.attempts:
        lines.append(f"  {_calls_text(status)}")
    if status.rate:
        ends = f", about {format_estimate(status.seconds_left)} left" if status.seconds_left else ""
        lines.append(f"  {status.rate:g} rows/s{ends}")
    why = f"why: {status.stopped_by.message} {status.stopped_by.advice}".rstrip() if status.stopped_by else ""
    lines += [f"  {line}" for line in (*status.waves, status.undo, why) if line]
    lines += [f"  next: {command}" for command in status.commands]
    return "\n".join(lines)


def _control_lines(status: RunStatus) -> list[str]:
    """Return the limits of the lanes of a live run, and the last order to the run."""
    lines = []
    for lane in status.lanes if status.alive else ():
        if lane.limited_by:
            pace = f"at most {lane.limit:g} calls/s" if lane.limit else "no calls"
            lines.append(f"  {lane_name(lane.account, lane.region)}: {pace} ({lane.limited_by})")
    if status.control:
        last = status.control[-1]
        lines.append(f"  last order: {last['order']}, by {last['by']}, {format_time(last['at'])}")
    return lines


def describe_summary(summary: Summary, home: RunDir) -> list[str]:
    """Return the last lines of a run: the results of the rows, and the path of the report."""
    dry_run = summary.mode == "dry_run"
    counts = describe_counts(summary.counts, dry_run=dry_run) or "no rows"
    what = "Dry run" if dry_run else "Run"
    lines = [f"{what} {state_text(summary.state)}: {_rows_read_text(summary)}: {counts}."]
    lines += [] if summary.plan_complete else [_NOT_WHOLE]
    lines += [f"Input: {remark}" for remark in summary.input.get("remarks", ())]
    lines += [f"{_step_text(column, counted)}." for column, counted in summary.steps.items()]
    lines += [f"Codes: {_codes_text(summary)}."] if summary.codes else []
    if summary.attempts:
        sent = f"{summary.rows_per_second:g} rows/s over {format_duration(summary.sending_seconds)}"
        lines.append(f"{_calls_text(summary)}, {sent}.")
    lines += [resent_text(summary.resent)] if summary.resent else []
    lines += ["Emulated: no real user was changed."] if summary.emulated else []
    return lines + _file_lines(summary, home)


def describe_nothing_to_do(summary: Summary, before: RunStatus, home: RunDir) -> list[str]:
    """Return the last lines of a resumed run that had nothing left to do. `before` is its status."""
    when = format_time(before.finished_at or before.started_at)
    if summary.mode == "dry_run":
        done = f"this dry run is complete since {when}"
    elif summary.counts.get(Status.SET) == summary.rows:
        rows = "the row was" if summary.rows == 1 else f"all {format_rows(summary.rows)} were"
        done = f"{rows} already set"
    else:
        done = f"the run ended on {when}: {describe_counts(summary.counts) or 'no rows'}"
    failed = [f"{_step_text(column, counted)}." for column, counted in summary.steps.items() if counted["failed"]]
    return [f"Nothing to do: {done}.", *failed, *_file_lines(summary, home)]


def _file_lines(summary: Summary, home: RunDir) -> list[str]:
    files = {"Report": home.path / summary.report, "Page": home.page}
    return [f"{what}: {path}" for what, path in files.items() if path.exists()]  # a stopped run has no long report


def describe_next(ways: Sequence[tuple[str, str]], summary: Summary, path: Path) -> list[str]:
    """Return the next commands, `ways` first, each on a line after its effect, so that it can be copied."""
    counts, where = summary.counts, quoted(path)
    more = []
    if counts.get(Status.REJECTED) and not summary.resumable:
        extract = f"bulkreset extract {where} --only rejected -o NEW_FILE.csv"
        more.append(("Write the rejected rows to a new input", extract))
    if counts.get(Status.SET) and not (ways or summary.resumable or summary.emulated):
        more.append(("See who has signed in since", f"bulkreset verify {where}"))
    return [f"{effect}:\n  {command}" for effect, command in [*ways, *more]]


def _codes_text(of: RunStatus | Summary) -> str:
    return ", ".join(f"{code} {rows:,}" for code, rows in of.codes.items())


def _calls_text(of: RunStatus | Summary) -> str:
    return f"{format_count(of.attempts, 'call')}, {of.throttled:,} throttled"


def _rows_read_text(of: RunStatus | Summary) -> str:
    """Return the number of rows as text, with "read so far" if the input may have more."""
    return format_rows(of.rows) + ("" if of.plan_complete else " read so far")


def describe_verified(found: "VerifyResult") -> str:
    """Return the users' current states and the next steps as text."""
    if found.report is None:
        return f"This run {'has set no passwords yet' if found.alive else 'set no passwords'}, so there is nothing to verify."
    counts = dict(found.counts)
    states = ", ".join(f"{rows:,} {_USER_STATES.get(state, state.value)}" for state, rows in counts.items())
    short = sum(counts.get(state, 0) for state in SHORT)
    odd = sum(counts.get(state, 0) for state in (UserState.UNTOUCHED, UserState.DIFFERS, UserState.GONE))
    lines = [f"Verified: {format_rows(sum(counts.values()))}: {states}."]
    if found.alive:
        lines.append("The run is still running: users that it sets from now on are not included.")
    if waiting := counts.get(UserState.WAITING):
        lines.append(f"{format_count(waiting, 'temporary password')} not used yet (still valid). Verify again later.")
    if short and found.reissue is None:
        lines.append(
            f"{format_count(short, 'temporary password')} expired or expiring soon. --reissue FILE writes an input file with these users."
        )
    if odd:
        lines.append(
            f"{format_count(odd, 'user has', 'users have')} changed since the run in an unexpected way; see {found.report}."
        )
    if not found.unfinished:
        lines.append("No action needed.")
    if found.reissue and not short:
        lines.append(f"Reissue: {found.reissue} has no users: no temporary password has expired or expires soon.")
    elif found.reissue:
        lines.append(
            f'Reissue: {found.reissue}, with {format_count(short, "user")}: the input of a run with password.source = "generate".'
        )
    return "\n".join([*lines, f"Report: {found.report}"])


def _purpose(preflight: "Preflight") -> str:
    """Return the beginning of a sentence that says what the name confirms."""
    kind = "" if preflight.permanent and preflight.temporary else "permanent " if preflight.permanent else "temporary "
    again = " again" if preflight.earlier else ""
    if not preflight.ready:
        return _remaining_steps(preflight, "To sign", "To take")
    return f"To set {format_count(preflight.ready, f'{kind}password')}{again}"


def _remaining_steps(preflight: "Preflight", sign: str, take: str) -> str:
    """Return the same if no password is left to set."""
    if [planned.step for planned in preflight.steps] == [SIGN_OUT]:
        return f"{sign} {format_count(preflight.pending, 'user')} out"
    return f"{take} {format_count(preflight.pending, 'step')} for users whose passwords are set"


def _step_text(column: str, counts: Mapping[str, int]) -> str:
    return f"{BY_COLUMN[column].title}: " + ", ".join(f"{users:,} {state}" for state, users in counts.items())


def _confirmation_word(preflight: "Preflight") -> str | None:
    """Return the name to type for more than TYPED_BEYOND passwords, and for an input that was run; None if y is enough.

    It is the pool's name, or the job's name if there are several pools.
    """
    if preflight.ready <= TYPED_BEYOND and not preflight.earlier:
        return None
    pools = list(preflight.pools)
    return preflight.name_of(pools[0]) if len(pools) == 1 else preflight.job.name
