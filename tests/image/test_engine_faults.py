"""The engine goes away, or is started anew, under a running hub: sentences, and nothing lost."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import selectors
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub_container import (
    CONFIG,
    IMAGE,
    RUN,
    TEST_IMAGE,
    Hub,
    docker,
    list_source_mounts,
)
from tests.support.names import make_hub_name
from tests.support.own_engine import OwnEngine, load_image, run_engine
from tests.support.wire import is_answered

ENGINE = "/var/run/docker.sock"


class Relay:
    """A socket in a folder of its own that leads to the engine, as long as it is open."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "docker.sock"
        self._listener: socket.socket | None = None
        self._pairs: list[tuple[socket.socket, socket.socket]] = []

    def open(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self.path.unlink(missing_ok=True)
        self._listener.bind(str(self.path))
        self.path.chmod(0o666)
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Cut all connections and stop listening, as an engine that was killed does."""
        assert self._listener
        for end in (self._listener, *(end for pair in self._pairs for end in pair)):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._pairs.clear()
        self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(ENGINE)
            self._pairs.append((near, far))
            threading.Thread(target=_copy_both_ways, args=(near, far), daemon=True).start()


def _copy_both_ways(near: socket.socket, far: socket.socket) -> None:
    with (
        selectors.DefaultSelector() as selector,
        contextlib.suppress(OSError, ValueError, KeyError),
    ):
        selector.register(near, selectors.EVENT_READ, far)
        selector.register(far, selectors.EVENT_READ, near)
        while selector.get_map():
            for key, _ in selector.select():
                data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                if data:
                    key.data.sendall(data)
                else:
                    selector.unregister(key.fileobj)
                    key.data.shutdown(socket.SHUT_WR)
    for end in (near, far):
        end.close()


@pytest.fixture
def relay(tmp_path) -> Iterator[Relay]:
    tmp_path.chmod(0o755)  # the hub is not root
    relay = Relay(tmp_path)
    relay.open()
    yield relay
    if relay._listener:
        relay.close()


def test_an_engine_that_goes_away_is_a_sentence_and_nobody_is_declared_dead(
    make_brief_hub, relay, wait_for
):
    config = CONFIG + "c.Spawner.poll_interval = 1\n"
    hub = make_brief_hub(
        config,
        socket=False,
        mounts=(f"{relay.path.parent}:/engine",),
        DOCKER_HOST="unix:///engine/docker.sock",
    )
    hub.start_workspace("ann")
    relay.close()
    hub.api("POST", "users/bob", b"")
    status, _, body = hub.request("POST", "/hub/api/users/bob/server", {})
    assert status == 503, body
    assert b"cannot be reached" in body
    assert b"Traceback" not in body
    wait_for(
        lambda: "is unknown, the engine does not tell" in hub.logs(),
        "the hub looked for ann's workspace and says that it knows nothing",
        20,
    )
    assert hub.is_workspace_ready("ann")
    assert is_answered(hub.port, "/user/ann/api")
    relay.open()
    hub.start_workspace("bob")
    assert hub.is_workspace_ready("ann")


@pytest.fixture
def own_engine(wait_for: Callable[..., Any]) -> Iterator[OwnEngine]:
    data = Path(os.environ.get("MLHUB_CACHE") or Path.home() / ".cache" / "mlhub") / "test-engine"
    data.mkdir(parents=True, exist_ok=True)
    with (data.with_suffix(".lock")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with run_engine(data, wait_for) as engine:
            for image in (IMAGE, TEST_IMAGE):
                load_image(engine, image)
            yield engine


def start_hub(engine: OwnEngine, folder: Path, wait_for: Callable[..., Any], config: str) -> Hub:
    """Start a hub on the second engine, which starts it again whenever that is started."""
    name = make_hub_name()
    file = folder / "config.py"
    file.write_text(config)
    # The second engine is alone in its network: the port is free, and the same after each restart.
    words = ["--publish", "8080:8080", "--env", f"HUB_NAME={name}", "--label", f"mlhub.test={RUN}"]
    words += ["--restart", "unless-stopped", "--volume", f"{name}-data:/data"]
    words += ["--volume", f"{file}:/resources/jupyterhub_user_config.py:ro"]
    words += [*list_source_mounts(), "--volume", f"{engine.socket}:/var/run/docker.sock"]
    hub = Hub(name, words, wait_for, host=engine.host)
    hub.start()
    hub.wait_until_ready(90)
    return hub


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.full)]
)
def test_an_engine_that_is_started_anew_costs_no_data(
    how, own_engine, tmp_path, wait_for, monkeypatch
):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{own_engine.socket}")
    hub = start_hub(own_engine, tmp_path, wait_for, CONFIG)
    name = hub.name
    hub.start_workspace("ann")
    container = f"ws-{name}--ann"
    docker("exec", container, "sh", "-c", "echo precious > /workspace/file")
    own_engine.stop(how)
    own_engine.start()
    wait_for(own_engine.is_up, "the engine answers again", 60)
    if how is signal.SIGKILL:
        # An engine that was killed stops what it finds running, and does not take that for a reason
        # to start it.
        docker("start", name)
    wait_for(
        lambda: docker("inspect", "--format", "{{.State.Running}}", name) == "true",
        "the engine has started the hub again",
        30,
    )
    hub.read_port()
    hub.wait_until_ready(90)
    wait_for(
        lambda: not hub.is_workspace_ready("ann"), "the hub knows that the workspace is stopped", 30
    )
    hub.start_workspace("ann")
    assert docker("exec", container, "cat", "/workspace/file") == "precious"
    assert hub.request("GET", "/user/ann/api")[0] == 200


@pytest.mark.full
@pytest.mark.parametrize(
    "live", [False, True], ids=["containers end with it", "containers live on"]
)
def test_after_every_order_of_restarts_what_runs_is_found_and_what_is_gone_is_told(
    live, own_engine, tmp_path, wait_for, monkeypatch
):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{own_engine.socket}")
    if live:
        own_engine.stop()
        own_engine.options = ["--live-restore"]
        own_engine.start()
        wait_for(own_engine.is_up, "the engine answers with its option", 60)
    hub = start_hub(own_engine, tmp_path, wait_for, CONFIG)
    container = f"ws-{hub.name}--ann"

    def look(name: str, what: str) -> str:
        return docker("inspect", "--format", f"{{{{{what}}}}}", name)

    def restart_engine() -> None:
        own_engine.stop(signal.SIGTERM)
        own_engine.start()
        wait_for(own_engine.is_up, "the engine answers again", 60)
        wait_for(lambda: look(hub.name, ".State.Running") == "true", "the hub runs", 30)

    restarts = {
        "engine": restart_engine,
        "hub": lambda: docker("restart", "--time", "20", hub.name),
        "workspace": lambda: docker("restart", "--time", "5", container),
    }
    for order in itertools.permutations(restarts):
        hub.start_workspace("ann")
        docker("exec", container, "sh", "-c", f"echo {'-'.join(order)} > /workspace/file")
        for part in order:
            restarts[part]()
        hub.read_port()
        hub.wait_until_ready(90)
        hub.wait_for(hub.is_answered, f"{order}: the hub answers", 30)
        runs, began = (
            look(container, ".State.Running") == "true",
            look(container, ".State.StartedAt"),
        )
        # Where the engine takes its containers along, only a later start brings one back.
        assert runs == (live or order.index("workspace") > order.index("engine")), order
        if runs:
            wait_for(
                lambda: hub.request("GET", "/user/ann/api")[0] == 200, f"{order}: it is found", 10
            )
            assert hub.is_workspace_ready("ann"), order
        else:
            wait_for(lambda: not hub.is_workspace_ready("ann"), f"{order}: it is told", 10)
            assert hub.request("GET", "/user/ann/api")[0] in (302, 424), order  # the hub's answer
            hub.start_workspace("ann")
        # Nothing that ran was stopped or started for it.
        kept = look(container, ".State.Running"), look(container, ".State.StartedAt")
        assert kept[0] == "true", order
        assert not runs or kept[1] == began, order
        assert docker("exec", container, "cat", "/workspace/file") == "-".join(order)
