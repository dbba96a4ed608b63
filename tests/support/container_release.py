"""One release of the chart as containers on a network of their own: hub, bastion and proxy without
root, capabilities or a writable disk.

Volumes are as Kubernetes gives them to a pod with a group (fsGroup): root's own, of that group,
setgid.
"""

from __future__ import annotations

import secrets
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.support.hub_container import (
    CONFIG,
    IMAGE,
    NO_HEALTH_CHECK,
    RUN,
    Hub,
    docker,
    list_source_mounts,
)
from tests.support.wire import is_answered

GROUP = 61000
ACCOUNTS = {"hub": 61000, "proxy": 61002, "ssh": 61003}
HARDENED = (
    "--read-only",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
    "--tmpfs",
    "/tmp",
    "--group-add",
    str(GROUP),
)
PROXY_TOKEN, BASTION_TOKEN, COOKIE_SECRET = (
    "the-token-of-hub-and-proxy",
    "the-token-of-hub-and-bastion",
    secrets.token_hex(32),
)
# A service stands for a workspace: the proxy leads to it, and the hub pushes its route.
USER_CONFIG = (
    CONFIG.replace(
        "c.JupyterHub.services = [",
        'c.JupyterHub.services = [{"name": "echo", "url": "http://echo:8080"}, ',
    )
    + """
c.JupyterHub.spawner_class = "mlhub.backends.fake.FakeSpawner"
c.FakeSpawner.image = "fake/workspace:1"
"""
)


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
    bastion_token: str = BASTION_TOKEN
    bastion_has_key: bool = True
    drain_seconds: int = 0
    generation: int = 0

    def __post_init__(self) -> None:
        docker("network", "create", "--label", f"mlhub.test={RUN}", self.name)
        keys = self.folder / "keys"
        keys.mkdir()
        for file in ("ca", "host_key"):
            private, public = make_pem()
            (keys / file).write_text(private)
            (keys / f"{file}.pub").write_text(public)
            self.authority = public if file == "ca" else self.authority
        (self.folder / "user_config.py").write_text(USER_CONFIG)

    def volume(self, name: str) -> str:
        """Make an empty volume as a pod with a group gets it; return its name."""
        volume = f"{self.name}-{name}"
        if volume not in self.volumes:
            self.volumes.append(volume)
            docker("volume", "create", "--label", f"mlhub.test={RUN}", volume)
            shell = ("--entrypoint", "sh", IMAGE, "-c", f"chown 0:{GROUP} /new && chmod 2777 /new")
            docker(
                "run",
                "--rm",
                "--label",
                f"mlhub.test={RUN}",
                "--volume",
                f"{volume}:/new:nocopy",
                *shell,
            )
        return volume

    def start(
        self, role: str, *, ready: bool = True, again: bool = False, unknown: bool = False
    ) -> Hub:
        """Start a role's container.

        ``again`` replaces it with a new one, as a new pod would; an ``unknown`` one runs beside it,
        and no Service leads there.
        """
        if again:
            docker("rm", "--force", self.containers[role].name)
        alias = {"hub": self.name, "ssh": f"{self.name}-ssh", "proxy": f"{self.name}-proxy-api"}[
            role
        ]
        place = f"{role}-{secrets.token_hex(2)}" if unknown else role
        words = ["--label", f"mlhub.test={RUN}", "--network", self.name, *HARDENED]
        words.append(NO_HEALTH_CHECK)
        words += [] if unknown else ["--network-alias", alias]
        words += [
            "--user",
            f"{ACCOUNTS[role]}:{ACCOUNTS[role]}",
            *list_source_mounts(),
            *self.list_mounts(role, place),
        ]
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

    def replace(self, role: str) -> Hub:
        """Start another container in a role's place, as a rolling update does; return the former,
        which still runs.
        """
        former = self.containers[role]
        docker("rename", former.name, f"{former.name}-former")
        former.name = f"{former.name}-former"
        self.generation += 1
        self.start(role)
        return former

    def list_mounts(self, role: str, place: str) -> list[str]:
        # Of a new container, the run directory is empty.
        mounts = [f"{self.volume(f'{place}-run{self.generation}')}:/run/mlhub:nocopy"]
        if role in ("hub", "proxy"):
            mounts.append(f"{self.volume(f'{place}-data')}:/data:nocopy")
        if role == "ssh" and self.bastion_has_key:
            mounts.append(f"{self.folder}/keys/host_key:/etc/mlhub/ssh/host_key:ro")
        if role == "proxy" and self.secret:
            mounts.append(f"{self.secret}:/resources/ssl:ro")
        if role == "hub":
            mounts += [
                f"{self.folder}/keys:/etc/mlhub/ssh:ro",
                f"{self.folder}/user_config.py:/resources/jupyterhub_user_config.py:ro",
            ]
        return [word for mount in mounts for word in ("--volume", mount)]

    def list_variables(self, role: str) -> dict[str, str]:
        common = {"EXECUTION_MODE": "k8s", "HUB_NAME": self.name}
        bastion = {
            "START_NGINX": "false",
            "MLHUB_BASTION_TOKEN": self.bastion_token if role == "ssh" else BASTION_TOKEN,
        }
        if role == "ssh":
            bastion |= {
                "START_JHUB": "false",
                "START_CHP": "false",
                "MLHUB_DRAIN_SECONDS": str(self.drain_seconds),
            }
            return {
                **common,
                **bastion,
                **({"MLHUB_SSH_KEYS_DIR": "/etc/mlhub/ssh"} if self.bastion_has_key else {}),
            }
        if role == "hub":
            hub = {
                "START_SSH": "false",
                "START_CHP": "false",
                "MLHUB_SSH_KEYS_DIR": "/etc/mlhub/ssh",
                "JPY_COOKIE_SECRET": COOKIE_SECRET,
            }
            proxy = {
                "MLHUB_PROXY_API_URL": f"http://{self.name}-proxy-api:8001",
                "CONFIGPROXY_AUTH_TOKEN": PROXY_TOKEN,
            }
            return {**common, **bastion, **hub, **proxy}
        proxy = {
            "START_SSH": "false",
            "START_JHUB": "false",
            "MLHUB_ROUTER": "true",
            "CONFIGPROXY_AUTH_TOKEN": self.token,
        }
        proxy["SSL_ENABLED"] = str(self.secret is not None).lower()
        return {
            **common,
            **proxy,
            "SSHD_TARGET": f"{self.name}-ssh:2223",
            "SSHD_TARGET_PROXY_PROTOCOL": "true",
        }

    def start_echo(self) -> None:
        """Start what stands for a workspace."""
        words = (
            "--label",
            f"mlhub.test={RUN}",
            "--network",
            self.name,
            "--network-alias",
            "echo",
            "mlhub-test-workspace:latest",
        )
        docker("run", "--detach", "--name", f"{self.name}-echo", *words)

    def remove(self) -> None:
        """Remove all of it."""
        found = docker(
            "ps", "--all", "--quiet", "--filter", f"network={self.name}", check=False
        ).split()
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
        """Return True if sshd answers through the public port."""
        return read_banner("127.0.0.1", self.proxy.port).startswith(b"SSH-2.0-OpenSSH")

    def reaches_service(self) -> bool:
        """Return True if the proxy has the hub's routes."""
        return is_answered(self.proxy.port, "/services/echo/")


