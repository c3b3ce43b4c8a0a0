"""Files in a folder or pattern: inputs are read, and all others are named with the reason."""

import bz2
import gzip
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulkreset.errors import EmptyInput, InputError
from bulkreset.input.discovery import InputMissing, discover, discover_existing
from bulkreset.input.input_set import InputSet
from bulkreset.job import InputConfig
from tests.bucket import BUCKET, Storage
from tests.input.inputs import csv_file, encrypted_file, key_file

CASES = Path(__file__).with_name("cases")
HEAD = "username,password\n"
AT = f"s3://{BUCKET}"


def rows_of(path: object, **spec: Any) -> tuple[list[str], list[str]]:  # noqa: ANN401  (the keys of [input])
    """Return the usernames and the remarks."""
    found = InputSet.open(InputConfig.model_validate({"path": path, **spec}))
    names = [name for batch in found.batches() for name in batch.cells("username")]
    return [name.partition("@")[0] for name in names], list(found.remarks)


def unread_of(path: object, **spec: Any) -> dict[str, str]:  # noqa: ANN401  (the keys of [input])
    found = discover_existing(InputConfig.model_validate({"path": path, **spec})).unread
    return {str(one.where).rstrip("/").rpartition("/")[2]: one.why for one in found}


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, s3: Storage) -> "Place":
    return Place(tmp_path, s3 if request.param == "s3" else None)


class Place:
    """A local folder or one in S3."""

    def __init__(self, folder: Path, storage: Storage | None = None) -> None:
        self._folder = folder
        self._storage = storage

    def put(self, name: str, content: bytes | str) -> None:
        raw = content.encode() if isinstance(content, str) else content
        if self._storage:
            self._storage.put(name, raw)
        else:
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)

    def put_case(self, case: str, to: str) -> None:
        for path in sorted((CASES / case).rglob("*")):
            if path.is_file():
                self.put(f"{to}/{path.relative_to(CASES / case)}", path.read_bytes())

    def at(self, path: str) -> str:
        return f"{AT}/{path}" if self._storage else str(self._folder / path)


def test_folder_of_exports_is_read_and_other_files_are_named(place: Place) -> None:
    place.put_case("unload", "in")
    read, remarks = rows_of(place.at("in/"))
    assert (read[:4], read[-2:], len(read)) == (["grace", "linus", "ada", "bob"], ["ada", "dan"], 7)
    assert unread_of(place.at("in/")) == {
        "e.tsv": 'its columns are separated by a tab, and input.delimiter is ","',
        "f.csv.bz2": "bzip2: unpack it with bunzip2",
        "g.csv.zip": "a spreadsheet or a ZIP archive: save it as CSV, or unpack it",
        "users_0_0_0.zst": "Zstandard: rename it so that it ends in .csv.zst or .jsonl.zst",
        "dt=2024-01-02": 'a folder: a pattern such as "**/*.csv" reads what is in it',
    }
    (remark,) = remarks
    assert remark.startswith("5 files are not read: ")
    assert "f.csv.bz2 (bzip2: unpack it with bunzip2)" in remark


