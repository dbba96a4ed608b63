"""The image's roles as the chart starts them: hub, bastion and proxy in containers of their own, without root, capabilities or a writable disk.

Volumes are as Kubernetes gives them to a pod with a group (fsGroup): root's own, of that group, setgid.
"""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.image.certificates import make_pair
from tests.image.conftest import CONFIG, IMAGE, RUN, Hub, docker, list_source_mounts
from tests.image.ssh_client import read_audit
from tests.image.test_certificates import read_serial, serial_of
from tests.image.wire import Echo, is_answered, list_processes

GROUP = 1000
ACCOUNTS = {"hub": 1000, "proxy": 1002, "ssh": 1003}
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp", "--group-add", str(GROUP))
PROXY_TOKEN, COOKIE_SECRET = "the-token-of-hub-and-proxy", secrets.token_hex(32)
# A service stands for a workspace: the proxy leads to it, and the hub pushes its route.
USER_CONFIG = CONFIG.replace(
    'c.JupyterHub.services = [', 'c.JupyterHub.services = [{"name": "echo", "url": "http://echo:8080"}, '
) + """
c.JupyterHub.spawner_class = "mlhub.backends.fake.FakeSpawner"
c.FakeSpawner.image = "fake/workspace:1"
"""  # fmt: skip
PROXY_ARGUMENTS = "--ip=127.0.0.1 --port=8000 --api-ip=0.0.0.0 --api-port=8001 --default-target=http://{name}:8081"


