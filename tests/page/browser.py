"""A real Chromium for the tests of the page and for the pictures of it; it reaches no network."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import BROWSERS

CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
SIZES = {1280: 900, 390: 844}
THEMES = ("light", "dark")
_QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-sandbox",  # as root there is none; it opens nothing but our own file
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with an empty profile."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_QUIET])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser, path: Path, width: int = 1280, theme: str = "light", *, script: bool = True
) -> Iterator[Page]:
    """A page in a window of its own. Whatever it complains of, and whatever it asks for beside itself, is an error at the end."""
    context = browser.new_context(
        viewport={"width": width, "height": SIZES[width]},
        color_scheme="dark" if theme == "dark" else "light",
        java_script_enabled=script,
        locale="en-GB",
    )
    troubles: list[str] = []
    page = context.new_page()
    page.on("console", lambda said: troubles.append(said.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda asked: troubles.append(asked.url) if asked.url != path.as_uri() else None)
    page.goto(path.as_uri())
    try:
        yield page
    finally:
        context.close()
    assert troubles == []
