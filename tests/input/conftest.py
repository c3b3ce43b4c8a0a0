"""What several tests of the input use."""

import pytest

from bulkreset.input import batch, page_reader, text_reader


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use pages of three rows, of which one call passes two."""
    for module in (text_reader, page_reader):
        monkeypatch.setattr(module, "PAGE_ROWS", 3)
    monkeypatch.setattr(page_reader, "SKIPPED_PAGES", 2)
    monkeypatch.setattr(batch, "BATCH_ROWS", 6)