class Client:
    """Somebody's own machine on the same network, with a key."""

    def __init__(self, release: Release, user: str) -> None:
        self.release, self.user, self.name = release, user, f"{release.name}-{user}"
        words = (
            "--label",
            f"mlhub.test={RUN}",
            "--network",
            release.name,
            NO_HEALTH_CHECK,
            "--entrypoint",
            "sh",
            IMAGE,
        )
        docker(
            "run",
            "--detach",
            "--name",
            self.name,
            *words,
            "-c",
            "mkdir -p /key && ssh-keygen -q -t ed25519 -N '' -f /key/id && exec sleep 3600",
        )
        self.address = docker(
            "inspect",
            "--format",
            f'{{{{(index .NetworkSettings.Networks "{release.name}").IPAddress}}}}',
            self.name,
        )
        release.wait_for(
            lambda: docker("exec", self.name, "ls", "/key/id.pub", check=False) == "/key/id.pub",
            "a key",
            10,
        )
        self.public_line = docker("exec", self.name, "cat", "/key/id.pub")
        known = f"@cert-authority * {release.authority}"
        docker("exec", self.name, "sh", "-c", f"echo '{known}' > /key/known_hosts")

    def register(self) -> None:
        """Register the key with the hub."""
        self.release.proxy.request("POST", f"/hub/api/users/{self.user}", b"")
        self.release.proxy.api(
            "POST", f"users/{self.user}/ssh-keys", {"name": "test", "key": self.public_line}
        )

    def command(self, *words: str, to: str = "", port: int = 8080) -> list[str]:
        options = (
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "HostKeyAlias=mlhub-bastion",
            "UserKnownHostsFile=/key/known_hosts",
        )
        ssh = [
            "ssh",
            "-i",
            "/key/id",
            "-p",
            str(port),
            *(word for option in options for word in ("-o", option)),
        ]
        return [
            "docker",
            "exec",
            self.name,
            *ssh,
            *words,
            f"limited-user@{to or self.release.proxy.name}",
        ]

    def connect(
        self, words: str = "nowhere", claim: str = "", **where: Any
    ) -> subprocess.CompletedProcess[str]:
        """Connect with a word to the bastion, on request claiming to be another address; return how
        it went.
        """
        header = f"printf 'PROXY TCP4 {claim} 192.0.2.1 1000 22\\r\\n'; exec cat"
        options = (
            ["-o", "ConnectTimeout=5", "-o", f'ProxyCommand=sh -c "( {header} ) | nc %h %p"']
            if claim
            else []
        )
        return subprocess.run(
            [*self.command(*options, **where), words], capture_output=True, text=True, timeout=60
        )

    def hold(self) -> subprocess.Popen[bytes]:
        """Open a connection and keep it."""
        return subprocess.Popen(
            self.command("-N"), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )


def read_banner(host: str, port: int) -> bytes:
    try:
        with socket.create_connection((host, port), timeout=10) as connection:
            connection.sendall(b"SSH-2.0-test\r\n")
            return connection.recv(64)
    except OSError:
        return b""
