"""Provides the credentials of a target's role, which is assumed with other credentials."""

from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, CredentialProvider, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError

from bulkreset.errors import TargetError
from bulkreset.job import Target

# AssumeRole changes nothing and does not count against the rate, so botocore may retry it.
_CONFIG: Mapping[str, Any] = {
    "retries": {"mode": "standard", "total_max_attempts": 3},
    "connect_timeout": 5.0,
    "read_timeout": 10.0,
}


class RoleProvider(CredentialProvider):
    """Provides the credentials of a role, assumed with another session's. They renew themselves before they expire.

    They raise CredentialRetrievalError if the role cannot be assumed; its `provider` is the role's ARN.
    """

    METHOD = "bulkreset-role"
    CANONICAL_NAME = None

    def __init__(self, target: Target, source: boto3.Session) -> None:
        super().__init__()
        names = {"RoleSessionName": target.role_session_name, "ExternalId": target.external_id}
        self._role = target.role_arn or ""
        client: Any = source.client  # Any: the stubs want every key by name
        self._fetcher = AssumeRoleCredentialFetcher(
            lambda service, **keys: client(service, config=Config(**_CONFIG), **keys),
            source.get_credentials(),
            self._role,
            extra_args={name: value for name, value in names.items() if value},
        )

    def load(self) -> DeferredRefreshableCredentials:
        """Return the credentials. They are fetched when they are first needed."""
        return DeferredRefreshableCredentials(self._fetch, self.METHOD)

    def _fetch(self) -> Any:  # noqa: ANN401
        # Raise only this error, which stops a lane. STS's own error codes would count as Cognito's.
        try:
            return self._fetcher.fetch_credentials()
        except Exception as error:  # noqa: BLE001  (also a response that is not STS's, as behind a captive portal)
            raise CredentialRetrievalError(provider=self._role, error_msg=sts_problem(error)) from None


def sts_problem(error: Exception) -> str:
    """Return why STS gave no usable answer."""
    if isinstance(error, ClientError):
        return f"STS answered {error.response['Error'].get('Code', 'an error')}"
    reached = not isinstance(error, BotoCoreError | TargetError | ValueError)
    return f"STS {'gave an unreadable answer' if reached else 'could not be reached'} ({type(error).__name__})"
