"""A real `jupyterhub` process behind a real proxy, and who comes to it."""

from __future__ import annotations

import contextlib
import hashlib
import html
import http.client
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from mlhub.settings import Settings
from tests.support.forked import start_program
from tests.support.ports import find_free_port

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 60
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mlhub"
# What hubs made of the product's templates, which is checked against these.
COMPILED = CACHE / "templates"

PREPARED = """
# What the product wires, as far as sign-in needs it.
import functools
import sys
import bcrypt
from pathlib import Path
from mlhub.web.static import StaticHandler, make_linker
from tests.support.compiled_templates import CompiledTemplates
c.JupyterHub.log_level = "INFO"
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.redirect_to_server = False
c.JupyterHub.template_paths = [{html!r}]
c.JupyterHub.jinja_environment_options = {{
    "bytecode_cache": CompiledTemplates({compiled!r}), "extensions": ["mlhub.texts.PageTexts"],
}}
c.JupyterHub.extra_handlers = [(r"/mlhub-static/(.*)", StaticHandler, {{"path": {static!r}}})]
c.JupyterHub.template_vars = {{"asset": lambda user: make_linker(Path({static!r}))}}
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.JupyterHub.db_url = "sqlite:///{directory}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = "{directory}/cookie-secret"
c.ConfigurableHTTPProxy.command = ["node", "--import", {preload!r}, {proxy!r}]
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.pid_file = "{directory}/proxy.pid"
c.ConfigurableHTTPProxy.auth_token = "{token}"
c.Authenticator.admin_users = {{"admin"}}
allow_list_file = None
make_salt = bcrypt.gensalt
bcrypt.gensalt = functools.partial(make_salt, 4)
"""
# A hash of the product's own price (tests/hub/test_native_rules.py) takes a quarter of a second of
# the processor: for hubs that are asked how they bear it. One round less takes half of that.
PRICED = "bcrypt.gensalt = functools.partial(make_salt, {rounds})\n"
PRICE = 12

FAKE_WORKSPACES = """
from pathlib import Path
c.JupyterHub.spawner_class = "mlhub.backends.fake.FakeSpawner"
c.JupyterHub.allow_named_servers = True
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.trust_user_provided_tokens = True  # else it is hashed 16,384 times at each request
c.JupyterHub.services = [{{"name": "tests", "api_token": "tests-of-the-hub-0123456789abcdef"}}]
c.JupyterHub.load_roles = [{{"name": "tests", "services": ["tests"], \
"scopes": ["admin:users", "admin:servers", "admin:groups", "tokens", "inherit", "shares"]}}]
c.Spawner.policy_file = {policy!r}
c.Spawner.http_timeout = 30
c.JupyterHub.hub_port = {workspace_port}
"""
TESTS_TOKEN = "tests-of-the-hub-0123456789abcdef"

WIRED = """
from mlhub.signin.allow_list import resolve_authenticator
c.JupyterHub.authenticator_class = \
resolve_authenticator(c.JupyterHub.authenticator_class, allow_list_file)
"""


def install_node_packages(folder: Path) -> Path:
    """Install the packages of a lock file once per content; return their node_modules."""
    lock = (folder / "package-lock.json").read_bytes()
    target = CACHE / f"node-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not target.exists():
        fresh = CACHE / f".{target.name}-{os.getpid()}"
        fresh.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(folder / name, fresh / name)
        subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=fresh, check=True, timeout=300
        )
        try:
            fresh.rename(target)
        except OSError:  # another session was faster
            shutil.rmtree(fresh)
    return target / "node_modules"


