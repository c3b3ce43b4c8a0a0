"""The log: a fixed set of events, one line for each, and masks for all secrets."""

import inspect
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bulkreset
from bulkreset.log import capture_library_logs, hide_secrets, open_log
from bulkreset.models import Row, Secret
from bulkreset.process_hardening import apart, where_warned

HOME = Path(inspect.getfile(bulkreset)).parent
LIBRARIES = ("boto3", "botocore", "urllib3")
PASSWORD = "Hunter-22"


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Restore the logging configuration that open_log changes."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in LIBRARIES}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


class MemoryLog:
    """A log on files in memory."""

    def __init__(self, **how: Any) -> None:  # noqa: ANN401  (open_log's own options)
        self.file = io.StringIO()
        self.console = io.StringIO()
        self.log = open_log(self.file, "run-1", self.console, **how)

    def events(self) -> list[dict[str, Any]]:
        """Return the events in the file."""
        return [json.loads(line) for line in self.file.getvalue().splitlines()]


def test_event_is_one_json_line_with_its_run(tmp_path: Path) -> None:
    opened = MemoryLog()
    opened.log.info("row_finished", row=7, status="set", path=tmp_path, text="two\nlines", odd="\ud800Größe")
    (event,) = opened.events()
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "row_finished",
        "level": "info",
        "run_id": "run-1",
        "row": 7,
        "status": "set",
        "path": type(tmp_path).__name__,
        "text": "two\nlines",
        "odd": "\ud800Größe",
    }
    assert opened.file.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("verbosity", "shown", "kept"), [(0, "w", "iw"), (1, "iw", "iw"), (2, "diw", "diw"), (5, "diw", "diw")]
)
@pytest.mark.parametrize("as_json", [True, False])
def test_verbosity_is_the_consoles_and_the_file_has_never_less_than_info(
    verbosity: int, shown: str, kept: str, *, as_json: bool
) -> None:
    opened = MemoryLog(verbosity=verbosity, console_json=as_json)
    opened.log.debug("row_finished", mark="D1")
    opened.log.info("row_finished", mark="I1")
    opened.log.warning("stopped", mark="W1")
    for letter, mark in (("d", "D1"), ("i", "I1"), ("w", "W1")):
        assert (mark in opened.console.getvalue()) is (letter in shown)
        assert (mark in opened.file.getvalue()) is (letter in kept)


def test_json_console_has_the_files_lines() -> None:
    opened = MemoryLog(verbosity=2, console_json=True)
    opened.log.info("run_started", job="x")
    assert opened.console.getvalue() == opened.file.getvalue()


WARNINGS: dict[str, dict[str, Any]] = {
    "account_unknown": {"service": "sts", "user_pool_id": "eu-west-1_A", "problem": "STS did not answer"},
    "control_refused": {"file": "control.json", "problem": "it belongs to another user"},
    "lane_shared": {"others": 2, "lane": "1/eu-west-1", "example": "runs/x", "mode": "split"},
    "origin_unreadable": {"problem": "runs/x cannot be read."},
    "delivery_failed": {"problem": "The metrics could not be written."},
    "info_unavailable": {"what": "the quota", "action": "servicequotas:GetServiceQuota", "problem": "Denied"},
    "lane_stopped": {"reason": "ServiceError", "message": "Account 1 has stopped.", "advice": ""},
    "mirror_behind": {"problem": "the bucket is gone"},
    "worker_refused": {"worker": "w1", "problem": "its version differs"},
    "worker_lost": {"worker": "w1", "lanes": 2, "in_doubt": 3},
}


@pytest.mark.parametrize("event", WARNINGS)
def test_warning_is_a_sentence_at_a_terminal_and_an_event_in_json(event: str) -> None:
    opened, as_json = MemoryLog(), MemoryLog(console_json=True)
    for one in (opened, as_json):
        one.log.warning(event, **WARNINGS[event])
    shown = opened.console.getvalue()
    assert shown.startswith("warning: ")
    assert not re.search(rf"{event}|\w+=|[{{}}]|run-1|[ \t]\n", shown)
    assert all(str(value) in shown for key, value in WARNINGS[event].items() if key not in {"service", "reason"})
    assert json.loads(as_json.console.getvalue())["event"] == event


def test_sentence_cannot_control_the_terminal() -> None:
    opened = MemoryLog()
    opened.log.warning("delivery_failed", problem="\x1b[2J{problem}")
    assert opened.console.getvalue() == "warning: \u241b[2J{problem}\n"


