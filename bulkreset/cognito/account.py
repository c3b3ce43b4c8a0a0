"""The enquiry: what AWS is asked before a run, side by side: who is calling, the quotas, the pools."""

from collections.abc import Callable, Mapping

from bulkreset.cognito.background import ask_in_background
from bulkreset.cognito.pool import UNKNOWN, PoolFacts, describe_pool
from bulkreset.cognito.quota import PUBLISHED, AccountQuota, find_quota
from bulkreset.cognito.read_calls import UnknownFact
from bulkreset.cognito.session import Caller, TargetSession

POOL_SECONDS = 20.0  # how long a pool's description is waited for: retries included


class AccountDiscovery:
    """Asks at once when it is made; each answer is waited for when it is wanted. All are by user pool id.

    `emulated_quota` is the emulator's, None where the targets are real; `with_quotas`: whether quotas matter at all.
    """

    def __init__(
        self, sessions: Mapping[str, TargetSession], emulated_quota: float | None = None, *, with_quotas: bool = True
    ) -> None:
        self._pools = {pool: _ask_pool(pool, session) for pool, session in sessions.items()}
        self._callers = {pool: session.start_caller_lookup() for pool, session in sessions.items()}
        ways: dict[tuple[object, ...], Callable[[], AccountQuota]] = {}
        self._quotas: dict[str, Callable[[], AccountQuota]] = {}
        for pool, session in sessions.items() if with_quotas else ():
            target = session.target  # what is reached in the same way has one quota
            way = target.model_copy(update={"user_pool_id": ""}).model_dump_json(), session.region
            if way not in ways:
                ways[way] = _ask_quota(session, emulated_quota)
            self._quotas[pool] = ways[way]

    def pools(self) -> dict[str, PoolFacts]:
        """What is known of each pool."""
        return {pool: answer() for pool, answer in self._pools.items()}

    def callers(self) -> dict[str, Caller]:
        """Who is calling, for each pool."""
        return {pool: answer() for pool, answer in self._callers.items()}

    def quotas(self) -> dict[str, AccountQuota]:
        """The quota under which each pool is."""
        return {pool: answer() for pool, answer in self._quotas.items()}


def _ask_pool(pool: str, session: TargetSession) -> Callable[[], PoolFacts]:
    late = PoolFacts(pool, unknown=UnknownFact(UNKNOWN, "cognito-idp:DescribeUserPool", "no answer"))
    return ask_in_background(lambda: describe_pool(session), late, POOL_SECONDS)


def _ask_quota(session: TargetSession, emulated: float | None) -> Callable[[], AccountQuota]:
    if emulated is not None:
        return lambda: AccountQuota(emulated, "the emulator's")
    late = AccountQuota(
        PUBLISHED.value, PUBLISHED.source, (UnknownFact("the quota", "servicequotas:GetServiceQuota", "no answer"),)
    )
    return ask_in_background(lambda: find_quota(session), late)
