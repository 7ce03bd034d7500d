"""What is taken away from a page, two periods side by side, a guide from its first step to the record; the doors, the manual."""

from __future__ import annotations

import csv
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.site import DESK, PHONE, Site, Visitor


def _counted(visitor: Visitor, intervals: int) -> dict[str, Any]:
    """The history's status once it holds so many."""
    asked = "async () => (await fetch('/api/history/status')).json()"
    while (held := visitor.page.evaluate(asked))["intervals"] < intervals or held["behind"]:
        visitor.page.wait_for_timeout(300)
    return held


def test_what_is_shown_is_downloaded_as_tables(visit: Callable[..., Visitor], operator_state: Any, tmp_path: Path) -> None:
    visitor = visit(storage_state=operator_state, accept_downloads=True)
    page = visitor.open("now")
    held = _counted(visitor, 3)
    visitor.open(f"history?since={held['first']}&until={held['last']}")
    rows: dict[str, list[dict[str, str]]] = {}
    for what in ("series", "intervals", "particles"):
        with page.expect_download() as begun:
            page.click(f"#download a[href*='what={what}']")
        begun.value.save_as(tmp_path / what)
        rows[what] = list(csv.DictReader((tmp_path / what).read_text(encoding="utf-8").splitlines()))
    assert all(rows.values())
    assert len(rows["intervals"]) >= 2
    assert sum(int(row["intervals"]) for row in rows["series"]) == len(rows["intervals"])


def test_an_export_is_made_and_fetched(visit: Callable[..., Visitor], operator_state: Any, tmp_path: Path) -> None:
    visitor = visit(storage_state=operator_state, accept_downloads=True)
    visitor.open("now")
    _counted(visitor, 2)
    page = visitor.open("data")
    page.wait_for_selector("#exports form")
    page.select_option("#format", "csv")
    page.click("#exports button[type=submit]")
    page.wait_for_selector("#exports .exports a[download]")
    with page.expect_download() as begun:
        page.click("#exports .exports a[download]")
    begun.value.save_as(tmp_path / "export.zip")
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        assert any(name.endswith(".csv") for name in archive.namelist())


def test_two_periods_stand_side_by_side_the_second_one_by_choice(visit: Callable[..., Visitor], operator_state: Any) -> None:
    visitor = visit(storage_state=operator_state)
    page = visitor.open("now")
    _counted(visitor, 2)
    visitor.open("history?range=15min")
    page.wait_for_selector("#sums .figure")
    assert page.locator("#sums .sum").count() == 1
    page.select_option(".against select", "before")
    page.wait_for_function("() => document.querySelectorAll('#sums .sum').length === 2")
    visitor.settle()
    assert "gap, not a zero" in page.inner_text("#sums .sum:nth-of-type(2)"), "the box wasn't there yet"
    page.select_option(".against select", "own")
    page.wait_for_selector(".against input[type=datetime-local]")
    page.fill(".against input[type=datetime-local]", "2020-02-03T04:05")
    page.dispatch_event(".against input[type=datetime-local]", "change")
    page.wait_for_function("() => document.querySelector('#sums').textContent.includes('2020')")
    visitor.settle()
    assert "against=2020-02-03T03%3A05" in page.url, "the visitor's zone is an hour ahead"


def test_a_guide_leads_to_the_command_and_shows_the_record_that_comes_of_it(
    visit: Callable[..., Visitor], operator_state: Any, site: Site
) -> None:
    visitor = visit(storage_state=operator_state)
    page = visitor.open("instrument")
    page.click(".guides button:has-text('Flow')")
    while page.locator(".guide .command").count() == 0:
        page.click("dialog footer button:last-child")
    assert page.is_disabled(".guide .command button")
    page.fill(".guide label:nth-of-type(1) input", "0.2")
    page.fill(".guide label:nth-of-type(2) input", "500; rm -rf /")
    assert "rm" not in page.inner_text(".guide .command")
    page.fill(".guide label:nth-of-type(2) input", "500")
    assert "holonode-calibrate flow --config box.toml --interval-s 0.2 --channel-width-um 500" in page.inner_text(
        ".guide .command"
    )
    assert visitor.faults() == []
    page.keyboard.press("Escape")
    page.click(".guides button:has-text('Dark frame')")
    while page.locator(".guide .command").count() == 0:
        page.click("dialog footer button:last-child")
    page.wait_for_selector(".guide .waits")
    measure = [sys.executable, "-m", "calibration.cli", "dark", "--config", str(site.service.config), "--yes", "--count", "4"]
    subprocess.run(measure, check=True, capture_output=True)
    page.wait_for_selector(".arrived .badge:has-text('pass')")
    assert "from its next start" in page.inner_text(".arrived")
    assert visitor.faults() == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_doors_are_for_everybody(visit: Callable[..., Visitor], operator_state: Any, size: Any, theme: str) -> None:
    assert operator_state
    for name in ("login", "setup"):
        visitor = visit(viewport=size, color_scheme=theme)
        page = visitor.open(name)
        page.wait_for_selector("form")
        assert visitor.faults() == []
        assert visitor.overflow_px() <= 0
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement !== document.body")


def test_the_readme_is_read_on_the_box(visit: Callable[..., Visitor], operator_state: Any) -> None:
    visitor = visit(storage_state=operator_state, viewport=PHONE)
    page = visitor.open("manual")
    page.click("#readme summary:has-text('The field week')")
    assert "holonode doctor" in page.inner_text("#readme details[open] table")
    assert visitor.faults() == []
    assert visitor.overflow_px() <= 0
