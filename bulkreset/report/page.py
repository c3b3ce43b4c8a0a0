"""The page: report.html, one run to be looked at, drawn from its journal into a single file that needs nothing else."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from bulkreset.files import beside
from bulkreset.journal.journal import Journal
from bulkreset.journal.queries import Shown
from bulkreset.models import Status
from bulkreset.report.advice import MEANINGS, next_step
from bulkreset.report.headline import outcome, state_in_words, ways_on
from bulkreset.report.redaction import Redaction
from bulkreset.report.report import iso, redraw_advice
from bulkreset.report.summary import is_resumable, lanes_of, public_counts, signed_out
from bulkreset.report.timeline import Course, Latency, course_of, latency_of
from bulkreset.text import count, duration, size, visible

if TYPE_CHECKING:
    from jinja2 import Environment

ROWS = 1000  # shown one by one; report.csv has all of them
CODES = 50
SLOWEST = 10
CHANGES = 100
_TEMPLATES = Path(__file__).parent / "templates"
_ORDER = ("set", "ready", "claimed", "in_doubt", "failed", "unprocessed", "rejected", "skipped")


def write_page(
    journal: Journal, path: Path, run_dir: Path, *, alive: bool = False, redaction: Redaction | None = None
) -> None:
    """Write the page of a live (`alive`) or an ended run. Reads the journal only; with a `redaction` hashes stand for the usernames.

    Raises RecordError where the journal cannot be read or the page cannot be written.
    """
    with journal.held():
        told = _told(journal, run_dir, alive=alive, redaction=redaction)
    text = _environment().get_template("page.html").render(told)
    with beside(path, redraw_advice(path, "html")) as file:
        file.write(text)


def _told(journal: Journal, run_dir: Path, *, alive: bool, redaction: Redaction | None) -> dict[str, Any]:
    """Everything that the page shows."""
    facts = journal.facts()
    dry_run = facts["mode"] == "dry_run"
    found = journal.counts()
    counts = found if alive else public_counts(found, dry_run=dry_run)
    leavers = signed_out(journal, facts)
    resumable = not alive and is_resumable(facts, found, leavers)
    lanes = lanes_of(journal, facts, public=not alive)
    stayed = leavers["failed"] if leavers else 0
    call = _Naming(alive=alive, redaction=redaction)
    return {
        "facts": facts,
        "job": facts["job"],
        "run_dir": str(run_dir),
        "state": state_in_words(facts, alive=alive),
        "alive": alive,
        "dry_run": dry_run,
        "outcome": outcome(facts, counts, alive=alive, stayed=stayed),
        "ways_on": ways_on(facts, counts, run_dir, resumable=resumable, stayed=stayed),
        "stopped_by": None if alive or facts["state"] not in _ENDED else facts.get("stopped_by"),
        "rows": sum(counts.values()),
        "counts": [(status, counts[status]) for status in _ORDER if counts.get(status)],
        "meanings": MEANINGS,
        "codes": list(_codes(journal, alive=alive)),
        "totals": journal.totals(),
        "sign_outs": leavers,
        "lanes": lanes,
        "guards": dict(_guards(facts["job"].get("guards", {}))),
        **_pace(journal, facts),
        "slowest": [call.row(row) for row in journal.slowest(SLOWEST)],
        "remarkable": [call.row(row) for row in journal.remarkable(ROWS)],
        "remarkable_in_all": sum(counts.get(status, 0) for status in _REMARKABLE) + stayed,
    }


_ENDED = frozenset({"finished", "stopped", "interrupted", "time_limit"})
_REMARKABLE = (Status.IN_DOUBT, Status.CLAIMED, Status.FAILED, Status.REJECTED, Status.SKIPPED)


@dataclass(frozen=True, slots=True)
class _Naming:
    """How rows are told: by the report's words where the run has ended, with names that may be redacted."""

    alive: bool
    redaction: Redaction | None

    def row(self, row: Shown) -> Shown:
        """The row as the page has it."""
        row = row._replace(status=_status(row.status, alive=self.alive))
        return self.redaction.shown(row) if self.redaction else row


def _status(status: str, *, alive: bool) -> str:
    return "in_doubt" if status == Status.CLAIMED and not alive else status


def _codes(journal: Journal, *, alive: bool) -> Iterator[tuple[str, str, int, str]]:
    """The most frequent codes: (status, code, rows, what to do next)."""
    merged: dict[tuple[str, str], int] = {}
    for status, code, rows in journal.codes_by_status(CODES + 1):
        key = _status(status, alive=alive), code
        merged[key] = merged.get(key, 0) + rows
    for (status, code), rows in merged.items():
        yield status, code, rows, next_step(status, code)


def _pace(journal: Journal, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The rate over time and the latencies, drawn and in figures."""
    course, latency = course_of(journal, facts.get("lanes", [])), latency_of(journal)
    return {
        "course": course,
        "course_chart": course and _drawn_course(course),
        "latency": latency,
        "latency_chart": latency and _drawn_latency(latency),
        "changes": journal.first_rate_changes(CHANGES),
        "changes_in_all": sum(journal.rate_changes().values()),
        "reasons": journal.rate_reasons(),
    }


def _drawn_course(course: Course) -> Markup:
    from bulkreset.report.charts import draw_course  # noqa: PLC0415  (loaded where a page is drawn, and nowhere else)

    fastest = max(step.settled for step in course.steps)
    throttled = sum(step.throttled for step in course.steps) * course.width / 1000
    return draw_course(
        course,
        f"Rate over time: up to {fastest:.4g} rows settled per second; {throttled:,.0f} calls throttled. The figures are in the table below.",
    )


def _drawn_latency(latency: Latency) -> Markup:
    from bulkreset.report.charts import draw_latency  # noqa: PLC0415  (as above)

    shares = ", ".join(f"{share} of a hundred within {upto:,} ms" for share, upto in latency.shares.items())
    return draw_latency(
        latency, f"Latency of {count(latency.rows, 'call')}: {shares}. The figures are in the table below."
    )


def _guards(guards: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The guards that hold, by the job's keys."""
    for key, value in guards.items():
        if key == "protected":
            if value.get("usernames"):
                yield "protected.usernames", count(len(value["usernames"]), "user")
            if value.get("groups"):
                yield "protected.groups", ", ".join(value["groups"])
        elif value is not None:
            yield (
                key,
                duration(value) if key == "max_duration" else f"{value:,}" if isinstance(value, int) else str(value),
            )


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  (as above)

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    style, script = _asset("page.css"), _asset("page.js")
    environment.globals |= {
        "style": style,
        "script": script,
        "policy": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'",
    }
    environment.filters |= {"iso": iso, "duration": duration, "size": size, "count": count, "words": _words}
    return environment


def _shown(value: object) -> object:
    """Every text that the template prints, with what cannot be seen made visible; `Markup` is our own."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _words(status: str) -> str:
    return status.replace("_", " ")


def _asset(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704  (our own)


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
