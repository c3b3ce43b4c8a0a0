"""The last phase of a run: record its end in the journal, write the reports, and update the mirror."""

import time
from contextlib import suppress

from bulkreset.errors import BulkresetError, Interrupted, RecordError
from bulkreset.journal.execution import utc_now
from bulkreset.journal.run_state import End
from bulkreset.mirror.factory import finish_mirror, upload_log
from bulkreset.models import Summary, format_rows
from bulkreset.report.page import write_page
from bulkreset.report.redaction import Redaction
from bulkreset.report.report import write_summary
from bulkreset.report.report_writers import ReportSpec, write_report
from bulkreset.report.summary import build_summary, end_state, exit_code_of, step_counts
from bulkreset.run.context import RunContext, RunEnd
from bulkreset.statuses import Status, public_counts


def finish(context: RunContext, error: BulkresetError | None) -> RunEnd:
    """Write the reports from the journal, however the run ended; `error` is what ended it early.

    The log, the reports and the exit code agree. If a report, the page or the mirror cannot be written, that error
    counts as what stopped the run, and the run can be resumed. Raises RecordError if the end cannot be recorded.
    """
    write = context.journal.write
    if isinstance(error, Interrupted):
        _word_interruption(context, error)
    try:
        context.journal.require_in_place()  # what is at the path now may be another run's
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


def _word_interruption(context: RunContext, error: Interrupted) -> None:
    """Say in the error how far the run is."""
    if context.sending.seconds:
        counts = context.journal.read.counts()
        error.message += f" {counts.get(Status.SET, 0):,} of {format_rows(sum(counts.values()))} set."


def _record_times(context: RunContext) -> None:
    state = context.journal.state
    if orders := context.control.take_new():  # those that came before or after the sending
        context.journal.write.change(control=(*state.control, *orders))
    context.journal.write.change(
        seconds=state.seconds + time.monotonic() - context.began,
        sending_seconds=state.sending_seconds + context.sending.seconds,
    )
    if context.options.retry_failed:
        context.journal.write.restore_failed()


def _finish(context: RunContext, error: BulkresetError | None) -> RunEnd:
    write = context.journal.write
    write.change(reports_stale=False, mirror_stale=False, mirror_pending=context.mirror is not None)
    summary = _write_all(context, error)
    failure = finish_mirror(context.mirror, context.log) if context.mirror else None
    if context.mirror:
        write.change(mirror_pending=False, mirror_stale=failure is not None)
    if failure:
        error = error or failure
        summary = _write_all(context, error)
    _log_finished(context, summary, error)
    if context.mirror and not failure:
        upload_log(context.mirror, context.log)
    return RunEnd(context.home.path, summary, error)


def _record_end(context: RunContext, error: BulkresetError | None) -> Summary:
    journal = context.journal
    dry_run = journal.state.is_dry_run
    counts = public_counts(journal.read.counts(), dry_run=dry_run)
    exit_code = exit_code_of(error, counts, dry_run=dry_run, steps=step_counts(journal))
    end = End(
        state=end_state(error),
        exit_code=exit_code,
        finished_at=utc_now(),
        stopped_by=error.describe() if error else None,
    )
    journal.write.change(executions=journal.state.replacing_execution(end=end))
    return build_summary(journal, end)


def _write_all(context: RunContext, error: BulkresetError | None) -> Summary:
    summary = _record_end(context, error)
    home, journal, asked = context.home, context.journal, context.job.report
    cut = ReportSpec(asked.format, redaction=Redaction.load(home.redaction_key) if asked.redact else None)
    unsent = Status.READY.at_end(dry_run=journal.state.is_dry_run)
    write_report(journal, home.path / journal.state.report_name, unsent, cut)
    write_summary(summary, home.summary)
    if asked.html:
        write_page(journal, home.page, home.path, redaction=cut.redaction)
    return summary


def _log_finished(context: RunContext, summary: Summary, error: BulkresetError | None) -> None:
    if error:
        context.log.info("stopped", reason=type(error).__name__, message=error.message)
    counts = dict(summary.counts)
    context.log.info("run_finished", state=summary.state, exit_code=summary.exit_code, counts=counts)
