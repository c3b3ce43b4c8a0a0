"""Counts the users who have a passkey, if the job asks for it: one AdminGetUserAuthFactors for each row to be sent."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from bulkreset.backoff import retrying
from bulkreset.cognito.pool import arn_of
from bulkreset.cognito.read_calls import ReadCallError, UnknownFact, call_read, is_transient
from bulkreset.cognito.session import TargetSession
from bulkreset.journal.reader import JournalReader
from bulkreset.models import Secret
from bulkreset.send.pacer import Pacer

CALL = "AdminGetUserAuthFactors"
PASSKEY = "WEB_AUTHN"
NONE = Secret("")  # no password is needed
ATTEMPTS = 5
_ROWS = 500  # rows that are read at a time
_UNKNOWN = "how many users have a passkey"


def count_passkeys(
    journal: JournalReader,
    sessions: Mapping[str, TargetSession],
    pacers: Mapping[str, Pacer],
    seen: Callable[[int, int], None],
) -> tuple[dict[str, int], list[UnknownFact]]:
    """Return the users to be set who have a passkey by pool, and the gaps of pools where a call failed.

    The AWS documentation does not say whether the call bills the user. `seen` is called with (calls made, calls in all)
    and may raise to stop. A user who is not found has no passkey.
    """
    expected = dict.fromkeys(sessions, 0)
    for pool, _, rows in journal.sendable_counts():
        expected[pool] += rows
    counts: dict[str, int] = {}
    gaps: list[UnknownFact] = []
    made = 0
    for pool, session in sessions.items():
        client: Any = session.side_client("cognito-idp")
        ask = retrying(is_transient, attempts=ATTEMPTS, longest_wait=2)
        row, counts[pool] = 0, 0
        while rows_of_pool := journal.sendable_after(row, [pool], _ROWS, lambda *_: NONE):
            for found in rows_of_pool:
                pacers[pool].wait(threading.Event())
                try:
                    user = {"UserPoolId": pool, "Username": found.canonical or found.username}
                    counts[pool] += PASSKEY in (ask(call_read, client.admin_get_user_auth_factors, **user)).get(
                        "ConfiguredUserAuthFactors", ()
                    )
                except ReadCallError as error:
                    # the remaining users would count as users without a passkey
                    if error.code != "UserNotFoundException":
                        gaps.append(error.unknown_fact(_UNKNOWN, f"cognito-idp:{CALL}", arn_of(session)))
                        del counts[pool]
                        break
                made += 1
                seen(made, sum(expected.values()))
            if pool not in counts:
                break
            row = rows_of_pool[-1].number
    return counts, gaps
