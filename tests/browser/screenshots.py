"""Pictures of the dashboard for the README, of a simulated box: `make screenshots` writes docs/dashboard*.png."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import ViewportSize

from tests.browser.site import CONFIG, DESK, PHONE, Site, Visitor, chromium
from tests.services import ROOT

INTERVALS = 24
"""That the box has counted before its pictures are taken."""
_LEVELS = 52
"""Of each colour that are kept: a picture of pages needs no more, and takes half of the bytes."""


def _write(name: str, png: bytes) -> None:
    """Fewer colours, best compression."""
    picture = np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), np.float32)
    step = 255 / (_LEVELS - 1)
    path = ROOT / "docs" / f"{name}.png"
    few = np.rint(np.rint(picture / step) * step).astype(np.uint8)
    cv2.imwrite(str(path), few, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1000} kB")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        site = Site.made(Path(folder))
        config = CONFIG.replace('reconstruction = "backpropagate"', 'reconstruction = "hidef"').replace(
            "test-box", "pollen-roof-3"
        )
        port = site.url.rpartition(":")[2]
        site.service.config.write_text(config.format(store=Path(folder) / "store", port=port))
        site.start()
        try:
            operator = Visitor.at(site, browser)
            operator.set_up()
            operator.open("now")
            counted = "async () => (await (await fetch('/api/history/status')).json()).intervals"
            while operator.page.evaluate(counted) < INTERVALS:
                operator.page.wait_for_timeout(1000)
            held = operator.page.evaluate("async () => (await (await fetch('/api/history/status')).json())")
            period = f"since={held['first']}&until={held['last']}"
            signed_in = operator.context.storage_state()
            for name, route, size, theme in (
                ("dashboard", "now", ViewportSize(width=1280, height=1000), "light"), ("dashboard-history", f"history?{period}&labels=total,birch", ViewportSize(width=1280, height=960), "dark"),
                ("dashboard-particles", "particles", DESK, "light"), ("dashboard-phone", "now", PHONE, "dark"),
            ):  # fmt: skip
                visitor = Visitor.at(site, browser, storage_state=signed_in, viewport=size, color_scheme=theme)
                page = visitor.open(route)
                if route == "now":
                    page.wait_for_selector("#look figure.picture img")
                page.wait_for_load_state("load")
                page.wait_for_timeout(1500)
                _write(name, page.screenshot())
                visitor.close()
        finally:
            site.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
