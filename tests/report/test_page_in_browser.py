"""The page in a real browser: no requests, no errors, no overflow, usable by keyboard and screen reader."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Browser, Page

from tests.journal.journals import POOL
from tests.report.browser import CHROMIUM, SIZES, chromium, opened
from tests.report.pages import Planned, journal_of, of_all_kinds, page_text

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium"),
]
EVIL = "<img src=https://x.example/ onerror=\"document.title='run'\"><script>document.title='run'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with every kind of result."""
    folder = tmp_path_factory.mktemp("full")
    page_text(of_all_kinds(folder, 600))
    return folder / "report.html"


def is_narrow_enough(page: Page) -> bool:
    """Return whether the page does not scroll sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


@pytest.mark.parametrize(
    ("width", "theme"),
    [
        (1280, "light"),
        (390, "dark"),
        pytest.param(1280, "dark", marks=pytest.mark.soak),
        pytest.param(390, "light", marks=pytest.mark.soak),
    ],
)
def test_page_is_accessible_and_fits(browser: Browser, full: Path, width: int, theme: str) -> None:
    with opened(browser, full, width, theme) as page:
        page.evaluate("document.querySelectorAll('details').forEach((it) => (it.open = true))")
        assert is_narrow_enough(page)
        # axe needs time for each row, and all rows are alike.
        page.evaluate(
            "document.querySelectorAll('tbody').forEach((it) => [...it.rows].slice(9).forEach((row) => row.remove()))"
        )
        page.evaluate(Path(AXE_FILE_PATH).read_text(encoding="utf-8"))
        found: dict[str, Any] = page.evaluate(
            "axe.run().then((it) => ({"
            "violations: it.violations.map((one) => [one.id, one.nodes[0].html]), passes: it.passes.length}))"
        )
        assert found["violations"] == []
        assert found["passes"]


def usernames(page: Page) -> list[str]:
    """Return the second cells of the visible rows."""
    return page.locator("#rows tbody tr:not([hidden]) td:nth-child(2)").all_inner_texts()


def test_rows_are_sorted_and_searched_by_keyboard(browser: Browser, full: Path) -> None:
    with opened(browser, full) as page:
        before = usernames(page)
        button = page.get_by_role("button", name="Username")
        button.focus()
        page.keyboard.press("Enter")
        head = page.locator("#rows th", has=button)
        assert head.get_attribute("aria-sort") == "ascending"
        assert usernames(page) == sorted(before, key=lambda it: (it[0] == "u", it)) != before
        page.keyboard.press("Space")
        assert head.get_attribute("aria-sort") == "descending"
        assert usernames(page)[0] == max(before)
        page.get_by_role("button", name="Row", exact=True).press("Enter")
        assert head.get_attribute("aria-sort") is None
        numbers = [int(it) for it in page.locator("#rows tbody td:first-child").all_inner_texts()]
        assert numbers == sorted(numbers)
        search = page.get_by_role("searchbox", name="Search these rows")
        search.focus()
        page.keyboard.type("GÄST00")
        assert usernames(page) == [f"gäst{row:04d}" for row in range(15, 100, 15)]
        assert page.get_by_role("status").inner_text() == "6 of 214 rows"
        page.keyboard.type("nobody")
        assert usernames(page) == []
        assert page.get_by_role("status").inner_text() == "No row has this text."
        search.fill("")
        assert len(usernames(page)) == len(before)


def test_page_is_whole_without_its_script(browser: Browser, full: Path) -> None:
    with opened(browser, full, script=False) as page:
        assert page.locator("#rows tbody tr").count() == 214
        assert page.locator("button").count() == 0
        assert page.locator("pre").first.inner_text().startswith("bulkreset resume ")
        page.locator("summary").first.click()
        assert page.get_by_text("Rows finished /s").is_visible()


def test_hostile_names_do_not_run_connect_or_widen_the_page(browser: Browser, tmp_path: Path) -> None:
    names = [EVIL, "E" * 128, "\U0001f468\u200d\U0001f469" * 30, "\u0639\u0631\u0628\u064a \u202e abc", "\x1b[31m\x00"]
    rows: list[Planned] = [(row, POOL, name, None, "rejected", "c" * 256, name) for row, name in enumerate(names, 1)]
    path = tmp_path / "report.html"
    page_text(journal_of(tmp_path, rows, rows=5, lanes=[]))
    with opened(browser, path) as page:
        assert page.title().startswith("nightly")
        assert EVIL in usernames(page)
        assert "␛[31m␀" in usernames(page)
        for width, height in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            assert is_narrow_enough(page)


def test_injected_code_cannot_run(browser: Browser, full: Path, tmp_path: Path) -> None:
    """If a text became an element, the page's policy would still stop it."""
    path = tmp_path / "injected.html"
    path.write_text(full.read_text(encoding="utf-8").replace("<main>", f"<main>{EVIL}", 1), encoding="utf-8")
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("requestfailed", lambda request: asked.remove(request.url))
    page.goto(path.as_uri())
    assert page.title().startswith("nightly")
    assert asked == [path.as_uri()]
    context.close()


def test_rows_are_short_on_a_phone(browser: Browser, full: Path) -> None:
    with opened(browser, full, 390) as page:
        lines = page.evaluate(
            "[...document.querySelectorAll('#rows tbody tr')].slice(0, 20).map((it) => it.offsetHeight)"
        )
        assert max(lines) < 100


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_print_on_paper_has_the_wide_layout(browser: Browser, full: Path, paper: str) -> None:
    with opened(browser, full) as page:
        page.set_viewport_size({"width": 700, "height": 1000})  # about the width of a printed page between its margins
        page.emulate_media(media="print")
        row = page.locator("#rows tbody tr").first
        assert row.evaluate("(it) => getComputedStyle(it).display") == "table-row"
        pages = re.findall(rb"/Type\s*/Page[^s]", page.pdf(format=paper, prefer_css_page_size=True))
        assert 3 < len(pages) < 12


def test_print_shows_every_row_in_the_colours_of_paper(browser: Browser, full: Path) -> None:
    with opened(browser, full, theme="dark") as page:
        page.emulate_media(media="print")
        assert page.locator("nav").is_hidden()
        assert page.get_by_role("searchbox").is_hidden()
        colour = page.evaluate("getComputedStyle(document.body).color")
        assert colour == "rgb(28, 30, 33)"
        assert page.locator("#rows tbody tr").last.is_visible()
