"""A real Chromium in front of the real image, as people start it: nothing configured but the name and the port."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import secrets
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Locator, Page, sync_playwright

from tests.browser.quiet_network import quiet_network

ARTIFACTS = Path(__file__).resolve().parents[1] / "artifacts"
PASSWORD = "correct horse battery " + secrets.token_hex(2)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
# Reported to the tests as an error on the console, wherever in a page it happens.
WATCH_POLICY = (
    "addEventListener('securitypolicyviolation', e => console.error('CSP violation: ' + e.violatedDirective + ' ' + e.blockedURI))"
)


def _load(name: str, path: str) -> Any:
    """Load a file of another test folder; conftest files have no import name that both folders share."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).resolve().parents[1] / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


containers = _load("mlhub_test_containers", "image/conftest.py")
registries = _load("mlhub_test_registries", "docker/registry.py")
make_hub = containers.make_hub


@dataclass
class Person:
    """One person's browser window at one hub, with everything it complained about."""

    hub: Any
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)

    def visit(self, path: str) -> Page:
        """Open a path of the hub."""
        self.page.goto(self.hub.url + path)
        return self.page

    def wait_in_lab(self, selector: str) -> Locator:
        """Wait until JupyterLab shows something."""
        locator = self.page.locator(selector).first
        locator.wait_for(timeout=90_000)
        return locator

    def sign_in(self, username: str, password: str = PASSWORD) -> None:
        """Fill in the sign-in form and send it."""
        self.visit("/hub/login")
        self.page.get_by_label("Username").fill(username)
        self.page.get_by_label("Password", exact=True).fill(password)
        self.page.get_by_role("button", name="Sign in").click()

    def sign_up(self, username: str = "", password: str = PASSWORD, setup_code: str = "") -> None:
        """Fill in the sign-up form and send it."""
        self.visit("/hub/signup" + (f"?setup={setup_code}" if setup_code else ""))
        if username:
            self.page.get_by_label("Username").fill(username)
        self.page.get_by_label("Password", exact=True).fill(password)
        self.page.get_by_label("Repeat the password").fill(password)
        self.page.locator("#signup_submit").click()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Call the hub's REST API as this person's page does: cookie and XSRF header."""
        script = """async ([method, path, body]) => {
            const headers = {"X-XSRFToken": jhdata.xsrf_token, "Content-Type": "application/json"};
            const answer = await fetch(jhdata.base_url + "api/" + path, {method, headers, body: body === null ? undefined : JSON.stringify(body)});
            const text = await answer.text();
            try { return [answer.status, JSON.parse(text)]; } catch { return [answer.status, text]; }
        }"""
        status, answer = self.page.evaluate(script, [method, path, body])
        return status, answer

    def shoot(self, name: str) -> Path:
        """Keep a screenshot among the artifacts."""
        ARTIFACTS.mkdir(exist_ok=True)
        file = ARTIFACTS / f"{name}.png"
        self.page.screenshot(path=file)
        return file

    def list_complaints(self) -> list[str]:
        """Return errors of the hub's own pages, and every breach of a content security policy."""
        return [line for line in self.complaints if "/hub/" in line or "policy" in line.lower()]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """Show what the browser complained about, and the end of the hubs' logs, when a test fails."""
    report = yield
    if report.when == "call" and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            for person in getattr(value, "people", []):
                report.sections.append((f"browser at {person.page.url}", "\n".join(person.complaints)))
            if isinstance(value, containers.Hub):
                report.sections.append((f"log of {value.name}", value.logs()[-6000:]))
    return report


@contextlib.contextmanager
def launch_chromium(folder: Path) -> Iterator[Browser]:
    """Start the system's Chromium where no container that comes or goes interrupts it."""
    with quiet_network("/usr/bin/chromium", folder) as options, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(args=FLAGS, **options)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return the system's Chromium."""
    with launch_chromium(tmp_path_factory.mktemp("browser")) as chromium:
        yield chromium


