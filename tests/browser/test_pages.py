"""Every page on a desk and on a phone, light and dark; what moves, what is named, started, stopped, lost and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Route

from tests.browser.site import DESK, MODEL, OLDER, OPERATOR, PAGES, PHONE, Site, Visitor

HOSTILE = "<img src=x onerror='window.hurt=1'><script>window.hurt=1</script>"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_every_page_is_whole_and_for_everybody(
    visit: Callable[..., Visitor], operator_state: Any, size: Any, theme: str
) -> None:
    visitor = visit(storage_state=operator_state, viewport=size, color_scheme=theme)
    wrong: dict[str, list[str]] = {}
    for name in PAGES:
        page = visitor.open(name)
        if name == "particles":
            page.wait_for_selector(".gallery .tile, [data-sight=empty]")
        assert page.locator("h1").count() == 1
        wrong[name] = visitor.faults()
        wrong[name] += [f"{visitor.overflow_px()} px too wide"] if visitor.overflow_px() > 0 else []
        wrong[name] += [f"failed: {text}" for text in page.locator("main [data-sight=failed]").all_inner_texts()]
        wrong[name] += [f"text without words: {found}" for found in _keys_shown(page)]
    assert not {name: found for name, found in wrong.items() if found}
    assert not [said for said in visitor.complaints if "404" not in said]


def _keys_shown(page: Any) -> list[str]:
    """Names of texts that no catalogue has, which are shown as they are."""
    return page.evaluate(
        r"() => [...document.querySelectorAll('main :is(p, span, h1, h2, h3, button, legend, dt, th, label, option)')]"
        r".filter((one) => one.children.length === 0 && /^[a-z]+\.[a-z][a-z-]+$/.test(one.textContent) && !one.closest('code, pre, [lang]'))"
        r".map((one) => one.textContent)"
    )


def test_what_the_box_does_is_shown_as_it_happens(visit: Callable[..., Visitor], operator_state: Any) -> None:
    page = visit(storage_state=operator_state).open("now")
    page.wait_for_selector("#counted time")
    before = page.get_attribute("#counted time", "datetime")
    page.wait_for_function("before => document.querySelector('#counted time').getAttribute('datetime') !== before", arg=before)
    assert page.get_attribute(".live", "data-link") == "heard"
    page.wait_for_selector("#look figure.picture img")
    assert page.locator("#look figure.picture").count() == 2
    assert "taken" in page.inner_text("#look .taken")


def test_sampling_stops_and_starts(visit: Callable[..., Visitor], operator_state: Any) -> None:
    page = visit(storage_state=operator_state).open("now")
    page.click("[data-command=stop]")
    page.wait_for_selector("[data-command=start]")
    page.wait_for_function("() => document.querySelector('.first-line .lead').textContent.includes('Paused')")
    page.click("[data-command=start]")
    page.wait_for_selector("[data-command=stop]")


def test_a_particle_is_named_by_keyboard_and_the_name_taken_back(visit: Callable[..., Visitor], operator_state: Any) -> None:
    page = visit(storage_state=operator_state).open("particles?sort=oldest")
    page.wait_for_selector(".gallery .tile")
    first = page.get_attribute(".tile.current button", "data-id")
    tile = f".tile button[data-id='{first}'] .given"
    name = page.inner_text(".label-buttons button:nth-child(2)").split()[-1]
    page.focus(".tile.current button")
    page.keyboard.press("2")
    page.wait_for_selector(f"{tile}:not(.none)")
    assert name in page.inner_text(tile)
    assert page.get_attribute(".tile.current button", "data-id") != first
    assert _label_at_the_box(page, first) == name
    page.keyboard.press("u")
    page.wait_for_selector(f"{tile}.none")
    assert _label_at_the_box(page, first) is None


def _label_at_the_box(page: Any, particle: str | None) -> str | None:
    """What a page shows the box has already."""
    found = page.evaluate("async () => (await (await fetch('/api/particles?sort=oldest&limit=200')).json()).particles")
    return next(one["person_label"] for one in found if one["id"] == particle)


def test_a_setting_is_changed_within_its_bounds_and_says_by_whom(visit: Callable[..., Visitor], operator_state: Any) -> None:
    page = visit(storage_state=operator_state).open("instrument")
    row = "[data-setting='sampling.pause_s']"
    page.click(f"{row} button")
    page.fill(f"{row} input", "1e9")
    assert page.is_disabled(f"{row} button[type=submit]")
    page.fill(f"{row} input", "0.5")
    page.click(f"{row} button[type=submit]")
    page.wait_for_function("row => document.querySelector(row).textContent.includes('operator')", arg=row)
    assert "0.5" in page.inner_text(row)


def test_a_model_is_activated_and_rolled_back_and_its_card_read(visit: Callable[..., Visitor], operator_state: Any) -> None:
    page = visit(storage_state=operator_state).open("instrument")
    row = f"[data-model='{MODEL} {OLDER}']"
    page.click(f"{row} button.secondary:not(.outline)")
    page.click("dialog footer button:not(.outline)")
    page.wait_for_selector(f"{row} .badge:has-text('active version')")
    page.click(f"{row} .controls button:nth-child(2)")
    page.click("dialog footer button:not(.outline)")
    page.wait_for_selector(f"{row} .badge:has-text('active version')", state="detached")
    page.click("[data-model^='bioaerosol'] .controls button")
    page.wait_for_selector("dialog .card-text")
    assert "bioaerosol" in page.inner_text("dialog .card-text")


def test_every_figure_explains_itself(visit: Callable[..., Visitor], operator_state: Any) -> None:
    page = visit(storage_state=operator_state).open("now")
    page.wait_for_selector("#counted .figure")
    words = page.locator("#counted .explained, #parts .explained")
    for k in range(words.count()):
        words.nth(k).click()
        page.wait_for_selector("dialog[open] p")
        assert "no explanation" not in page.inner_text("dialog")
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="detached")


def test_a_script_that_was_stored_stays_text(visit: Callable[..., Visitor], operator_state: Any) -> None:
    visitor = visit(storage_state=operator_state)
    page = visitor.open("now")
    page.evaluate(
        "async (hostile) => { const who = await (await fetch('/api/session')).json();"
        " await fetch('/api/requests/set', { method: 'POST', body: JSON.stringify({ settings: { [hostile.slice(0, 60)]: 1 }, transaction: hostile.slice(0, 60) }),"
        " headers: { 'content-type': 'application/json', 'X-Holonode-CSRF': who.csrf } }) }",
        HOSTILE,
    )
    visitor.open("log")
    page.wait_for_function("() => document.querySelector('#audit').textContent.includes('<img src=x')")
    # Whatever else a box might ever tell of itself.
    crop = {"id": "0" * 26, "captured_at": "2026-05-04T12:00:00Z", "reason": "random", "label": HOSTILE, "score": 0.5, "probabilities": {HOSTILE: 1},
            "prediction_set": [], "consistency": {"flag": 3, "reason": HOSTILE}, "z_um": 1, "esd_um": 1, "person_label": HOSTILE}  # fmt: skip
    page.route("**/api/particles?*", lambda route: route.fulfill(json={"particles": [crop], "next": None, "total": 1}))
    visitor.open("particles")
    page.wait_for_selector(".tile")
    assert HOSTILE in page.inner_text(".tile .names")
    assert page.evaluate("() => window.hurt") is None
    assert page.evaluate("() => document.querySelectorAll('main img[src=x], main script').length") == 0


def _hostile(value: Any) -> Any:
    """The same with a script behind every string."""
    match value:
        case str():
            return value + HOSTILE
        case dict():
            return {key: _hostile(one) for key, one in value.items()}
        case list():
            return [_hostile(one) for one in value]
        case _:
            return value


def test_a_script_in_every_string_that_a_page_is_told_runs_nowhere(visit: Callable[..., Visitor], operator_state: Any) -> None:
    visitor = visit(storage_state=operator_state)
    page = visitor.open("now")
    told: set[str] = set()

    def answer(route: Route) -> None:
        path = urlsplit(route.request.url).path
        if path == "/api/stream":
            state = _hostile(page.request.get(f"{visitor.site.url}/api/state").json())
            route.fulfill(content_type="text/event-stream", body=f"event: state\ndata: {json.dumps(state)}\n\n")
        else:
            reply = route.fetch()
            if reply.headers.get("content-type", "").startswith("application/json") and path != "/api/session":
                told.add(path)
                route.fulfill(response=reply, json=_hostile(reply.json()))
            else:
                route.fulfill(response=reply)

    page.route("**/api/**", answer)
    for name in PAGES:
        page.goto(f"{visitor.site.url}/?again={name}#/{name}")
        page.wait_for_selector(f"main[data-page={name}]")
        page.wait_for_function("() => !document.querySelector('main [data-sight=loading]')")
        page.wait_for_timeout(200)
        assert page.evaluate("() => window.hurt") is None, name
        assert page.evaluate("() => document.querySelectorAll('img[src=x], main script').length") == 0, name
    page.unroute("**/api/**", answer)
    assert told >= {"/api/history/series", "/api/particles", "/api/models", "/api/settings", "/api/audit", "/api/health/trend"}


def test_a_second_tab_hears_what_the_first_one_does(visit: Callable[..., Visitor], operator_state: Any, site: Site) -> None:
    visitor = visit(storage_state=operator_state)
    page, other = visitor.open("now"), visitor.context.new_page()
    other.goto(f"{site.url}/#/now")
    other.wait_for_selector("[data-command=stop]")
    page.click("[data-command=stop]")
    other.wait_for_selector("[data-command=start]")
    other.click("[data-command=start]")
    page.wait_for_selector("[data-command=stop]")
    assert not visitor.complaints


def test_a_page_says_what_failed_and_forgets_it_with_the_next_choice(
    visit: Callable[..., Visitor], operator_state: Any
) -> None:
    visitor = visit(storage_state=operator_state)
    page = visitor.open("now")
    refusal = {"error": {"message": "the history is away", "remedy": "Wait for it."}}
    page.route("**/api/particles?*reason=random*", lambda route: route.fulfill(status=503, json=refusal))
    visitor.open("particles?reason=random")
    page.wait_for_selector("[data-sight=failed]")
    assert "the history is away" in page.inner_text("[data-sight=failed]")
    assert "Wait for it." in page.inner_text("[data-sight=failed]")
    visitor.open("particles")
    page.wait_for_selector(".gallery .tile")
    assert page.locator("[data-sight=failed]").count() == 0
    page.route("**/api/particles?*label=nobody*", lambda route: route.fulfill(json={"particles": [], "next": None, "total": 0}))
    visitor.open("particles?label=nobody")
    page.wait_for_selector("[data-sight=empty]")


def test_a_box_that_goes_is_shown_as_old_and_comes_back_by_itself(
    visit: Callable[..., Visitor], operator_state: Any, site: Site
) -> None:
    visitor = visit(storage_state=operator_state)
    page = visitor.open("now")
    page.wait_for_selector("#counted .figure.big")
    site.service.kill()
    page.wait_for_selector(".live[data-link=lost]")
    page.wait_for_selector("main [data-sight=old]")
    assert page.locator("#counted .figure.big").is_visible()  # what was known stays, and says that it is old
    page.evaluate("() => { location.hash = '#/data' }")
    page.wait_for_selector("main[data-page=data]")
    page.wait_for_selector("main > [data-sight=failed]")  # its program can't be fetched either
    site.start()
    page.wait_for_selector(".live[data-link=heard]")
    page.wait_for_selector("#exports")
    assert page.locator("main > [data-sight=old]").count() == 0
    visitor.open("now")
    page.wait_for_selector("#counted .figure.big")


def test_a_session_that_is_ended_elsewhere_is_over(visit: Callable[..., Visitor], operator_state: Any) -> None:
    one, other = visit(storage_state=operator_state), visit()
    other.open("login")
    other.log_in("operator", OPERATOR)
    other.page.wait_for_selector("header .role")
    page = one.open("log")
    page.click("#sessions button.link")
    other.page.wait_for_selector("main[data-page=login]")
