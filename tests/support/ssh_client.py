"""Real SSH clients for the tests: a person with a key of their own, set up with what the hub hands
out.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.hub_container import ROOT, Hub, docker

MINIMAL, OTHER, KEYED, STACKS, OWN = (
    "mlhub-test-ssh-minimal:latest",
    "mlhub-test-ssh-other:latest",
    "mlhub-test-ssh-keyed:latest",
    "mlhub-test-stacks:latest",
    "mltooling/mlhub-workspace:latest",
)
# A workspace fetches its SSH server once it listens.
LISTENS_SECONDS = 30


def ensure_images() -> None:
    """Build the three images that only these tests need."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from tools.images import Image, ensure_image

    folder = "tests/image/ssh"
    for tag in (MINIMAL, OTHER, KEYED):
        file = f"{folder}/Dockerfile.{tag.removesuffix(':latest').rpartition('-')[2]}"
        ensure_image(Image(tag, file, (file,), folder))


@dataclass
class Person:
    """One person at a machine of their own, with the hub's client configuration."""

    hub: Hub
    name: str
    folder: Path
    kind: str = "ed25519"

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", self.kind, "-N", "", "-C", self.name, "-f", str(self.key)],
            check=True,
        )

    @property
    def key(self) -> Path:
        return self.folder / "id"

    @property
    def config(self) -> Path:
        return self.folder / "config"

    @property
    def alias(self) -> str:
        return f"{self.name}.{self.hub.name}"

    @property
    def bastion(self) -> str:
        return f"{self.hub.name}-bastion"

    def register(self) -> int:
        """Register the key; return its number."""
        self.hub.request("POST", f"/hub/api/users/{self.name}", b"")
        line = self.key.with_suffix(".pub").read_text()
        return int(
            self.hub.api("POST", f"users/{self.name}/ssh-keys", {"name": "test", "key": line})["id"]
        )

    def set_up(self) -> None:
        """Write the client's files as the hub hands them out, for this folder instead of ~/.ssh."""
        self.set_up_for(self.name)

    def set_up_for(self, user: str) -> None:
        """Write the files that are handed out to a user."""
        status, _, body = self.hub.request(
            "GET", f"/hub/api/users/{user}/ssh-config?host={self.hub.host}&port={self.hub.port}"
        )
        assert status == 200, body
        text = body.decode()
        known = self.folder / "known_hosts"
        known.write_text(
            next(line for line in text.splitlines() if "@cert-authority" in line).removeprefix("# ")
            + "\n"
        )
        text = re.sub(r"~/\.ssh/mlhub-\S+\.known_hosts", str(known), text)
        text = text.replace("ProxyCommand ssh ", f"ProxyCommand ssh -F {self.config} ")
        extra = (
            f"Host *\n  IdentityFile {self.key}\n  IdentitiesOnly yes\n  BatchMode yes\n  "
            "LogLevel ERROR\n"
        )
        self.config.write_text(text + extra)

    def set_up_like(self, other: Person) -> None:
        """Take over somebody's configuration, with the own key: all that a stranger could know."""
        (self.folder / "known_hosts").write_text((other.folder / "known_hosts").read_text())
        self.config.write_text(
            other.config.read_text().replace(str(other.folder), str(self.folder))
        )

    def join(self) -> Person:
        """Register the key and set the client up."""
        self.register()
        self.set_up()
        return self

    def run(
        self,
        *words: str,
        program: str = "ssh",
        timeout: float = 90,
        given: str | bytes | None = None,
    ) -> subprocess.CompletedProcess:
        """Run a client program with this person's configuration."""
        data = given.encode() if isinstance(given, str) else given
        command = [program, "-F", str(self.config), *words]
        result = subprocess.run(
            command,
            input=data,
            capture_output=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL if data is None else None,
            env={**os.environ, "SSH_AUTH_SOCK": ""},
        )
        result.stdout, result.stderr = (
            result.stdout.decode(errors="replace"),
            result.stderr.decode(errors="replace"),
        )
        return result

    def ask(self, command: str, *options: str, to: str = "") -> str:
        """Run a command in the workspace; return what it printed."""
        result = self.run(*options, to or self.alias, command)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def knock(self, target: str) -> subprocess.CompletedProcess:
        """Ask the bastion for a tunnel to ``host:port``, with nothing to say there; again for a
        while where nothing listens yet, as in a workspace that has just started.
        """
        options = ["-o", "ClearAllForwardings=no", "-o", "LogLevel=INFO", "-W", target]
        deadline = time.monotonic() + LISTENS_SECONDS
        while True:
            result = self.run(*options, self.bastion, given="SSH-2.0-knock\r\n", timeout=30)
            if "Connection refused" not in result.stderr or time.monotonic() > deadline:
                return result


def read_audit(hub: Hub) -> list[dict]:
    """Return the records of who came in by SSH."""
    text = docker("exec", hub.name, "sh", "-c", "cat /data/audit/ssh.jsonl 2>/dev/null || true")
    return [json.loads(line) for line in text.splitlines()]


def count_seconds_until_end(*sessions: subprocess.Popen) -> float:
    """Wait until sessions are over; return how long that took from now on."""
    began = time.monotonic()
    for session in sessions:
        session.wait(30)
    return time.monotonic() - began


def take_best_of_three(attempt: Callable[[], float]) -> float:
    """Return the fewest seconds of up to three attempts: what else the machine does may hold one of
    them up.
    """
    seconds: list[float] = []
    while len(seconds) < 3 and min(seconds, default=1.0) >= 1.0:
        seconds.append(attempt())
    return min(seconds)
