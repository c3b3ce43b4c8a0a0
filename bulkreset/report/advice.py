"""The next step for a row, by its status and its code: one sentence for every code in a report."""

from collections.abc import Mapping

from bulkreset.cognito.response import advice_for
from bulkreset.models import RejectCode, SkipReason, Status

MEANINGS: Mapping[str, str] = {
    Status.SET: "Cognito took the password.",
    Status.READY: "It would be sent.",
    Status.CLAIMED: "It is about to be sent, or on its way.",
    Status.FAILED: "Cognito refused it, or the attempts were used up.",
    Status.IN_DOUBT: "It was sent and no answer is known: it may be set.",
    Status.UNPROCESSED: "The run stopped before it was sent.",
    Status.REJECTED: "The plan found that it must not be sent.",
    Status.SKIPPED: "It was left alone on purpose.",
}

_THROTTLED = "It was throttled at every attempt: resume with --failed and a lower --share."
_UNREACHED = "Nothing was sent: fix the network or the proxy, then resume with --failed."
_DOUBT = "Resume: it is sent again, with the same password."
_ALONE = "Nothing, where that is meant; the job file says who is left alone."

_NEXT: Mapping[str, str] = {
    RejectCode.BAD_VALUE: "Fix the line that the message names, in a new input with the rejected rows only.",
    RejectCode.MISSING_USERNAME: "Give the row a username, in a new input with the rejected rows only.",
    RejectCode.MISSING_PASSWORD: "Give the row a password, in a new input with the rejected rows only.",
    RejectCode.TOO_LONG: "Shorten it: a username has 128 characters at most, a password 256.",
    RejectCode.UNKNOWN_POOL: "Name one of the job's user pools in the row, or add the pool to the job.",
    RejectCode.PASSWORD_WHITESPACE: "Take the white space or the line break out of the password, in a new input.",
    RejectCode.PASSWORD_POLICY: "Choose a password that has what the message names, in a new input.",
    RejectCode.DUPLICATE_USERNAME: "Keep one of the rows that name this user, or say which one with input.on_duplicate.",
    RejectCode.USER_NOT_FOUND: "Check the name and the pool; for a user who was created seconds ago use --no-check-users.",
    SkipReason.PROTECTED: "Nothing: guards.protected names this user.",
    SkipReason.FEDERATED: "Nothing: the user's password is the identity provider's.",
    SkipReason.DISABLED: "Enable the user first, if the user is to have a password.",
    SkipReason.PASSWORDLESS: "Nothing: the pool lets nobody in by password.",
    SkipReason.UNCONFIRMED: _ALONE,
    SkipReason.UNRECOVERABLE: "Give the user a verified address that the pool uses for recovery, or a temporary password.",
    "UserNotFoundException": "Check the name and the pool: no user of the pool signs in by this name.",
    "InvalidPasswordException": "Choose a password that the pool's policy takes, and complete [password.policy], in a new run.",
    "InvalidParameterException": "Read the message: Cognito takes neither such a username nor such a password.",
    "PasswordHistoryPolicyViolationException": "Choose another password, in a new run: the user had this one lately.",
    "NotAuthorizedException": "Read the message: the user's state, or the pool's, does not allow it.",
    **dict.fromkeys(
        (
            "TooManyRequestsException",
            "ThrottlingException",
            "Throttling",
            "RequestLimitExceeded",
            "LimitExceededException",
        ),
        _THROTTLED,
    ),
    **dict.fromkeys(("EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError"), _UNREACHED),
    **dict.fromkeys(
        (
            "InternalErrorException",
            "InternalError",
            "InternalFailure",
            "ServiceUnavailable",
            "ServiceUnavailableException",
            "UnreadableResponse",
            "ResponseTooLarge",
            "ReadTimeoutError",
        ),
        _DOUBT,
    ),
}


def next_step(status: str, code: str) -> str:
    """Return the next step for rows with this status (the report's or the journal's) and this code."""
    if status == Status.IN_DOUBT:
        return _DOUBT
    if status == Status.CLAIMED:
        return "Wait for it."
    if status == Status.SET:
        return "The password is set and the user is not signed out: fix the cause, then resume with --failed."
    if code in _NEXT:
        return _NEXT[code]
    known = advice_for(code)
    return known if known != advice_for("") else _UNKNOWN


_UNKNOWN = "Read the message and fix what it says, then resume with --failed."
