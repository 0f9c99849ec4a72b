"""Debian's Chromium, as every browser test opens it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PATIENCE = 30_000  # milliseconds


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, without a page."""
    program = shutil.which("chromium")
    assert program, "Browser tests need Debian's package `chromium` (apt-get install chromium), or NO_BROWSER=1."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def chromium_page(browser: Browser, width: int = 1280, height: int = 720) -> Iterator[tuple[Page, list[str]]]:
    """A page of somebody new that waits for half a minute at most, and what its console calls an error, as it comes."""
    # its cookies and what it keeps are its own
    with browser.new_context(viewport={"width": width, "height": height}) as context:
        yield new_page(context)


def new_page(context: BrowserContext) -> tuple[Page, list[str]]:
    """A page more of the same person, and its errors."""
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    errors: list[str] = []
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    return opened, errors