@pytest.fixture
def open_window(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Person]]:
    """Return a function that opens a fresh window at a hub, without cookies: ``open_window(hub, viewport=…)``."""
    people: list[Person] = []

    def open_at(hub: Any, **options: Any) -> Person:
        options = {"viewport": {"width": 1100, "height": 700}, "ignore_https_errors": True, "color_scheme": "light"} | options
        context = browser.new_context(**options)
        context.set_default_timeout(20_000)
        person = Person(hub, context, context.new_page())
        people.append(person)
        context.add_init_script(WATCH_POLICY)
        context.expose_function("pwned", lambda *_: person.executed.append("script"))

        def hear(message: ConsoleMessage) -> None:
            if message.type == "error":
                person.complaints.append(f"{message.text} ({message.location.get('url')})")

        def answer(dialog: Dialog) -> None:
            # JupyterLab asks before one leaves it; any other dialog comes from a script that should not run.
            if dialog.type != "beforeunload":
                person.executed.append(dialog.message)
            dialog.accept()

        person.page.on("console", hear)
        person.page.on("pageerror", lambda error: person.complaints.append(f"{error} (script of {person.page.url})"))
        person.page.on("dialog", answer)
        person.page.on("websocket", lambda socket: person.sockets.append(socket.url))
        return person

    open_at.people = people  # type: ignore[attr-defined]
    failed_before = request.session.testsfailed
    yield open_at
    if request.session.testsfailed > failed_before:
        for number, person in enumerate(people):
            if not person.page.is_closed():
                person.shoot(f"failed-{re.sub('[^a-z0-9]+', '-', request.node.name.lower())}-{number}")
    for person in people:
        person.context.close()


@pytest.fixture(scope="session")
def prepare_hub(browser: Browser) -> Callable[[Any], Any]:
    """Return a function that chooses a hub's administrator's password by the setup code, and returns the hub."""

    def prepare(hub: Any) -> Any:
        context = browser.new_context(ignore_https_errors=True)
        person = Person(hub, context, context.new_page())
        person.sign_up(setup_code=read_setup_code(hub))
        person.page.locator("#signin_link").wait_for()
        context.close()
        return hub

    return prepare


def read_setup_code(hub: Any) -> str:
    """Return the one-time code that the hub keeps in its data directory."""
    return str(hub.exec("cat", "/data/setup-code")).strip()


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


@pytest.fixture
def find_barriers() -> Callable[[Page], list[str]]:
    """Return a function that lists what a screen reader could not name on a page."""
    script = """() => {
        const found = [];
        const seen = element => element.checkVisibility({checkVisibilityCSS: true});
        const text = element => element.textContent.trim() || element.getAttribute("aria-label") || element.title || element.querySelector("img[alt]")?.alt;
        if (!document.documentElement.lang) found.push("the page names no language");
        if (!document.title) found.push("the page has no title");
        if (document.querySelectorAll("main").length !== 1) found.push("the page has not exactly one main part");
        if ([...document.querySelectorAll("h1")].filter(seen).length !== 1) found.push("the page has not exactly one h1");
        for (const input of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
            if (seen(input) && !input.labels.length && !input.getAttribute("aria-label")) found.push("no label: " + input.outerHTML);
        for (const link of document.querySelectorAll("a[href], button")) if (seen(link) && !text(link)) found.push("no name: " + link.outerHTML);
        for (const image of document.images) if (!image.hasAttribute("alt")) found.push("no alt: " + image.outerHTML);
        const ids = [...document.querySelectorAll("[id]")].map(element => element.id);
        for (const id of new Set(ids)) if (ids.filter(other => other === id).length > 1) found.push("twice: #" + id);
        return found;
    }"""
    return lambda page: list(page.evaluate(script))


@pytest.fixture(scope="session")
def registry_tools() -> Any:
    """Return the module that runs a real registry, and slow lines to it."""
    return registries