def test_other_files_are_named_by_their_kind(place: Place, tmp_path: Path) -> None:
    key = key_file(tmp_path)
    sealed = encrypted_file(csv_file(tmp_path, f"{HEAD}sid,Quiet-1\n", "sealed"), key).read_bytes()
    files: dict[str, bytes | str] = {
        "a.csv": f"{HEAD}ann,Quiet-1\n",
        "README": "These are the users.\n",
        "b.csv.bak": f"{HEAD}ben,Quiet-0\n",
        "b.csv.filepart": f"{HEAD}ben,Quiet-0\n",
        "c.json": '[{"username": "cat"}]\n',
        "c.yaml": "users:\n",
        "d": '[{"username": "dan"}]\n',
        "e.txt": "",
        "f": b"ORC\x00",
        "g.semicolons": "username;password\n",
        "h.txt": "username;password\nhal;Quiet-1\n",
        "i.gz": gzip.compress(gzip.compress(HEAD.encode())),
        "j": sealed,
        "k.age": sealed,
        "l.xlsx": b"PK\x03\x04",
        "_m.csv": f"{HEAD}mia,Quiet-1\n",
        "n": b"-----BEGIN PGP MESSAGE-----\n",
        "a.csv.sha256": "9f86d081  a.csv\n",
    }
    for name, content in files.items():
        place.put(f"in/{name}", content)
    assert rows_of(place.at("in/"))[0] == ["ann"]
    reasons = unread_of(place.at("in/"))
    assert reasons.keys() == files.keys() - {"a.csv"}
    assert reasons["README"] == "no column 'username' in its first line"
    assert reasons["a.csv.sha256"] == "about another file, by its name"
    assert reasons["b.csv.bak"] == "a copy, by its name"
    assert reasons["b.csv.filepart"] == "still being written, by its name"
    assert reasons["c.yaml"].startswith("its name does not end in")
    array = "JSON: write one object in each line (jq -c '.[]' does so for an array), and name the file .jsonl"
    assert reasons["c.json"] == reasons["d"] == array
    assert (reasons["e.txt"], reasons["f"][:3], reasons["i.gz"][:11]) == ("empty", "ORC", "packed with")
    assert reasons["h.txt"] == 'its columns are separated by ";", and input.delimiter is ","'
    assert reasons["j"] == "encrypted with age: rename it so that it ends in .age"
    assert reasons["k.age"] == "encrypted, and the job has no input.identity"
    assert (reasons["_m.csv"], reasons["n"]) == ('its name begins with "_"', "encrypted with PGP: decrypt it")
    assert rows_of(place.at("in/"), identity=key)[0] == ["ann", "sid"]


def test_helper_files_of_exporters_are_not_inputs_and_not_mentioned(place: Place) -> None:
    place.put_case("spark", "in")
    for name in (
        *("_started_1", "_metadata", ".part-00000.csv.crc", "part-00000.csv.crc", ".hidden.csv"),
        *("Thumbs.db", "desktop.ini", "~$users.xlsx"),
        *("_temporary/0/part-7.csv", "_delta_log/1.json", ".spark/x.csv"),
    ):
        place.put(f"in/{name}", f"{HEAD}wrong,Quiet-1\n")
    for path in ("in/", "in/*", "in/**", "in/**/*", "i*/*"):
        assert rows_of(place.at(path)) == (["ada"], []), path


@pytest.mark.parametrize("path", ["in/*", "in/**", "in/", "*/*"])
def test_objects_that_stand_for_a_folder_are_not_inputs(s3: Storage, path: str) -> None:
    for key in ("in/", "in_$folder$", "in/sub/", "in/x_$folder$"):
        s3.put(key, b"")
    s3.put("in/a.csv", f"{HEAD}ann,Quiet-1\n".encode())
    assert rows_of(f"{AT}/{path}")[0] == ["ann"]


def test_pattern_that_asks_for_names_with_an_underscore_gets_them(place: Place) -> None:
    place.put("in/_exports/a.csv", f"{HEAD}ann,Quiet-1\n")
    assert rows_of(place.at("in/_exports/*.csv"))[0] == ["ann"]
    with pytest.raises(InputMissing, match="No input matches"):
        rows_of(place.at("in/*/*.csv"))


@pytest.mark.parametrize(
    "empty", [b"", gzip.compress(b""), gzip.compress(b"\xef\xbb\xbf\r\n\n")], ids=["none", "nothing", "blank"]
)
def test_empty_file_among_others_has_no_rows_and_is_named(place: Place, empty: bytes) -> None:
    place.put("in/part-0.csv", f"{HEAD}ann,Quiet-1\n")
    name = "part-1.csv.gz" if empty else "part-1.csv"
    place.put(f"in/{name}", empty)
    place.put("in/part-2.csv", f"{HEAD}ben,Quiet-1\n")
    for path in ("in/", "in/*", "in/part*"):
        assert rows_of(place.at(path)) == (["ann", "ben"], [f"1 file has no content, so no rows: {name}."])
    with pytest.raises(EmptyInput, match=f"{name} (is empty|has only blank lines)"):
        rows_of(place.at(f"in/{name}"))


def test_input_of_nothing_but_empty_parts_is_refused(place: Place) -> None:
    place.put("in/a.csv", b"")
    place.put("in/b.parquet", b"")
    with pytest.raises(InputError, match=r"All 2 files of the input .* are empty"):
        rows_of(place.at("in/"))


def test_empty_part_of_the_case(place: Place) -> None:
    place.put_case("empty-part", "in2")
    assert rows_of(place.at("in2/*.csv")) == (["ada"], ["1 file has no content, so no rows: part-00001.csv."])


