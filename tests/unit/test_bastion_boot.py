"""How a bastion in a container of its own comes to its host key's certificate, and what it says
while there is no hub.
"""

from __future__ import annotations

import asyncio
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mlhub.backends.registry import read_settings
from mlhub.boot import ssh
from mlhub.boot.ssh import obtain_certificate, wait_for_answer
from mlhub.errors import ConfigurationError
from mlhub.settings import Settings
from mlhub.ssh import hub_link as line
from mlhub.ssh.authority import make_public_line
from tests.support.bastion_site import HOST, ME, SECONDS, TOKEN, open_site
from tests.support.ports import find_free_port

GREETING = "bastion the-token-of-hub-and-bastion b1\n"


def use_port(monkeypatch, port: int) -> None:
    monkeypatch.setattr(line, "PORT", port)
    monkeypatch.setattr(ssh, "PORT", port)


@pytest.fixture
def port(monkeypatch) -> int:
    """Return the port of a hub that is not there yet."""
    number = find_free_port()
    use_port(monkeypatch, number)
    return number


class Hub(threading.Thread):
    """Answer each question with the next of these lines, from a moment on."""

    def __init__(self, port: int, *answers: str, after: float = 0) -> None:
        super().__init__(daemon=True)
        self.port, self.answers, self.after = port, answers, after
        self.listening, self.listener = threading.Event(), socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.start()
        if not after:
            self.listening.wait(SECONDS)

    def run(self) -> None:
        threading.Event().wait(self.after)
        with self.listener:
            self.listener.bind((HOST, self.port))
            self.listener.listen()
            self.listening.set()
            for answer in self.answers:
                connection, _ = self.listener.accept()
                with connection, connection.makefile("rb") as lines:
                    assert lines.readline().decode() == GREETING
                    lines.readline()
                    connection.sendall(answer.encode())


def test_a_hub_that_answers_is_asked_once_and_nothing_is_said(port, capsys):
    Hub(port, "the certificate\n")
    assert wait_for_answer(HOST, GREETING, "certify x", 0) == "the certificate"
    assert capsys.readouterr().out == ""


def test_a_hub_that_comes_later_is_waited_for_with_a_line_for_each_obstacle(port, capsys):
    hub = Hub(port, "", "", "the certificate\n", after=0.7)
    assert wait_for_answer(HOST, GREETING, "certify x", 30) == "the certificate"
    hub.join(SECONDS)
    said = [text.partition("] ")[2] for text in capsys.readouterr().out.splitlines()]
    assert said == [
        (
            f"Waiting for the hub, for 30 s at most: {HOST}:{port} does not answer (Connection "
            "refused)"
        ),
        (
            f"Waiting for the hub, for 30 s at most: {HOST}:{port} hangs up; MLHUB_BASTION_TOKEN "
            "must be the same for hub and bastion"
        ),
    ]


def test_a_hub_that_does_not_come_is_named_with_what_is_in_the_way(port):
    sentence = (
        f"The hub did not sign this bastion's host key within 0 s: {HOST}:{port} does not answer "
        "(Connection refused). Look at the hub's log."
    )
    with pytest.raises(ConfigurationError) as refusal:
        wait_for_answer(HOST, GREETING, "certify x", 0)
    assert str(refusal.value) == sentence


def test_a_hub_that_refuses_is_named_with_what_is_in_the_way(port):
    Hub(port, "", "", "")
    began = time.monotonic()
    with pytest.raises(
        ConfigurationError,
        match=(
            r"within 1 s: .* hangs up; MLHUB_BASTION_TOKEN must be the same for hub and bastion\. "
        ),
    ):
        wait_for_answer(HOST, GREETING, "certify x", 0.6)
    assert time.monotonic() - began < 5


@pytest.fixture
async def site(tmp_path, monkeypatch):
    """Return a hub that signs; the bastion of these tests runs as whoever runs them."""
    monkeypatch.setattr(ssh, "find_account", lambda _: ME)
    (tmp_path / "hub").mkdir()
    async with open_site(tmp_path / "hub") as one:
        use_port(monkeypatch, one.port)
        yield one


def make_bastion(folder: Path, **environment: str) -> Settings:
    for name in ("ssh", "bastion"):
        (folder / name).mkdir(parents=True)
    fixed = {
        "EXECUTION_MODE": "k8s",
        "HUB_NAME": "localhost",
        "START_NGINX": "false",
        "START_JHUB": "false",
    }
    return read_settings(
        {"MLHUB_BASTION_TOKEN": TOKEN, "MLHUB_RUN_DIR": str(folder), **fixed, **environment}
    )


def read_files(run: Path) -> tuple[str, str]:
    """Return the public half of the key that sshd would have, and what its certificate says."""
    key = run / "ssh" / "ssh_host_ed25519_key"
    assert {
        stat.S_IMODE(file.stat().st_mode)
        for file in (*key.parent.iterdir(), run / "bastion" / "greeting")
    } == {0o600}
    public = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(key)], capture_output=True, text=True, check=True
    ).stdout
    told = subprocess.run(
        ["ssh-keygen", "-L", "-f", f"{key}-cert.pub"], capture_output=True, text=True, check=True
    ).stdout
    return " ".join(public.split()[:2]), told


async def test_a_bastion_makes_itself_a_key_at_each_start_or_takes_the_given_one_and_the_hub_signs_it(  # noqa: E501
    site, tmp_path
):
    seen = set()
    for number in range(2):
        run = tmp_path / f"run{number}"
        await asyncio.to_thread(obtain_certificate, make_bastion(run), SECONDS)
        public, told = read_files(run)
        seen.add(public)
        assert "mlhub-bastion" in told
        assert (
            run / "bastion" / "greeting"
        ).read_text() == f"bastion {TOKEN} {socket.gethostname()}\n"
    assert len(seen) == 2
    keys = tmp_path / "keys"
    keys.mkdir()
    key = Ed25519PrivateKey.generate()
    (keys / "host_key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    run = tmp_path / "given"
    await asyncio.to_thread(
        obtain_certificate, make_bastion(run, MLHUB_SSH_KEYS_DIR=str(keys)), SECONDS
    )
    public, told = read_files(run)
    assert public == make_public_line(key)
    assert "mlhub-bastion" in told


async def test_a_bastion_with_another_token_gets_no_certificate(site, tmp_path):
    bastion = make_bastion(tmp_path / "run", MLHUB_BASTION_TOKEN="a-token-that-somebody-made-up")
    with pytest.raises(ConfigurationError, match="MLHUB_BASTION_TOKEN must be the same"):
        await asyncio.to_thread(obtain_certificate, bastion, 0)
    assert not list((tmp_path / "run" / "ssh").iterdir())


def test_a_given_folder_without_a_host_key_is_named_with_the_cure(tmp_path, monkeypatch):
    monkeypatch.setattr(ssh, "find_account", lambda _: ME)
    with pytest.raises(ConfigurationError, match="host_key cannot be read"):
        obtain_certificate(make_bastion(tmp_path / "run", MLHUB_SSH_KEYS_DIR=str(tmp_path)), 0)
