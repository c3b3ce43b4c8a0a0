"""Conversion of values to and from the cells of a report."""

import re

from bulkreset.text import printable_cell

_FORMULA = tuple(
    "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
)  # a spreadsheet runs a cell that begins with one of these; full-width forms count too
is_redacted = re.compile(r"u-[0-9a-f]{32}").fullmatch  # as written by `Redaction.redact_name`


def spreadsheet_safe(text: str) -> str:
    """Return the cell as text that no spreadsheet runs as a formula and no terminal runs as a control sequence.

    An apostrophe is put before a formula. Control characters, except tabs and line feeds, are replaced by signs.
    """
    return printable_cell(f"'{text}" if text.startswith(_FORMULA) else text)


def parse_cell(cell: str) -> str:
    """Return the username in a cell of a report, without the apostrophe that `spreadsheet_safe` adds."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell
