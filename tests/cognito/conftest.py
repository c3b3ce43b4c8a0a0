"""One simulator for the whole session, and an environment that connects to nothing else."""

import os
from typing import Any

import pytest

from bulkreset.cognito.boto3_transport import BotoTransport
from bulkreset.cognito.crt_transport import CrtTransport
from bulkreset.cognito.session import TargetSession, open_session
from bulkreset.cognito.transport import Transport
from bulkreset.job import Target
from tests.sim.handle import ACCESS_KEY, SIGNING_KEY, Simulator

POOL = "us-east-1_Simulated"
PATIENCE = 90.0  # seconds: no time-out decides a test unless it is about one


@pytest.fixture
def sim(running: Simulator) -> Simulator:
    """A simulator with one pool and two users."""
    running.reset()
    running.add_pool(POOL, ["ann", "bob"])
    return running


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the machine's AWS configuration from each test."""
    for name in [
        name
        for name in os.environ
        if name.startswith(("AWS_", "REQUESTS_", "http_", "https_", "no_", "HTTP_", "HTTPS_", "NO_"))
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SIGNING_KEY)


_SHARED: dict[tuple[str, str], Transport] = {}


class Opened:
    """Opens transports of one kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, url: str, **target: Any) -> Transport:  # noqa: ANN401  (the keys of a target)
        """Open a transport to one endpoint."""
        keys: dict[str, Any] = {"user_pool_id": POOL, "region": "us-east-1", "endpoint_url": url}
        keys |= {"connect_timeout": PATIENCE, "read_timeout": PATIENCE} | target
        return self.on(open_session(Target(**keys)))

    def shared(self, url: str) -> Transport:
        """Return the transport to an endpoint that tests share; it keeps nothing but connections.

        Its keys are those of the fixture `credentials`.
        """
        if (self.kind, url) not in _SHARED:
            _SHARED[self.kind, url] = self(url)
        return _SHARED[self.kind, url]

    def on(self, session: TargetSession) -> Transport:
        """Open a transport of one session."""
        return CrtTransport(session) if self.kind == "crt" else BotoTransport.of(session)


@pytest.fixture(params=["boto3", "crt"])
def opened(request: pytest.FixtureRequest) -> Opened:
    """Each transport in turn."""
    return Opened(request.param)
