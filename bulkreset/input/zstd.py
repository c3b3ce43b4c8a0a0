"""Decompress Zstandard with Arrow's library, as a stream in bounded memory."""

import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from bulkreset.input.decrypt import RewoundFile


class BadZstdFileError(OSError):
    """The file is not Zstandard, is damaged or cut off, or needs a larger window than the library's limit (128 MiB)."""


class ZstdFile(RewoundFile):
    """The decompressed content of a file. All frames are read as one content. `opened` opens the compressed file."""

    def __init__(self, opened: Callable[[], io.BufferedIOBase]) -> None:
        def start() -> Any:  # noqa: ANN401  (Arrow's stream)
            source = opened()
            if not source.read(1):
                source.close()
                raise BadZstdFileError("it is empty")
            source.seek(0)
            return pa.CompressedInputStream(pa.PythonFile(source, mode="r"), "zstd")

        super().__init__(start)

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  (any writable buffer)
        """Fill the buffer or a part of it. Return the number of bytes read."""
        try:
            return super().readinto(buffer)
        except OSError as error:
            if error.errno is not None:
                raise
            raise BadZstdFileError(_explain(str(error))) from None


def _explain(said: str) -> str:
    """Return in words why the library cannot read the file."""
    if "too much memory" in said:
        return "its window is larger than 128 MiB; compress it without --long and --ultra"
    return "it is cut off" if said.startswith("Truncated") else "it is not Zstandard, or it is damaged"
