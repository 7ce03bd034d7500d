"""One browser and one box for all: skips where something isn't there, fails where CI=true."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.site import Site, Visitor, chromium, missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/browser/" in item.nodeid:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session", autouse=True)
def there() -> None:
    why = missing()
    if why and os.environ.get("CI") == "true":
        pytest.fail(why)
    if why:
        pytest.skip(why)


@pytest.fixture(scope="session")
def browser(there: None) -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def site(there: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site.made(tmp_path_factory.mktemp("box"))
    made.start()
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def visit(site: Site, browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """A new visitor, with options of playwright's `new_context`."""
    visitors: list[Visitor] = []

    def come(**options: Any) -> Visitor:
        visitors.append(Visitor.at(site, browser, **options))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.close()


@pytest.fixture(scope="module")
def operator_state(site: Site, browser: Browser) -> Any:
    """The session of the operator who set the box up."""
    visitor = Visitor.at(site, browser)
    visitor.set_up()
    state = visitor.context.storage_state()
    visitor.close()
    return state
