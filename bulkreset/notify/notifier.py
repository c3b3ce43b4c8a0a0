"""Notifications about an execution's result, by Apprise and SNS. A failing or hanging channel never raises an error."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import boto3
from botocore.config import Config

from bulkreset.cognito.background_call import ask_in_background
from bulkreset.files import decode_text, read_small_file
from bulkreset.job import NotifyConfig
from bulkreset.notify.execution_result import ExecutionResult

PATIENCE = 10.0  # seconds for all channels together; they send in parallel
_SUBJECT = 100  # the most characters that SNS accepts
_WITHHELD = "*"  # the journal stores this in place of a URL

Channel = Callable[[ExecutionResult], None]


class NotifyError(Exception):
    """Why a notification cannot be sent. The message shows no URL, because a URL may hold secrets."""


def notify(wanted: NotifyConfig, ending: ExecutionResult, now: Callable[[], float] = time.monotonic) -> list[str]:
    """Send the result to all channels and return the problems, one text each.

    Waits for each at most PATIENCE seconds, on the clock `now`.
    """
    problems: list[str] = []
    channels = list(_channels(wanted, problems))
    answers = [
        ask_in_background(partial(_deliver, name, channel, ending), _late(name), PATIENCE, now)
        for name, channel in channels
    ]
    return [*problems, *filter(None, (answer() for answer in answers))]


def check(wanted: NotifyConfig) -> list[str]:
    """Return the problems that would prevent a notification, as far as they can be found without sending one."""
    problems: list[str] = []
    for _ in _channels(wanted, problems):
        pass
    return problems


def _channels(wanted: NotifyConfig, problems: list[str]) -> Iterator[tuple[str, Channel]]:
    """Yield (name, channel) for every usable channel. Adds the others to `problems`."""
    for number, url in enumerate(_urls(wanted, problems), 1):
        try:
            yield f"url {number}", _apprise_channel(url)
        except NotifyError as error:
            problems.append(f"url {number} {error}")
    if wanted.sns_topic_arn:
        yield "SNS", _sns_channel(wanted.sns_topic_arn)


def _urls(wanted: NotifyConfig, problems: list[str]) -> Sequence[str]:
    urls = [url.get_secret_value() for url in wanted.urls]
    if any(url.startswith(_WITHHELD) for url in urls):
        problems.append(
            "a run does not store notify.urls, which may contain secrets; a resumed run needs notify.urls_from"
        )
        urls = []
    kind, _, place = (wanted.urls_from or "").partition(":")
    try:
        text = decode_text(read_small_file(Path(place))) if kind == "file" else os.environ[place] if kind else ""
    except (OSError, UnicodeDecodeError, KeyError):
        what = "file cannot be read" if kind == "file" else "variable is not set"
        problems.append(f'notify.urls_from = "{kind}:{place}": that {what}')
        return urls
    lines = (line.strip() for line in text.splitlines())
    return [*urls, *(line for line in lines if line and not line.startswith("#"))]


def _apprise_channel(url: str) -> Channel:
    """Return a channel that calls Apprise's plugin for `url` directly.

    Apprise itself starts threads, and the process would wait for them when it ends.
    Raises NotifyError if Apprise is not installed or does not know the URL.
    """
    try:
        from apprise import Apprise  # noqa: PLC0415  (optional dependency, and slow to import)
    except ImportError:
        raise NotifyError("needs the extra notify: pip install 'bulkreset[notify]'") from None
    plugin = None
    with suppress(Exception):  # a plugin may raise anything for a wrong URL
        plugin = Apprise.instantiate(url, suppress_exceptions=True)
    if plugin is None:
        raise NotifyError("is not one that Apprise knows")

    def send(ending: ExecutionResult) -> None:
        if not plugin.notify(body=ending.text, title=ending.title, body_format="text"):
            raise NotifyError("it was not accepted")

    return send


def _sns_channel(topic: str) -> Channel:
    def send(ending: ExecutionResult) -> None:
        config = Config(connect_timeout=4, read_timeout=4, retries={"total_max_attempts": 2, "mode": "standard"})
        client = boto3.Session(region_name=topic.split(":")[3]).client("sns", config=config)
        try:
            client.publish(TopicArn=topic, Subject=ending.title[:_SUBJECT], Message=ending.text)
        except client.exceptions.ClientError as error:
            raise NotifyError(str(error.response.get("Error", {}).get("Code", "refused"))) from None

    return send


def _deliver(name: str, channel: Channel, ending: ExecutionResult) -> str:
    """Send the result to a channel. Returns the problem, "" if there is none."""
    try:
        channel(ending)
    except TimeoutError:
        return _late(name)
    except NotifyError as error:
        return f"{name}: {error}"
    except BaseException as error:  # noqa: BLE001  (a notifier may raise anything; its message may show the URL)
        return f"{name}: {type(error).__name__}"
    return ""


def _late(name: str) -> str:
    return f"{name} did not answer within {PATIENCE:g} s"
