"""A browser without a network, for the tests of the site and of the page with the demo."""

from __future__ import annotations

import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: the extra browser brings it")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A tab without a network that records what it asks for and what goes wrong."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.context.set_offline(True)
    tab.asked, tab.complaints = [], []
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.on("requestfailed", lambda request: tab.complaints.append(f"failed: {request.url}"))
    tab.on("pageerror", lambda error: tab.complaints.append(f"error: {error}"))
    tab.on("console", lambda message: tab.complaints.append(message.text) if message.type == "error" else None)
    yield tab
    tab.close()
