"""Sends a campaign in waves: one wave per execution, and the next one when the users of the last have recovered."""

import math
from collections import Counter
from dataclasses import replace

from bulkreset.cancellation import lookup_listener
from bulkreset.causes import STOPS
from bulkreset.clock import now_ms
from bulkreset.cognito.list_users import UserLister
from bulkreset.errors import GuardTripped, RowLimit, WavePause
from bulkreset.job.waves import share_of
from bulkreset.journal.execution import unix_ms, utc_now
from bulkreset.journal.run_state import WaveFacts
from bulkreset.models import format_rows
from bulkreset.plan.parallel_calls import listing_pacers
from bulkreset.plan.preflight import Preflight, group_by_quota
from bulkreset.report.headline import wave_text
from bulkreset.report.user_state import UserState
from bulkreset.report.verify import temporary_store
from bulkreset.report.verify_lookup import look_up_set_users, verified_users
from bulkreset.run.apply import apply, is_approved_limit
from bulkreset.run.context import RunContext
from bulkreset.text import format_count, format_duration, format_limit


def send_wave(context: RunContext, preflight: Preflight) -> None:
    """Send the rest of the current wave, or the next wave if it may be sent; sign out the users who must be.

    Raises WavePause if rows remain after the wave, or if the next one may not be sent yet; GuardTripped if too many
    temporary passwords of the last wave have expired; and the errors of `apply`.
    """
    own = context.job.guards.limit
    if not preflight.ready or own == 0:  # 0: all approved rows have been sent
        apply(context, preflight)
        return
    journal = context.journal
    waves = journal.state.waves
    if not waves or waves[-1].ended_at:
        if waves and (pause := _reason_to_wait(context, preflight)):
            if preflight.pending:
                _apply(context, preflight, 0)
            raise pause
        journal.write.change(waves=(*journal.state.waves, WaveFacts(begun_ms=now_ms())))
    left = max(0, _rows(context) - journal.read.finished_since(journal.state.waves[-1].begun_ms))
    stopped = _apply(context, preflight, left if own is None else min(own, left))
    if stopped and (asked := context.control.row_limit) is not None and asked < left:
        raise stopped  # by bulkreset control, perhaps in the middle of the wave
    if stopped and own is not None and own < left:
        if is_approved_limit(context):
            raise stopped
        raise RowLimit(
            f"Stopped after {format_rows(own)}, in the middle of wave {len(journal.state.waves)}.",
            STOPS["row_limit"].advice,
        )
    journal.write.change(
        waves=(*journal.state.waves[:-1], journal.state.waves[-1].model_copy(update={"ended_at": utc_now()}))
    )
    rest = sum(rows for _, _, rows in journal.read.sendable_counts())
    if rest and preflight.ready > left:
        number, more = len(journal.state.waves), math.ceil(rest / _rows(context))
        raise WavePause(
            f"Wave {number} of {number + more} was sent. {format_rows(rest)} left. {_needs(context)}",
            STOPS["wave_sent"].advice,
        )


def _apply(context: RunContext, preflight: Preflight, limit: int) -> RowLimit | None:
    """Send up to `limit` rows. Return the error if the limit left rows unsent."""
    guards = context.job.guards.model_copy(update={"limit": limit})
    try:
        apply(replace(context, job=context.job.model_copy(update={"guards": guards})), preflight)
    except RowLimit as error:
        return error
    return None


def _rows(context: RunContext) -> int:
    return context.job.waves.rows or 0


def _needs(context: RunContext) -> str:
    """Return what the next wave waits for, as a sentence."""
    waves = context.job.waves
    needs = [f"{waves.recovered} of its users have recovered"] if share_of(waves.recovered) else []
    needs += [f"{format_limit(waves.after)} have passed"] if waves.after else []
    return (
        f"The next wave may be sent when {' and '.join(needs)}." if needs else "The next wave may be sent at any time."
    )


def _reason_to_wait(context: RunContext, preflight: Preflight) -> WavePause | None:
    """Check the users of the last wave and record the result. Return why the next wave may not be sent yet.

    Raises GuardTripped if too many temporary passwords have expired.
    """
    journal, asked = context.journal, context.job.waves
    found = _look(context, preflight)
    users = sum(found.values()) - found[UserState.GONE]  # deleted users cannot recover
    last = journal.state.waves[-1].model_copy(
        update={
            "checked_at": utc_now(),
            "users": users,
            "recovered": found[UserState.CHANGED],
            "expired": found[UserState.EXPIRED],
        }
    )
    journal.write.change(waves=(*journal.state.waves[:-1], last))
    number = len(journal.state.waves)
    context.ui.notice(wave_text(number, last))
    if asked.max_expired and last.expired > share_of(asked.max_expired) * users:
        raise GuardTripped(
            f"{format_count(last.expired, 'temporary password')} of wave {number} expired, of {format_count(users, 'user')};"
            f" waves.max_expired is {asked.max_expired}. No more waves are sent.",
            STOPS["wave_expired"].advice,
        )
    waits = []
    if last.recovered < share_of(asked.recovered) * users:
        waits.append(
            f"{last.recovered:,} of {format_count(users, 'user')} have recovered, and waves.recovered is {asked.recovered}"
        )
    spent = (now_ms() - unix_ms(last.ended_at or utc_now())) / 1000
    if asked.after and spent < asked.after:
        waits.append(f"it ended {format_duration(max(0.0, spent))} ago, and waves.after is {format_limit(asked.after)}")
    if not waits:
        return None
    return WavePause(f"Wave {number + 1} waits for wave {number}: {'; '.join(waits)}.", STOPS["wave_sent"].advice)


def _look(context: RunContext, preflight: Preflight) -> Counter[UserState]:
    """Return the states of the last wave's users, as `verify` finds them."""
    journal, pools = context.journal, preflight.pools
    since = journal.state.waves[-1].begun_ms
    lanes = group_by_quota(context.sessions, preflight.callers)
    pacers = listing_pacers(context.job, [*lanes.values()], context.clock)
    listers = {pool: UserLister(session, pools[pool]) for pool, session in context.sessions.items()}
    seen = lookup_listener(context.ui, context.stop)
    with temporary_store() as store:
        look_up_set_users(journal, listers, pacers, store, context.clock, seen, since)
        return Counter(user.state for user in verified_users(journal, store, pools, now_ms(), 0.0, since))
