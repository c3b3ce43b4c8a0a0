"""Edits of something whole, read from a fuzzer's bytes."""

_REPLACE, _DELETE, _INSERT, _CUT = range(4)
_LENGTH = 5


def edited(whole: bytes, edits: bytes) -> bytes:
    """Each five bytes are one edit: three say where, one what, one with which byte or how many."""
    content = bytearray(whole)
    for place in range(0, len(edits) - _LENGTH + 1, _LENGTH):
        at = int.from_bytes(edits[place : place + 3], "big") % (len(content) + 1)
        what, value = edits[place + 3] % 8, edits[place + 4]
        if what == _DELETE:
            del content[at : at + 1 + value]
        elif what == _INSERT:
            content[at:at] = bytes([value])
        elif what == _CUT:
            del content[at:]
        else:  # the most likely: it keeps what follows where it is
            content[at : at + 1] = bytes([value])
    return bytes(content)
