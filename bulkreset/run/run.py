"""One execution of a run: take it over if it was begun before, plan, confirm, apply, finish."""

from dataclasses import replace

from bulkreset.causes import STOPS, advice_for
from bulkreset.cognito.response import PASSWORD_REFUSALS
from bulkreset.errors import BulkresetError, GuardTripped, Interrupted, NotConfirmed, Refused, ServiceError
from bulkreset.journal.execution import new_execution, unix_ms, utc_now
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_state import ConfirmationFacts, Phase
from bulkreset.models import format_rows
from bulkreset.plan.preflight import Preflight
from bulkreset.report.summary import has_work_left, step_counts
from bulkreset.run.apply import apply
from bulkreset.run.context import RunContext, RunEnd
from bulkreset.run.finish import finish
from bulkreset.run.live_page import live_page
from bulkreset.run.planning import plan
from bulkreset.run.waves import send_wave
from bulkreset.statuses import Status
from bulkreset.text import quoted


def run(context: RunContext, *, resumed: bool = False) -> RunEnd:
    """Run a job, or continue where another process stopped or died. The progress is in the journal.

    Raises Refused if the input is unusable and the plan is not complete, RecordError if the end cannot be recorded.
    """
    context.ui.on_run_started(context.journal.state.run_id)
    if resumed:
        _take_over(context)
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
            is_confirmed = _confirm(context, preflight)
        if is_confirmed:
            with context.telemetry.span("apply", rows=preflight.ready, lanes=len(preflight.lanes)):
                send = send_wave if context.job.waves.rows else apply
                send(context, preflight)
    except Refused as error:
        if not journal.state.is_planned:
            raise
        return error
    except GuardTripped as error:  # the guard stopped nothing if no row is left to send
        left = has_work_left(journal.state, journal.read.counts(), step_counts(journal))
        return error if left else None
    except Interrupted as error:
        if context.sending.seconds:
            return error
        more = "more " if journal.state.sending_seconds else ""
        return Interrupted(f"Interrupted before anything {more}was sent.", "", error.signal_number)
    except BulkresetError as error:
        return error
    return None


def _take_over(context: RunContext) -> None:
    """Check the journal and begin a new execution. The rows that a dead process had claimed become in doubt."""
    journal = context.journal
    if context.mirror_error:
        journal.write.change(**_begun_execution(journal))
        return
    with journal.stoppable():
        journal.check()
    if not journal.state.is_read:
        journal.write.forget_plan()
    elif context.service and context.rows:
        for chunk in context.rows.batches():
            context.service.seed(chunk.cells("user_pool_id"), chunk.cells("username"))
    state = journal.state.state
    journal.write.mark_claimed_in_doubt(**_begun_execution(journal, journal.read.counts().get(Status.CLAIMED, 0)))
    revived = journal.write.retry_failed() if context.options.retry_failed else {}
    for code in sorted(PASSWORD_REFUSALS & revived.keys()):
        context.ui.notice(
            f"{format_rows(revived[code])} failed with {code} before; {'it' if revived[code] == 1 else 'they'} will fail again unless the pool's policy has changed."
        )
    context.log.info("run_resumed", state=state, counts=context.counts(), sent_again=revived)


def _begun_execution(journal: Journal, claimed: int = 0) -> dict[str, object]:
    """Return the facts of a new execution, even if it will send nothing: the end of the last one stays recorded."""
    execution = new_execution().model_copy(update={"claimed_before": claimed})
    return {"executions": (*journal.state.executions, execution), **_lost_execution_time(journal)}


def _lost_execution_time(journal: Journal) -> dict[str, float]:
    """Return the run's times (s) including a dead last execution, estimated from its rows; {} if none died."""
    if journal.state.end:
        return {}
    began = unix_ms(journal.state.execution.started_at)
    span = journal.read.sent_since(began)
    if span is None:
        return {}
    return {
        "seconds": journal.state.seconds + (span[1] - began) / 1000,
        "sending_seconds": journal.state.sending_seconds + (span[1] - span[0]) / 1000,
    }


def _confirm(context: RunContext, preflight: Preflight) -> bool:
    """Return whether there is anything to send; a dry run sends nothing.

    Raises ServiceError if a pool cannot be used, GuardTripped if the run is too large, NotConfirmed if it was not
    confirmed.
    """
    _require_sendable(context, preflight)
    journal = context.journal
    if journal.state.is_dry_run or not preflight.sends:
        return False
    repeats = bool(preflight.earlier) and not (
        context.options.again or journal.state.again or journal.state.phase is Phase.APPLYING
    )
    if repeats and (journal.state.confirmed or context.options.yes):
        known = preflight.earlier[0]
        rest = f" To send what that run has left: bulkreset resume {quoted(known.run_dir)}." if known.resumable else ""
        raise NotConfirmed(
            f"This input was {known}. Nothing was sent.", f"To set these passwords again, pass --again.{rest}"
        )
    if context.options.again:
        preflight = replace(preflight, earlier=())
    if not journal.state.confirmed:
        if not (context.options.yes or context.ui.confirm(preflight)):
            raise NotConfirmed("The run was not confirmed. Nothing was sent.", STOPS["not_confirmed"].advice)
        how = context.options.confirmed_by or context.ui.confirmed_by
        again = context.options.again or journal.state.again or bool(preflight.earlier)
        journal.write.change(confirmed=True, again=again, confirmation=ConfirmationFacts(how=how, at=utc_now()))
    context.stop.check()
    return True


def _require_sendable(context: RunContext, preflight: Preflight) -> None:
    for pool, facts in preflight.pools.items():
        if facts.unknown and facts.unknown.fatal:
            code = facts.unknown.code
            raise ServiceError(code, f"Cognito answered {code} when asked for {pool}.", advice_for(code))
    most = context.job.guards.max_rows
    if most is not None and preflight.ready > most:
        raise GuardTripped(
            f"The input has {format_rows(preflight.ready)} to send; max_rows is {most:,}.", STOPS["max_rows"].advice
        )
