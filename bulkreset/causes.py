"""The causes that stop a row or a run, and the next step for each: one table for screens, files and the runbook."""

from collections.abc import Mapping
from dataclasses import dataclass

NOT_SET = "of the rows that are not set"  # a new run of anything else would set passwords again


@dataclass(frozen=True, slots=True)
class Cause:
    """The next step for a cause. In `advice`, {call} is the API call and {then} the verb for the next step.

    `resume_helps` is False if the same run can never succeed, because its job is wrong.
    """

    advice: str
    resume_helps: bool = True


_REJECTED_ONLY = "in a new input with the rejected rows only"

# Rows that the check before sending rejects or skips.
PLAN: Mapping[str, Cause] = {
    "bad_value": Cause(f"Fix the line that the message names, {_REJECTED_ONLY}."),
    "missing_username": Cause(f"Add the username, {_REJECTED_ONLY}."),
    "missing_password": Cause(f"Add the password, {_REJECTED_ONLY}."),
    "too_long": Cause(f"Shorten it, {_REJECTED_ONLY}: a username has at most 128 characters, a password at most 256."),
    "unknown_pool": Cause(
        f"Name one of the job's user pools in the row, or add the pool to the job, {_REJECTED_ONLY}."
    ),
    "password_whitespace": Cause(f"Remove the white space or the line break from the password, {_REJECTED_ONLY}."),
    "password_policy": Cause(f"Choose a password that meets the policy (see the message), {_REJECTED_ONLY}."),
    "suspect_password": Cause(
        "A program has altered or hashed this password (see the message). Export the original,"
        f' {_REJECTED_ONLY}; input.on_suspect_password = "send" sends it as it is.'
    ),
    "duplicate_username": Cause(
        f"Keep one of the rows with this username, or choose one with input.on_duplicate, {_REJECTED_ONLY}."
    ),
    "user_not_found": Cause(
        "Check the name and the pool: this pool has no user with this name."
        " If the user was created seconds ago, use --no-check-users."
    ),
    "protected": Cause("No action needed: guards.protected names this user."),
    "federated": Cause("No action needed: the identity provider has the user's password."),
    "disabled": Cause("If the user needs a password, enable the user first."),
    "passwordless": Cause("No action needed: the pool does not allow sign-in with a password."),
    "unconfirmed": Cause("No action needed, if intended: plan.skip lists which users are skipped."),
    "unrecoverable": Cause(
        "No call was made: the user keeps the old password and sessions. Give the user a verified address that the pool"
        " uses for recovery, or a temporary password."
    ),
}

THROTTLED = (
    "TooManyRequestsException",
    "ThrottlingException",
    "Throttling",
    "RequestLimitExceeded",
    "LimitExceededException",
)
NOT_REACHED = frozenset({"EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError"})
_THROTTLED = Cause("Throttled at the last attempt: resume with --failed and a lower --share.")
_NOT_REACHED = Cause("No connection at the last attempt: fix the network or the proxy. Then resume with --failed.")

HISTORY_VIOLATION = "PasswordHistoryPolicyViolationException"

# Rows that failed.
FAILED: Mapping[str, Cause] = {
    "UserNotFoundException": Cause("Check the name and the pool: no user of the pool signs in with this name."),
    "InvalidPasswordException": Cause(
        "Choose a password that meets the pool's policy, and complete [password.policy]."
        f" Then start a new run {NOT_SET}."
    ),
    "InvalidParameterException": Cause(
        f"See the message: Cognito rejects this username or password. Fix it, then start a new run {NOT_SET}."
    ),
    HISTORY_VIOLATION: Cause(
        f"Choose another password: the user had this one recently. Then start a new run {NOT_SET}."
    ),
    "NotAuthorizedException": Cause(
        "See the message: the state of the user or of the pool does not allow it. Fix it, then resume with --failed."
    ),
    **dict.fromkeys(THROTTLED, _THROTTLED),
    **dict.fromkeys(sorted(NOT_REACHED), _NOT_REACHED),
}

# Rows in doubt: no answer arrived, so a plain resume sends them again.
DOUBT = Cause("Resume: it is sent again, with the same password or a newly generated one.")
# The code is HISTORY_VIOLATION: an earlier answer was lost, and the user's last change did not
# show that its call has set the password.
NOT_SHOWN = Cause(
    "See the message, and resume. If it stays in doubt, the user had this password recently: choose another one. Then start"
    f" a new run {NOT_SET}."
)
# Answers of the service that do not say whether the call was applied.
DOUBTFUL = (
    "InternalErrorException",
    "InternalError",
    "InternalFailure",
    "ServiceUnavailable",
    "ServiceUnavailableException",
)
IN_DOUBT: Mapping[str, Cause] = dict.fromkeys(
    (*DOUBTFUL, "UnreadableResponse", "ResponseTooLarge", "ReadTimeoutError", "ConnectionClosedError"), DOUBT
)

