"""What several tests of the input use."""

import pytest

from bulkreset.input import page_reader, parquet_reader, text_reader


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use pages of three rows, of which one call passes two."""
    for module in (text_reader, page_reader):
        monkeypatch.setattr(module, "PAGE_ROWS", 3)
    monkeypatch.setattr(page_reader, "SKIPPED_PAGES", 2)
    for module in (text_reader, parquet_reader):
        monkeypatch.setattr(module, "BATCH_ROWS", 6)
