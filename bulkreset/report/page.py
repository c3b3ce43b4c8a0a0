"""The HTML page of a run (report.html), written from its journal as a single self-contained file."""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from bulkreset.files import atomic_writer
from bulkreset.journal.execution import utc_now
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_state import RunState, TargetFacts
from bulkreset.models import EndState, Recovery, ReportRow
from bulkreset.plan.preflight_text import endpoint_warnings
from bulkreset.plan.similar_names import ABSENT_USER, cause_in
from bulkreset.report.headline import describe_state, next_commands, resent_text, run_outcome, wave_texts
from bulkreset.report.redaction import Redaction
from bulkreset.report.summary import is_resumable, lane_summaries, rewrite_advice, step_counts
from bulkreset.report.timeline import LatencyHistogram, Timeline, build_latency_histogram, build_timeline
from bulkreset.statuses import (
    NEEDING_ATTENTION,
    are_done,
    count_of,
    describe_counts,
    facts_of,
    next_step,
    public_counts,
    sorted_counts,
    status_at_end,
)
from bulkreset.steps import BY_COLUMN, STEPS, Counted
from bulkreset.text import format_count, format_duration, format_iso, format_size, format_time, quoted, show_invisible
from bulkreset.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

ROWS = 1000  # the most rows that the page lists; report.csv has all of them
CODES = 50
SLOWEST = 10
CHANGES = 100
_TEMPLATES = Path(__file__).parent / "templates"


def write_page(
    journal: Journal,
    path: Path,
    run_dir: Path,
    *,
    alive: bool = False,
    redaction: Redaction | None = None,
    refresh: float | None = None,
) -> None:
    """Write the page of a live (`alive`) or an ended run. Reads only the journal.

    With a `redaction`, hashes replace the usernames. With `refresh`, browsers load the page again after these seconds.
    Raises RecordError if the journal cannot be read or the page cannot be written.
    """
    with journal.snapshot():
        values = _page_values(journal, run_dir, alive=alive, redaction=redaction)
    values |= {"refresh": refresh and max(1, round(refresh)), "written_at": utc_now()}
    text = _template_environment().get_template("page.html").render(values)
    with atomic_writer(path, rewrite_advice(path, "html")) as file:
        file.write(text)


def _page_values(journal: Journal, run_dir: Path, *, alive: bool, redaction: Redaction | None) -> dict[str, Any]:
    """Return all template variables of the page."""
    run = journal.state
    dry_run = run.is_dry_run
    found = journal.read.counts(dead=not alive)
    counts = found if alive else public_counts(found, dry_run=dry_run)
    steps = step_counts(journal)
    resumable = not alive and is_resumable(run, found, steps)
    lanes = lane_summaries(journal, public=not alive)
    show = partial(_shown, alive=alive, redaction=redaction)
    remarkable = count_of(counts, NEEDING_ATTENTION) + (0 if dry_run else journal.read.failed_step_rows())
    return {
        "facts": run,
        "job": run.job,
        "run_dir": str(run_dir.absolute()),
        "version": __version__,
        "state": describe_state(run, alive=alive),
        "state_tone": _state_tone(run, counts, alive=alive, steps=steps),
        "alive": alive,
        "dry_run": dry_run,
        "outcome": run_outcome(run, counts, alive=alive, steps=steps),
        "ways_on": next_commands(run, counts, run_dir.absolute(), resumable=resumable, steps=steps),
        "stopped_by": None if alive else run.stopped_by,
        "rows": sum(counts.values()),
        "counts": list(sorted_counts(counts, dry_run=dry_run).items()),
        "codes": list(_codes(journal, alive=alive)),
        "causes": _near_misses(journal),
        "totals": journal.read.totals(),
        "resent": resent_text(run.resent),
        "steps": [(BY_COLUMN[column], counts) for column, counts in steps.items()],
        "asked": [STEPS[name] for name in run.steps],
        "recovery": _recovery(journal, alive=alive, dry_run=dry_run),
        "lanes": lanes,
        "waves": wave_texts(run),
        "preflight": _grouped(run.preflight),
        "undo": _undo_command(run, run_dir),
        "warnings": partial(_endpoint_warnings, run),
        "guards": dict(_guards(run.job.get("guards", {}))),
        **_pace(journal),
        "slowest": [] if dry_run else list(map(show, journal.read.slowest_rows(SLOWEST))),
        "remarkable": list(map(show, journal.read.rows_needing_attention(ROWS))) if remarkable else [],
        "remarkable_in_all": remarkable,
    }


def _shown(row: ReportRow, *, alive: bool, redaction: Redaction | None) -> ReportRow:
    """Return the row as the page shows it: with the report's status if the run has ended, and redacted if asked for."""
    row = row._replace(status=_status(row.status, alive=alive))
    return redaction.redact_row(row) if redaction else row


def _status(status: str, *, alive: bool) -> str:
    return status if alive else status_at_end(status, dry_run=True)  # a row that was not sent is not listed


def _codes(journal: Journal, *, alive: bool) -> Iterator[tuple[str, str, int, str]]:
    """Yield the most frequent codes as (status, code, rows, next step)."""
    merged: dict[tuple[str, str], int] = {}
    for status, code, rows in journal.read.codes_by_status(CODES + 1):
        key = _status(status, alive=alive), code
        merged[key] = merged.get(key, 0) + rows
    for (status, code), rows in merged.items():
        yield status, code, rows, next_step(status, code)


def _near_misses(journal: Journal) -> list[tuple[str, int]]:
    """Return why rows have no user, as (cause, rows); empty if no cause is known."""
    found: Counter[str] = Counter()
    for one in journal.read.plan_messages(ABSENT_USER, 0):
        found[cause_in(one.message)] += one.number
    return found.most_common() if any(found) else []


