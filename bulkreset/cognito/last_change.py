"""Reads when a user was last changed, and how far the service's clock is ahead, with one filtered ListUsers."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bulkreset.cognito.boto3_transport import must_be_readable
from bulkreset.cognito.list_users import filter_by, unix_ms
from bulkreset.cognito.read_calls import ReadCallError, call_read, milliseconds_ahead
from bulkreset.cognito.response import Disposition
from bulkreset.cognito.session import TargetSession
from bulkreset.errors import TargetError


@dataclass(frozen=True, slots=True)
class UserChange:
    """One page of the answer. `found` says whether it has the user, `token` leads to the next page.

    `modified` is the time of the user's last change in the service's Unix milliseconds, None if it is not given.
    `ahead` is how many milliseconds the service's clock is ahead of this machine's at least, None if unknown.
    """

    found: bool
    modified: int | None
    ahead: int | None
    token: str | None = None


class LastChangeReader:
    """Reads the users of one pool. All threads of a lane share it; its client is created at the first call."""

    def __init__(self, session: TargetSession, unix: Callable[[], float] = time.time) -> None:
        self._session = session
        self._unix = unix
        self._lock = threading.Lock()
        self._newer: Callable[[], bool] | None = None
        self._client: Any = None

    def read(self, username: str, token: str | None = None) -> UserChange:
        """Make one call for the user with this username. Raises ReadCallError if it fails."""
        params: dict[str, Any] = {
            "UserPoolId": self._session.target.user_pool_id,
            "Filter": filter_by("username", username),
        }
        params |= {"PaginationToken": token} if token else {}
        answer = call_read(self._opened().list_users, **params)
        ahead = milliseconds_ahead(answer, self._unix())
        try:
            dates = [user.get("UserLastModifiedDate") for user in answer["Users"] if user["Username"] == username]
        except (AttributeError, KeyError, TypeError):
            raise ReadCallError("UnreadableResponse", Disposition.AMBIGUOUS) from None
        return UserChange(bool(dates), unix_ms(dates[0]) if dates else None, ahead, answer.get("PaginationToken"))

    def refresh_credentials(self) -> bool:
        """Use newer credentials if the provider has some. Return whether it had."""
        with self._lock:
            if self._newer is None or not self._newer():
                return False
            self._client = None
            return True

    def _opened(self) -> Any:  # noqa: ANN401  (a boto3 client)
        with self._lock:
            if self._client is None:
                self._newer = self._newer or self._session.credential_refresher()
                try:
                    client = self._session.cognito()
                except TargetError:
                    raise ReadCallError("TargetError", Disposition.FATAL) from None
                client.meta.events.register("before-parse.cognito-identity-provider.ListUsers", must_be_readable)
                self._client = client
            return self._client
