"""Reading and writing of small files. A written file gets its name only when it is complete and on disk."""

import codecs
import contextlib
import errno
import fcntl
import glob
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from bulkreset.errors import RecordError, RunDirError

MOST = 1 << 22  # bytes of a file that people write: a job file, a key, URLs
ELSEWHERE = "Free disk space, or name a file elsewhere."  # the advice if a file that was named cannot be written
_PRIVATE = 0o600
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class ReadStream(io.RawIOBase):
    """A readable stream over `_stream`, which is closed with it."""

    _stream: Any = None  # Python closes a stream that could not be opened, too

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset. Return the new position."""
        return int(self._stream.seek(offset, whence))

    def close(self) -> None:
        """Close both."""
        if self._stream is not None and not self.closed:
            self._stream.close()
        super().close()


def read_small_file(path: Path, most: int = MOST) -> bytes:
    """Return the content of a file. Raises OSError, also if it has more than `most` bytes.

    A pipe works too, because keys may come from `<(pass show key)`. An endless device is read only up to the limit.
    """
    with path.open("rb") as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
    return found


def decode_text(raw: bytes) -> str:
    """Return the text of a file that people write, as the editors of all systems save it.

    It is UTF-8, or UTF-16 as Windows programs write it. A byte order mark is dropped. Raises UnicodeDecodeError.
    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16")
    begins = raw[:4]  # such a file begins with ASCII, so every other byte is 0 in UTF-16
    if len(begins) > 1 and not any(begins[1::2]) and all(begins[::2]):
        return raw.decode("utf-16-le")
    if len(begins) > 1 and not any(begins[::2]) and all(begins[1::2]):
        return raw.decode("utf-16-be")
    return raw.decode("utf-8-sig")


def require_new(path: Path) -> None:
    """Raise RunDirError if the file already exists or its directory does not exist."""
    if os.path.lexists(path):
        raise RunDirError(f"{path} already exists.", "Choose another name.")
    if not os.path.isdir(path.absolute().parent):  # noqa: PTH112  (Path's may raise)
        raise RunDirError(f"The directory {path.parent} does not exist.", "Create it, or choose another one.")


def create_file(path: str | Path) -> int:
    """Create a file that only its owner can read and return its descriptor, open for writing.

    Raises OSError, also if anything has this name, such as a link that another user has put into the folder.
    """
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, _PRIVATE)


@contextmanager
def atomic_writer(path: Path, advice: str, *, new: bool = False) -> Iterator[TextIO]:
    """Yield a text file, with the rules of `atomic_bytes_writer`."""
    with atomic_bytes_writer(path, advice, new=new) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        yield text
        text.flush()


@contextmanager
def atomic_bytes_writer(path: Path, advice: str, *, new: bool = False) -> Iterator[BinaryIO]:
    """Yield a file as `atomic_file` does. Raises RecordError with `advice` if it cannot be written."""
    try:
        with atomic_file(path, new=new) as file:
            yield file
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror or error}.", advice) from None


@contextmanager
def atomic_file(path: Path, *, new: bool = False, mode: int = _PRIVATE) -> Iterator[BinaryIO]:
    """Yield a binary file that gets its name only when it is complete and on disk. After any error, no file remains.

    Until then its path is `file.name`. A file or a link of this name is replaced; `new` raises FileExistsError instead.
    No link is followed. Raises OSError if it cannot be written.
    """
    remove_stale(path)
    file = _create_partial(path)
    partial = Path(file.name)
    try:
        with file:
            yield file
            file.flush()
            if mode != _PRIVATE:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        _publish(partial, path, new=new)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _create_partial(path: Path) -> BinaryIO:
    """Create and lock a file with a random name, because several processes may write the same file at once."""
    while True:
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        file = open(partial, "wb", opener=lambda name, _flags: create_file(name))  # noqa: SIM115  (`with` is the caller's)
        with contextlib.suppress(OSError):  # without locks `remove_stale` deletes nothing either
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # another process has deleted it before it was locked


def _publish(partial: Path, path: Path, *, new: bool) -> None:
    if not new:
        partial.replace(path)
        return
    try:
        os.link(partial, path)  # unlike a rename, this never replaces a file
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(create_file(path))  # this file system has no hard links: take the name, then replace it
        partial.replace(path)


def remove_stale(path: Path) -> list[Path]:
    """Delete partial files of this name that no live writer has locked, and return their paths."""
    left = []
    for partial in sorted(path.absolute().parent.glob(f".{glob.escape(path.name)}.*.partial")):
        with contextlib.suppress(OSError):
            opened = os.open(partial, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                partial.unlink()
                left.append(partial)
            finally:
                os.close(opened)
    return left


def sync_directory(directory: Path) -> None:
    """Sync a directory to disk, so that a new name in it survives a power loss. Raises OSError."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
