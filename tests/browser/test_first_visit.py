"""Nobody has been here before: what is said, what it weighs, who gets in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.site import OPERATOR, VIEWER, Visitor

MOST_BYTES = 150_000


def test_a_first_page_is_light(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    answers = []
    visitor.page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 - playwright marks the callable itself
    visitor.open("now")
    served = [answer for answer in answers if "/api/" not in answer.url]
    assert all(answer.header_value("content-encoding") == "gzip" for answer in served if answer.url.endswith((".js", ".css")))
    sizes = {answer.url: answer.request.sizes()["responseBodySize"] for answer in served}
    assert len(sizes) > 10
    assert sum(sizes.values()) <= MOST_BYTES, sizes


def test_whoever_comes_first_sets_the_password_and_then_roles_hold(visit: Callable[..., Visitor]) -> None:
    first = visit()
    page = first.open("now")
    assert page.locator("[data-banner=no-password]").is_visible()
    assert page.locator("[data-command]").count() == 0
    page.click("[data-banner=no-password] a[role=button]")
    page.wait_for_selector("main[data-page=setup]")
    assert "counts particles" in page.inner_text("main")
    page.fill("#operator_password", OPERATOR)
    page.fill("#viewer_password", VIEWER)
    page.click("form button[type=submit]")
    page.wait_for_selector("header .role")
    assert page.inner_text("header .role") == "operator"
    assert page.locator("[data-banner=no-password]").count() == 0
    page.wait_for_selector("[data-command]")

    # Another browser is nobody now, and is asked who it is.
    viewer = visit()
    page = viewer.page
    page.goto(f"{viewer.site.url}/#/health")
    page.wait_for_selector("main[data-page=login]")
    viewer.log_in("viewer", OPERATOR)
    page.wait_for_selector("[data-sight=failed]")
    assert "password is not right" in page.inner_text("[data-sight=failed]")
    viewer.log_in("viewer", VIEWER)
    page.wait_for_selector("main[data-page=now] .first-line")
    assert page.inner_text("header .role") == "viewer"
    assert page.locator("[data-command]").count() == 0
    viewer.open("particles")
    page.wait_for_selector(".about")
    assert page.locator(".label-buttons").count() == 0
    assert "operator's password" in page.inner_text(".about")
    page.click("header .who button")
    page.wait_for_selector("main[data-page=login]")
    assert not [said for said in first.complaints if "401" not in said]


@pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
def test_every_text_of_a_page_is_in_the_visitors_language(visit: Callable[..., Visitor], locale: str) -> None:
    page = visit(locale=locale).open("login")
    assert page.get_attribute("html", "lang") == locale[:2]
    assert page.inner_text("h1") == {"en": "Log in", "de": "Anmelden"}[locale[:2]]