class Browser(requests.Session):
    """An HTTP client that keeps cookies and fills in forms, as a person would."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.trust_env = False

    def request(self, method, path, **options):  # type: ignore[no-untyped-def, override]
        options.setdefault("timeout", 120)
        response = super().request(
            method, path if path.startswith("http") else self.url + path, **options
        )
        response.encoding = "utf-8"
        return response

    def xsrf(self, page: str) -> str:
        """Return the token in the form of a page."""
        found = re.search(r'name="_xsrf" value="([^"]*)"', self.get(page).text)
        assert found, f"{page} has no form"
        return html.unescape(found.group(1))

    def submit(
        self, page: str, fields: dict[str, str], to: str | None = None, **options: object
    ) -> requests.Response:
        """Load a page and send its form."""
        return self.post(to or page, data={"_xsrf": self.xsrf(page), **fields}, **options)

    def sign_up(
        self, username: str, password: str, page: str = "/hub/signup", **fields: str
    ) -> requests.Response:
        return self.submit(
            page,
            {
                "username": username,
                "signup_password": password,
                "signup_password_confirmation": password,
                **fields,
            },
            to="/hub/signup",
        )

    def log_in(self, username: str, password: str, **fields: str) -> requests.Response:
        return self.submit("/hub/login", {"username": username, "password": password, **fields})

    @staticmethod
    def message(response: requests.Response) -> str:
        """Return the text of the alert on a page."""
        found = re.search(r'role="alert">(.*?)</div>', response.text, re.DOTALL)
        return html.unescape(found.group(1)).strip() if found else ""

    def is_signed_in(self) -> bool:
        return self.get("/hub/token", allow_redirects=False).status_code == 200

    def api(self, method: str, path: str, **options: object) -> requests.Response:
        """Call the hub's REST API as a page does."""
        return self.request(
            method,
            f"/hub/api/{path}",
            headers={"X-XSRFToken": self.xsrf("/hub/change-password")},
            **options,
        )

    def manage(self, path: str, username: str, **fields: str) -> requests.Response:
        """Press a button of the page with all accounts."""
        return self.submit(
            "/hub/change-password",
            fields,
            to=f"/hub/{path}/{quote(username, safe='')}",
            allow_redirects=False,
        )


class Hub:
    """One hub with its proxy, its database and its log, under one directory."""

    program = "jupyterhub"

    def __init__(
        self, directory: Path, proxy: Path, config_text: str, environment: dict[str, str]
    ) -> None:
        self.directory = directory
        self.port, self.hub_port, self.api_port = (
            find_free_port(),
            find_free_port(),
            find_free_port(),
        )
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = directory / "hub.log"
        self.environment = environment
        self.proxy_token = os.urandom(16).hex()
        values = {
            "compiled": str(COMPILED),
            "html": str(REPOSITORY / "resources" / "html"),
            "static": str(REPOSITORY / "resources" / "static"),
            "proxy": str(proxy),
            "preload": str(self._lay_beside_packages(proxy)),
            "token": self.proxy_token,
            "directory": str(directory),
        }
        ports = {"port": self.port, "hub_port": self.hub_port, "api_port": self.api_port}
        COMPILED.mkdir(parents=True, exist_ok=True)
        self.config_file = directory / "config.py"
        self.config_file.write_text(PREPARED.format(**values, **ports) + config_text + WIRED)
        self.process: ForkServerProcess | None = None

    def _lay_beside_packages(self, proxy: Path) -> Path:
        """Put what the product loads before the proxy where it finds the proxy's packages, as in
        the image.
        """
        (self.directory / "node_modules").symlink_to(proxy.parents[2])
        return Path(shutil.copy(REPOSITORY / "docker" / "proxy" / "sockets.mjs", self.directory))

    def start(self, *, wait: bool = True) -> Hub:
        environment = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "MLHUB_RESOURCES_DIR": str(REPOSITORY / "resources"),
            "JUPYTERHUB_CRYPT_KEY": "00" * 32,
            **self.environment,
        }
        self.process = start_program(
            self.program,
            ["-f", str(self.config_file)],
            folder=self.directory,
            environment=environment,
            log=self.log_file,
        )
        if wait:
            self.wait_until(self._answers, "the hub to answer")
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.is_alive(), f"the hub ended:\n{self.log}"
        # Asked so often that a client which does little counts.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with (
            contextlib.closing(connection),
            contextlib.suppress(OSError, http.client.HTTPException),
        ):
            connection.request("GET", "/hub/health")
            return connection.getresponse().status == 200
        return False

    def wait_until(
        self, condition: Callable[[], bool], what: str, seconds: float = START_SECONDS
    ) -> None:
        deadline = time.monotonic() + seconds
        while True:
            asked = time.monotonic()
            if condition():
                return
            now = time.monotonic()
            assert now < deadline, f"waited {seconds} s for {what}:\n{self.log[-4000:]}"
            # What takes the hub long to answer is asked less often.
            time.sleep(max(0.05, min(now - asked, 0.5)))

    def stop(self) -> None:
        if self.process is None:
            return
        pid_file = self.directory / "proxy.pid"
        proxy = int(pid_file.read_text().split()[0]) if pid_file.exists() else 0
        self.process.terminate()
        self.process.join(20)
        # What a hub that had to be killed leaves behind; both lead process groups of their own.
        for group in filter(None, (self.process.pid, proxy)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        self.process.join(10)
        self.process = None

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def browser(self) -> Browser:
        return Browser(self.url)

    def admin(self, password: str = "quite a good one") -> Browser:
        """Return a browser in which `admin` is signed in."""
        browser = self.browser()
        browser.log_in("admin", password)
        assert browser.is_signed_in()
        return browser

    def person(self, username: str, password: str, admin: Browser) -> Browser:
        """Return a browser in which a person is signed in who signed up and was authorized."""
        browser = self.browser()
        browser.sign_up(username, password)
        admin.manage("authorize", username, action="authorize")
        browser.log_in(username, password)
        assert browser.is_signed_in()
        return browser

    def query(self, sql: str, *values: object) -> list[tuple]:
        """Look into the hub's database."""
        with sqlite3.connect(
            f"file:{self.directory}/jupyterhub.sqlite?mode=ro", uri=True
        ) as database:
            return database.execute(sql, values).fetchall()


class WorkspaceHub(Hub):
    """The product's own hub application, whose workspaces are those of the fake backend; `policy`
    writes its policy file.
    """

    program = "mlhub.hub"

    def __init__(
        self, directory: Path, proxy: Path, config_text: str, environment: dict[str, str]
    ) -> None:
        self.policy_file = directory / "policy.yaml"
        settings = Settings(
            data_volume_container=directory,
            mlhub_run_dir=directory,
            mlhub_resources_dir=REPOSITORY / "resources",
            policy_file=self.policy_file,
        )
        (directory / "settings.json").write_text(settings.model_dump_json())
        self.workspace_port = find_free_port()
        wired = (
            FAKE_WORKSPACES.format(policy=str(self.policy_file), workspace_port=self.workspace_port)
            + config_text
        )
        super().__init__(directory, proxy, wired, {"MLHUB_RUN_DIR": str(directory), **environment})

    def policy(self, text: str) -> None:
        """Write the policy; the hub reads it again at the next decision."""
        fresh = self.policy_file.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.policy_file)

    def service(self) -> Service:
        """Return a client of the REST API with an administrator's token."""
        return Service(self.url, TESTS_TOKEN)


