"""The notifier: all channels get public facts; failed channels are named, and none delays the run."""

import threading
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sns.models import sns_backends

from bulkreset.errors import Busy, InputError, Interrupted, JobError
from bulkreset.job import NotifyConfig
from bulkreset.notify import notifier
from bulkreset.notify.execution_result import ExecutionResult, ResultKind
from bulkreset.notify.notifier import check, notify
from tests.notify.hook import Hook, web_hook

ENDING = ExecutionResult(
    "nightly",
    ResultKind.FAILURE,
    1,
    61.4,
    "finished",
    {"set": 1200, "in_doubt": 2},
    run_dir=Path("/runs/n-1"),
    commands=("bulkreset resume /runs/n-1",),
    report="report.csv",
)
SECRET = "T0ken-of-the-hook"
# The first URL imports Apprise's hundred plugins; some use deprecated parts of Python.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def hook() -> Iterator[Hook]:
    with web_hook() as made:
        yield made


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer: the first channel imports Apprise, which can take longer than a run waits."""
    monkeypatch.setattr(notifier, "PATIENCE", 600.0)


@pytest.mark.usefixtures("patient")
def test_web_hook_gets_public_facts_only(hook: Hook, tmp_path: Path) -> None:
    (tmp_path / "urls").write_text(f"# the team's\n\n{hook.url}?format=text\n", encoding="utf-8")
    assert notify(NotifyConfig(urls_from=f"file:{tmp_path / 'urls'}"), ENDING) == []
    (got,) = hook.got
    assert got["title"] == "bulkreset nightly: finished, exit code 1"
    lines = dict(line.split(": ", 1) for line in got["message"].splitlines())
    assert lines["Rows"] == "1,202: 1,200 set, 2 in doubt"
    assert lines["Duration"] == "61 s"
    assert lines["Report"] == "/runs/n-1/report.csv"
    assert lines["Next"] == "bulkreset resume /runs/n-1"


def test_all_channels_are_notified_although_one_hangs(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    hook.may_answer.clear()
    times = iter([0.0, 0.0, 0.0, notifier.PATIENCE])  # the one that answers has all of the time, the other none
    with web_hook() as other:
        monkeypatch.setenv("HOOKS", f"{other.url}\n{hook.url}")
        assert notify(NotifyConfig(urls_from="env:HOOKS"), ENDING, lambda: next(times)) == [
            f"url 2 did not answer within {notifier.PATIENCE:g} s"
        ]
        assert len(other.got) == 1
    hanging = [thread for thread in threading.enumerate() if thread.name == "background question"]
    assert hanging
    assert all(thread.daemon for thread in hanging)


@pytest.mark.usefixtures("patient")
def test_failed_channel_is_named_without_the_url(hook: Hook, capsys: pytest.CaptureFixture[str]) -> None:
    hook.status = 500
    urls = (f"{hook.url}?token={SECRET}", f"nonsense://{SECRET}", f"slack://{SECRET}", f"json://127.0.0.1:1/{SECRET}")
    wanted = NotifyConfig.model_validate({"urls": urls})
    assert notify(wanted, ENDING) == [
        "url 2 is not one that Apprise knows",
        "url 3 is not one that Apprise knows",
        "url 1: it was not accepted",
        "url 4: it was not accepted",
    ]
    assert check(wanted) == ["url 2 is not one that Apprise knows", "url 3 is not one that Apprise knows"]
    shown = repr(wanted) + str(wanted) + wanted.model_dump_json() + "".join(capsys.readouterr())
    assert SECRET not in shown


def test_urls_that_are_not_there(tmp_path: Path) -> None:
    assert check(NotifyConfig(urls_from="env:NO_SUCH_HOOK")) == [
        'notify.urls_from = "env:NO_SUCH_HOOK": that variable is not set'
    ]
    (problem,) = check(NotifyConfig(urls_from=f"file:{tmp_path / 'none'}"))
    assert problem.endswith("that file cannot be read")
    kept = NotifyConfig.model_validate_json(NotifyConfig.model_validate({"urls": [SECRET]}).model_dump_json())
    (problem,) = check(kept)
    assert "needs notify.urls_from" in problem


@pytest.mark.usefixtures("patient")
@mock_aws
def test_topic_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(name, value)
    topic = boto3.client("sns", region_name="eu-west-1").create_topic(Name="resets")["TopicArn"]
    assert notify(NotifyConfig(sns_topic_arn=topic), ENDING) == []
    ((_, message, subject, *_),) = sns_backends[DEFAULT_ACCOUNT_ID]["eu-west-1"].topics[topic].sent_notifications
    assert (message, subject) == (ENDING.text, ENDING.title)
    assert notify(NotifyConfig(sns_topic_arn=f"{topic}-gone"), ENDING) == ["SNS: NotFound"]


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (JobError("pace.rate is wrong.", "Fix it."), 2, "JobError: pace.rate is wrong. Fix it."),
        (InputError("The header has ann."), 2, "InputError"),  # the first line of an input may be a user's
        (Busy("Held."), 4, "Busy"),
        (Interrupted("Stopped.", signal_number=15), 143, "Interrupted"),
        (RuntimeError(SECRET), 70, "RuntimeError"),
    ],
)
def test_end_without_a_summary(error: Exception, code: int, expected: str) -> None:
    ending = ExecutionResult.from_error(error, "nightly", 2.0)
    assert (ending.end, ending.exit_code) == (ResultKind.FAILURE, code)
    assert f"Stopped by: {expected}\n" in ending.text
    assert "standard error" in ending.text
