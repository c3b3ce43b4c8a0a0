"""How one execution of a job ended. It may be public: it has no username and no secret."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self

from bulkreset.errors import EXIT_BUG, EXIT_OK, BulkresetError, GuardTripped, InputError, Refused, RowLimit, TimeLimit
from bulkreset.input.discovery import InputMissing
from bulkreset.journal.run_state import RunState
from bulkreset.models import Summary
from bulkreset.report.headline import next_commands
from bulkreset.statuses import describe_counts
from bulkreset.text import show_invisible

_GUARDS = frozenset({GuardTripped.__name__, RowLimit.__name__, TimeLimit.__name__})


class ResultKind(StrEnum):
    """The kind of end: `finish` (every row done), `guard` (a guard or the time limit), or `failure` (anything else)."""

    FINISH = "finish"
    GUARD = "guard"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """One ended execution.

    `seconds` is its duration. `code` is the error that stopped it; `reason` is the message, only if it names no user.
    `run_dir` is None if the execution left no files. `commands` continue the run. `report` is "" if there is none: a
    stopped run does not wait for a long one.
    """

    job: str
    end: ResultKind
    exit_code: int
    seconds: float
    state: str = "refused"
    counts: Mapping[str, int] = field(default_factory=dict)
    code: str = ""
    reason: str = ""
    run_dir: Path | None = None
    commands: Sequence[str] = ()
    report: str = ""
    is_dry_run: bool = False

    @classmethod
    def from_summary(cls, summary: Summary, state: RunState, run_dir: Path, seconds: float) -> Self:
        """Return the result of an execution that has a summary; `state` is its run's, from the journal."""
        stopped = summary.stopped_by
        by_guard = stopped is not None and stopped.kind in _GUARDS
        end = (
            ResultKind.FINISH if summary.exit_code == EXIT_OK else ResultKind.GUARD if by_guard else ResultKind.FAILURE
        )
        ways = next_commands(
            state, summary.counts, run_dir.absolute(), resumable=summary.resumable, steps=summary.steps
        )
        return cls(
            summary.job,
            end,
            summary.exit_code,
            seconds,
            summary.state,
            summary.counts,
            stopped.code if stopped else "",
            # A guard's message is our own text. A message from a service or an input may repeat data that was sent.
            (stopped.message if by_guard else stopped.advice) if stopped else "",
            run_dir,
            [command for _, command in ways],
            summary.report if (run_dir / summary.report).exists() else "",
            summary.mode == "dry_run",
        )

    @classmethod
    def from_error(cls, error: BaseException, job: str, seconds: float) -> Self:
        """Return the result of an execution that has no summary."""
        code = error.exit_code if isinstance(error, BulkresetError) else EXIT_BUG
        # An input error may quote the first line of the input. InputMissing quotes nothing.
        is_shown = isinstance(error, Refused) and (not isinstance(error, InputError) or isinstance(error, InputMissing))
        return cls(
            job, ResultKind.FAILURE, code, seconds, code=type(error).__name__, reason=str(error) if is_shown else ""
        )

    @property
    def title(self) -> str:
        """Return the title: one line, ASCII."""
        return f"bulkreset {self.job}: {self.state}, exit code {self.exit_code}"

    @property
    def text(self) -> str:
        """Return the whole message, one fact per line."""
        return "\n".join(f"{label}: {show_invisible(fact)}" for label, fact in self._facts())

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield "Job", self.job
        yield "State", self.state
        yield "Exit code", str(self.exit_code)
        if self.counts:
            yield "Rows", f"{sum(self.counts.values()):,}: {describe_counts(self.counts, dry_run=self.is_dry_run)}"
        if self.code:
            yield "Stopped by", f"{self.code}: {self.reason}" if self.reason else self.code
        yield "Duration", f"{self.seconds:,.0f} s"
        yield "Machine", socket.gethostname()
        if self.run_dir:
            yield "Report" if self.report else "Run directory", str(self.run_dir.absolute() / self.report)
        for command in self.commands:
            yield "Next", command
        if not self.run_dir:
            yield "Next", "see the standard error of the command: it says what to fix"
