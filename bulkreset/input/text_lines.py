"""Read the lines of a text input, each of limited length, and record their faults."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TextIO

from bulkreset.cancellation import check_current
from bulkreset.errors import InputError
from bulkreset.job import InputConfig

# Characters of a line, and of a record of several lines. Without a limit, a file without line breaks, or with an
# unclosed quote, would be read into memory whole.
LONGEST_LINE = 1 << 20
# Characters between two checks for signals: blank lines and lines of one record yield no row, and a page of long lines
# takes minutes. An empty line takes as long as PER_LINE characters.
BETWEEN_CHECKS = 1 << 22
PER_LINE = 256
ENCODING_ADVICE = "Set [input] encoding to the encoding of the file."
MARK = "\ufeff"
UNDECODED = re.compile("[\ud800-\udfff]")
_ESCAPED_LETTER = re.compile(r"(?<!\\)(?:\\\\)*\\[0-9A-Za-z]")  # \N is null in MySQL, and "N" elsewhere


class LineReader(Iterator[str]):
    """An iterator over the file's lines. Byte order marks at the beginning of the file are dropped.

    `number` counts the lines read, `last` is the latest line and `previous` the one before it. `undecoded` is the
    number of a line that did not decode, `unclear` of a line in which a letter or a digit is escaped, `marked` of a
    record's first line that begins with a byte order mark, or 0.
    """

    def __init__(self, text: TextIO, spec: InputConfig, kind: str = "CSV") -> None:
        self._text = text
        self._spec = spec
        self._kind = kind
        self._unchecked = 0  # characters since the last check for signals
        self._ahead: deque[str] = deque()  # lines that were looked at, and are still to be read
        self.number = self.undecoded = self.unclear = self.marked = 0
        self.record_size = 0  # characters of the record so far
        self.last = self.previous = ""
        self.ends_open = False  # the last line has no line break

    def take_problem(self) -> str:
        """Return the error text of the record that was read, or "", and clear it."""
        undecoded, unclear, marked = self.undecoded, self.unclear, self.marked
        self.undecoded = self.unclear = self.marked = 0
        if undecoded:
            return f"line {undecoded}: bytes that are not {self._spec.encoding}"
        if marked:
            return f"line {marked}: a byte order mark begins the line: was this file joined from several?"
        return f"line {unclear}: a letter or a digit is escaped, and what that means is not known" if unclear else ""

    def seek(self, place: int, number: int) -> None:
        """Continue reading at a position of the text, after the line with this number."""
        self._text.seek(place)
        self._ahead.clear()
        self.number = number
        self.last = self.previous = ""

    def look_ahead(self, most: int, longest: int) -> Sequence[str]:
        """Return up to `most` of the next lines, which stay to be read. The first longer line is the last one."""
        ahead, read = self._ahead, self._text.readline
        while len(ahead) < most and (line := read(LONGEST_LINE)):
            ahead.append(line)
            if len(line) > longest:
                break
        return ahead

    def skip_ahead(self) -> None:
        """Pass all lines that were looked at."""
        self.number += len(self._ahead)
        self.previous, self.last = [self.last, *self._ahead][-2:]
        self._ahead.clear()

    def __next__(self) -> str:
        self.previous = self.last
        try:
            self.last = line = self._ahead.popleft() if self._ahead else self._text.readline(LONGEST_LINE)
        except UnicodeError:
            raise InputError(
                f"The input {self._spec.file} is not valid {self._spec.encoding} near line {self.number + 1}.",
                ENCODING_ADVICE,
            ) from None
        if not line:
            self.ends_open = self.ends_open or self.previous[-1:] not in {"", "\n", "\r"}
            raise StopIteration
        self.number += 1
        if self.number == 1:
            self.last = line = line.lstrip(MARK)
        begins = not self.record_size
        self.record_size += len(line)
        self._unchecked += len(line) + PER_LINE
        if self._unchecked >= BETWEEN_CHECKS:
            self._unchecked = 0
            check_current()
        if self.record_size >= LONGEST_LINE:
            raise InputError(
                f"Line {self.number} of the input {self._spec.file} is longer than {LONGEST_LINE:,} characters."
                if len(line) == LONGEST_LINE
                else f"A record of the input {self._spec.file} is longer than {LONGEST_LINE:,} characters: it ends"
                f" after line {self.number}.",
                f"Check that it is a {self._kind} file" + (", and the quoting." if self._kind == "CSV" else "."),
            )
        if not line.isascii():
            if UNDECODED.search(line):
                self.undecoded = self.number
            if begins and line.startswith(MARK):
                self.marked = self.number
        if self._spec.escape and _ESCAPED_LETTER.search(line):
            self.unclear = self.number
        return line
