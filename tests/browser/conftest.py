"""A real Chromium in front of the real image, as people start it: nothing configured but the name
and the port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser_window import (
    PASSWORD,
    PATIENCE_SECONDS,
    Person,
    launch_chromium,
    open_windows,
    read_setup_code,
)
from tests.support.hub_container import Hub, HubMaker
from tests.support.hub_process import install_node_packages


@pytest.fixture(scope="module")
def make_hub(
    tmp_path_factory: pytest.TempPathFactory, wait_for: Callable[..., Any]
) -> Iterator[HubMaker]:
    """Return a function that starts hub containers, which live as long as the module's tests."""
    maker = HubMaker(tmp_path_factory.mktemp, wait_for)
    yield maker
    maker.remove_all()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """Show what the browser complained about, and the end of the hubs' logs, when a test fails."""
    report = yield
    if report.when == "call" and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            for person in getattr(value, "people", []):
                report.sections.append(
                    (f"browser at {person.page.url}", "\n".join(person.complaints))
                )
            if isinstance(value, Hub):
                report.sections.append((f"log of {value.name}", value.logs()[-6000:]))
    return report


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return the system's Chromium."""
    with launch_chromium(tmp_path_factory.mktemp("browser")) as chromium:
        yield chromium


@pytest.fixture
def open_window(
    browser: Browser, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Person]]:
    """Return a function that opens a fresh window at a hub, without cookies: ``open_window(hub,
    viewport=…)``.
    """
    with open_windows(browser, request) as open_at:
        yield open_at


@pytest.fixture(scope="session")
def prepare_hub(browser: Browser) -> Callable[[Any], Any]:
    """Return a function that chooses a hub's administrator's password by the setup code, and
    returns the hub.
    """

    def prepare(hub: Any) -> Any:
        context = browser.new_context(ignore_https_errors=True)
        context.set_default_timeout(1000 * PATIENCE_SECONDS)
        person = Person(hub, context, context.new_page())
        person.sign_up(setup_code=read_setup_code(hub))
        person.page.wait_for_url("**/hub/admin/checklist")
        context.close()
        return hub

    return prepare


@pytest.fixture
def setup_code() -> Callable[[Any], str]:
    """Return the function that reads a hub's setup code."""
    return read_setup_code


@pytest.fixture
def admin(hub: Any, open_window: Callable[..., Person]) -> Person:
    """Return the administrator, signed in, at home."""
    person = open_window(hub)
    person.sign_in("admin")
    person.page.wait_for_url("**/hub/home")
    return person


@pytest.fixture(scope="session")
def password() -> str:
    """Return the password of all accounts of the tests."""
    return PASSWORD


@pytest.fixture(scope="session")
def axe() -> str:
    """Return axe, the judge of what keeps people out of a page."""
    folder = install_node_packages(Path(__file__).parent / "axe")
    return (folder / "axe-core" / "axe.min.js").read_text()


@pytest.fixture
def find_barriers(axe: str) -> Callable[[Page], list[str]]:
    """Return a function that lists what axe finds on a page: what somebody who does not see it, or
    not well, or has no mouse, would stumble over.
    """
    script = """async () => {
        const { violations } = await axe.run(document, { resultTypes: ["violations"] });
        return violations.flatMap(({ id, help, nodes }) => nodes.map((node) => `${id}: ${help}: ${node.html}`));
    }"""  # noqa: E501

    def find(page: Page) -> list[str]:
        page.evaluate(axe)
        return list(page.evaluate(script))

    return find
