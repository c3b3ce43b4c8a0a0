"""The error codes of the services, their HTTP status, and an exception for them."""

from enum import StrEnum
from typing import Final


class Code(StrEnum):
    """The codes that the simulator itself answers; faults may use any other."""

    ACCESS_DENIED = "AccessDenied"
    EXPIRED = "ExpiredTokenException"
    EXPIRED_AT_STS = "ExpiredToken"
    HISTORY_VIOLATION = "PasswordHistoryPolicyViolationException"
    INVALID_PARAMETER = "InvalidParameterException"
    INVALID_SIGNATURE = "InvalidSignatureException"
    NO_SUCH_RESOURCE = "NoSuchResourceException"
    POLICY_VIOLATION = "InvalidPasswordException"
    RESOURCE_NOT_FOUND = "ResourceNotFoundException"
    SERIALIZATION = "SerializationException"
    TOO_MANY_REQUESTS = "TooManyRequestsException"
    UNKNOWN_OPERATION = "UnknownOperationException"
    UNRECOGNIZED_CLIENT = "UnrecognizedClientException"
    USER_NOT_FOUND = "UserNotFoundException"


# Cognito answers nearly everything with 400, throttling included; these are the exceptions.
_STATUS: Final = {
    "InternalErrorException": 500,
    "InternalFailure": 500,
    "ServiceUnavailable": 503,
    "ServiceUnavailableException": 503,
}

# The real service's messages, if known. Otherwise the code alone.
_MESSAGES: Final = {
    "AccessDenied": "User is not authorized to perform this action",
    "AccessDeniedException": "User is not authorized to perform this action",
    "InternalErrorException": "Something went wrong",
    "ThrottlingException": "Rate exceeded",
    Code.EXPIRED: "The security token included in the request is expired",
    Code.EXPIRED_AT_STS: "The security token included in the request is expired",
    Code.INVALID_SIGNATURE: ("The request signature we calculated does not match the signature you provided."),
    Code.TOO_MANY_REQUESTS: "Too many requests",
    Code.UNRECOGNIZED_CLIENT: ("The security token included in the request is invalid."),
    Code.USER_NOT_FOUND: "User does not exist.",
}


class ApiError(Exception):
    """A refusal as the service would send it: code, message and HTTP status."""

    def __init__(self, code: str, message: str = "", status: int = 0) -> None:
        """Use the usual message and status of `code` as defaults."""
        super().__init__(code)
        self.code = str(code)
        self.message = message or _MESSAGES.get(code, self.code)
        self.status = status or _STATUS.get(code, 400)


def invalid(*, member: str, constraint: str) -> ApiError:
    """Return the message for a parameter that violates the API's model; never its value."""
    return ApiError(
        Code.INVALID_PARAMETER,
        f"1 validation error detected: Value at '{member}' failed to satisfy constraint: {constraint}",
    )


def unknown_pool(pool_id: str) -> ApiError:
    """Return the error for a pool that this Region and account do not have."""
    message = f"User pool {pool_id} does not exist."
    return ApiError(Code.RESOURCE_NOT_FOUND, message)
