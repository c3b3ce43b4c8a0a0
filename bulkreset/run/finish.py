"""The last phase of a run: record its end in the journal, write the reports, and update the mirror."""

import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress

from bulkreset.cancellation import check_current
from bulkreset.errors import BulkresetError, Interrupted, RecordError
from bulkreset.journal.execution import utc_now
from bulkreset.journal.run_state import End
from bulkreset.mirror.factory import upload_at_end
from bulkreset.models import Summary, format_rows
from bulkreset.report.headline import next_commands
from bulkreset.report.page import write_page
from bulkreset.report.redaction import Redaction
from bulkreset.report.report_writers import ReportSpec, write_report
from bulkreset.report.summary import build_summary, end_state, exit_code_of, step_counts, write_summary
from bulkreset.run.context import RunContext, RunEnd
from bulkreset.statuses import Status, public_counts
from bulkreset.text import quoted

LONG_REPORT_ROWS = 100_000  # a longer report takes seconds; a stopped run does not wait for it


def finish(context: RunContext, error: BulkresetError | None) -> RunEnd:
    """Write the reports from the journal, however the run ended; `error` is what ended it early.

    The log, the reports and the exit code agree. After a stop request, a long report and the page are left out. If a
    report, the page or the mirror cannot be written, that error counts as what stopped the run, and the run can be
    resumed. Raises RecordError if the end cannot be recorded.
    """
    write = context.journal.write
    if isinstance(error, Interrupted):
        context.log.warning("stopping", calls=0, message="stopping: writing the report")
        if context.sending.seconds:  # say how far the run is
            counts = context.journal.read.counts()
            error.message += f" {counts.get(Status.SET, 0):,} of {format_rows(sum(counts.values()))} set."
    try:
        context.journal.require_in_place()  # another run's journal may be at the path now
        _record_times(context)
        try:
            end = _finish(context, error)
        except RecordError as failure:
            stopped = error if isinstance(error, RecordError) else failure
            with suppress(RecordError):  # the disk may be full
                write.change(reports_stale=True)
                write_summary(_record_end(context, stopped), context.home.summary)
            raise
    except RecordError as failure:
        raise (error if isinstance(error, RecordError) else failure) from None
    context.reporter.of(end.summary, context.journal.state, context.warn_notification)
    return end


def _record_times(context: RunContext) -> None:
    state = context.journal.state
    context.home.take_orders("")
    context.control.look(at_once=True)
    context.journal.write.change(
        control=(*state.control, *context.control.take_new()),  # orders from before or after the sending
        seconds=state.seconds + time.monotonic() - context.began,
        sending_seconds=state.sending_seconds + context.sending.seconds,
    )
    if context.options.retry_failed:
        context.journal.write.restore_failed()


def _finish(context: RunContext, error: BulkresetError | None) -> RunEnd:
    write = context.journal.write
    write.change(reports_stale=False, mirror_stale=False, mirror_pending=context.mirror is not None)
    summary, error = _write_all(context, error)
    failure = None
    if mirror := context.mirror:
        failure = upload_at_end(lambda: mirror.finish(whole=context.options.retry_failed), context.log)
        write.change(mirror_pending=False, mirror_stale=failure is not None)
    if failure:
        summary, error = _write_all(context, error or failure)
    if error:
        context.log.info("stopped", reason=type(error).__name__, message=error.message)
    context.log.info("run_finished", state=summary.state, exit_code=summary.exit_code, counts=dict(summary.counts))
    if mirror and not failure:
        upload_at_end(mirror.upload_log, context.log)
    path, state = context.home.path, context.journal.state
    ways = next_commands(state, summary.counts, path, resumable=summary.resumable, steps=summary.steps)
    return RunEnd(path, summary, error, ways)


def _record_end(context: RunContext, error: BulkresetError | None, found: Mapping[str, int] | None = None) -> Summary:
    """Record how the execution ended, and return the summary. `found` are the journal's counts, if they are known."""
    journal = context.journal
    dry_run = journal.state.is_dry_run
    found = journal.read.counts() if found is None else found
    counts = public_counts(found, dry_run=dry_run)
    exit_code = exit_code_of(error, counts, dry_run=dry_run, steps=step_counts(journal))
    end = End(
        state=end_state(error),
        exit_code=exit_code,
        finished_at=utc_now(),
        stopped_by=error.describe() if error else None,
    )
    journal.write.change(executions=journal.state.replacing_execution(end=end))
    return build_summary(journal, end, found)


def _write_all(context: RunContext, error: BulkresetError | None) -> tuple[Summary, BulkresetError | None]:
    """Record the end, and write the reports. Return the summary, and the error of the run or of its reports."""
    journal = context.journal
    found = journal.read.counts()
    rows = sum(found.values())
    try:
        with journal.stoppable() if rows > LONG_REPORT_ROWS else nullcontext():
            if rows > LONG_REPORT_ROWS:
                check_current()
            summary = _record_end(context, error, found)
            _write_reports(context)
    except Interrupted as stop:
        error = _without_reports(context, error or stop, rows)
        summary = _record_end(context, error, found)
    write_summary(summary, context.home.summary)
    return summary, error


def _without_reports(context: RunContext, error: BulkresetError, rows: int) -> BulkresetError:
    """Delete the reports, which are older than the run's end, and mention that in the error."""
    for path in (context.home.path / context.journal.state.report_name, context.home.page):
        path.unlink(missing_ok=True)
    if not context.journal.state.reports_stale:
        error.message += f" The report of {format_rows(rows)} is not written: that takes long."
        command = f"bulkreset report {quoted(context.home.path)}"
        error.advice = f"{error.advice} To write it now: {command}.".lstrip()
        context.journal.write.change(reports_stale=True)
    return error


def _write_reports(context: RunContext) -> None:
    home, journal, asked = context.home, context.journal, context.job.report
    spec = ReportSpec(asked.format, redaction=Redaction.load(home.redaction_key) if asked.redact else None)
    write_report(journal, home.path / journal.state.report_name, spec, dry_run=journal.state.is_dry_run)
    if asked.html:
        write_page(journal, home.page, home.path, redaction=spec.redaction)
