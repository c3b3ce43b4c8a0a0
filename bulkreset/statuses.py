"""The statuses of a row: one table with everything that files, screens and decisions need."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from bulkreset import causes


@dataclass(frozen=True, slots=True)
class StatusFacts:
    """The facts about a status.

    `label` is the status for people, `short` an abbreviation; `dry_label` replaces it in a dry run. `ended_as` is the
    status in the report of an ended run, if it differs; in a dry run, a row that is done stays as it is. `finished`: an
    execution has sent the row, and has its answer or has given it up. A settled row is one that no resumed run sends:
    an in_doubt row is finished and not settled.
    `failure`: it counts for the failure limits. `sendable`: a run or a resumed run sends the row. `journal` and
    `reported` say where the status occurs.
    `done`: the row needs nothing more, so that the exit code may be 0; `dry_done`: in a dry run. `attention`: the page
    lists the row. `severity` sorts rows (0: nothing to do) and `tone` colours them: good, doubt, bad, quiet or plain.
    `sign` stands beside the label, so that the colour is never needed.
    """

    label: str
    meaning: str
    advice: str
    severity: int
    tone: str
    sign: str
    short: str = ""
    dry_label: str = ""
    ended_as: str = ""
    finished: bool = False
    failure: bool = False
    sendable: bool = False
    journal: bool = True
    reported: bool = True
    done: bool = False
    dry_done: bool = False
    attention: bool = False


class Status(StrEnum):
    """The status of a row, as files spell it. To add one: add it here and to the table, and the code that sets it."""

    READY = "ready"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    CLAIMED = "claimed"
    SET = "set"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    UNPROCESSED = "unprocessed"

    @cached_property
    def facts(self) -> StatusFacts:
        """Return the facts of the status."""
        return _FACTS[self]

    def at_end(self, *, dry_run: bool) -> "Status":
        """Return the status in the report of an ended run, for the journal's status."""
        facts = self.facts
        return Status(facts.ended_as) if facts.ended_as and not (dry_run and facts.dry_done) else self


_FACTS: Mapping[Status, StatusFacts] = {
    Status.READY: StatusFacts(
        label="not sent",
        dry_label="ready",
        meaning="The row passed every check and is waiting to be sent.",
        advice="No action needed: the run, or bulkreset resume, sends it.",
        severity=1,
        tone="plain",
        sign="□",
        ended_as="unprocessed",
        sendable=True,
        dry_done=True,
    ),
    Status.REJECTED: StatusFacts(
        label="rejected",
        meaning="Not sent: the check before sending found a problem.",
        advice="Fix the row (see the message), in a new input with the rejected rows only.",
        severity=3,
        tone="plain",
        sign="▲",
        attention=True,
    ),
    Status.SKIPPED: StatusFacts(
        label="skipped",
        meaning="Not sent, as the job asks.",
        advice="No action needed, if intended.",
        severity=2,
        tone="quiet",
        sign="○",
        done=True,
        attention=True,
    ),
    Status.CLAIMED: StatusFacts(
        label="in progress",
        meaning="It is being sent, or is about to be.",
        advice="Wait for the result.",
        severity=5,
        tone="doubt",
        sign="◐",
        ended_as="in_doubt",
        reported=False,
        attention=True,
    ),
    Status.SET: StatusFacts(
        label="set",
        short="set",
        meaning="Cognito accepted the password.",
        advice="No action needed.",
        severity=0,
        tone="good",
        sign="●",
        finished=True,
        done=True,
    ),
    Status.FAILED: StatusFacts(
        label="failed",
        short="fail.",
        meaning="Cognito refused it, or every attempt failed.",
        advice="See the message and fix the cause. Then resume with --failed.",
        severity=4,
        tone="bad",
        sign="✕",
        finished=True,
        failure=True,
        attention=True,
    ),
    Status.IN_DOUBT: StatusFacts(
        label="in doubt",
        short="doubt",
        meaning="It may have been sent, and no answer is known: the password may be set.",
        advice=causes.DOUBT.advice,
        severity=5,
        tone="doubt",
        sign="◐",
        finished=True,
        failure=True,
        sendable=True,
        attention=True,
    ),
    Status.UNPROCESSED: StatusFacts(
        label="not sent",
        meaning="The run stopped before it was sent.",
        advice="Resume: it is sent then.",
        severity=1,
        tone="plain",
        sign="□",
        journal=False,
    ),
}
_BY_WORD = {status.value: status for status in Status}