def test_error_for_a_folder_without_an_input_names_its_files(place: Place) -> None:
    place.put("in/a.csv.bz2", bz2.compress(HEAD.encode()))
    for path in ("in/", "in/*"):
        with pytest.raises(InputMissing, match=r"1 file is not read: .*a\.csv\.bz2 \(bzip2: unpack it with bunzip2\)"):
            discover(InputConfig(path=place.at(path)))
        assert unread_of(place.at(path)) == {"a.csv.bz2": "bzip2: unpack it with bunzip2"}


@pytest.mark.parametrize("name", ["0000_part_00", "unload.000", "export.txt", "export.dat"])
@pytest.mark.parametrize("kind", ["csv", "gzip", "parquet"])
def test_first_bytes_show_a_format_that_the_name_does_not(place: Place, tmp_path: Path, name: str, kind: str) -> None:
    pq.write_table(pa.table({"username": ["ann"], "password": ["Quiet-1"]}), tmp_path / "x.parquet")
    content = {
        "csv": f"{HEAD}ann,Quiet-1\n".encode(),
        "gzip": gzip.compress(f"{HEAD}ann,Quiet-1\n".encode()),
        "parquet": (tmp_path / "x.parquet").read_bytes(),
    }[kind]
    place.put(f"in/{name}", content)
    for path in ("in/", "in/*", f"in/{name}"):
        assert rows_of(place.at(path))[0] == ["ann"]


def test_text_that_a_pattern_names_is_read_or_refused_but_not_passed_over(place: Place) -> None:
    place.put("in/a.txt", f"{HEAD}ann,Quiet-1\n")
    place.put("in/b.txt", "user,password\nben,Quiet-1\n")
    with pytest.raises(InputError, match=r"b\.txt has no column 'username'"):
        rows_of(place.at("in/*.txt"))
    assert rows_of(place.at("in/"))[0] == ["ann"]


def test_more_files_than_are_shown_are_counted(tmp_path: Path) -> None:
    csv_file(tmp_path, f"{HEAD}ann,Quiet-1\n", "a.csv")
    for number in range(14):
        (tmp_path / f"x{number:02}.bz2").write_bytes(b"BZh9")
    (remark,) = rows_of(tmp_path)[1]
    assert remark.startswith("14 files are not read: ")
    assert remark.endswith("x09.bz2 (bzip2: unpack it with bunzip2); and 4 more.")


def test_name_that_is_not_utf8_is_reported_legibly(tmp_path: Path) -> None:
    csv_file(tmp_path, f"{HEAD}ann,Quiet-1\n", "a.csv")
    (tmp_path / "na\udcefve.bz2").write_bytes(b"BZh9")
    (remark,) = rows_of(tmp_path)[1]
    assert "na\\xefve.bz2" in remark
    remark.encode()


@pytest.mark.parametrize(
    ("end", "cut"),
    [("\nbob,Vt9#mKq2!", True), ("\nbob,Vt9#mKq2!\n", False), ("\r\nbob,x\r\n", False), ("\rbob,x\r", False)],
)
def test_last_line_without_an_end_is_remarked(tmp_path: Path, end: str, *, cut: bool) -> None:
    path = csv_file(tmp_path, f"username,password{end}", "u.csv")
    reasons = ["u.csv: the last line has no line break: is the file whole?"] if cut else []
    assert rows_of(path) == (["bob"], reasons)
    packed = csv_file(tmp_path, f"username,password{end}", "v.csv.gz")
    assert rows_of(packed) == (["bob"], [line.replace("u.csv", "v.csv.gz") for line in reasons])


def test_plain_files_beside_encrypted_ones_are_read_as_they_are(tmp_path: Path) -> None:
    key = key_file(tmp_path)
    folder = tmp_path / "in"
    folder.mkdir()
    plain = csv_file(folder, f"{HEAD}ann,Quiet-1\n", "a.csv")
    for path in (folder, folder / "*.csv", [plain]):
        assert rows_of(path, identity=key)[0] == ["ann"]
    with pytest.raises(InputError, match="is not encrypted, but the job has"):
        rows_of(plain, identity=key)
    shutil.copy(encrypted_file(csv_file(tmp_path, f"{HEAD}ben,Quiet-1\n", "b.csv"), key), folder / "b.csv.age")
    assert rows_of(folder, identity=key)[0] == ["ann", "ben"]