def test_requested_stop_is_not_a_warning_on_a_terminal() -> None:
    opened = MemoryLog()
    opened.log.warning("stopping", calls=3, message="stopping: waiting for 3 calls")
    assert opened.console.getvalue() == "stopping: waiting for 3 calls\n"
    assert opened.events()[0]["calls"] == 3


def test_every_warning_of_the_package_has_a_sentence() -> None:
    found = re.findall(r'log\.warning\(\s*"(\w+)"', "\n".join(map(Path.read_text, HOME.rglob("*.py"))))
    assert set(found) <= {*WARNINGS, "stopping"}
    assert len(set(found)) > 4


ROW = Row(1, "ann", Secret(PASSWORD), "eu-west-1_A", permanent=True)


@pytest.mark.parametrize(
    "value",
    [
        Secret(PASSWORD),
        {"password": PASSWORD},
        {"Password": PASSWORD, "row": 1},
        {"deep": {"deeper": [{"PASSWORD": PASSWORD}]}},
        [Secret(PASSWORD), (Secret(PASSWORD),)],
        {"token": PASSWORD, "secret": PASSWORD, "credentials": {"key": PASSWORD}},
        {"password": [PASSWORD, {"x": PASSWORD}]},
        {Secret(PASSWORD): 1},
        {1: Secret(PASSWORD)},
        {Secret(PASSWORD)},
        ROW,
        [ROW],
        {"rows": {"one": ROW}},
    ],
    ids=str,
)
def test_secret_is_masked_at_any_depth(value: object) -> None:
    opened = MemoryLog(verbosity=2)
    opened.log.warning("stopped", value=value)
    assert PASSWORD not in opened.file.getvalue() + opened.console.getvalue()
    assert opened.events()[0]["event"] == "stopped"


def test_masked_event_keeps_public_values() -> None:
    event = {"row": 1, "found": {"username": "ann", "password": PASSWORD}, "list": ["a", Secret(PASSWORD)]}
    assert hide_secrets(None, "info", event) == {
        "row": 1,
        "found": {"username": "ann", "password": "********"},
        "list": ["a", "********"],
    }


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("verbosity", [0, 2])
def test_library_that_prints_request_bodies_stays_quiet(name: str, verbosity: int) -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger(name).setLevel(logging.DEBUG)
    opened = MemoryLog(verbosity=verbosity)
    library = logging.getLogger(f"{name}.endpoint")
    library.debug("Making request with body: %s", PASSWORD)
    library.info("Making request with body: %s", PASSWORD)
    assert logging.getLogger(name).level == logging.WARNING
    assert opened.events() == []
    assert opened.console.getvalue() == ""


def test_quieter_library_is_left_quiet() -> None:
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    MemoryLog()
    assert logging.getLogger("urllib3").level == logging.ERROR


def test_warning_of_a_library_is_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", where_warned)
    opened = MemoryLog(verbosity=0)
    logging.getLogger("botocore.retries").warning("Retry %s", "Quiet-Garden.1")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(f"unexpected value: input_value={PASSWORD!r}", UserWarning, stacklevel=1)
    first, second = opened.events()
    assert (first["event"], first["library"], first["message"]) == ("library_warning", "botocore.retries", "Retry %s")
    assert second["library"] == "py.warnings"
    assert re.fullmatch(re.escape(__file__) + r":\d+: UserWarning", second["message"])
    assert opened.console.getvalue() == ""


def test_run_in_another_program_does_not_change_its_logging() -> None:
    messages: list[str] = []

    class Theirs(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    root, inner = logging.getLogger(), logging.getLogger("botocore.endpoint")
    root.addHandler(Theirs())
    handlers = root.handlers[:]
    inner.setLevel(logging.DEBUG)  # somebody is debugging
    file, other = io.StringIO(), io.StringIO()
    with apart(), capture_library_logs(open_log(file, "run-1", None)):
        with apart(), capture_library_logs(open_log(other, "run-2", None, verbosity=2)):
            inner.warning("sent %s", PASSWORD)
        inner.debug("sending %s", PASSWORD)
        inner.warning("sent again %s", PASSWORD)
        logging.getLogger("theirs").warning("theirs")
    inner.warning("after")
    inner.setLevel(logging.NOTSET)
    assert messages == ["theirs", "after"]
    assert root.handlers == handlers
    assert [json.loads(line)["message"] for line in file.getvalue().splitlines()] == ["sent %s", "sent again %s"]
    assert [json.loads(line)["message"] for line in other.getvalue().splitlines()] == ["sent %s"]
