"""A simulated box that serves its pages, and a browser that looks at them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

from device.rig.models import ARTEFACTS
from tests.brokers import MOSQUITTO, free_port
from tests.services import Service

OPERATOR, VIEWER = "correct horse battery", "another horse entirely"
DESK, PHONE = ViewportSize(width=1280, height=800), ViewportSize(width=360, height=740)
PAGES = ("now", "history", "particles", "health", "instrument", "data", "log", "manual")
MODEL, OLDER = "hidef-small", "1.0.9"
"""A shipped model, and a version of it that is installed, too."""
PATIENCE_MS = 200_000
"""For what is waited for on a busy machine."""

CONFIG = """
[device]
id = "test-box"
[camera]
exposure_us = 2000.0
[twin]
seed = 1
realtime = false
[twin.concentration_per_m3]
birch = 12000
dust = 12000
[sampling]
sample_volume_l = 2.0
pause_s = 1.0
[analysis]
reconstruction = "backpropagate"
[review]
random_share = 1.0
[storage]
folder = "{store}"
min_free_mb = 0
[calibration]
folder = "calibration"
[web]
port = {port}
"""

_CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)


def missing() -> str:
    """What the tests of the pages lack; empty: nothing."""
    if _CHROMIUM is None:
        return "needs Chromium: make test-web installs it"
    if not Path(MOSQUITTO).exists():
        return "needs mosquitto: make mosquitto"
    if _axe_file() is None:
        return "needs axe-core: make test-web installs it"
    return ""


def _axe_file() -> Path | None:
    folder = os.environ.get("HOLONODE_NODE_MODULES")
    file = Path(folder) / "axe-core" / "axe.min.js" if folder else None
    return file.resolve() if file and file.is_file() else None


@contextmanager
def chromium() -> Generator[Browser]:
    assert _CHROMIUM is not None
    # Without a sandbox: it needs rights that a container's root doesn't have. Only our own pages are opened.
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


def _older_model(folder: Path) -> None:
    """Installed beside the shipped ones, so that there is something to go back to."""
    folder.mkdir(parents=True)
    for file in ARTEFACTS.glob(f"{MODEL}-*.*"):
        version = file.stem.removeprefix(f"{MODEL}-")
        target = folder / f"{MODEL}-{OLDER}{file.suffix}"
        target.write_bytes(file.read_bytes().replace(f'version = "{version}"'.encode(), f'version = "{OLDER}"'.encode()))


@dataclass
class Site:
    """A box and where its pages are."""

    service: Service
    url: str

    @classmethod
    def made(cls, folder: Path) -> Site:
        port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "box.toml"
        config.write_text(CONFIG.format(store=folder / "store", port=port))
        _older_model(folder / "store" / "models")
        return cls(Service(config), f"http://127.0.0.1:{port}")

    def start(self) -> None:
        self.service.start()
        self.service.until_said(f"dashboard {self.url}")

    def end(self) -> None:
        """In order, so that its own broker goes, too; whatever happens it is not there afterwards."""
        try:
            if self.service.is_running:
                self.service.finish(signal.SIGINT)
        finally:
            self.service.stop()


@dataclass
class Visitor:
    """One person at a browser of their own."""

    site: Site
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)
    """What the browser said that it should not have to: errors of scripts, things refused by the policy."""

    @classmethod
    def at(cls, site: Site, browser: Browser, **options: Any) -> Visitor:
        known: dict[str, Any] = {"viewport": DESK, "locale": "en-GB", "timezone_id": "Europe/Berlin"}
        context = browser.new_context(**(known | options))
        context.set_default_timeout(PATIENCE_MS)
        visitor = cls(site, context, context.new_page())
        visitor.page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        visitor.page.on("console", lambda said: visitor.complaints.append(said.text) if said.type == "error" else None)
        return visitor

    def open(self, name: str = "now") -> Page:
        """A page, drawn, with what it asked for here."""
        if not self.page.url.startswith(self.site.url):
            self.page.goto(f"{self.site.url}/#/{name}")
        self.page.evaluate("hash => { location.hash = hash }", f"#/{name}")
        self.page.wait_for_selector(f"main[data-page={name.partition('?')[0]}]")
        self.settle()
        return self.page

    def settle(self) -> None:
        """Nothing is loading any more."""
        self.page.wait_for_function("() => !document.querySelector('main [data-sight=loading]')")

    def set_up(self) -> None:
        self.open("setup")
        self.page.fill("#operator_password", OPERATOR)
        self.page.fill("#viewer_password", VIEWER)
        self.page.click("form button[type=submit]")
        self.page.wait_for_selector("header .role")

    def log_in(self, role: str, password: str) -> None:
        self.open("login")
        self.page.select_option("#role", role)
        self.page.fill("#password", password)
        self.page.click("form button[type=submit]")

    def faults(self) -> list[str]:
        """What axe-core finds that is serious or critical, with the first place."""
        file = _axe_file()
        assert file is not None
        self.page.evaluate(file.read_text(encoding="utf-8") + "; undefined")
        found = self.page.evaluate("async () => (await axe.run(document, { resultTypes: ['violations'] })).violations")
        return [
            f"{one['id']} ({one['impact']}): {json.dumps(one['nodes'][0]['target'])} {one['nodes'][0]['html'][:160]}"
            for one in found
            if one["impact"] in ("serious", "critical")
        ]

    def overflow_px(self) -> int:
        """How far the page is wider than the window."""
        return self.page.evaluate("() => document.documentElement.scrollWidth - innerWidth")

    def close(self) -> None:
        with contextlib.suppress(Exception):  # a browser that is closing already
            self.context.close()


def number_in(text: str) -> int:
    """The first whole number of a text."""
    found = re.search(r"\d+", text)
    assert found, text
    return int(found[0])
