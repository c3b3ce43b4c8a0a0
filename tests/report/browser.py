"""Chromium for the tests and pictures of the page, without a network."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

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
    "--no-sandbox",  # root needs it; it opens only our own file
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
    """Show a page in the browser's window. At the end, console messages and further requests are errors.

    There is one window with scripts and one without, because a new one takes a second of processor time. Only the page
    is
    new.
    """
    page = _window(browser, script=script)
    page.set_viewport_size({"width": width, "height": SIZES[width]})
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light", media="screen")
    troubles: list[str] = []
    listeners: dict[Any, Callable[[Any], None]] = {
        "console": lambda said: troubles.append(said.text),
        "pageerror": lambda error: troubles.append(str(error)),
        "request": lambda asked: troubles.append(asked.url) if asked.url != path.as_uri() else None,
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    try:
        page.goto(path.as_uri())
        yield page
    finally:
        for event, listener in listeners.items():
            page.remove_listener(event, listener)
        page.goto("about:blank")
    assert troubles == []


@cache
def _window(browser: Browser, *, script: bool) -> Page:
    return browser.new_context(java_script_enabled=script, locale="en-GB").new_page()
