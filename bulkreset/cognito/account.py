"""Asks AWS in parallel, before a run, for the caller, the quotas and the pools."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from bulkreset.cognito import pool_status
from bulkreset.cognito.background_call import ask_in_background
from bulkreset.cognito.pool import PoolFacts, describe_pool, undescribed
from bulkreset.cognito.quota import PUBLISHED, AccountQuota, find_quota
from bulkreset.cognito.read_calls import NO_ANSWER, UnknownFact
from bulkreset.cognito.session import Caller, TargetSession

POOL_SECONDS = 20.0  # longest wait for a pool's description, retries included


class AccountDiscovery:
    """Facts about the account. All requests start in the constructor; each method waits for its answers.

    All results are keyed by user pool id. `emulated_quota` is the emulator's quota in calls per second, None if the
    targets are real. If `with_quotas` is false, only the pools' descriptions and the callers are requested. With
    `with_sessions` it also asks whether the pools track sessions.
    """

    def __init__(
        self,
        sessions: Mapping[str, TargetSession],
        emulated_quota: float | None = None,
        *,
        with_quotas: bool = True,
        with_sessions: bool = False,
    ) -> None:
        self._sessions = sessions
        self._described = {
            pool: ask_in_background(partial(describe_pool, session), undescribed(pool, NO_ANSWER), POOL_SECONDS)
            for pool, session in sessions.items()
        }
        self._with_status, self._with_sessions = with_quotas, with_sessions
        self._pools: dict[str, PoolFacts] | None = None
        self._callers = {pool: session.start_caller_lookup() for pool, session in sessions.items()}
        ways: dict[tuple[object, ...], Callable[[], AccountQuota]] = {}
        self._quotas: dict[str, Callable[[], AccountQuota]] = {}
        for pool, session in sessions.items() if with_quotas else ():
            target = session.target  # targets with the same settings and Region share one quota
            way = target.model_copy(update={"user_pool_id": ""}).model_dump_json(), session.region
            if way not in ways:
                ways[way] = _ask_quota(session, emulated_quota)
            self._quotas[pool] = ways[way]

    def pools(self) -> dict[str, PoolFacts]:
        """Return the facts about each pool. The first call also asks for facts beyond DescribeUserPool."""
        if self._pools is None:
            described = {pool: answer() for pool, answer in self._described.items()}
            asked = {pool: self._ask_status(facts) for pool, facts in described.items()} if self._with_status else {}
            self._pools = described | {pool: answer() for pool, answer in asked.items()}
        return dict(self._pools)

    def callers(self) -> dict[str, Caller]:
        """Return the caller's identity for each pool."""
        return {pool: answer() for pool, answer in self._callers.items()}

    def quotas(self) -> dict[str, AccountQuota]:
        """Return the quota that applies to each pool; empty without `with_quotas`."""
        return {pool: answer() for pool, answer in self._quotas.items()}

    def _ask_status(self, facts: PoolFacts) -> Callable[[], PoolFacts]:
        session = self._sessions[facts.user_pool_id]
        if facts.unknown or session.emulated:
            return lambda: facts
        late = pool_status.unanswered(facts, NO_ANSWER, with_sessions=self._with_sessions)
        ask = partial(pool_status.add_status, session, facts, with_sessions=self._with_sessions)
        return ask_in_background(ask, late, pool_status.SECONDS)


def _ask_quota(session: TargetSession, emulated: float | None) -> Callable[[], AccountQuota]:
    if emulated is not None:
        return lambda: AccountQuota(emulated, "the emulator")
    gap = UnknownFact("the quota", "servicequotas:GetServiceQuota", NO_ANSWER)
    return ask_in_background(lambda: find_quota(session), replace(PUBLISHED, unknown=(gap,)))
