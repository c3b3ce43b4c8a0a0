"""How a value is written in a cell of a report, and read back from one."""

import re

from bulkreset.text import printable_cell

_FORMULA = tuple(
    "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
)  # what makes a spreadsheet run a cell, the full-width forms included
is_redacted = re.compile(r"u-[0-9a-f]{32}").fullmatch  # what `name` makes


def spreadsheet_safe(text: str) -> str:
    """The cell as text that no spreadsheet takes for a formula, and no terminal for an order.

    An apostrophe before what would be a formula, a sign in the place of a control character but tabs and line feeds.
    """
    return printable_cell(f"'{text}" if text.startswith(_FORMULA) else text)


def parse_cell(cell: str) -> str:
    """The username in a cell of a report: without the apostrophe that `as_text` puts before a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell
