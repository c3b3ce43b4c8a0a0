"""The second phase of a run: check that it may send, and ask."""

import shlex
from dataclasses import replace
from typing import NoReturn

from bulkreset.causes import STOPS, advice_for
from bulkreset.errors import GuardTripped, NotConfirmed, ServiceError
from bulkreset.journal.execution import utc_now
from bulkreset.journal.run_state import ConfirmationFacts, Phase
from bulkreset.models import format_rows
from bulkreset.plan.earlier_runs import EarlierRun
from bulkreset.plan.preflight import Preflight
from bulkreset.run.context import RunContext


def confirm(context: RunContext, preflight: Preflight) -> bool:
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
        _refuse_again(preflight.earlier[0])
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


def _refuse_again(run: EarlierRun) -> NoReturn:
    raise NotConfirmed(
        f"This input was {run}. Nothing was sent.",
        f"To set these passwords again, pass --again. To send what that run has left: bulkreset resume {shlex.quote(run.run_dir)}.",
    )


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
