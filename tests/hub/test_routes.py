"""A new proxy asks a real hub for its routes, as the chart's startup probe does."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import socketserver
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

TOKEN = "the-token-of-hub-and-proxy"
ELSEWHERE = f"""
c.JupyterHub.proxy_class = "mlhub.hub.proxy.WatchedProxy"
c.JupyterHubHTTPClient.connector_options = {{"force_close": True}}
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.auth_token = "{TOKEN}"
c.WatchedProxy.is_elsewhere = True
"""
# A backend that takes its time to say what runs, as long as a file is there.
HESITANT = """
import asyncio
from mlhub.backends.fake import FakeSpawner

class HesitantSpawner(FakeSpawner):
    async def poll(self):
        while Path({file!r}).exists():
            await asyncio.sleep(0.05)
        return await super().poll()

c.JupyterHub.spawner_class = HesitantSpawner
c.JupyterHub.init_spawners_timeout = 1
c.JupyterHub.cleanup_servers = False
"""


# A backend that itself is late, before anybody is asked for.
LATE = HESITANT.replace("async def poll", "async def prepare_hub").replace(
    "super().poll", "super().prepare_hub"
)


class Proxy:
    """A proxy that the hub did not start."""

    def __init__(self, program: Path, port: int, api_port: int) -> None:
        self.port, self.api_url = port, f"http://127.0.0.1:{api_port}"
        command = [
            "node",
            str(program),
            "--ip=127.0.0.1",
            f"--port={port}",
            "--api-ip=127.0.0.1",
            f"--api-port={api_port}",
        ]
        self.process = subprocess.Popen(
            [*command, "--log-level=warn"], env={**os.environ, "CONFIGPROXY_AUTH_TOKEN": TOKEN}
        )

    def list_routes(self) -> set[str]:
        answer = requests.get(
            f"{self.api_url}/api/routes", headers={"Authorization": f"token {TOKEN}"}, timeout=5
        )
        assert answer.status_code == 200
        return set(answer.json())

    def is_there(self) -> bool:
        try:
            return self.list_routes() is not None
        except requests.ConnectionError:
            return False

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


class Service(socketserver.ThreadingTCPServer):
    """What a Service is: an address of its own that leads to one proxy's API or another's."""

    daemon_threads, allow_reuse_address = True, True

    def __init__(self, port: int) -> None:
        self.target = 0
        super().__init__(("127.0.0.1", port), Connection)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Connection(socketserver.BaseRequestHandler):
    """One connection, handed on."""

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.target)) as onward:
            back = threading.Thread(target=copy, args=(onward, self.request), daemon=True)
            back.start()
            copy(self.request, onward)
            back.join(5)


def copy(source: socket.socket, target: socket.socket) -> None:
    """Hand on what comes, until one side has gone."""
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


class Site:
    """A hub, its proxy behind a Service, and new proxies of which the Service knows nothing."""

    def __init__(self, hub, program, pick_port, wait_for, config: str = "") -> None:
        self.program, self.pick_port, self.wait_for = program, pick_port, wait_for
        self.proxies: list[Proxy] = []
        self.hub = hub(ELSEWHERE + config, wait=False)
        self.service = Service(self.hub.api_port)
        self.old = self.start_proxy(self.hub.port)
        self.lead_to(self.old)
        self.hub.wait_until(self.hub._answers, "the hub answers")
        self.admin = self.hub.service()
        self.admin.make_person("ann")
        assert self.admin.start("ann").status_code == 201

    def start_proxy(self, port: int = 0) -> Proxy:
        proxy = Proxy(self.program, port or self.pick_port(), self.pick_port())
        self.proxies.append(proxy)
        self.wait_for(proxy.is_there, "the proxy", 20)
        return proxy

    def lead_to(self, proxy: Proxy) -> None:
        self.service.target = int(proxy.api_url.rpartition(":")[2])

    def ask(self, body: object, token: str | None = TOKEN) -> requests.Response:
        """Ask the hub as a proxy does: not through a proxy."""
        headers = {} if token is None else {"Authorization": f"token {token}"}
        url = f"http://127.0.0.1:{self.hub.hub_port}/hub/api/mlhub/routes"
        if isinstance(body, Proxy):
            body = {"api_url": body.api_url}
        return requests.post(
            url,
            headers=headers,
            timeout=40,
            **({"data": body} if isinstance(body, bytes) else {"json": body}),
        )

    def close(self) -> None:
        for proxy in self.proxies:
            proxy.close()
        self.service.shutdown()
        self.service.server_close()


@pytest.fixture(scope="module")
def site(module_workspace_hub, proxy_program, pick_port, wait_for):
    one = Site(module_workspace_hub, proxy_program, pick_port, wait_for)
    yield one
    one.close()


def test_a_proxy_that_asks_has_all_routes_when_it_is_answered(site):
    new = site.start_proxy()
    assert new.list_routes() == set()
    assert site.ask(new).status_code == 204
    assert new.list_routes() == site.old.list_routes() == {"/", "/user/ann"}
    assert site.ask(new).status_code == 204  # once more does no harm
    assert new.list_routes() == {"/", "/user/ann"}


def test_who_does_not_know_the_token_is_refused_and_fills_no_log(site):
    new, before = site.start_proxy(), len(site.hub.log)
    somebodys = site.admin.make_person("bea").headers["Authorization"].partition(" ")[2]
    administrators = site.admin.headers["Authorization"].partition(" ")[2]
    for token in (None, "", "another", "näive", somebodys, administrators, TOKEN[:-1], f"{TOKEN}x"):
        answer = site.ask(new, None if token is None else token.encode().decode("latin-1"))
        assert answer.status_code == 403, token
        assert "Only the hub's own proxy may ask this" in answer.json()["message"]
    assert site.ask(b"no JSON", "another").status_code == 403
    assert new.list_routes() == set()
    said = [
        line
        for line in site.hub.log[before:].splitlines()
        if "mlhub/routes" in line or "asks for the hub's routes" in line
    ]
    assert len(said) == 1
    assert "CONFIGPROXY_AUTH_TOKEN must be the same for hub and proxy" in said[0]
    assert site.ask(new).status_code == 204


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 20000,
        b"\xff",
        [],
        {},
        {"api_url": 1},
        {"api_url": ["http://127.0.0.1:8001"]},
        {"api_url": "http://127.0.0.1:8001", "more": 1},
        {"api_url": "http://127.0.0.1"},
        {"api_url": "http://127.0.0.1:0"},
        {"api_url": "http://127.0.0.1:99999"},
        {"api_url": "http://127.0.0.1:8001/"},
        {"api_url": "http://ann@127.0.0.1:8001"},
        {"api_url": "https://127.0.0.1:8001"},
        {"api_url": "http://elsewhere:8001"},
        {"api_url": "http://::1:8001"},
        {"api_url": "http+unix://%2Frun%2Fapi.sock"},
    ],
    ids=str,
)
def test_a_body_that_names_no_address_is_refused_with_a_sentence(site, body):
    answer = site.ask(body)
    assert answer.status_code == 400
    assert '{"api_url": "http://10.0.0.7:8001"}' in answer.json()["message"]


def test_an_address_where_no_proxy_answers_is_told_at_once(site, pick_port):
    began = time.monotonic()
    answer = site.ask({"api_url": f"http://127.0.0.1:{pick_port()}"})
    assert time.monotonic() - began < 3
    assert answer.status_code == 503
    assert "does not answer. Ask again when it is there." in answer.json()["message"]


def test_who_asks_twice_at_once_is_pushed_to_once(site, wait_for):
    new, before, others = site.start_proxy(), len(site.hub.log), list_askers(site.hub)
    new.process.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(site.ask, new) for _ in range(3)]
        wait_for(lambda: len(list_askers(site.hub) - others) == 3, "all of them ask", 1)
        new.process.send_signal(signal.SIGCONT)
        assert [answer.result().status_code for answer in answers] == [204, 204, 204]
    assert new.list_routes() == {"/", "/user/ann"}
    assert site.hub.log[before:].count(f"The proxy at {new.api_url} asks for all routes") == 1


def list_askers(hub) -> set[str]:
    """List from where others are connected to the hub."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[2] for row in rows if row[1].endswith(f":{hub.hub_port:04X}") and row[3] == "01"}


