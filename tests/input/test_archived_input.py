"""Archived inputs: found by their content, and never confused with other files."""

from pathlib import Path

import pytest

from bulkreset.errors import InputError
from bulkreset.input.archived_input import reopen_archived
from bulkreset.input.discovery import escape_pattern
from bulkreset.input.input_set import InputSet
from bulkreset.job import InputConfig, Location
from bulkreset.run.archive import archive_input
from bulkreset.s3 import Bucket
from tests.bucket import BUCKET, Storage


class ArchiveFolders:
    """An input folder and an archive folder, local or in S3."""

    def __init__(self, folder: Path, storage: Storage | None) -> None:
        self._folder = folder
        self._storage = storage
        self.done: Location = f"s3://{BUCKET}/archive" if storage else folder / "archive"

    def put(self, name: str, *users: str) -> str:
        text = "username,password\n" + "".join(f"{user},Hidden-{user}\n" for user in users)
        if self._storage:
            return escape_pattern(self._storage.put(name, text.encode()))
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path)


@pytest.fixture(params=["here", pytest.param("s3", marks=pytest.mark.process)])
def folders(request: pytest.FixtureRequest, tmp_path: Path) -> ArchiveFolders:
    return ArchiveFolders(tmp_path, request.getfixturevalue("s3") if request.param == "s3" else None)


def test_archived_input_is_found(folders: ArchiveFolders) -> None:
    folders.put("archive/[x].csv", "eve")  # the same size as the one that is looked for
    paths = folders.put("in/[x].csv", "ann"), folders.put("in/b.csv", "bob")
    spec = InputConfig(path=paths)
    planned = InputSet.open(spec)
    assert [row for chunk in planned.batches() for row in chunk.frame["username"]] == ["ann", "bob"]
    noted = planned.planned_files()
    bucket = Bucket()
    assert archive_input(planned.files[0], noted[0].fingerprint, folders.done, "r1", bucket).endswith(
        "/archive/[x]-2.csv"
    )
    folders.put("in/[x].csv", "new")
    again = reopen_archived(spec, folders.done, noted)
    assert again
    again.require_unchanged(noted, 2)
    assert [row for chunk in again.batches() for row in chunk.frame["username"]] == ["ann", "bob"]
    assert again.names == ["[x].csv", "b.csv"]
    folders.put("archive/[x]-2.csv", "ava")
    with pytest.raises(InputError, match="has changed since"):
        again.require_unchanged(noted, 2)
    assert reopen_archived(spec, folders.done, noted) is None
    assert reopen_archived(spec, None, noted) is None
