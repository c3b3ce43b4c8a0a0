"""The sheet: a file that is small by its nature, read whole, and never more of it than such a file may have."""

import errno
from pathlib import Path

MOST = 1 << 22  # bytes of one that people write: a job file, a key, urls


def read_small_file(path: Path, most: int = MOST) -> bytes:
    """All that is in the file. Raises OSError, also where it has more than `most` bytes.

    A pipe is as good as a file, for keys come out of `<(pass show key)`; a device that never ends is read no further.
    """
    with path.open("rb") as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
    return found
