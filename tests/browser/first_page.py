"""The first page as it is served: how heavy, and when it can be used with the processor throttled: `make bench-page`."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from tests.browser.site import Site, Visitor, chromium

_USABLE = """
const found = () => document.querySelector(".first-line .lead");
const watch = new MutationObserver(() => {
  if (!found()) return;
  watch.disconnect();
  requestAnimationFrame(() => setTimeout(() => { window.usableMs = performance.now(); }));
});
watch.observe(document, { childList: true, subtree: true });
"""
"""Looked at from within, so that no one who asks takes part: the first line stands and has been painted."""


def _visit(site: Site, browser: Browser, slower: float) -> tuple[float, int]:
    """Seconds until the first line stands, and bytes of pages and libraries on the wire; nothing is in the browser's cache."""
    visitor = Visitor.at(site, browser)
    sizes: list[int] = []
    session = visitor.context.new_cdp_session(visitor.page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": slower})
    visitor.page.on(
        "requestfinished", lambda done: sizes.append(done.sizes()["responseBodySize"]) if "/api/" not in done.url else None
    )
    visitor.page.add_init_script(_USABLE)
    visitor.page.goto(f"{site.url}/#/now", wait_until="commit")
    visitor.page.wait_for_timeout(5000)
    usable_ms = visitor.page.evaluate("() => window.usableMs")
    visitor.close()
    return usable_ms / 1000, sum(sizes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visits", type=int, default=7)
    parser.add_argument("--slower", type=float, default=6.0, help="times that the browser's processor is throttled")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        site = Site.made(Path(folder))
        # The box is on this machine, too: it waits, so that the page is measured and not the sampler.
        config = site.service.config
        config.write_text(config.read_text().replace("pause_s = 1.0", "pause_s = 3600.0"))
        site.start()
        try:
            site.service.until_said("particles")
            _visit(site, browser, 1.0)  # the server's own first time
            found = [_visit(site, browser, given.slower) for _ in range(given.visits)]
        finally:
            site.end()
    times = sorted(seconds for seconds, _ in found)
    print(f"bytes of the first page, compressed: {max(size for _, size in found):,} (bar 150,000)")
    print(f"usable, processor throttled {given.slower:g} times: median {statistics.median(times):.2f} s "
          f"({times[0]:.2f} to {times[-1]:.2f}, {len(times)} visits; bar 2 s)")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
