"""Jobs, sessions and account facts for tests without a service."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session

from bulkreset.cognito.pool import PoolFacts
from bulkreset.cognito.quota import AccountQuota
from bulkreset.cognito.session import AwsSession, Caller, TargetSession
from bulkreset.job import Job

EU, US = "eu-west-1_Here00001", "us-east-1_There0001"
EU2 = "eu-west-1_Here00002"
ACCOUNT = "111122223333"


def job(*pools: str, **keys: Any) -> Job:  # noqa: ANN401  (job keys)
    """Return a job for these pools."""
    tables = {
        "name": "test",
        "input": {"path": Path("users.csv")},
        "targets": [{"user_pool_id": pool} for pool in pools],
    }
    return Job.model_validate(tables | keys)


def sessions(asked: Job, *, emulated: bool = False, **change: Any) -> dict[str, TargetSession]:  # noqa: ANN401
    """Return a session for each target, in the Region of its id."""
    found = {}
    for target in asked.targets:
        region = target.user_pool_id.partition("_")[0]
        found[target.user_pool_id] = TargetSession(
            target.model_copy(update=change), _signed_in(region), emulated=emulated
        )
    return found


@cache
def _signed_in(region: str) -> AwsSession:
    """One session for all tests, because each session reads botocore's models again."""
    inner = botocore.session.Session()
    inner.set_credentials("AKID", "secret")
    return AwsSession(inner, region)


def callers(asked: Job, account: str = ACCOUNT) -> dict[str, Caller]:
    """Return the same caller for every target."""
    return {target.user_pool_id: Caller(account, f"arn:aws:iam::{account}:user/ann") for target in asked.targets}


def quotas(asked: Job, **of: AccountQuota) -> dict[str, AccountQuota]:
    """Return a quota of 30 for every target that is not in `of`."""
    return {
        target.user_pool_id: of.get(target.user_pool_id, AccountQuota(30.0, "test quota")) for target in asked.targets
    }


def pools(asked: Job, facts: Mapping[str, PoolFacts] | None = None) -> dict[str, PoolFacts]:
    """Return ordinary pools for all that are not in `facts`."""
    return {
        target.user_pool_id: (facts or {}).get(target.user_pool_id, PoolFacts(target.user_pool_id))
        for target in asked.targets
    }