def fields_of(path: object, **spec: Any) -> list[tuple[str, ...]]:  # noqa: ANN401  (the keys of [input])
    fields = ("username", "permanent", "user_pool_id")
    found = InputSet.open(InputConfig.model_validate({"path": path, **spec}))
    return [row for batch in found.batches() for row in zip(*map(batch.cells, fields), strict=True)]


def test_columns_in_directory_names_are_read(place: Place, tmp_path: Path) -> None:
    pq.write_table(pa.table({"username": ["dan"], "password": ["Quiet-1"]}), tmp_path / "x.parquet")
    a, b = (
        "in/user_pool_id=eu-west-1_A/permanent=true",
        "in/user_pool_id=eu-west-1%5FB/permanent=__HIVE_DEFAULT_PARTITION__",
    )
    place.put(f"{a}/a.csv", f"{HEAD}ann,Quiet-1\nbad\nben,Quiet-1\n")
    place.put(f"{b}/part-0.parquet", (tmp_path / "x.parquet").read_bytes())
    place.put("in/dt=2024-01-02/c.csv", "username,password,permanent\ncat,Quiet-1,no\n")
    ours = [("ann", "true", "eu-west-1_A"), ("", "", ""), ("ben", "true", "eu-west-1_A")]
    # sorted by name: "%" comes before "_"
    assert fields_of(place.at("in/*/*/*")) == [("dan", "", "eu-west-1_B"), *ours]
    assert fields_of(place.at(f"{a}/")) == ours
    assert fields_of(place.at(f"{a}/a.csv")) == ours
    assert fields_of(place.at("in/dt=2024-01-02/c.csv")) == [("cat", "no", "")]


@pytest.mark.parametrize(
    ("directory", "reasons"),
    [
        ("password=Secret-1", "is named password="),
        ("Password=Secret-1", "is named Password="),
        ("username=ann", "is named username="),
        ("Permanent=true", "is named Permanent="),
        ("userPoolId=Secret-1", "is named userPoolId="),
        ("permanent=true/permanent=false", "with different values"),
    ],
)
def test_directory_whose_column_cannot_be_read_is_refused_by_name(place: Place, directory: str, reasons: str) -> None:
    place.put(f"in/{directory}/a.csv", f"{HEAD}ann,Quiet-1\n")
    for path in (f"in/{directory}/a.csv", f"in/{directory}/", "in/**/*.csv"):
        with pytest.raises(InputError, match=reasons) as caught:
            fields_of(place.at(path))
        assert "Secret-1" not in str(caught.value)


def test_column_in_the_file_and_in_its_directory_is_refused(place: Place) -> None:
    place.put("in/permanent=true/a.csv", "username,password,permanent\nann,Quiet-1,false\n")
    with pytest.raises(InputError, match="has the column 'permanent', and a directory of that name"):
        fields_of(place.at("in/*/a.csv"))


def test_columns_that_the_job_names_otherwise_are_read_by_that_name(place: Place) -> None:
    place.put("in/kind=true/permanent=false/a.csv", f"{HEAD}ann,Quiet-1\n")
    assert fields_of(place.at("in/**/a.csv"), columns={"permanent": "kind"}) == [("ann", "true", "")]


def test_link_to_another_file_of_the_input_is_not_read_twice(tmp_path: Path) -> None:
    csv_file(tmp_path, f"{HEAD}ann,One-1\n", "b.csv")
    csv_file(tmp_path, f"{HEAD}bob,One-1\n", "c.csv")
    for name in ("a.csv", "latest"):  # before the file and after it
        (tmp_path / name).symlink_to("b.csv")
    outside = csv_file(tmp_path.parent, f"{HEAD}dan,One-1\n", f"{tmp_path.name}.csv")
    (tmp_path / "d.csv").symlink_to(outside)
    why = f"another name of {tmp_path / 'b.csv'}, which is read"
    for path in (tmp_path, tmp_path / "*", [tmp_path / "a.csv", tmp_path]):
        read, (remark,) = rows_of(path)
        assert sorted(read) == ["ann", "bob", "dan"]
        assert f"{tmp_path / 'a.csv'} ({why})" in remark
        assert unread_of(path)["latest"] == why
    assert rows_of(tmp_path / "latest") == (["ann"], [])
