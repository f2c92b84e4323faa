"""`make screenshots`: pictures of a small market, for the README and the guide."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from payments import processes

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "api_docs" / "pictures"
SIZE = {"width": 1280, "height": 800}
BYTES_MAX = 200_000
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def main() -> int:
    path = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if path is None:
        print("No pictures: there is no chromium here (apt install chromium).")
        return 0
    port = _three_free_ports()
    # A market of its own, kept beside the developer's: a second run starts sooner.
    data = ROOT / ".data" / "pictures"
    data.mkdir(parents=True, exist_ok=True)
    server = subprocess.Popen(
        [sys.executable, "manage.py", "run", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "LICET_DEBUG": "1", "LICET_DATA_DIR": str(data)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    password = ""
    try:
        assert server.stdout is not None
        for line in server.stdout:
            print(line, end="", flush=True)
            found = re.search(r"operator@demo.example / (\S+)", line)
            password = found[1] if found else password
            if line.startswith("Ctrl-C"):
                break
        else:
            return 1
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=arguments)
            take(browser, f"http://127.0.0.1:{port}", password)
            browser.close()
    finally:
        if server.poll() is None:
            # Not SIGINT: who was started in the background may ignore it.
            server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
    return 0


def take(browser: Browser, url: str, password: str) -> None:
    """Write each picture anew. Raises AssertionError for one that is too large for a page."""
    TARGET.mkdir(exist_ok=True)
    archive = _signed_in(browser, url, "archive@demo.example", password)
    _picture(archive, "/studio/", "studio")
    lab = _signed_in(browser, url, "lab@demo.example", password)
    _picture(lab, "/studio/licenses/panels/", "licenses")
    lab.goto("/studio/licensing/heldgrant/")
    row = lab.locator("#result_list a[href*='grt_']").last.get_attribute("href") or ""
    grant = next(part for part in row.split("/") if part.startswith("grt_"))
    _picture(lab, f"/certificates/{grant}", "certificate")
    _picture(lab, "/", "market")


def _signed_in(browser: Browser, url: str, email: str, password: str) -> Page:
    context = browser.new_context(
        viewport=SIZE, base_url=url, color_scheme="light", locale="en-US", timezone_id="UTC"
    )
    page = context.new_page()
    page.goto("/login/?next=/studio/")
    page.fill("[name=login]", email)
    page.fill("[name=password]", password)
    with page.expect_navigation():
        page.press("[name=password]", "Enter")
    return page


def _picture(page: Page, path: str, name: str) -> None:
    page.goto(path)
    page.wait_for_load_state("networkidle")
    file = TARGET / f"{name}.png"
    page.screenshot(path=file, animations="disabled", caret="hide")
    assert file.stat().st_size < BYTES_MAX, f"{file.name} has {file.stat().st_size} bytes"
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size} bytes", flush=True)


def _three_free_ports() -> int:
    while True:
        [first] = processes.free_ports(1)
        if first < 2**16 - 3 and all(processes.is_free(first + n) for n in range(3)):
            return first


if __name__ == "__main__":
    sys.exit(main())
