"""A real Chromium, and the people at its windows."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Error,
    Locator,
    Page,
    expect,
    sync_playwright,
)

from tests.support.quiet_network import quiet_network

# Of everything that a test waits for: machines that run tests are busy, and a wait that is over
# early costs nothing.
PATIENCE_SECONDS = 120
expect.set_options(timeout=1000 * PATIENCE_SECONDS)
ARTIFACTS = Path(__file__).resolve().parents[1] / "artifacts"
PASSWORD = "correct horse battery " + secrets.token_hex(2)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
FLAGS += ["--disable-component-update", "--disable-sync"]
# Reported to the tests as an error on the console, wherever in a page it happens.
WATCH_POLICY = (
    "addEventListener('securitypolicyviolation', e => console.error('CSP violation: ' + "
    "e.violatedDirective + ' ' + e.blockedURI))"
)


# What browsers say over plain HTTP under another name than localhost, where nothing cuts a page's
# opener.
IGNORED_BY_HTTP = "The Cross-Origin-Opener-Policy header has been ignored"


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
        locator.wait_for()
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
        }"""  # noqa: E501
        status, answer = self.page.evaluate(script, [method, path, body])
        return status, answer

    def shoot(self, name: str, **options: Any) -> None:
        """Keep a screenshot among the artifacts. It is for people and no claim of a test: a page
        that is just being left has none.
        """
        ARTIFACTS.mkdir(exist_ok=True)
        with contextlib.suppress(Error):
            self.page.screenshot(path=ARTIFACTS / f"{name}.png", **options)

    def list_complaints(self) -> list[str]:
        """Return errors of the hub's own pages, and every breach of a content security policy."""
        return [
            line
            for line in self.complaints
            if ("/hub/" in line or "policy" in line.lower()) and IGNORED_BY_HTTP not in line
        ]


@contextlib.contextmanager
def launch_chromium(folder: Path) -> Iterator[Browser]:
    """Start the system's Chromium where no container that comes or goes interrupts it."""
    with quiet_network("/usr/bin/chromium", folder) as options, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(args=FLAGS, **options)
        yield chromium
        chromium.close()


@contextlib.contextmanager
def open_windows(
    browser: Browser, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Person]]:
    """Give a function that opens fresh windows; they close with the block, after a picture where a
    test failed.
    """
    people: list[Person] = []

    def open_at(hub: Any, **options: Any) -> Person:
        options = {
            "viewport": {"width": 1100, "height": 700},
            "ignore_https_errors": True,
            "color_scheme": "light",
        } | options
        context = browser.new_context(**options)
        context.set_default_timeout(1000 * PATIENCE_SECONDS)
        person = Person(hub, context, context.new_page())
        people.append(person)
        context.add_init_script(WATCH_POLICY)
        context.expose_function("pwned", lambda *_: person.executed.append("script"))

        def hear(message: ConsoleMessage) -> None:
            if message.type == "error":
                person.complaints.append(f"{message.text} ({message.location.get('url')})")

        def answer(dialog: Dialog) -> None:
            # JupyterLab asks before one leaves it; any other dialog comes from a script that should
            # not run.
            if dialog.type != "beforeunload":
                person.executed.append(dialog.message)
            dialog.accept()

        person.page.on("console", hear)
        person.page.on(
            "pageerror",
            lambda error: person.complaints.append(f"{error} (script of {person.page.url})"),
        )
        person.page.on("dialog", answer)
        person.page.on("websocket", lambda socket: person.sockets.append(socket.url))
        return person

    open_at.people = people  # type: ignore[attr-defined]
    failed_before = request.session.testsfailed
    yield open_at
    if request.session.testsfailed > failed_before:
        for number, person in enumerate(people):
            if not person.page.is_closed():
                person.shoot(
                    f"failed-{re.sub('[^a-z0-9]+', '-', request.node.name.lower())}-{number}"
                )
    for person in people:
        person.context.close()


def read_setup_code(hub: Any) -> str:
    """Return the one-time code that the hub keeps in its data directory."""
    return str(hub.exec("cat", "/data/setup-code")).strip()