FINISHED = tuple(status for status in Status if status.facts.finished)
FAILURES = tuple(status for status in Status if status.facts.failure)
SENDABLE = tuple(status for status in Status if status.facts.sendable)
REPORTED = tuple(status for status in Status if status.facts.reported)
# Statuses in the journal of rows that are sent when the run is resumed.
REMAINING = tuple(
    status
    for status in Status
    if status.facts.journal and (status.facts.sendable or status.at_end(dry_run=False).facts.sendable)
)
# Rows that were sent and whose result is unknown, if no process is sending them any more.
UNCERTAIN = tuple(status for status in Status if status.at_end(dry_run=False) is Status.IN_DOUBT)
# Statuses that a worker may report. A row that it returns unsent is ready again.
WORKER_RESULTS = (*FINISHED, Status.READY)
# The default of `extract` for a new run: the rows that are certainly not set.
EXTRACTED = (Status.FAILED, Status.REJECTED, Status.UNPROCESSED)
# Rows with a message of the plan that the preflight counts.
PLAN_REMARKS = (Status.READY, Status.REJECTED)
NEEDING_ATTENTION = tuple(status for status in Status if status.facts.attention)


_UNKNOWN = StatusFacts(
    "", "This version of bulkreset does not know the status.", "", severity=6, tone="doubt", sign="?"
)


def facts_of(status: str) -> StatusFacts:
    """Return the facts of a status. A damaged journal may have an unknown one: it has its own text as label."""
    return _BY_WORD[status].facts if status in _BY_WORD else replace(_UNKNOWN, label=status.replace("_", " "))


def label_of(status: str, *, dry_run: bool = False) -> str:
    """Return the status for people."""
    facts = facts_of(status)
    return (dry_run and facts.dry_label) or facts.label


def next_step(status: str, code: str) -> str:
    """Return the next step for rows with this status (the report's or the journal's) and this code."""
    if status == Status.SET and code:
        return causes.STEP.advice
    if status == Status.FAILED and code in causes.FATAL:
        return causes.advice_for(code, then="resume with --failed")
    if status == Status.IN_DOUBT and code == causes.HISTORY_VIOLATION:
        return causes.NOT_SHOWN.advice
    table = causes.FAILED if status == Status.FAILED else {} if facts_of(status).finished else causes.PLAN
    return table[code].advice if code in table else facts_of(status).advice


def status_at_end(status: str, *, dry_run: bool) -> str:
    """Return the status in the report of an ended run, for the journal's status."""
    return _BY_WORD[status].at_end(dry_run=dry_run).value if status in _BY_WORD else status


def sorted_counts(counts: Mapping[str, int], *, dry_run: bool = False) -> dict[str, int]:
    """Return the counts that are not 0: first the rows that need nothing, then the others, the most serious first.

    In a dry run, the rows that would be sent come first.
    """

    def order(status: str) -> tuple[bool, int, str]:
        facts = facts_of(status)
        return facts.severity > 0 and not (dry_run and facts.dry_done), -facts.severity, status

    return {status: counts[status] for status in sorted(counts, key=order) if counts[status]}


def describe_counts(counts: Mapping[str, int], *, dry_run: bool = False) -> str:
    """Return the counts as text for people, such as "198 set, 1 in doubt, 1 failed"; "" if there are none."""
    named: dict[str, int] = {}
    for status, rows in sorted_counts(counts, dry_run=dry_run).items():
        label = label_of(status, dry_run=dry_run)
        named[label] = named.get(label, 0) + rows
    return ", ".join(f"{rows:,} {label}" for label, rows in named.items())


def count_of(counts: Mapping[Any, int], statuses: Collection[str]) -> int:
    """Return how many rows have one of the statuses."""
    return sum(rows for status, rows in counts.items() if status in statuses)


def public_counts(counts: Mapping[str, int], *, dry_run: bool) -> dict[str, int]:
    """Return the journal's counts with the statuses of the report."""
    public: dict[str, int] = {}
    for status, rows in counts.items():
        word = status_at_end(status, dry_run=dry_run)
        public[word] = public.get(word, 0) + rows
    return public


def are_done(counts: Mapping[str, int], *, dry_run: bool) -> bool:
    """Return whether every row is done. In a dry run, a row that would be sent is done, too."""
    return all(
        facts.done or (dry_run and facts.dry_done)
        for facts in (facts_of(status) for status, rows in counts.items() if rows)
    )


def sql_list(statuses: Collection[Status]) -> str:
    """Return the statuses as a list in SQL."""
    return "(" + ", ".join(f"'{status.value}'" for status in statuses) + ")"