class Service(requests.Session):
    """A client of the hub's REST API with a token."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__()
        self.url = url
        self.trust_env = False
        self.headers["Authorization"] = f"token {token}"

    def request(self, method, path, **options):  # type: ignore[no-untyped-def, override]
        options.setdefault("timeout", 120)
        return super().request(method, f"{self.url}/hub/api/{path}", **options)

    def make_person(self, name: str, *, groups: tuple[str, ...] = ()) -> Service:
        """Make a person, and return a client with a token of theirs."""
        assert self.post(f"users/{quote(name, safe='')}").status_code in (201, 409)
        for group in groups:
            self.post(f"groups/{group}")
            assert self.post(f"groups/{group}/users", json={"users": [name]}).status_code == 200
        answer = self.post(f"users/{quote(name, safe='')}/tokens", json={})
        assert answer.status_code == 201, answer.text
        return Service(self.url, answer.json()["token"])

    def start(self, person: str, options: object = None, server: str = "") -> requests.Response:
        """Ask for a start and wait until it is over, one way or the other."""
        path = (
            f"users/{quote(person, safe='')}/servers/{server}"
            if server
            else f"users/{quote(person, safe='')}/server"
        )
        return self.post(path, **({} if options is None else {"json": {"user_options": options}}))

    def stop(self, person: str, server: str = "") -> requests.Response:
        """Stop a server."""
        return self.delete(
            f"users/{quote(person, safe='')}/servers/{server}"
            if server
            else f"users/{quote(person, safe='')}/server"
        )

    def get_server(self, person: str, server: str = "") -> dict[str, Any] | None:
        """Return JupyterHub's model of a server that runs."""
        answer = self.get(
            f"users/{quote(person, safe='')}", params={"include_stopped_servers": "1"}
        ).json()
        return next((each for each in answer["servers"].values() if each["name"] == server), None)


@contextlib.contextmanager
def running_hubs(
    directory: Path, proxy: Path, request: pytest.FixtureRequest, kind: type[Hub] = Hub
) -> Iterator[Callable[..., Any]]:
    """Give a function that starts hubs; they end with the block, and show their logs where a test
    failed.
    """
    started: list[Hub] = []
    failed_before = request.session.testsfailed

    def start(
        config_text: str = "",
        *,
        environment: dict[str, str] | None = None,
        wait: bool = True,
        policy: str | None = None,
    ) -> Hub:
        place = directory / f"hub-{len(started)}"
        place.mkdir()
        server = kind(place, proxy, config_text, environment or {})
        if policy is not None:
            assert isinstance(server, WorkspaceHub)
            server.policy(policy)
        started.append(server)
        return server.start(wait=wait)

    yield start
    for server in started:
        server.stop()
        if request.session.testsfailed > failed_before:
            print(f"--- log of {server.url}\n{server.log[-6000:]}")
