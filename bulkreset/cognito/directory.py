"""The directory: who is in a user pool, asked through calls that change nothing and cost nothing."""

from botocore.exceptions import BotoCoreError, ClientError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from bulkreset.cognito.answer import Verdict, classify
from bulkreset.cognito.client import must_be_readable
from bulkreset.cognito.reading import UnreadableAnswerError
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import TargetError

ATTEMPTS = 6  # for one page
_NAMES = frozenset({"sub", "email", "phone_number", "preferred_username"})


def group_members(session: TargetSession, group: str) -> set[str]:
    """Every name by which a row could mean a member of `group`. Raises TargetError where the group cannot be read.

    Source: ListUsersInGroup, 60 users a page.
    """
    client = session.cognito()
    client.meta.events.register("before-parse.cognito-identity-provider.ListUsersInGroup", must_be_readable)
    retrying = Retrying(
        retry=retry_if_exception(_passes),
        wait=wait_random_exponential(max=5),
        stop=stop_after_attempt(ATTEMPTS),
        reraise=True,
    )
    names: set[str] = set()
    more: dict[str, str] = {}
    try:
        while True:
            page = retrying(
                client.list_users_in_group, UserPoolId=session.target.user_pool_id, GroupName=group, Limit=60, **more
            )
            for user in page.get("Users", []):
                names.add(user["Username"])
                attributes = user.get("Attributes", [])
                names.update(found["Value"] for found in attributes if found["Name"] in _NAMES and "Value" in found)
            if not page.get("NextToken"):
                return names
            if more.get("NextToken") == page["NextToken"]:
                raise UnreadableAnswerError  # noqa: TRY301  (a page that leads to itself would be read for ever)
            more = {"NextToken": page["NextToken"]}
    except (ClientError, BotoCoreError, UnreadableAnswerError) as error:
        code = error.response["Error"].get("Code") if isinstance(error, ClientError) else type(error).__name__
        raise TargetError(
            f"The protected group {group!r} of {session.target.user_pool_id} could not be read: {code}.",
            "Allow cognito-idp:ListUsersInGroup on the pool and check the group's name.",
        ) from None


def _passes(error: BaseException) -> bool:
    """Whether trying again may help."""
    if isinstance(error, ClientError):
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return classify(error.response["Error"].get("Code", ""), status) in {Verdict.THROTTLED, Verdict.DOUBTFUL}
    return isinstance(error, BotoCoreError | UnreadableAnswerError)
