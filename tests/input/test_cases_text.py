"""Files that people write and an editor of Windows has saved: the job, a key, the notification addresses, the state."""

import codecs
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkreset.age_encryption import load_identities
from bulkreset.errors import JobError
from bulkreset.files import decode_text
from bulkreset.job import NotifyConfig
from bulkreset.job.file import load
from bulkreset.notify.notifier import _urls
from bulkreset.run.schedule_state import OpenRun, ScheduleState, StateStore
from bulkreset.s3 import Bucket
from tests.input.inputs import key_file

JOB = 'permanent = true\n[input]\npath = "u.csv"\n[[targets]]\nuser_pool_id = "us-east-1_LabPool01"\n'
SAVED: dict[str, Callable[[str], bytes]] = {
    "plain": lambda text: text.encode(),
    "mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "notepad": lambda text: codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode(),
    "utf-16": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "utf-16-be": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "utf-16-unmarked": lambda text: text.encode("utf-16-le"),
    "utf-16-be-unmarked": lambda text: text.encode("utf-16-be"),
}


@pytest.mark.parametrize("how", SAVED)
def test_files_that_people_write_are_read_as_any_editor_saves_them(tmp_path: Path, how: str) -> None:
    saved = SAVED[how]
    (tmp_path / "job.toml").write_bytes(saved(JOB))
    job = load(tmp_path / "job.toml", {})
    assert (job.permanent, job.targets[0].user_pool_id) == (True, "us-east-1_LabPool01")

    key = key_file(tmp_path)
    text = key.read_text(encoding="ascii")
    key.write_bytes(saved(text))
    assert [str(one) for one in load_identities(key)] == text.split("\n")[1:2]

    (tmp_path / "urls").write_bytes(saved("# who\njson://localhost/\n"))
    problems: list[str] = []
    assert _urls(NotifyConfig(urls_from=f"file:{tmp_path / 'urls'}"), problems) == ["json://localhost/"]
    assert problems == []

    state = ScheduleState(open_run=OpenRun("/runs/one", ["/in/a.csv"]))
    (tmp_path / "state.json").write_bytes(saved(state.as_text()))
    assert StateStore(tmp_path / "state.json", Bucket()).read() == state


@pytest.mark.parametrize("text", ["", "a", "ab", "é", "aé", "key = 'é'"])
def test_text_of_any_length_is_read(text: str) -> None:
    assert decode_text(text.encode()) == decode_text(codecs.BOM_UTF8 + text.encode()) == text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("permanent = “true”", "line 2: the quotes are curly"),
        ("[input]\npath = \u2018u.csv\u2019", "line 3: the quotes are curly"),
        ('name = "a"”', "line 2: the quotes are curly"),
        ("permanent = maybe", "line 2: the value is missing, or is text without quotes"),
    ],
)
def test_curly_quotes_are_named(tmp_path: Path, line: str, expected: str) -> None:
    (tmp_path / "job.toml").write_text(f"# “quoted”\n{line}\n", encoding="utf-8")
    with pytest.raises(JobError) as caught:
        load(tmp_path / "job.toml", {})
    assert expected in str(caught.value)


def test_invalid_bytes_are_refused_without_the_codecs_message(tmp_path: Path) -> None:
    for raw in (b"name = '\xe9'\n", codecs.BOM_UTF16_LE + b"a\x00b"):
        (tmp_path / "job.toml").write_bytes(raw)
        with pytest.raises(JobError, match=r"is not UTF-8 text\. Save it as UTF-8\.$"):
            load(tmp_path / "job.toml", {})
        (tmp_path / "state.json").write_bytes(raw)
        with pytest.raises(JobError, match="is not the state of a job"):
            StateStore(tmp_path / "state.json", Bucket()).read()
    assert json.loads(ScheduleState().as_text())["open_run"] is None