def make_pem() -> tuple[str, str]:
    """Make a key as Helm's genPrivateKey does (PEM); return it with its public line."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@dataclass
class Release:
    """What one release of the chart runs, on a network of its own; ``name`` is HUB_NAME."""

    folder: Path
    wait_for: Callable[..., Any]
    name: str = field(default_factory=lambda: f"rel-{secrets.token_hex(3)}")
    volumes: list[str] = field(default_factory=list)
    containers: dict[str, Hub] = field(default_factory=dict)
    authority: str = ""
    secret: Path | None = None
    token: str = PROXY_TOKEN

    def __post_init__(self) -> None:
        docker("network", "create", "--label", f"mlhub.test={RUN}", self.name)
        keys = self.folder / "keys"
        keys.mkdir()
        for file in ("ca", "host_key"):
            private, public = make_pem()
            (keys / file).write_text(private)
            self.authority = public if file == "ca" else self.authority
        (self.folder / "user_config.py").write_text(USER_CONFIG)
        self.volume("bastion")

    def volume(self, name: str) -> str:
        """Make an empty volume as a pod with a group gets it; return its name."""
        volume = f"{self.name}-{name}"
        if volume not in self.volumes:
            self.volumes.append(volume)
            docker("volume", "create", "--label", f"mlhub.test={RUN}", volume)
            shell = ("--entrypoint", "sh", IMAGE, "-c", f"chown 0:{GROUP} /new && chmod 2777 /new")
            docker("run", "--rm", "--label", f"mlhub.test={RUN}", "--volume", f"{volume}:/new:nocopy", *shell)
        return volume

    def start(self, role: str, *, ready: bool = True, again: bool = False, unknown: bool = False) -> Hub:
        """Start a role's container.

        ``again`` replaces it with a new one, as a new pod would; an ``unknown`` one runs beside it, and no Service leads there.
        """
        if again:
            docker("rm", "--force", self.containers[role].name)
        alias = {"hub": self.name, "ssh": f"{self.name}-ssh", "proxy": f"{self.name}-proxy-api"}[role]
        place = f"{role}-{secrets.token_hex(2)}" if unknown else role
        words = ["--label", f"mlhub.test={RUN}", "--network", self.name, *HARDENED]
        words += [] if unknown else ["--network-alias", alias]
        words += ["--user", f"{ACCOUNTS[role]}:{ACCOUNTS[role]}", *list_source_mounts(), *self.list_mounts(role, place)]
        for variable, value in self.list_variables(role).items():
            words += ["--env", f"{variable}={value}"]
        container = Hub(f"{self.name}-{place}", words, self.wait_for)
        self.containers[place] = container
        if role == "proxy":
            container.arguments += ["--publish", "127.0.0.1::8080"]
            container.start()
        else:
            docker("run", "--detach", "--name", container.name, *words, IMAGE)
        if ready:
            container.wait_until_ready()
        return container

    def list_mounts(self, role: str, place: str) -> list[str]:
        # Of a new container, the run directory is empty.
        mounts = [f"{self.volume(f'{place}-run')}:/run/mlhub:nocopy"]
        if role in ("hub", "proxy"):
            mounts.append(f"{self.volume(f'{place}-data')}:/data:nocopy")
        if role in ("hub", "ssh"):
            mounts.append(f"{self.volume('bastion')}:/run/mlhub-bastion:nocopy")
        if role == "proxy" and self.secret:
            mounts.append(f"{self.secret}:/resources/ssl:ro")
        if role == "hub":
            mounts += [f"{self.folder}/keys:/etc/mlhub/ssh:ro", f"{self.folder}/user_config.py:/resources/jupyterhub_user_config.py:ro"]
        return [word for mount in mounts for word in ("--volume", mount)]

    def list_variables(self, role: str) -> dict[str, str]:
        common = {"EXECUTION_MODE": "k8s", "HUB_NAME": self.name}
        bastion = {"START_NGINX": "false", "MLHUB_BASTION_DIR": "/run/mlhub-bastion"}
        if role == "ssh":
            return {**common, **bastion, "START_JHUB": "false", "START_CHP": "false"}
        if role == "hub":
            hub = {"START_SSH": "false", "START_CHP": "false", "MLHUB_SSH_KEYS_DIR": "/etc/mlhub/ssh", "JPY_COOKIE_SECRET": COOKIE_SECRET}
            proxy = {"MLHUB_PROXY_API_URL": f"http://{self.name}-proxy-api:8001", "CONFIGPROXY_AUTH_TOKEN": PROXY_TOKEN}
            return {**common, **bastion, **hub, **proxy}
        proxy = {"START_SSH": "false", "START_JHUB": "false", "START_CHP": "true", "CONFIGPROXY_AUTH_TOKEN": self.token}
        proxy["SSL_ENABLED"] = str(self.secret is not None).lower()
        proxy["ADDITIONAL_ARGS"] = PROXY_ARGUMENTS.format(name=self.name)
        return {**common, **proxy, "SSHD_TARGET": f"{self.name}-ssh:2223", "SSHD_TARGET_PROXY_PROTOCOL": "true"}

    def start_echo(self) -> None:
        """Start what stands for a workspace."""
        words = ("--label", f"mlhub.test={RUN}", "--network", self.name, "--network-alias", "echo", "mlhub-test-workspace:latest")
        docker("run", "--detach", "--name", f"{self.name}-echo", *words)

    def remove(self) -> None:
        """Remove all of it."""
        found = docker("ps", "--all", "--quiet", "--filter", f"network={self.name}", check=False).split()
        names = [container.name for container in self.containers.values()]
        docker("rm", "--force", "--volumes", *found, *names, check=False)
        docker("network", "rm", self.name, check=False)
        docker("volume", "rm", "--force", *self.volumes, check=False)

    @property
    def proxy(self) -> Hub:
        return self.containers["proxy"]

    @property
    def hub(self) -> Hub:
        return self.containers["hub"]

    def reads_banner(self) -> bool:
        """Tell whether sshd answers through the public port."""
        return read_banner("127.0.0.1", self.proxy.port).startswith(b"SSH-2.0-OpenSSH")

    def reaches_service(self) -> bool:
        """Tell whether the proxy has the hub's routes."""
        return is_answered(self.proxy.port, "/services/echo/")


