"""Edits of a valid input, read from a fuzzer's bytes."""

_REPLACE, _DELETE, _INSERT, _CUT = range(4)
_LENGTH = 5


def edited(whole: bytes, edits: bytes) -> bytes:
    """Each five bytes are one edit: three for the position, one for the kind, one for the byte or length."""
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
        else:  # the most likely kind: the rest keeps its position
            content[at : at + 1] = bytes([value])
    return bytes(content)
