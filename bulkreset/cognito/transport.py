"""A transport: one attempt for one row, as an Answer; and what every transport does when credentials expire."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from bulkreset.cognito.response import Disposition, Response
from bulkreset.models import Row, SignOutTask

ClientT = TypeVar("ClientT")


class Transport(Protocol):
    """One small blocking call; nothing above knows which library makes it."""

    def set_password(self, row: Row) -> Response:
        """Send one attempt, without any retry. Never raises for an answer or a lost one."""


class SignOutTransport(Protocol):
    """The same for the other call."""

    def sign_out(self, leaver: SignOutTask) -> Response:
        """Send one attempt, without any retry. Never raises for an answer or a lost one."""


class RenewingTransport(ABC, Generic[ClientT]):
    """A transport shared by all threads of a lane; `means` is what it sends with: a client, credentials.

    `renew` gives other means where the provider of the credentials has newer ones, and None where it has not.
    """

    def __init__(self, means: ClientT, renew: Callable[[], ClientT | None]) -> None:
        self._means = means
        self._renew = renew
        self._renewing = threading.Lock()

    def set_password(self, row: Row) -> Response:
        """Send one attempt. Where the credentials have expired, they are renewed for the next one."""
        return self._sent(lambda means: self._send(means, row))

    def _sent(self, send: Callable[[ClientT], Response]) -> Response:
        means = self._means
        answer = send(means)
        if answer.disposition is not Disposition.EXPIRED:
            return answer
        with self._renewing:
            if self._means is means:  # the first thread renews; the others find it done
                renewed = self._renew()
                if renewed is None:
                    return answer
                self._means = renewed
        return Response(
            Disposition.NOT_SENT, answer.code, "the credentials had expired and were renewed", answer.request_id
        )

    @abstractmethod
    def _send(self, means: ClientT, row: Row) -> Response:
        """One call. What a library says is not passed on: only names, codes and scrubbed messages are."""
