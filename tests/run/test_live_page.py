"""The live page: written again during a run, also in the mirror. It never makes the run fail."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bulkreset.cancellation import CancelToken
from bulkreset.errors import RecordError
from bulkreset.job.output import ReportConfig
from bulkreset.journal import database
from bulkreset.journal.run_dir import RunDir
from bulkreset.run import live_page
from bulkreset.run.context import RunContext
from tests.report.pages import journal_of, ready
from tests.waiting import wait_until


class Mirror:
    """Counts uploads of the page, and fails if the test says so."""

    def __init__(self) -> None:
        self.uploads = 0
        self.fails = False

    def upload_page(self) -> None:
        """Count an upload, or fail."""
        self.uploads += 1
        if self.fails:
            raise RecordError("no bucket")


def context_of(
    home: Path, report: ReportConfig, mirror: Mirror | None, warned: list[str], stop: CancelToken | None = None
) -> RunContext:
    """Return the part of a run's context that the page needs."""
    job = SimpleNamespace(report=report)
    return cast(
        "RunContext",
        SimpleNamespace(
            home=RunDir(home), job=job, mirror=mirror, warn_notification=warned.append, stop=stop or CancelToken()
        ),
    )


def fast(seconds: float = 0.01) -> Any:  # noqa: ANN401  (a patch)
    """Write the page at once, with intervals that no job may set."""
    return ReportConfig.model_construct(live=seconds, html=True, redact=None, format="csv")


def test_page_is_written_again_until_the_block_ends(tmp_path: Path) -> None:
    journal_of(tmp_path, ready(3), rows=3).close()
    mirror, warned = Mirror(), list[str]()
    with live_page.live_page(context_of(tmp_path, fast(), mirror, warned)):
        page = tmp_path / "report.html"
        wait_until(page.exists)
        page.unlink()
        wait_until(page.exists)
        wait_until(lambda: mirror.uploads >= 2)
    text = page.read_text(encoding="utf-8")
    assert '<meta http-equiv="refresh" content="' in text
    assert "still running" in text
    page.unlink()
    assert not any(thread.name == "live page" for thread in threading.enumerate())
    assert warned == []


def test_failure_is_reported_once(tmp_path: Path) -> None:
    journal_of(tmp_path, ready(3), rows=3).close()
    mirror, warned = Mirror(), list[str]()
    mirror.fails = True
    with live_page.live_page(context_of(tmp_path, fast(), mirror, warned)):
        wait_until(lambda: mirror.uploads >= 3)
    assert warned == ["The live page could not be written: no bucket"]


def test_page_is_no_longer_written_for_a_run_that_is_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_STEPS_BETWEEN_CHECKS", 10)
    journal_of(tmp_path, ready(3), rows=3).close()
    stop, warned = CancelToken(), list[str]()
    stop.request()
    with live_page.live_page(context_of(tmp_path, fast(), None, warned, stop)):
        wait_until(lambda: not any(thread.name == "live page" for thread in threading.enumerate()))
    assert (warned, (tmp_path / "report.html").exists()) == ([], False)


def test_without_the_key_nothing_is_written(tmp_path: Path) -> None:
    with live_page.live_page(context_of(tmp_path, ReportConfig(), None, [])):
        assert not any(thread.name == "live page" for thread in threading.enumerate())


@pytest.mark.parametrize("values", [{"live": "4s"}, {"live": "often"}, {"live": "60s", "html": False}])
def test_wrong_settings_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="live"):
        ReportConfig.model_validate(values)


def test_text_is_seconds() -> None:
    assert ReportConfig.model_validate({"live": "2m"}).live == 120.0
