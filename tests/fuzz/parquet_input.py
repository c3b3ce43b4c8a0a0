"""The Parquet reader: a file becomes rows or is refused with a message, and never ends the process."""

import os
import pickle
import resource
import sys
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bulkreset.errors import InputError
from tests.fuzz.edits import edited
from tests.fuzz.reading import read, small
from tests.fuzz.scratch import CANARY, folder, written

_ROWS = 40
_SHAPES, _BYTES = 0, 1
_SECONDS = 20  # of processor time, so that a busy machine changes nothing
_ROOM = 3 << 30  # bytes of address space that a reader may use for a file of some kilobytes
_KINDS: tuple[Callable[[], Any], ...] = (
    pa.string,
    pa.large_string,
    pa.string_view,
    lambda: pa.dictionary(pa.int32(), pa.string()),
    pa.binary,
    pa.int64,
    pa.bool_,
    pa.null,
)
_NAMES = ("username", "password", "permanent", "user_pool_id", "Username", "other", "password", "üser")


def one(data: bytes) -> None:
    """The first byte chooses: columns and values described by the rest, or edits of a valid file's bytes."""
    kind, rest = (data[0] if data else 0) % 2, data[1:]
    if kind == _SHAPES:
        _in_shape(rest)
    else:  # Arrow may end the process at false metadata, but not the fuzzer's process
        which = rest[0] % len(_wholes()) if rest else 0
        path = written("in.parquet", edited(_wholes()[which], rest[1:]))
        _in_a_child(lambda: _read(path))


def _read(path: Path) -> None:
    with small():
        read(path, [0, 1, 5, 2])


def _in_shape(rest: bytes) -> None:
    """Each column: a byte for type and name, and values between record separators.

    Values that Arrow rejects are left out.
    """
    group, *columns = (rest or b"\0").split(b"\x1d")
    made: dict[str, Any] = {}
    length = max((column.count(b"\x1e") + 1 for column in columns if column), default=0)
    for column in columns:
        if not column:
            continue
        kind, name = _KINDS[column[0] & 7](), _NAMES[column[0] >> 3 & 7]
        raw = [*column[1:].split(b"\x1e"), *[b""] * length][:length]
        made[name] = _array(kind, raw)
    path = folder() / "shape.parquet"
    how = group[0] if group else 0
    pq.write_table(
        pa.table(made),
        path,
        row_group_size=1 + how % 7,
        use_dictionary=bool(how & 8),
        compression="zstd" if how & 16 else "none",
        version="1.0" if how & 32 and not _has_views(made) else "2.6",
    )
    with small():
        found = read(path, [how, 0, how // 3])
    if not isinstance(found, InputError):
        for name, field in (("username", "username"), ("password", "password")):
            given = [b"" if value is None else value for value in _bytes_of(made[name])]
            told = [getattr(line, field).encode() for line in found]
            assert len(told) == len(given)
            assert all(
                line.malformed or (got == value[: len(got)] and (len(value) <= 1024 or got))
                for line, got, value in zip(found, told, given, strict=True)
            )


def _has_views(made: dict[str, Any]) -> bool:
    return any(pa.types.is_string_view(column.type) for column in made.values())


def _array(kind: Any, raw: list[bytes]) -> Any:  # noqa: ANN401  (Arrow's)
    """Return the values as that type; bytes that are not text stay bytes, as in files of other programs."""
    if pa.types.is_integer(kind):
        return pa.array([len(value) for value in raw], kind)
    if pa.types.is_boolean(kind):
        return pa.array([len(value) % 2 == 0 for value in raw], kind)
    if pa.types.is_null(kind):
        return pa.nulls(len(raw))
    values = [None if value == b"\0" else value for value in raw]
    if pa.types.is_binary(kind):
        return pa.array(values, kind)
    if pa.types.is_string(kind):  # with any bytes: Arrow does not check
        binary = pa.array(values, pa.binary())
        validity, offsets, content = binary.buffers()
        make: Any = pa.StringArray.from_buffers  # the type stubs lack its last parameter
        return make(len(binary), offsets, content, validity, binary.null_count)
    text = [None if value is None else value.decode("utf-8", "replace") for value in values]
    return pa.array(text, pa.string()).cast(kind)


def _bytes_of(column: Any) -> list[bytes | None]:  # noqa: ANN401  (Arrow's)
    if pa.types.is_null(column.type):
        return [None] * len(column)
    found: list[bytes | None] = column.cast(pa.large_string()).cast(pa.large_binary()).to_pylist()
    return found


@cache
def _wholes() -> list[bytes]:
    """Return files as other programs write them: plain, in row groups, encoded and compressed."""
    people = {
        "username": [f"user.{number}" for number in range(_ROWS)],
        "password": [f"{CANARY}-{number % 3}" for number in range(_ROWS)],
    }
    ways: list[dict[str, Any]] = [
        {"use_dictionary": False, "compression": "none"},
        {"row_group_size": 7, "compression": "snappy"},
        {"row_group_size": 9, "compression": "zstd", "write_page_index": True, "data_page_version": "2.0"},
        {
            "compression": "gzip",
            "write_page_checksum": True,
            "column_encoding": {"username": "DELTA_BYTE_ARRAY"},
            "use_dictionary": False,
        },
    ]
    files = []
    for how in ways:
        stream = pa.BufferOutputStream()
        pq.write_table(pa.table(people), stream, **how)
        files.append(stream.getvalue().to_pybytes())
    return files


def _in_a_child(do: Callable[[], None]) -> None:
    """Run a function in a child process, and raise its error here. Death by a signal is an error, too."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        _bounded(do, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        said = told.read()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"the process ended: {os.waitstatus_to_exitcode(status)}"
    failure = pickle.loads(said) if said else ""  # noqa: S301  (our own child's)
    assert not failure, failure


def _bounded(do: Callable[[], None], writing: int) -> None:
    """Run the function in the child; never return."""
    resource.setrlimit(resource.RLIMIT_AS, (_ROOM, _ROOM))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(
        resource.RLIMIT_CPU, (_SECONDS, _SECONDS)
    )  # a function that does not end is killed, and reported as such
    try:
        do()
    except BaseException:  # noqa: BLE001  (reported to the parent)
        os.write(writing, pickle.dumps(traceback.format_exc()[-4000:]))
    sys.stdout.flush()
    os._exit(0)
