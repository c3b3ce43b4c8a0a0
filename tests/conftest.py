"""Settings for all tests: the header, marks for tests that start processes, one S3 and simulator per worker."""

import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, Phase, settings

from bulkreset import files
from tests.sim import Simulator

if TYPE_CHECKING:
    from tests.bucket import Storage

# No example fails because it is slow: the machine may be busy. Only a test with slow examples sets their number; `make
# check` gives the others the "few" profile, and `make soak` the "long" one.
_NO_CLOCK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("few", _NO_CLOCK, max_examples=10)
settings.register_profile("quick", _NO_CLOCK, max_examples=40)
settings.register_profile("long", _NO_CLOCK, max_examples=500)
# For `make mutants`: the same examples every time, and no shrinking after a failure.
settings.register_profile(
    "mutants", _NO_CLOCK, max_examples=300, phases=[Phase.explicit, Phase.generate], derandomize=True, database=None
)
settings.load_profile("quick")  # `--hypothesis-profile` is read later, and overrides it

# A test that uses one of these fixtures, directly or indirectly, is marked `process`; so is every test in these
# folders.
STARTING: Final = {"running", "stored", "dask_processes"}
FOLDERS: Final = {"crash", "e2e", "histories", "lanes", "peers"}
# What starts a process. They are wrapped: a hook for audit events costs more, Python raises thousands in each test.
STARTS: Final = [
    (subprocess.Popen, "_execute_child"),
    *((os, name) for name in ("fork", "forkpty", "posix_spawn", "system")),
]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_configure(config: pytest.Config) -> None:
    """Under nohup, or behind `&`, the tests' programs would ignore signals.

    A handler of ours is reset by their exec.
    """
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    if hasattr(config, "workerinput") or not config.option.numprocesses:
        _prepare_to_run(config)


def _prepare_to_run(config: pytest.Config) -> None:
    """Prepare the process that runs tests. The process that only hands them out starts sooner without."""
    from tests import long_time_limits, open_journals, shared_botocore  # noqa: PLC0415  (they load boto3 and SQLite)

    shared_botocore.share()
    long_time_limits.wait_long()
    open_journals.note_journals()
    config.pluginmanager.register(_Watch(open_journals.close_journals))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no folder of tests that start processes if such tests are left out."""
    return (collection_path.name in FOLDERS and "not process" in config.option.markexpr) or None


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Separate this worker's runs from other workers and from the user: they share no lane.

    They ignore certificates in the environment, which each session would read. A run in this process does not freeze
    its objects: here they are all objects that the tests have loaded.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
            patch.delenv(name, raising=False)
        patch.setattr("bulkreset.run.apply._frozen_heap", nullcontext)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Freeze what is imported and collected: it stays to the end, and each garbage collection would search it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that start a process, by their fixtures and folders, and tests that take minutes.

    Other tests that start a process have the mark themselves. Skip what needs Linux on other systems, with the reason.
    """
    for item in items:
        fixtures = set(item.fixturenames) if isinstance(item, pytest.Function) else set()
        folders = set(item.nodeid.partition("::")[0].split("/"))
        if STARTING & fixtures or FOLDERS & folders or item.get_closest_marker("soak"):
            item.add_marker("process")
        needs = item.get_closest_marker("linux")
        if needs and sys.platform != "linux":
            item.add_marker(pytest.mark.skip(reason=f"needs Linux: {needs.args[0]}"))


class _Watch:
    """Fails a test that starts a process without the mark, so that `make check` stays fast."""

    def __init__(self, close_journals: Callable[[], None]) -> None:
        self.watched = ""
        self._close_journals = close_journals
        for owner, name in STARTS:
            setattr(owner, name, self._wrapped(name, getattr(owner, name)))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.watched = "" if item.get_closest_marker("process") else item.nodeid
        try:
            return (yield)
        finally:
            self.watched = ""
            self._close_journals()

    def _wrapped(self, name: str, start: Callable[..., object]) -> Callable[..., object]:
        @wraps(start)
        def watched(*given: object, **named: object) -> object:
            if self.watched:
                pytest.fail(f"{name}: mark this test with pytest.mark.process, or start nothing")
            return start(*given, **named)

        return watched


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the property `tally` of each test: with xdist, tests run in processes without output."""
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        for name, value in report.user_properties:
            if name == "tally" and report.when == "call":
                terminalreporter.write_line(str(value))


def pytest_report_header() -> list[str]:
    """Print once what is left out because there is no browser."""
    found = any(map(shutil.which, BROWSERS))
    return (
        []
        if found
        else ["no Chromium here: the tests of report.html in a browser are skipped (apt-get install chromium)"]
    )


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the disk full for every new file."""

    def create(path: str) -> int:
        Path(path).touch()
        return os.open("/dev/full", os.O_WRONLY)

    monkeypatch.setattr(files, "create_file", create)


@pytest.fixture(scope="session")
def running() -> Iterator[Simulator]:
    """One simulator for the whole session, because a process is slow to start. A test that uses it resets it."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="session")
def stored() -> Iterator["Storage"]:
    from tests.bucket import Storage  # noqa: PLC0415  (boto3, which takes long)

    with Storage() as storage:
        yield storage


@pytest.fixture
def s3(stored: "Storage", monkeypatch: pytest.MonkeyPatch) -> "Storage":
    """An empty bucket that boto3 can reach."""
    stored.reset()
    for name, value in stored.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return stored