STEP = Cause(
    "The password is set, but a step after it failed (see the message). Fix the cause, then resume with --failed."
)

_NO_RIGHT = Cause("Allow cognito-idp:{call} on the user pool for these credentials, then {then}.")
_BAD_KEYS = Cause("Check the access key, its secret and the machine's clock, then {then}.")
_NO_KEYS = Cause("Sign in again or renew the credentials, then {then}.")

# Answers after which no call can succeed.
FATAL: Mapping[str, Cause] = {
    "ResourceNotFoundException": Cause(
        "Check the user pool ID, the Region and the account: a pool exists in one Region of one account."
        " Fix the job, then {then}.",
        resume_helps=False,
    ),
    "OperationNotEnabledException": Cause(
        "The pool accepts no writes now: a recovery is in progress, or this is a replica Region. Wait until the recovery is"
        " completed or cancelled, or use the pool's primary Region, then {then}."
    ),
    "AccessDenied": _NO_RIGHT,
    "AccessDeniedException": _NO_RIGHT,
    "UnrecognizedClientException": _BAD_KEYS,
    "InvalidClientTokenId": _BAD_KEYS,
    "SignatureDoesNotMatch": _BAD_KEYS,
    "InvalidSignatureException": _BAD_KEYS,
    "OptInRequired": Cause("Enable the Region or the service for this account, then {then}."),
    "SubscriptionRequired": Cause("Enable the service for this account, then {then}."),
    "ExpiredToken": _NO_KEYS,
    "ExpiredTokenException": _NO_KEYS,
    "RequestExpired": Cause("Set the machine's clock right or renew the credentials, then {then}."),
    "NoCredentialsError": _NO_KEYS,
    "PartialCredentialsError": _NO_KEYS,
    "CredentialRetrievalError": _NO_KEYS,
    "TokenRetrievalError": _NO_KEYS,
    "UnauthorizedSSOTokenError": _NO_KEYS,
    "SSLError": Cause("Check the host, and name its CA with AWS_CA_BUNDLE (run has --ca-bundle, too), then {then}."),
}

# Causes for which a run stops itself.
STOPS: Mapping[str, Cause] = {
    "max_rows": Cause("Check the input. If it is the right one, resume with a higher --max-rows."),
    "max_failures": Cause(
        "Look at the codes in the report and fix the cause, then resume. The count starts again from 0."
    ),
    "all_failed": Cause(
        "The cause is probably the user pool, the kind of username or the policy. Compare one user by hand. Then resume"
        f" with --failed, or start a new run {NOT_SET}."
    ),
    "no_answers": Cause(
        "This looks like a network or AWS problem: the rows are in doubt. Check the connection and the AWS health page,"
        " then resume."
    ),
    "throttled": Cause(
        "The quota is used up, or AWS has lowered it. Check it in Service Quotas, then resume with --failed and a lower --share."
    ),
    "not_reached": Cause("Fix the network or the proxy, then resume with --failed."),
    "no_connection": Cause("Check the name of the host, the Region and the network, then resume."),
    "connect_timeout": Cause("Check the network and its firewall, then resume."),
    "proxy": Cause("Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY, then resume."),
    "answer_timeout": Cause("Check the name of the host, the network and the proxy, then resume."),
    "time_limit": Cause("Resume when there is time."),
    "row_limit": Cause("Resume to send the rest."),
    "approved_limit": Cause(f"No more rows were approved: make a new dry run {NOT_SET}, and have it approved."),
    "wave_sent": Cause("Resume later: it checks this wave, and sends the next one if it may."),
    "wave_expired": Cause(
        "Give these users new passwords: bulkreset verify RUN_DIR --reissue FILE. Resume checks again, and continues when few enough remain."
    ),
    "interrupted": Cause("Calls in progress were finished and recorded. Resume to continue."),
    "not_confirmed": Cause("Resume to be asked again."),
}


def advice_for(code: str, call: str = "AdminSetUserPassword", then: str = "resume") -> str:
    """Return the advice for a fatal code in a response to `call`; `then` is the next step, a verb."""
    cause = FATAL.get(code, Cause("Fix the cause, then {then}."))
    if then.startswith("resume") and not cause.resume_helps:
        then = f"start a new run {NOT_SET}"
    return cause.advice.format(call=call, then=then)


def resume_helps(code: str) -> bool:
    """Return whether a run that this code stopped can succeed when it is resumed."""
    cause = FATAL.get(code)
    return cause is None or cause.resume_helps
