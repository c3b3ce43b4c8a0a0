"""Prepares a run to continue where another process stopped or died."""

from bulkreset.cognito.response import PASSWORD_REFUSALS
from bulkreset.journal.execution import new_execution, unix_ms
from bulkreset.journal.journal import Journal
from bulkreset.models import Status, format_rows
from bulkreset.run.context import RunContext


def take_over(context: RunContext) -> None:
    """Check the journal and begin a new execution. The rows that a dead process had claimed become in doubt."""
    journal = context.journal
    if context.mirror_error:
        journal.write.change(**_begun_execution(journal))
        return
    with journal.stoppable():
        journal.check()
    if not journal.state.is_read:
        journal.plan.forget_plan()
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
    """Return the facts of a new execution. Even if it will send nothing, the end of the last one stays recorded."""
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
