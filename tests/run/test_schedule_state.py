"""The state and the archive: complete records of finished inputs, one holder, and no overwritten file."""

from pathlib import Path

import pytest

from bulkreset.errors import Busy, JobError, RecordError
from bulkreset.job import Location
from bulkreset.run.archive import archive_input, find_unarchived
from bulkreset.run.schedule_state import CompletedInput, OpenRun, ScheduleState, StateStore
from bulkreset.s3 import Bucket
from tests.bucket import BUCKET, Storage

STATE = ScheduleState(
    OpenRun("runs/1", ["b.csv"], "s3://x/y/"), {"a.csv": CompletedInput(1, "x", "", [1, 2], "run", "now")}
)


@pytest.fixture(params=["here", pytest.param("s3", marks=pytest.mark.process)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "here":
        return tmp_path / "nightly.json"
    request.getfixturevalue("s3")
    return f"s3://{BUCKET}/nightly.json"


def test_state_is_read_back_and_has_one_holder(where: Location) -> None:
    kept = StateStore(where, Bucket())
    with kept.locked():
        assert kept.read() == ScheduleState()
        kept.write(STATE)
        with pytest.raises(Busy, match="Another scheduled run"), StateStore(where, Bucket()).locked():
            pass
    with kept.locked():
        assert StateStore(where, Bucket()).read() == STATE


def test_state_in_s3_is_not_written_over_another_one(s3: Storage) -> None:
    where = f"s3://{BUCKET}/nightly.json"
    first, second = StateStore(where, Bucket()), StateStore(where, Bucket())
    first.read()
    second.read()
    first.write(STATE)
    with pytest.raises(Busy, match="written by another process"):
        second.write(STATE)
    s3.configure(faults=[["^(GET|PUT) ", 403, "AccessDenied", 99]])
    with pytest.raises(RecordError, match=r"cannot be read: AccessDenied\. Allow s3:GetObject"):
        first.read()


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"version": 1}', '{"version": 9, "completed": {}, "open_run": null}'),
        *('{"version": 1, "completed": {}}', '{"version": 1, "completed": {"a": 1}, "open_run": null}'),
        '{"version": 1, "completed": {}, "open_run": {"run_dir": "r", "inputs": [], "else": 1}}',
    ],
)
def test_invalid_state_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(JobError, match=r"is not the state of a job|has version 9"):
        StateStore(path, Bucket()).read()


def test_run_of_an_older_state_may_have_sent_something(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    text = '{"version": 1, "completed": {}, "open_run": {"run_dir": "r", "inputs": []}}'
    path.write_text(text, encoding="utf-8")
    begun = StateStore(path, Bucket()).read().open_run
    assert begun
    assert begun.created


def test_object_is_moved_or_tagged_and_never_another_one(s3: Storage) -> None:
    bucket = Bucket()
    uri = s3.put("in/mon.csv.gz", b"one")
    s3.put("archive/mon.csv.gz", b"another")
    place = find_unarchived(uri, bucket)
    assert place
    mark = place.fingerprint()
    assert archive_input(place, mark, "tag", "r1", bucket) == "tag bulkreset=r1"
    tags = s3.client.get_object_tagging(Bucket=BUCKET, Key="in/mon.csv.gz")["TagSet"]
    assert tags == [{"Key": "bulkreset", "Value": "r1"}]
    archive = f"s3://{BUCKET}/archive"
    s3.put("in/mon.csv.gz", b"two")
    assert archive_input(place, mark, archive, "r1", bucket) == ""
    s3.put("in/mon.csv.gz", b"one")
    assert archive_input(place, mark, archive, "r1", bucket) == f"{archive}/mon-2.csv.gz"
    assert s3.keys() == ["archive/mon-2.csv.gz", "archive/mon.csv.gz"]
    assert find_unarchived(uri, bucket) is None


def test_file_that_cannot_be_moved_stays(tmp_path: Path) -> None:
    path = tmp_path / "mon.csv"
    path.write_bytes(b"one")
    (tmp_path / "archive").write_bytes(b"no folder")
    place = find_unarchived(str(path), Bucket())
    assert place
    with pytest.raises(RecordError, match="is finished and could not be moved"):
        archive_input(place, place.fingerprint(), tmp_path / "archive", "r1", Bucket())
    assert path.read_bytes() == b"one"
