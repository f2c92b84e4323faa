"""A real browser, one session for each person; skipped, with the reason, where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

Browser = webdriver.Chrome
DESKTOP, PHONE = (1280, 900), (390, 844)
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def browser_for() -> Iterator[Callable[..., Browser]]:
    """Start a browser that knows nobody: `browser_for(size=PHONE)`."""
    chromium = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        missing = "chromium" if chromium is None else "chromedriver"
        pytest.skip(f"There is no {missing} here: apt install chromium chromium-driver")
    started: list[Browser] = []

    def start(size: tuple[int, int] = DESKTOP) -> Browser:
        options = Options()
        options.binary_location = chromium
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        for argument in (
            "--headless=new",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            f"--window-size={size[0]},{size[1]}",
        ):
            options.add_argument(argument)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # chromium starts for root in no other way
        browser = webdriver.Chrome(options=options, service=Service(driver))
        started.append(browser)
        browser.set_page_load_timeout(120)
        if size == PHONE:
            # Below 500 pixels, a window of the headless browser does not go by its size alone.
            browser.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": True},
            )
        return browser

    yield start
    for browser in started:
        browser.quit()
