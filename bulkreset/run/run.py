"""One execution of a run: plan, confirm, apply, finish."""

from bulkreset.errors import BulkresetError, GuardTripped, Interrupted, Refused
from bulkreset.report.summary import has_work_left, step_counts
from bulkreset.run.apply import apply
from bulkreset.run.confirm import confirm
from bulkreset.run.context import RunContext, RunEnd
from bulkreset.run.finish import finish
from bulkreset.run.live_page import live_page
from bulkreset.run.planning import plan
from bulkreset.run.take_over import take_over
from bulkreset.run.waves import send_wave


def run(context: RunContext, *, resumed: bool = False) -> RunEnd:
    """Run a job, or continue where another process stopped or died. The progress is in the journal.

    Raises Refused if the input is unusable and the plan is not complete, RecordError if the end cannot be recorded.
    """
    context.ui.on_run_started(context.journal.state.run_id)
    if resumed:
        take_over(context)
    context.home.take_orders(context.journal.state.execution.started_at)
    state, span = context.journal.state, context.telemetry.span
    with context.stop.add_check(context.control.look), span("run", mode=state.mode, resumed=resumed):
        with live_page(context):
            error = context.mirror_error or _advance(context)
        with span("finish", stopped_by=type(error).__name__ if error else ""):
            return finish(context, error)


def _advance(context: RunContext) -> BulkresetError | None:
    """Plan, confirm and apply. Returns the error that ended the run early, or None."""
    journal = context.journal
    try:
        with context.telemetry.span("plan"):
            preflight = plan(context)
        with context.telemetry.span("confirm", rows=preflight.ready):
            is_confirmed = confirm(context, preflight)
        if is_confirmed:
            with context.telemetry.span("apply", rows=preflight.ready, lanes=len(preflight.lanes)):
                send = send_wave if context.job.waves.rows else apply
                send(context, preflight)
    except Refused as error:
        if not journal.state.is_planned:
            raise
        return error
    except GuardTripped as error:  # it stopped nothing if no row is left to send
        left = has_work_left(journal.state, journal.read.counts(), step_counts(journal))
        return error if left else None
    except Interrupted as error:
        return error if context.sending.seconds else _before_sending(context, error)
    except BulkresetError as error:
        return error
    return None


def _before_sending(context: RunContext, error: Interrupted) -> Interrupted:
    """Return the interruption of an execution that has sent nothing."""
    more = "more " if context.journal.state.sending_seconds else ""
    return Interrupted(f"Interrupted before anything {more}was sent.", "", error.signal_number)
