"""What every run of the tests says at its beginning; one S3 and one simulator for a worker's tests."""

import shutil
import signal
from collections.abc import Iterator
from functools import cache

import botocore.session
import pytest
from hypothesis import Phase, settings

from tests.bucket import Storage
from tests.sim import Simulator

# For `make mutants`: the same examples every time, and none is made smaller once it has shown what is to be shown.
settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], derandomize=True, database=None)

# Each session of botocore reads its models of the services anew, which takes longer than most tests: here they share them.
botocore.session.create_loader = cache(botocore.session.create_loader)

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_configure() -> None:
    """Under nohup, or behind `&`, the programs that tests start would ignore signals; a handler of ours ends with their exec."""
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_report_header() -> list[str]:
    """Say once what is left out for want of a browser."""
    found = any(map(shutil.which, BROWSERS))
    return (
        []
        if found
        else ["no Chromium here: the tests of report.html in a browser are skipped (apt-get install chromium)"]
    )


@pytest.fixture(scope="session")
def running() -> Iterator[Simulator]:
    """One simulator for the whole session: a process is slow to start. Who uses it resets it."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="session")
def stored() -> Iterator[Storage]:
    with Storage() as storage:
        yield storage


@pytest.fixture
def s3(stored: Storage, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """An empty bucket that boto3 reaches."""
    stored.reset()
    for name, value in stored.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return stored
