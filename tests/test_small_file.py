"""Small files that are too large: each is refused in one sentence, in limited memory, before anything is sent."""

import io
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulkreset.age_encryption import MOST_HEADER, encrypt, load_identities, open_encrypted, parse_recipients
from bulkreset.api import Result
from bulkreset.errors import BulkresetError
from bulkreset.files import read_small_file
from bulkreset.input import discovery
from bulkreset.input.parquet_reader import LARGEST_FOOTER
from bulkreset.input.reader import open_rows
from bulkreset.job import InputConfig, NotifyConfig
from bulkreset.job.file import load
from bulkreset.notify.notifier import check
from bulkreset.report.redaction import Redaction
from bulkreset.run.schedule_state import StateStore
from bulkreset.s3 import Bucket

BOUND = 100 << 20  # bytes that may be allocated at a time
ENDLESS = Path("/dev/zero")
STANZA = b"-> X25519 " + b"A" * 43 + b"\n" + b"A" * 43 + b"\n"


@contextmanager
def bounded() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < BOUND
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "read",
    [
        lambda: load(ENDLESS, {}),
        lambda: load_identities(ENDLESS),
        lambda: Redaction.load(ENDLESS),
        lambda: StateStore(ENDLESS, Bucket()).read(),
    ],
    ids=["job", "key", "redaction", "state"],
)
def test_endless_answer_is_cut_off(read: Callable[[], object]) -> None:
    with (
        bounded(),
        pytest.raises(BulkresetError, match=r"/dev/zero cannot be .*it has more than [\d,]+ bytes\. \w") as it,
    ):
        read()
    assert it.value.exit_code in {2, 3}  # 3: a redacted report that cannot be written, of a run that has ended


def test_endless_list_of_urls_is_a_problem() -> None:
    with bounded():
        (problem,) = check(NotifyConfig(urls_from="file:/dev/zero"))
    assert "that file cannot be read" in problem


def test_pipe_is_as_good_as_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"a key",))
    writer.start()
    assert read_small_file(pipe) == b"a key"
    writer.join()


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 10_000, "a = " + "{b=" * 10_000, "a = " + "9" * 5_000], ids=["arrays", "tables", "number"]
)
def test_job_file_deeper_than_can_be_followed_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BulkresetError, match=r"is nested too deeply|has a number of thousands of digits") as caught:
        load(path, {})
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"lanes": [{"x": 1}]}',
        "[]",
        '{"lanes": [], "targets": []}',
        '{"lanes": [], "targets": [], "x": 1}',
    ],
)
def test_invalid_state_and_summary_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(text, encoding="utf-8")
    with pytest.raises(BulkresetError, match="is not the state of a job"):
        StateStore(tmp_path / "summary.json", Bucket()).read()
    with pytest.raises(BulkresetError, match="has no summary"):
        Result.load(tmp_path)


@pytest.mark.parametrize("header", [STANZA * 200_000, b"-> " + b"A" * (20 << 20)], ids=["recipients", "line"])
def test_encrypted_input_for_every_recipient_is_refused_before_decryption(header: bytes, tmp_path: Path) -> None:
    pyrage = pytest.importorskip("pyrage")
    key = tmp_path / "key"
    key.write_text(str(pyrage.x25519.Identity.generate()), encoding="ascii")
    path = tmp_path / "in.csv.age"
    path.write_bytes(b"age-encryption.org/v1\n" + header)
    with bounded(), pytest.raises(BulkresetError, match=f"its list of recipients has more than {MOST_HEADER:,} bytes"):
        open_rows(InputConfig(path=path, identity=key))


def test_encrypted_input_for_hundreds_is_opened() -> None:
    pyrage = pytest.importorskip("pyrage")
    mine = pyrage.x25519.Identity.generate()
    others = [str(pyrage.x25519.Identity.generate().to_public()) for _ in range(400)]
    encrypted = encrypt(b"x" * 300_000, parse_recipients([*others, str(mine.to_public())]))
    assert len(encrypted) > 5 * MOST_HEADER
    assert open_encrypted(lambda: io.BufferedReader(io.BytesIO(encrypted)), [mine]).read() == b"x" * 300_000


def test_footer_of_a_gigabyte_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"username": ["ann"], "password": ["Quiet-Garden.1"]}), path)
    whole = path.read_bytes()
    with path.open("wb") as file:
        file.write(whole)
        file.truncate((1 << 30) + len(whole))
        file.seek(0, os.SEEK_END)
        file.write((1 << 30).to_bytes(4, "little") + b"PAR1")
    before = pa.total_allocated_bytes()
    with bounded(), pytest.raises(BulkresetError, match=f"a footer of 1,073,741,824 bytes.*{LARGEST_FOOTER:,} bytes"):
        next(open_rows(InputConfig(path=path)).batches())
    assert pa.total_allocated_bytes() - before < BOUND


@pytest.mark.parametrize("given", ["", "*", "**", "[0-9]*.csv"])
def test_more_files_than_an_input_may_have_are_refused(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        (tmp_path / f"{number}.csv").touch()
    monkeypatch.setattr(discovery, "MOST_FILES", 8)
    assert len(discovery.discover(InputConfig(path=tmp_path / given)).files) == 8
    monkeypatch.setattr(discovery, "MOST_FILES", 7)
    with pytest.raises(BulkresetError, match="has more than 7 files") as caught:
        discovery.discover(InputConfig(path=tmp_path / given))
    assert caught.value.exit_code == 2