def test_what_changes_while_the_old_proxy_is_still_asked_comes_to_the_new_one_too(site, wait_for):
    site.admin.make_person("cem")
    assert site.admin.start("cem").status_code == 201
    new = site.start_proxy()
    assert site.ask(new).status_code == 204
    site.admin.make_person("dan")
    assert site.admin.start("dan").status_code == 201
    assert site.admin.stop("cem").status_code in (202, 204)
    assert "/user/dan" in site.old.list_routes()
    assert new.list_routes() == {"/", "/user/ann", "/user/cem"}
    site.lead_to(new)
    try:
        wait_for(lambda: new.list_routes() == {"/", "/user/ann", "/user/dan"}, "what changed", 15)
    finally:
        site.lead_to(site.old)


def test_a_proxy_beside_the_hub_has_nothing_to_ask(workspace_hub):
    hub = workspace_hub(f'c.ConfigurableHTTPProxy.auth_token = "{TOKEN}"')
    body = {"api_url": f"http://127.0.0.1:{hub.api_port}"}
    answer = hub.browser().post(
        "/hub/api/mlhub/routes", json=body, headers={"Authorization": f"token {TOKEN}"}
    )
    assert answer.status_code == 404


@pytest.mark.parametrize("config", [HESITANT, LATE], ids=["hesitant", "late"])
def test_while_a_hub_still_looks_which_workspaces_run_nobody_is_cut_off_and_a_proxy_waits(
    workspace_hub, proxy_program, pick_port, wait_for, tmp_path, config
):
    file = tmp_path / "hesitate"
    with contextlib.closing(
        Site(workspace_hub, proxy_program, pick_port, wait_for, config.format(file=str(file)))
    ) as site:
        new = site.start_proxy()
        assert site.old.list_routes() == {"/", "/user/ann"}
        site.hub.stop()
        file.touch()
        site.hub.start()
        # It has checked its routes by the time that it answers, and says that it looks still.
        for proxy in (site.old, new):
            answer = site.ask(proxy)
            assert answer.status_code == 503
            assert "still looks which workspaces run" in answer.json()["message"]
        assert site.old.list_routes() == {"/", "/user/ann"}
        assert new.list_routes() == set()
        file.unlink()
        wait_for(lambda: site.ask(new).status_code == 204, "the hub has looked", 10)
        # The fake backend's workspaces have ended with the hub.
        assert new.list_routes() == {"/"}
        wait_for(lambda: site.old.list_routes() == {"/"}, "what has ended is led to no more", 10)
