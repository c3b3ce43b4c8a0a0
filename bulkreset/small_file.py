"""Reading of small files as a whole, with a size limit."""

import errno
from pathlib import Path

MOST = 1 << 22  # bytes of a file that people write: a job file, a key, URLs


def read_small_file(path: Path, most: int = MOST) -> bytes:
    """Return the content of a file. Raises OSError, also if it has more than `most` bytes.

    A pipe works too, because keys may come from `<(pass show key)`. An endless device is read only up to the limit.
    """
    with path.open("rb") as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
    return found
