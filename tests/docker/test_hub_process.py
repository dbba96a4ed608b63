"""A real hub process on the host, its workspaces on the real engine."""

import json
import os
import secrets
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlhub.backends.docker.container import PREVIOUS
from mlhub.identity import Identity
from tests.support.engine import LABEL, POOL
from tests.support.hub_container import find_bridge_gateway
from tests.support.names import make_hub_name
from tests.support.ports import find_free_port
from tests.support.registry import build

CONFIG = Path(__file__).parent / "hub_config.py"
ASK_HUB = (
    "import os,socket\n"
    "host,port=os.environ['JUPYTERHUB_API_URL'].split('/')[2].split(':')\n"
    "s=socket.create_connection((host,int(port)),5)\n"
    "path='/'+'/'.join(os.environ['JUPYTERHUB_API_URL'].split('/')[3:])+'/user'\n"
    's.sendall(f"GET {path} HTTP/1.0\\r\\n'
    "Authorization: token {os.environ['JUPYTERHUB_API_TOKEN']}\\r\\n\\r\\n\".encode())\n"
    "answer=b''\n"
    "while chunk:=s.recv(9999): answer+=chunk\n"
    "print(answer.decode())\n"
)


class HubProcess:
    """Start, kill and ask a hub."""

    def __init__(self, folder, hub_name, image, gateway, wait_for):
        self.port = find_free_port()
        self.hub_name, self.wait_for, self.folder = hub_name, wait_for, folder
        self.token = secrets.token_hex(16)
        self.spawner = {
            "hub_name": hub_name,
            "image": image,
            "network_pool": POOL,
            "extra_labels": LABEL,
            "hub_connect_url": f"http://{gateway}:{self.port}",
            "stop_seconds": 3,
        }
        self.process = None

    def start(self):
        test = {
            "port": self.port,
            "folder": str(self.folder),
            "token": self.token,
            "spawner": self.spawner,
        }
        env = {
            **os.environ,
            "MLHUB_TEST_HUB": json.dumps(test),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        self.log = (self.folder / "hub.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", str(CONFIG)],
            env=env,
            stdout=self.log,
            stderr=self.log,
        )
        self.wait_for(
            lambda: self.process.poll() is not None or self.ask("GET", "/")[0] == 200,
            "the hub answers",
            seconds=60,
        )
        assert self.process.poll() is None, self.read_log()

    def end(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(20)

    def read_log(self):
        return (self.folder / "hub.log").read_text()[-6000:]

    def ask(self, method, path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/hub/api{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"token {self.token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or "null")
        except OSError:
            return 0, None

    def server(self, user, name=""):
        status, model = self.ask("GET", f"/users/{user}")
        return (model or {}).get("servers", {}).get(name) if status == 200 else None

    def start_server(self, user, name="", options=None):
        self.ask("POST", f"/users/{user}")
        status, answer = self.ask(
            "POST", f"/users/{user}/servers/{name}", options if options is not None else {}
        )
        assert status in (201, 202), (status, answer, self.read_log())
        self.wait_for(
            lambda: (self.server(user, name) or {}).get("ready"), f"{user} is ready", seconds=30
        )

    def wait_for_stop(self, user):
        self.ask("DELETE", f"/users/{user}/server")
        self.wait_for(lambda: not self.server(user), f"{user} has stopped", seconds=20)


def make_hub_process(folder, image, wait_for):
    # Workspaces reach this hub on the host by the address of the engine's default bridge.
    return HubProcess(folder, make_hub_name(), image, find_bridge_gateway(), wait_for)


@pytest.fixture
def hub_process(tmp_path, image, wait_for):
    """A hub of the test's own, which it may kill."""
    hub = make_hub_process(tmp_path, image, wait_for)
    yield hub
    hub.end()
    print(hub.read_log())


@pytest.fixture(scope="module")
def steady_hub(tmp_path_factory, image, wait_for):
    """A hub that runs, for tests that only use it, each with people of its own."""
    hub = make_hub_process(tmp_path_factory.mktemp("hub"), image, wait_for)
    hub.start()
    yield hub
    hub.end()


def test_a_workspace_outlives_a_killed_hub_is_found_again_and_still_counts(
    hub_process, client, tmp_path, wait_for
):
    policy = tmp_path / "policy.yaml"
    policy.write_text("everyone: {total: {servers: 1}}\n")
    hub_process.spawner["policy_file"] = str(policy)
    hub_process.spawner["environment"] = {"PORT": "9123"}
    hub_process.spawner["image_settings"] = {"mlhub-test-*": {"port": 9123}}
    hub_process.start()
    hub_process.start_server("alice", "work")
    container = client.containers.get(Identity(hub_process.hub_name, "alice", "work").container)
    started = container.attrs["State"]["StartedAt"]
    hub_process.end(signal.SIGKILL)
    hub_process.start()
    wait_for(
        lambda: (hub_process.server("alice", "work") or {}).get("ready"),
        "the workspace is found again",
        seconds=20,
    )
    container.reload()
    assert container.attrs["State"]["StartedAt"] == started
    status, answer = hub_process.ask("POST", "/users/alice/servers/second", {})
    assert status == 400, answer
    assert "1 workspace at once, 1 already do" in answer["message"]
    container.stop(timeout=1)
    wait_for(
        lambda: not hub_process.server("alice", "work"),
        "the end of the workspace is noticed",
        seconds=20,
    )
    hub_process.start_server("alice", "second")


def test_a_workspace_reaches_its_hub_with_its_token_also_after_the_database_was_lost(
    hub_process, client, run_in
):
    hub_process.start()
    hub_process.start_server("alice")
    name = Identity(hub_process.hub_name, "alice").container
    started = client.containers.get(name).attrs["State"]["StartedAt"]
    assert '"name": "alice"' in run_in(name, "python3", "-c", ASK_HUB)[1]
    hub_process.end()
    (hub_process.folder / "hub.sqlite").unlink()
    hub_process.start()
    assert '"name": "alice"' not in run_in(name, "python3", "-c", ASK_HUB)[1]
    hub_process.start_server("alice")
    assert client.containers.get(name).attrs["State"]["StartedAt"] == started
    assert '"name": "alice"' in run_in(name, "python3", "-c", ASK_HUB)[1]


def test_deleting_a_user_through_the_hub_leaves_only_the_trash(steady_hub, client, wait_for):
    steady_hub.start_server("alice")
    identity = Identity(steady_hub.hub_name, "alice")
    steady_hub.wait_for_stop("alice")
    assert steady_hub.ask("DELETE", "/users/alice")[0] == 204
    assert not client.containers.list(all=True, filters={"name": identity.container})
    assert not client.networks.list(names=[identity.network])
    assert client.volumes.get(identity.volume(1))


def test_sentences_reach_the_api_and_the_pages(steady_hub):
    steady_hub.ask("POST", "/users/bob")
    status, answer = steady_hub.ask("POST", "/users/bob/server", {"image": "evil/miner:1"})
    assert status == 400
    assert "'evil/miner:1' is not offered to you" in answer["message"]
    page = Browser(steady_hub, "bob").get("/hub/spawn-pending/bob")
    assert "is not offered to you" in page
    steady_hub.start_server("bob")


def test_a_workspace_that_dies_at_start_shows_its_last_lines(steady_hub, wait_for):
    steady_hub.ask("POST", "/users/carol")
    steady_hub.ask("POST", "/users/carol/server", {"env": {"DIE": "no <license> found"}})
    wait_for(
        lambda: not (steady_hub.server("carol") or {}).get("pending"),
        "the start failed",
        seconds=20,
    )
    page = Browser(steady_hub, "carol").get("/hub/spawn-pending/carol")
    assert "ended before it answered" in page
    assert "no &lt;license&gt; found" in page


def test_twelve_people_who_start_at_once_are_all_served(steady_hub, wait_for):
    users = [f"user{index}" for index in range(12)]
    for user in users:
        steady_hub.ask("POST", f"/users/{user}")
    # slow_spawn_timeout would make each request wait for its start
    with ThreadPoolExecutor(12) as pool:
        for user in users:
            pool.submit(steady_hub.ask, "POST", f"/users/{user}/server")
        for user in users:
            wait_for(
                lambda user=user: (steady_hub.server(user) or {}).get("ready"),
                f"{user} is ready",
                seconds=60,
            )


@pytest.fixture
def moving(hub_process, image, client, drop_images):
    """A tag that workspaces start from, and a way to move it."""
    tag = drop_images(
        f"127.0.0.1:9/moving:{hub_process.hub_name}"
    )  # nobody answers there: what is new is here already
    client.images.get(image).tag(tag)
    hub_process.spawner["image"] = tag
    return lambda *lines: build(client, tag, base=image, size=1000, lines=lines, label=LABEL)


def test_one_call_takes_the_newer_image_and_another_goes_back_on_a_broken_one(
    hub_process, moving, client, wait_for
):
    hub_process.spawner["http_timeout"] = 5
    hub_process.start()
    hub_process.start_server("alice")
    name = Identity(hub_process.hub_name, "alice").container
    assert (
        hub_process.ask("GET", "/users/alice/server/workspace")[1]["image"]["update_available"]
        is False
    )
    status, answer = hub_process.ask("POST", "/users/alice/server/workspace/update", {})
    assert (status, "cannot be pulled" in answer["message"]) == (400, True)  # there is none
    newer = moving()
    assert (
        hub_process.ask("GET", "/users/alice/server/workspace")[1]["image"]["update_available"]
        is True
    )
    assert hub_process.ask("POST", "/users/alice/server/workspace/update", {})[0] == 202

    def is_up_from(image):
        server = hub_process.server("alice")
        return server and server["ready"] and client.containers.get(name).image.id == image

    wait_for(lambda: is_up_from(newer.id), "the newer image runs", 30)
    good = client.containers.get(name).id
    moving("ENV DIE=broken")
    assert hub_process.ask("POST", "/users/alice/server/workspace/update", {})[0] == 202
    wait_for(lambda: "put back" in hub_process.read_log(), "the broken image is gone back on", 30)
    wait_for(lambda: is_up_from(newer.id), "the workspace runs again", 30)
    assert client.containers.get(name).id == good


def test_a_hub_that_is_killed_in_the_middle_of_an_update_ends_with_one_container_that_works(
    hub_process, moving, client, wait_for
):
    hub_process.spawner["http_timeout"] = 6
    hub_process.start()
    hub_process.start_server("alice")
    identity = Identity(hub_process.hub_name, "alice")
    old = client.containers.get(identity.container).id
    moving("ENV START_DELAY=1000")
    assert hub_process.ask("POST", "/users/alice/server/workspace/update", {})[0] == 202

    def list_names():
        return sorted(
            entry["Names"][0]
            for entry in client.api.containers(
                all=True,
                filters={"label": [f"mlhub.user={identity.user}", f"mlhub.origin={identity.hub}"]},
            )
        )

    wait_for(
        lambda: (
            f"/{identity.container}{PREVIOUS}" in list_names()
            and f"/{identity.container}" in list_names()
        ),
        "both are there",
        30,
    )
    hub_process.end(signal.SIGKILL)
    hub_process.start()

    def is_back():
        if not (hub_process.server("alice") or {}).get("pending"):
            hub_process.ask("POST", "/users/alice/server", {})
        return (hub_process.server("alice") or {}).get("ready")

    wait_for(is_back, "the workspace is back", 60, every=1)
    assert client.containers.get(identity.container).id == old
    assert list_names() == [f"/{identity.container}"]


@pytest.mark.full
def test_an_update_that_waits_for_the_next_start_outlives_the_hub(hub_process, moving, client):
    hub_process.start()
    hub_process.start_server("alice")
    name = Identity(hub_process.hub_name, "alice").container
    old = client.containers.get(name).image.id
    hub_process.wait_for_stop("alice")
    newer = moving()
    status, answer = hub_process.ask("POST", "/users/alice/server/workspace/update", {})
    assert (status, answer) == (200, {"message": "The next start takes the new image."})
    hub_process.end(signal.SIGKILL)
    hub_process.start()
    assert client.containers.get(name).image.id == old
    hub_process.start_server("alice")
    taken = client.containers.get(name)
    assert taken.image.id == newer.id
    hub_process.wait_for_stop("alice")
    moving("ENV AGAIN=1")  # the mark is gone with the start that took it
    hub_process.start_server("alice")
    assert client.containers.get(name).id == taken.id


class Browser:
    """Sign in and read pages."""

    def __init__(self, hub, user):
        import http.cookiejar

        self.base = f"http://127.0.0.1:{hub.port}"
        jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        self.get("/hub/login")
        xsrf = next(cookie.value for cookie in jar if cookie.name == "_xsrf")
        data = urllib.parse.urlencode({"username": user, "password": "x", "_xsrf": xsrf}).encode()
        self.opener.open(f"{self.base}/hub/login?next=%2Fhub%2Fhome", data=data)

    def get(self, path):
        try:
            return self.opener.open(self.base + path).read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()
