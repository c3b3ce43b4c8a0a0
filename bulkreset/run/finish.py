"""The end of a run: record it in the journal, write the reports, and update the mirror."""

from contextlib import suppress
from typing import Any

from bulkreset.errors import BulkresetError, Interrupted, RecordError
from bulkreset.job import Job
from bulkreset.journal.execution import utc_now
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_dir import RunDir, report_name
from bulkreset.log import Log
from bulkreset.mirror.factory import finish_mirror
from bulkreset.mirror.mirror import JournalMirror
from bulkreset.models import Summary, format_rows
from bulkreset.report.page import write_page
from bulkreset.report.redaction import Redaction
from bulkreset.report.report import write_summary
from bulkreset.report.report_writers import ReportSpec, write_report
from bulkreset.report.summary import (
    build_summary,
    describe_error,
    exit_code_of,
    sign_out_counts,
    state_of,
)
from bulkreset.statuses import Status, public_counts


class Finisher:
    """Ends one execution. `facts` are the run's facts in the journal, and are kept equal to them.

    The log, the reports and the exit code agree. If a report, the page or the mirror cannot be written, that error
    counts as what stopped the run, and the run can be resumed.
    """

    def __init__(
        self, job: Job, home: RunDir, journal: Journal, facts: dict[str, Any], log: Log, mirror: JournalMirror | None
    ) -> None:
        self._job = job
        self._home = home
        self._journal = journal
        self._facts = facts
        self._log = log
        self._mirror = mirror
        self._dry = facts["mode"] == "dry_run"

    def write_reports(self, ended: BulkresetError | None) -> Summary:
        """Record the end and write the reports. `ended` is what ended the run early. Raises RecordError."""
        if isinstance(ended, Interrupted):
            self._word_interruption(ended)
        try:
            self._note(undrawn=False, **({"unmirrored": False} if self._mirror else {}))
            summary = self._write_all(ended)
            self._log_finished(summary, ended)
            if self._mirror and (unput := finish_mirror(self._mirror, self._log)):
                self._note(unmirrored=True)
                summary = self._write_all(ended or unput)
                if not ended:
                    self._log_finished(summary, unput)
        except RecordError as failure:
            stopped = ended if isinstance(ended, RecordError) else failure
            with suppress(RecordError):  # the disk may be full
                self._note(undrawn=True)
                write_summary(self._note_finished(stopped), self._home.summary)
            raise stopped from None
        return summary

    def _word_interruption(self, ended: Interrupted) -> None:
        """Say in the error how far the run is."""
        counts = self._journal.counts()
        if self._journal.totals().attempts:
            ended.message += f" {counts.get(Status.SET, 0):,} of {format_rows(sum(counts.values()))} set."
        else:
            ended.message = f"{ended.message.removesuffix('.')} before anything was sent."
            ended.advice = "Resume to continue."

    def _note_finished(self, ended: BulkresetError | None) -> Summary:
        counts = public_counts(self._journal.counts(), dry_run=self._dry)
        exit_code = exit_code_of(
            ended, counts, dry_run=self._dry, signed_out=sign_out_counts(self._journal, self._facts)
        )
        state, now = state_of(ended), utc_now()
        *earlier, this = self._facts["executions"]
        this |= {"finished_at": now, "state": state, "exit_code": exit_code}
        self._note(state=state, exit_code=exit_code, finished_at=now, stopped_by=describe_error(ended))
        self._note(executions=[*earlier, this])
        return build_summary(self._journal, ended)

    def _write_all(self, ended: BulkresetError | None) -> Summary:
        summary = self._note_finished(ended)
        asked = self._job.report
        cut = ReportSpec(asked.format, redaction=Redaction.load(self._home.redaction_key) if asked.redact else None)
        report = self._home.path / report_name(self._facts["job"])
        write_report(self._journal, report, Status.READY.at_end(dry_run=self._dry), cut)
        write_summary(summary, self._home.summary)
        if asked.html:
            write_page(self._journal, self._home.page, self._home.path, redaction=cut.redaction)
        return summary

    def _log_finished(self, summary: Summary, ended: BulkresetError | None) -> None:
        if ended:
            self._log.info("stopped", reason=type(ended).__name__, message=ended.message)
        counts = dict(summary.counts)
        self._log.info("run_finished", state=summary.state, exit_code=summary.exit_code, counts=counts)

    def _note(self, **facts: object) -> None:
        self._journal.note(**facts)
        self._facts |= facts
