"""The role: a target's credentials where they are those of a role, assumed with somebody else's."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, CredentialProvider, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError

from bulkreset.job import Target

if TYPE_CHECKING:
    from mypy_boto3_sts import STSClient

# AssumeRole changes nothing and is not counted: botocore may try it again.
_CONFIG: Mapping[str, Any] = {
    "retries": {"mode": "standard", "total_max_attempts": 3},
    "connect_timeout": 5.0,
    "read_timeout": 10.0,
}


class RoleProvider(CredentialProvider):
    """Credentials of a role, assumed with those of another session. They renew themselves before they expire.

    They raise CredentialRetrievalError, whose provider is the role, where that cannot be assumed.
    """

    METHOD = "bulkreset-role"
    CANONICAL_NAME = None

    def __init__(self, target: Target, source: boto3.Session) -> None:
        super().__init__()
        names = {"RoleSessionName": target.role_session_name, "ExternalId": target.external_id}
        self._role = target.role_arn or ""
        self._fetcher = AssumeRoleCredentialFetcher(
            partial(_sts_of, source),
            source.get_credentials(),
            self._role,
            extra_args={name: value for name, value in names.items() if value},
        )

    def load(self) -> DeferredRefreshableCredentials:
        """The credentials; they are asked for when they are first needed."""
        return DeferredRefreshableCredentials(self._fetch, self.METHOD)

    def _fetch(self) -> Any:  # noqa: ANN401
        # Told as one error, whose kind ends a lane, and not with STS's own codes: those would be taken for Cognito's.
        try:
            return self._fetcher.fetch_credentials()
        except ClientError as error:
            problem = f"STS answered {error.response['Error'].get('Code', 'an error')}"
        except (BotoCoreError, ValueError) as error:
            problem = f"STS could not be reached ({type(error).__name__})"
        except Exception as error:  # noqa: BLE001  (an answer that is not STS's, as behind a captive portal)
            problem = f"STS could not be understood ({type(error).__name__})"
        raise CredentialRetrievalError(provider=self._role, error_msg=problem) from None


def _sts_of(session: Any, service: str, **keys: str) -> "STSClient":  # noqa: ANN401  (the stubs want every key by name)
    client: STSClient = session.client(service, config=Config(**_CONFIG), **keys)
    return client
