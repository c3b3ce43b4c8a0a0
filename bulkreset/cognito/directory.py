"""The directory: who is in a user pool, asked through calls that change nothing and cost nothing."""

from botocore.exceptions import BotoCoreError, ClientError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from bulkreset.cognito.answer import Verdict, classify
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import TargetError

_NAMES = frozenset({"sub", "email", "phone_number", "preferred_username"})


def group_members(session: TargetSession, group: str) -> set[str]:
    """Every name by which a row could mean a member of `group`. Raises TargetError where the group cannot be read.

    Source: ListUsersInGroup, 60 users a page.
    """
    names: set[str] = set()
    pages = session.cognito().get_paginator("list_users_in_group")
    retrying = Retrying(
        retry=retry_if_exception(_passes), wait=wait_random_exponential(max=5), stop=stop_after_attempt(6), reraise=True
    )
    try:
        for page in retrying(lambda: list(pages.paginate(UserPoolId=session.target.user_pool_id, GroupName=group))):
            for user in page["Users"]:
                names.add(user["Username"])
                names.update(
                    found["Value"] for found in user["Attributes"] if found["Name"] in _NAMES and "Value" in found
                )
    except (ClientError, BotoCoreError) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        raise TargetError(
            f"The protected group {group!r} of {session.target.user_pool_id} could not be read: {code}.",
            "Allow cognito-idp:ListUsersInGroup on the pool and check the group's name.",
        ) from None
    return names


def _passes(error: BaseException) -> bool:
    """Whether trying again may help."""
    if isinstance(error, ClientError):
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return classify(error.response["Error"].get("Code", ""), status) in {Verdict.THROTTLED, Verdict.DOUBTFUL}
    return isinstance(error, BotoCoreError)