class Client:
    """Somebody's own machine on the same network, with a key."""

    def __init__(self, release: Release, user: str) -> None:
        self.release, self.user, self.name = release, user, f"{release.name}-{user}"
        words = ("--label", f"mlhub.test={RUN}", "--network", release.name, "--entrypoint", "sh", IMAGE)
        docker(
            "run",
            "--detach",
            "--name",
            self.name,
            *words,
            "-c",
            "mkdir -p /key && ssh-keygen -q -t ed25519 -N '' -f /key/id && exec sleep 3600",
        )
        self.address = docker("inspect", "--format", f'{{{{(index .NetworkSettings.Networks "{release.name}").IPAddress}}}}', self.name)
        release.wait_for(lambda: docker("exec", self.name, "ls", "/key/id.pub", check=False) == "/key/id.pub", "a key", 10)
        self.public_line = docker("exec", self.name, "cat", "/key/id.pub")
        known = f"@cert-authority * {release.authority}"
        docker("exec", self.name, "sh", "-c", f"echo '{known}' > /key/known_hosts")

    def register(self) -> None:
        """Register the key with the hub."""
        self.release.proxy.request("POST", f"/hub/api/users/{self.user}", b"")
        self.release.proxy.api("POST", f"users/{self.user}/ssh-keys", {"name": "test", "key": self.public_line})

    def command(self, *words: str, to: str = "", port: int = 8080) -> list[str]:
        options = ("BatchMode=yes", "StrictHostKeyChecking=yes", "HostKeyAlias=mlhub-bastion", "UserKnownHostsFile=/key/known_hosts")
        ssh = ["ssh", "-i", "/key/id", "-p", str(port), *(word for option in options for word in ("-o", option))]
        return ["docker", "exec", self.name, *ssh, *words, f"limited-user@{to or self.release.proxy.name}"]

    def connect(self, words: str = "nowhere", claim: str = "", **where: Any) -> subprocess.CompletedProcess[str]:
        """Connect with a word to the door, on request claiming to be another address; return how it went."""
        header = f"printf 'PROXY TCP4 {claim} 192.0.2.1 1000 22\\r\\n'; exec cat"
        options = ["-o", "ConnectTimeout=5", "-o", f'ProxyCommand=sh -c "( {header} ) | nc %h %p"'] if claim else []
        return subprocess.run([*self.command(*options, **where), words], capture_output=True, text=True, timeout=60)

    def hold(self) -> subprocess.Popen[bytes]:
        """Open a connection and keep it."""
        return subprocess.Popen(self.command("-N"), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)


def read_banner(host: str, port: int) -> bytes:
    try:
        with socket.create_connection((host, port), timeout=10) as connection:
            connection.sendall(b"SSH-2.0-test\r\n")
            return connection.recv(64)
    except OSError:
        return b""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, wait_for: Callable[..., Any]) -> Iterator[Release]:
    """Return a release that runs; the proxy came first, when no name of the others meant anything yet."""
    one = Release(tmp_path_factory.mktemp("release"), wait_for)
    try:
        one.start("proxy")
        one.start_echo()
        one.start("ssh", ready=False)
        one.start("hub")
        one.containers["ssh"].wait_until_ready()
        wait_for(one.reaches_service, "the hub's routes", 10)
        yield one
    finally:
        one.remove()


@pytest.fixture(scope="module")
def ann(release: Release) -> Client:
    """Return somebody whose key is registered."""
    client = Client(release, "ann")
    client.register()
    return client


