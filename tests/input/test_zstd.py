"""Zstandard: exact content, in any order; a damaged, cut or hostile file is refused in little memory."""

import io
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from bulkreset.errors import InputError
from bulkreset.input.decrypt import ZstdFile
from tests.input.inputs import encrypted_file, key_file, pairs, read
from tests.input.test_bounded import MOST, peak

CONTENT = "username,password\n" + "".join(f"user{number},Größe-{number}\n" for number in range(5000))
EXPECTED = [(f"user{number}", f"Größe-{number}") for number in range(5000)]
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"


def packed(content: str | bytes) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    found: bytes = pa.compress(raw, codec="zstd", asbytes=True)
    return found


def zst_file(folder: Path, content: bytes, name: str = "users.csv.zst") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_content_is_read_by_the_name(tmp_path: Path) -> None:
    assert pairs(read(zst_file(tmp_path, packed(CONTENT)))) == EXPECTED
    lines = "".join(f'{{"username":"{name}","password":"{secret}"}}\n' for name, secret in EXPECTED)
    assert pairs(read(zst_file(tmp_path, packed(lines), "USERS.JSONL.ZST"))) == EXPECTED


def test_encrypted_content_is_read(tmp_path: Path) -> None:
    key = key_file(tmp_path)
    path = encrypted_file(zst_file(tmp_path, packed(CONTENT)), key)
    assert path.name == "users.csv.zst.age"
    assert pairs(read(path, identity=key)) == EXPECTED


def test_several_frames_are_one_content(tmp_path: Path) -> None:
    half = len(CONTENT) // 2
    content = SKIPPABLE + packed(CONTENT[:half]) + SKIPPABLE + packed(CONTENT[half:])
    assert pairs(read(zst_file(tmp_path, content))) == EXPECTED


def test_cut_file_is_refused(tmp_path: Path) -> None:
    whole = packed(CONTENT)
    for cut in (0, 1, 3, 4, 10, len(whole) // 2, len(whole) - 1):
        with pytest.raises(InputError, match=r"cannot be read: it is (cut off|not Zstandard|empty)"):
            read(zst_file(tmp_path, whole[:cut]))


@pytest.mark.parametrize("content", [b"username,password\nann,Hidden-1\n", packed(CONTENT) + b"Hidden-1"])
def test_invalid_zstandard_is_refused_without_showing_a_byte(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"it is not Zstandard, or it is damaged|is text, not Zstandard") as caught:
        read(zst_file(tmp_path, content))
    assert "Hidden" not in str(caught.value)


def test_error_of_the_source_is_raised_unchanged() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= 10:
                raise PermissionError(13, "Permission denied")
            return super().read(min(10, size or 10))

    with pytest.raises(PermissionError):
        ZstdFile(lambda: Broken(packed(CONTENT))).read(10)


def test_any_position_can_be_entered() -> None:
    content = CONTENT.encode()
    file = io.BufferedReader(ZstdFile(lambda: io.BytesIO(packed(content))))
    for place in (0, 70_000, 3, 3, 50_000, 90_000, 12, len(content)):
        assert file.seek(place) == place
        assert file.read(20) == content[place : place + 20]


def test_frame_is_read_in_parts() -> None:
    content = packed(b"x" * (64 << 20))
    assert len(content) < 10_000
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        file = io.BufferedReader(ZstdFile(lambda: io.BytesIO(content)))
        assert file.read(20) == b"x" * 20
        taken = tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes() - before
    finally:
        tracemalloc.stop()
    assert taken < 8 << 20


@pytest.mark.soak
@pytest.mark.linux("/proc/self/status, for the memory of a process")
@pytest.mark.process
def test_few_bytes_for_gigabytes(tmp_path: Path) -> None:
    row = b"x" * 500_000 + b",\n"
    path = zst_file(tmp_path, packed(b"username,password\n") + packed(row * 50) * 8)
    assert path.stat().st_size < 100_000
    needed, said = peak(path)
    assert (needed < MOST, said) == (True, "400")


def test_window_that_is_too_large_is_named(tmp_path: Path) -> None:
    # A frame header that asks for a window of 2 GiB.
    content = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([21 << 3]) + b"\x01\x00\x00"
    with pytest.raises(InputError, match="its window is larger than 128 MiB"):
        read(zst_file(tmp_path, content))