def _recovery(journal: Journal, *, alive: bool, dry_run: bool) -> list[tuple[str, str]]:
    """Return the rows by how their users can recover: (recovery, rows by status as text)."""
    found: dict[str, dict[str, int]] = {}
    for recovery, status, rows in journal.read.recovery_by_status():
        found.setdefault(recovery, {})[status] = rows
    shown = {way: counts if alive else public_counts(counts, dry_run=dry_run) for way, counts in found.items()}
    return [(way, describe_counts(shown[way], dry_run=dry_run)) for way in Recovery if way in shown]


def _pace(journal: Journal) -> dict[str, Any]:
    """Return the rate over time and the latencies, as charts and as figures."""
    course = build_timeline(journal)
    latency = build_latency_histogram(journal) if course else None
    return {
        "course": course,
        "course_chart": course and _timeline_chart(course),
        "latency": latency,
        "latency_chart": latency and _latency_chart(latency),
        "changes": journal.read.first_rate_changes(CHANGES),
        "changes_in_all": sum(journal.read.rate_changes().values()),
        "reasons": journal.read.rate_reasons(),
    }


def _timeline_chart(course: Timeline) -> Markup:
    from bulkreset.report.charts import draw_timeline  # noqa: PLC0415  (import it only when a page is drawn)

    fastest = max(step.finished for step in course.buckets)
    throttled = sum(step.throttled for step in course.buckets) * course.width / 1000
    return draw_timeline(
        course,
        f"Rate over time: up to {fastest:.4g} rows finished per second; {throttled:,.0f} calls throttled. The figures are in the table below.",
    )


def _latency_chart(latency: LatencyHistogram) -> Markup:
    from bulkreset.report.charts import draw_latency_histogram  # noqa: PLC0415  (as above)

    shares = ", ".join(f"{share} of a hundred within {upto:,} ms" for share, upto in latency.shares.items())
    return draw_latency_histogram(
        latency, f"Latency of {format_count(latency.rows, 'call')}: {shares}. The figures are in the table below."
    )


def _state_tone(run: RunState, counts: Mapping[str, int], *, alive: bool, steps: Counted) -> str:
    """Return the colour of the run's state. A finished run is good only if every row is done."""
    if alive:
        return "running"
    if not run.is_finished:
        return (
            "doubt"
            if run.state in {EndState.INTERRUPTED, EndState.TIME_LIMIT, EndState.ROW_LIMIT, EndState.WAVE}
            else "bad"
        )
    if any(step["failed"] for step in steps.values()):
        return "bad"
    if are_done(counts, dry_run=run.is_dry_run):
        return "good"
    return facts_of(next(status for status in sorted_counts(counts) if not facts_of(status).done)).tone


def _undo_command(run: RunState, run_dir: Path) -> str:
    """Return the command that undoes the run; "" if nothing was sent, or no pool can be restored."""
    possible = any(label == "Undo" and "can be undone from" in text for label, text in run.preflight)
    return f"bulkreset undo {quoted(run_dir.absolute())}" if possible and run.recovery_point and not run.undos else ""


def _grouped(lines: Iterable[Sequence[str]]) -> list[tuple[str, list[str]]]:
    """Return the preflight's lines by label. A line without a label continues the one before."""
    grouped: list[tuple[str, list[str]]] = []
    for label, text in lines:
        if grouped and label in {"", grouped[-1][0]}:
            grouped[-1][1].append(text)
        else:
            grouped.append((label, [text]))
    return grouped


def _endpoint_warnings(run: RunState, target: TargetFacts) -> list[str]:
    """Return the warnings about the endpoint of one of the run's targets."""
    if run.emulated or not target.endpoint:
        return []
    known = {one.get("user_pool_id"): one for one in run.job.get("targets", [])}
    verified = known.get(target.user_pool_id, {}).get("verify_ssl", True)
    return endpoint_warnings(target.endpoint, verified=bool(verified))


# without that guard the key has no effect
_DETAIL_OF = {"failures_sample": "max_failures", "count_pauses": "max_duration"}


def _guards(guards: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (job key, value as text) for each configured guard."""
    for key, value in guards.items():
        if key == "protected":
            if value.get("usernames"):
                yield "protected.usernames", format_count(len(value["usernames"]), "user")
            if value.get("groups"):
                yield "protected.groups", ", ".join(value["groups"])
        elif value not in {None, "lane"} and guards.get(_DETAIL_OF.get(key, key)) is not None:
            yield (
                key,
                format_duration(value)
                if key == "max_duration"
                else str(value).lower()
                if isinstance(value, bool)
                else f"{value:,}"
                if isinstance(value, int)
                else str(value),
            )


@cache
def _template_environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  (as above)

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_escape_value,
    )
    style, script = _read_asset("page.css"), _read_asset("page.js")
    environment.globals |= {
        "style": style,
        "script": script,
        "policy": f"default-src 'none'; style-src {_csp_hash(style)}; script-src {_csp_hash(script)}; base-uri 'none'; form-action 'none'",
    }
    environment.filters |= {
        "iso": format_iso,
        "moment": format_time,
        "duration": format_duration,
        "size": format_size,
        "count": format_count,
        "status": facts_of,
        "ordered": sorted_counts,
    }
    return environment


def _escape_value(value: object) -> object:
    """Return the value with invisible characters made visible. `Markup` is our own text and stays as it is."""
    return show_invisible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _read_asset(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704  (our own file)


def _csp_hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