@pytest.mark.parametrize(("role", "programs"), [("hub", {"mlhub.hubconfig"}), ("proxy", {"nginx", "configurable-http-proxy"}), ("ssh", {"nginx", "sshd"})])  # fmt: skip
def test_each_role_runs_without_root_capabilities_or_a_writable_disk(release, role, programs):
    container = release.containers[role]
    status = dict(
        line.split(":\t", 1) for line in container.exec("cat", "/proc/1/status", user=str(ACCOUNTS[role])).splitlines() if ":\t" in line
    )
    assert {status[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert status["NoNewPrivs"] == "1"
    processes = list_processes(container)
    ours = [entry for entry in processes if "python3 -I -S" not in entry["command"]]
    assert {entry["user"] for entry in ours} == {ACCOUNTS[role]}
    assert all(any(program in entry["command"] for entry in ours) for program in programs), processes
    for folder in ("/", "/data", "/etc", "/resources", "/opt/mlhub", "/home"):
        writable = folder == "/data" and role in ("hub", "proxy")
        touched = subprocess.run(
            ["docker", "exec", "--user", str(ACCOUNTS[role]), container.name, "touch", f"{folder}/.test"], capture_output=True
        )
        assert (touched.returncode == 0) is writable, folder
    assert docker("exec", container.name, "python", "-I", "-m", "mlhub.boot.health") == ""


def test_people_sign_in_through_the_proxys_port(release):
    def open_page(path: str, **fields: str) -> tuple[int, str, str]:
        data = urllib.parse.urlencode(fields).encode() if fields else None
        try:
            with opener.open(release.proxy.url + path, data, timeout=60) as answer:
                return answer.status, answer.url, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.url, error.read().decode()

    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(), urllib.request.ProxyHandler({}))
    xsrf = re.search(r'name="_xsrf" value="([^"]*)"', open_page("/hub/login")[2])[1]
    assert open_page("/hub/login", username="eve", password="x", _xsrf="another")[0] == 403
    status, url, page = open_page("/hub/login", username="eve", password="x", _xsrf=xsrf)
    assert (status, url) == (200, f"{release.proxy.url}/hub/home")
    assert "eve" in page


def test_the_hubs_secrets_are_the_given_ones_and_stay_in_its_container(release):
    kept = release.hub.exec("sh", "-c", "ls /data; cat /data/ssh/ca.pub", user="1000")
    assert "jupyterhub_cookie_secret" not in kept
    assert release.authority in kept
    assert "BEGIN OPENSSH PRIVATE KEY" in release.hub.exec("cat", "/data/ssh/ca", user="1000")
    inside = release.containers["ssh"]
    assert "No such file" in docker("exec", inside.name, "sh", "-c", "cat /run/mlhub-bastion/ssh/ca /etc/mlhub/ssh/ca", check=False)
    assert "BEGIN OPENSSH PRIVATE KEY" in inside.exec("cat", "/run/mlhub-bastion/ssh/ssh_host_ed25519_key", user=f"1003:{GROUP}")


def test_ssh_comes_through_the_public_port_and_the_hub_knows_from_where(release, ann, wait_for):
    assert release.reads_banner()
    for port, to in ((8080, release.proxy.name), (2222, release.containers["ssh"].name)):
        before = len(read_audit(release.hub))
        assert "This door only leads into workspaces" in ann.connect(port=port, to=to).stderr
        opened = wait_for(lambda seen=before: [r for r in read_audit(release.hub)[seen:] if r["event"] == "opened"], "opened", 5)
        assert [(record["user"], record["address"]) for record in opened] == [("ann", ann.address)], to


def test_who_has_no_key_that_opens_is_refused_with_one_line(release, ann, wait_for):
    stranger = Client(release, "stranger")
    before, log = len(read_audit(release.hub)), release.containers["ssh"].logs()
    result = stranger.connect()
    assert result.returncode == 255
    assert result.stderr.splitlines()[-1].endswith("Permission denied (publickey).")
    refused = wait_for(lambda: read_audit(release.hub)[before:], "a record", 5)
    assert [(record["event"], record["address"]) for record in refused] == [("refused", stranger.address)]
    assert len(release.containers["ssh"].logs().removeprefix(log).strip().splitlines()) <= 1
    assert "This door only leads into workspaces" in ann.connect().stderr


def test_only_what_comes_to_the_proxys_own_port_may_say_whose_connection_it_is(release, ann, wait_for):
    """Which is open to the proxy's pod alone, by the chart's NetworkPolicy."""
    before = len(read_audit(release.hub))
    for container, port in ((release.proxy, 8080), (release.containers["ssh"], 2222)):
        assert "This door" not in ann.connect(port=port, to=container.name, claim="203.0.113.7").stderr
    assert "This door" in ann.connect(port=2223, to=release.containers["ssh"].name, claim="203.0.113.7").stderr
    opened = wait_for(lambda: [r for r in read_audit(release.hub)[before:] if r["event"] == "opened"], "opened", 5)
    assert [record["address"] for record in opened] == ["203.0.113.7"]


def test_the_door_asks_the_hub_which_starts_what_is_asked_for(release, ann):
    answer = ann.connect(f"connect ann.{release.name} {release.name}").stderr
    assert "does not run yet; it is started" in answer
    assert "can not be entered by SSH" in answer  # workspaces of the fake backend have no sshd
    assert release.proxy.is_workspace_ready("ann")


def test_the_hub_keeps_no_connection_to_a_proxy_that_may_be_replaced(release, wait_for):
    def list_ports() -> set[str]:
        rows = [row.split() for row in release.hub.exec("cat", "/proc/net/tcp", user="1000").splitlines()[1:]]
        return {row[1] for row in rows if row[2].endswith(f":{8001:04X}") and row[3] == "01"}

    # A kept one would be the same whenever somebody looks.
    seen = list_ports()
    wait_for(lambda: not list_ports() & seen, "the next look is a new connection", 5)
    assert release.reaches_service()


def test_open_connections_live_on_while_the_hub_alone_is_started_again(release, ann, wait_for):
    before = len(read_audit(release.hub))
    echo, session = Echo(release.proxy.port, "/services/echo/socket"), ann.hold()
    pid = wait_for(lambda: read_audit(release.hub)[before:], "opened", 10)[0]["session"]
    docker("restart", "--time", "20", release.hub.name)
    assert echo.is_alive()
    release.hub.wait_until_ready()
    assert echo.is_alive()
    assert release.containers["ssh"].exec("cat", f"/proc/{pid}/comm", user="1003").startswith("sshd")
    wait_for(lambda: "This door only leads into workspaces" in ann.connect().stderr, "people come in again", 10)
    # The hub that came after knows of the session, and can end it.
    key = release.proxy.api("GET", "users/ann/ssh-keys")
    number = (key if isinstance(key, list) else key["keys"])[0]["id"]
    release.proxy.api("DELETE", f"users/ann/ssh-keys/{number}")
    session.wait(10)
    closed = wait_for(lambda: [r for r in read_audit(release.hub) if r["event"] == "closed" and r["session"] == pid], "closed", 5)
    assert closed[0]["address"] == ann.address
    ann.register()
    echo.close()


def test_a_bastion_that_is_started_again_finds_everything_where_it_was(release, ann, wait_for):
    docker("restart", "--time", "20", release.containers["ssh"].name)
    release.containers["ssh"].wait_until_ready()
    wait_for(lambda: "This door only leads into workspaces" in ann.connect().stderr, "ann comes in", 10)
    assert wait_for(lambda: [r for r in read_audit(release.hub) if r["event"] == "opened"], "opened", 5)[-1]["address"] == ann.address
    log = release.containers["ssh"].logs()
    assert log.count("Waiting for") == 1, log  # only at the first start, when there was no hub


def test_a_new_proxy_has_all_routes_within_two_seconds(release, wait_for):
    release.start("proxy", again=True)
    began = time.monotonic()
    wait_for(release.reaches_service, "the routes are back", 10)
    assert time.monotonic() - began < 2
    wait_for(release.reads_banner, "SSH goes through it", 5)
    assert "pushing all routes again" in release.hub.logs()


def ask_for_routes(proxy: Hub) -> subprocess.CompletedProcess[str]:
    """Run the chart's startup probe of the proxy."""
    command = ["docker", "exec", proxy.name, "python", "-I", "-m", "mlhub.boot.routes"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_a_new_proxy_of_which_the_hub_knows_nothing_has_all_routes_as_soon_as_it_has_asked(release):
    new = release.start("proxy", unknown=True)
    try:
        assert not is_answered(new.port, "/services/echo/")
        assert release.reaches_service()
        asked = ask_for_routes(new)
        assert is_answered(new.port, "/services/echo/")
        assert (asked.returncode, asked.stdout, asked.stderr) == (0, "", "")
        # It asks who it is itself, whatever others are there.
        address = docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", new.name)
        assert f"The proxy at http://{address}:8001 asks for all routes" in release.hub.logs()
    finally:
        docker("rm", "--force", new.name)


def test_a_new_proxy_with_another_token_gets_no_routes(release):
    release.token = "another-token"
    try:
        new = release.start("proxy", unknown=True)
        asked = ask_for_routes(new)
        assert asked.returncode == 1
        assert "answers with status 403" in asked.stdout
        assert not is_answered(new.port, "/services/echo/")
    finally:
        release.token = PROXY_TOKEN
        docker("rm", "--force", new.name)


def test_a_hub_starts_without_a_proxy_and_pushes_its_routes_to_one_that_comes(release, wait_for):
    docker("stop", "--time", "20", release.proxy.name)
    docker("restart", "--time", "20", release.hub.name)
    release.hub.wait_until_ready()
    assert f"The proxy's API at http://{release.name}-proxy-api:8001 does not answer; the hub goes on" in release.hub.logs()
    release.start("proxy", again=True)
    began = time.monotonic()
    wait_for(release.reaches_service, "the routes", 10)
    assert time.monotonic() - began < 2


def test_a_proxy_with_another_token_is_named_in_one_line_and_takes_orders_once_it_has_the_hubs(release, wait_for):
    release.token, before = "another-token", release.hub.logs()
    try:
        release.start("proxy", again=True)
        wait_for(lambda: "refuses this hub's token" in release.hub.logs().removeprefix(before), "the hub says so", 10)
        assert not release.reaches_service()
    finally:
        release.token = PROXY_TOKEN
        release.start("proxy", again=True)
    wait_for(release.reaches_service, "the routes", 10)
    assert release.hub.logs().removeprefix(before).count("refuses this hub's token") == 1


@pytest.mark.parametrize("role", ["proxy", "ssh", "hub"])
def test_each_role_ends_politely_and_soon(release, role, wait_for):
    container = release.containers[role]
    began = time.monotonic()
    docker("stop", "--time", "30", container.name)
    assert time.monotonic() - began < 8
    assert docker("inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", container.name) == "0 false", container.logs()[-2000:]
    assert "is killed" not in container.logs()
    docker("start", container.name)
    container.wait_until_ready()
    if role == "proxy":
        container.read_port()
        wait_for(release.reaches_service, "the routes", 10)


def make_secret(folder: Path, generation: str) -> None:
    """Write a pair as the kubelet lays out a Secret, and exchanges it: all at once, by the link in the middle."""
    make_pair(folder / generation)
    for file in ("cert.crt", "cert.key"):
        (folder / generation / file).chmod(0o644)
        if not (folder / file).is_symlink():
            (folder / file).symlink_to(f"..data/{file}")
    (folder / "..new").symlink_to(generation)
    (folder / "..new").rename(folder / "..data")


def test_a_renewed_certificate_of_a_secret_is_served_and_ssh_shares_its_port(release, tmp_path, wait_for):
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o755)
    make_secret(secret, "..1")
    release.secret = secret
    try:
        proxy = release.start("proxy", again=True)
        proxy.scheme = "https"
        assert read_serial(proxy) == serial_of(secret)
        assert release.reads_banner()
        wait_for(lambda: proxy.request("GET", "/services/echo/")[0] == 200, "the service over TLS", 10)
        assert is_answered(proxy.port, "/.mlhub/health", b" 204 ")  # the kubelet asks without TLS
        make_secret(secret, "..2")
        wait_for(lambda: read_serial(proxy) == serial_of(secret), "the new certificate", 10)
    finally:
        release.secret = None
        release.start("proxy", again=True)


@pytest.fixture
def brief_release(tmp_path: Path, wait_for: Callable[..., Any]) -> Iterator[Release]:
    """Return a release of which nothing runs yet."""
    one = Release(tmp_path, wait_for)
    yield one
    one.remove()


def test_a_bastion_waits_for_its_hub_with_one_line_and_can_be_ended_meanwhile(brief_release, wait_for):
    bastion = brief_release.start("ssh", ready=False)
    wait_for(lambda: "Waiting for /run/mlhub-bastion/ssh/" in bastion.logs(), "it says so", 20)
    assert docker("exec", bastion.name, "python", "-I", "-m", "mlhub.boot.health", check=False) == "still booting"
    began = time.monotonic()
    docker("stop", "--time", "30", bastion.name)
    assert time.monotonic() - began < 5
    assert docker("inspect", "--format", "{{.State.ExitCode}}", bastion.name) == "0", bastion.logs()
    docker("start", bastion.name)
    brief_release.start("hub")
    bastion.wait_until_ready()
    assert bastion.logs().count("Waiting for") == 2  # once at each start


def test_a_bastion_without_the_hubs_group_says_what_is_missing(brief_release, wait_for):
    brief_release.start("hub")
    bastion = brief_release.start("ssh", ready=False)
    bastion.wait_until_ready()
    docker("rm", "--force", bastion.name)
    words = [word for word in bastion.arguments if word not in ("--group-add", str(GROUP))]
    ended = Hub(bastion.name, words, wait_for).run_until_it_ends()
    assert ended.code == 1
    assert "Hub and bastion need a group in common, to which MLHUB_BASTION_DIR belongs (the pod's fsGroup)" in ended.log
    assert "Traceback" not in ended.log


def read_running_seconds(container: Hub) -> float:
    """Return for how long a container runs, by its machine's clock."""
    pid = docker("inspect", "--format", "{{.State.Pid}}", container.name)
    return float(subprocess.run(["ps", "-o", "etimes=", "-p", pid], capture_output=True, text=True, check=True).stdout)


def test_a_new_proxy_waits_for_its_hub_for_twenty_seconds_and_no_longer(brief_release, wait_for):
    proxy = brief_release.start("proxy", ready=False)
    starting = ask_for_routes(proxy)
    proxy.wait_until_ready()
    asked = ask_for_routes(proxy)
    assert (starting.returncode, asked.returncode) == (1, 1)
    assert f"The hub {brief_release.name} does not answer (" in asked.stdout
    wait_for(lambda: ask_for_routes(proxy).returncode == 0, "it is not held back any more", 40, every=0.5)
    assert 20 <= read_running_seconds(proxy) <= 25
    brief_release.start("hub")
    brief_release.start_echo()
    wait_for(brief_release.reaches_service, "the hub's routes", 10)
    assert ask_for_routes(proxy).returncode == 0
