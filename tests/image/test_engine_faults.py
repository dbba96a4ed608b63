"""The engine goes away, or is started anew, under a running hub: sentences, and nothing lost."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.image.conftest import CONFIG, IMAGE, RUN, TEST_IMAGE, Hub, docker, list_source_mounts
from tests.image.wire import is_answered

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
    with selectors.DefaultSelector() as selector, contextlib.suppress(OSError, ValueError, KeyError):
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


def test_an_engine_that_goes_away_is_a_sentence_and_nobody_is_declared_dead(make_brief_hub, relay, wait_for):
    config = CONFIG + "c.Spawner.poll_interval = 1\n"
    hub = make_brief_hub(config, socket=False, mounts=(f"{relay.path.parent}:/engine",), DOCKER_HOST="unix:///engine/docker.sock")
    hub.start_workspace("ann")
    relay.close()
    hub.api("POST", "users/bob", b"")
    status, _, body = hub.request("POST", "/hub/api/users/bob/server", {})
    assert status == 503, body
    assert b"can not be reached" in body
    assert b"Traceback" not in body
    wait_for(lambda: "the engine does not answer" in hub.logs(), "the hub looked for ann's workspace and says that it knows nothing", 20)
    assert hub.is_workspace_ready("ann")
    assert is_answered(hub.port, "/user/ann/api")
    relay.open()
    hub.start_workspace("bob")
    assert hub.is_workspace_ready("ann")


class OwnEngine:
    """A second dockerd in a network namespace of its own: it may be stopped, and touches no rule of the host's."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.name = f"mhtest{secrets.token_hex(3)}"
        third, fourth = secrets.randbelow(250) + 1, secrets.randbelow(60) * 4
        self.host = f"198.18.{third}.{fourth + 2}"  # RFC 2544: never on the internet
        self.gateway = f"198.18.{third}.{fourth + 1}"
        self.folder, self.data = folder, data
        self.socket = folder / "docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def make_network(self) -> None:
        inside = ["nsenter", f"--net=/run/netns/{self.name}"]
        for command in (
            ["ip", "netns", "add", self.name],
            ["ip", "link", "add", f"{self.name}o", "type", "veth", "peer", "name", f"{self.name}i", "netns", self.name],
            ["ip", "addr", "add", f"{self.gateway}/30", "dev", f"{self.name}o"],
            ["ip", "link", "set", f"{self.name}o", "up"],
            [*inside, "ip", "addr", "add", f"{self.host}/30", "dev", f"{self.name}i"],
            [*inside, "ip", "link", "set", f"{self.name}i", "up"],
            [*inside, "ip", "link", "set", "lo", "up"],
        ):
            subprocess.run(command, check=True)

    def start(self) -> None:
        words = ["nsenter", f"--net=/run/netns/{self.name}", "dockerd", "--host", f"unix://{self.socket}"]
        words += ["--data-root", str(self.data), "--exec-root", str(self.folder / "exec"), "--pidfile", str(self.folder / "pid")]
        words += ["--containerd-namespace", self.name, "--containerd-plugins-namespace", f"{self.name}-plugins"]
        words += ["--cgroup-parent", f"/{self.name}", "--log-level", "warn"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)

    def is_up(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self.folder / "log").read_text()[-3000:]
        return subprocess.run(["docker", "--host", f"unix://{self.socket}", "version"], capture_output=True).returncode == 0

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(60)
        # A killed dockerd takes its containerd along, and the next one would wait for that one's return.
        (self.folder / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    def remove_network(self) -> None:
        subprocess.run(["umount", str(self.folder / "exec" / "netns" / "default")], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "delete", self.name], check=False)
        subprocess.run(["ip", "link", "delete", f"{self.name}o"], check=False, capture_output=True)


def load_image(engine: OwnEngine, image: str) -> None:
    """Copy an image from the machine's engine unless the other one, whose images are kept between runs, has it."""
    own = ["docker", "--host", f"unix://{engine.socket}"]
    wanted = docker("inspect", "--format", "{{.Id}}", image)
    found = subprocess.run([*own, "inspect", "--format", "{{.Id}}", image], capture_output=True, text=True).stdout.strip()
    if found == wanted:
        return
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as save:
        subprocess.run([*own, "load", "--quiet"], stdin=save.stdout, check=True, capture_output=True, timeout=300)
    subprocess.run([*own, "image", "prune", "--force"], check=True, capture_output=True)


@pytest.fixture
def own_engine(wait_for: Callable[..., Any]) -> Iterator[OwnEngine]:
    if os.geteuid() != 0 or not shutil.which("dockerd") or not shutil.which("nsenter"):
        pytest.fail("a second engine needs root, dockerd and nsenter on this machine")
    data = Path(os.environ.get("MLHUB_CACHE") or Path.home() / ".cache" / "mlhub") / "test-engine"
    data.mkdir(parents=True, exist_ok=True)
    folder = Path("/tmp") / f"mlhub-engine-{secrets.token_hex(3)}"  # short: a socket's path has 108 characters
    folder.mkdir()
    with (data.with_suffix(".lock")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        engine = OwnEngine(folder, data)
        engine.make_network()
        try:
            engine.start()
            wait_for(engine.is_up, "the second engine answers", 60)
            for image in (IMAGE, TEST_IMAGE):
                load_image(engine, image)
            yield engine
        finally:
            own = ["docker", "--host", f"unix://{engine.socket}"]
            for kind in (["container", "ls", "--all", "--quiet"], ["volume", "ls", "--quiet"]):
                found = subprocess.run([*own, *kind], capture_output=True, text=True).stdout.split()
                if found:
                    subprocess.run([*own, kind[0], "rm", "--force", *found], capture_output=True)
            subprocess.run([*own, "network", "prune", "--force"], capture_output=True)
            engine.stop()
            engine.remove_network()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_engine_that_is_started_anew_costs_no_data(how, own_engine, tmp_path, wait_for, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{own_engine.socket}")
    name = "t" + secrets.token_hex(2)
    config = tmp_path / "config.py"
    config.write_text(CONFIG)
    words = ["--publish", "8080", "--env", f"HUB_NAME={name}", "--label", f"mlhub.test={RUN}", "--restart", "unless-stopped"]
    words += ["--volume", f"{name}-data:/data", "--volume", f"{config}:/resources/jupyterhub_user_config.py:ro", *list_source_mounts()]
    words += ["--volume", f"{own_engine.socket}:/var/run/docker.sock"]
    hub = Hub(name, words, wait_for, host=own_engine.host)
    hub.start()
    hub.wait_until_ready(90)
    hub.start_workspace("ann")
    container = f"ws-{name}--ann"
    docker("exec", container, "sh", "-c", "echo precious > /workspace/file")
    own_engine.stop(how)
    own_engine.start()
    wait_for(own_engine.is_up, "the engine answers again", 60)
    if how is signal.SIGKILL:
        docker("start", name)  # an engine that was killed stops what it finds running, and does not take that for a reason to start it
    wait_for(lambda: docker("inspect", "--format", "{{.State.Running}}", name) == "true", "the engine has started the hub again", 30)
    hub.read_port()
    hub.wait_until_ready(90)
    wait_for(lambda: not hub.is_workspace_ready("ann"), "the hub knows that the workspace is stopped", 30)
    hub.start_workspace("ann")
    assert docker("exec", container, "cat", "/workspace/file") == "precious"
    assert hub.request("GET", "/user/ann/api")[0] == 200
