"""What boot does for roles in containers of their own: keys that are given, names of other pods."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mlhub.boot.accounts import Account
from mlhub.boot.resolver import Resolver, read_resolver
from mlhub.boot.ssh import ensure_key, take_key
from mlhub.errors import ConfigurationError

ME = Account("hub", os.getuid(), os.getgid())


def write_key(file: Path, key, kind: PrivateFormat) -> Path:
    file.write_bytes(key.private_bytes(Encoding.PEM, kind, NoEncryption()))
    return file


@pytest.mark.parametrize("kind", [PrivateFormat.PKCS8, PrivateFormat.OpenSSH])
def test_a_given_key_is_kept_as_openssh_writes_it(tmp_path, kind):
    key = Ed25519PrivateKey.generate()
    kept = tmp_path / "kept"
    take_key(write_key(tmp_path / "given", key, kind), kept, ME)
    assert kept.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    ensure_key(kept, ME)
    known = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(kept)], capture_output=True, text=True
    ).stdout.split()[:2]
    assert (tmp_path / "kept.pub").read_text().split() == known


def test_a_given_key_takes_the_place_of_another_one_with_a_warning_and_of_itself_without(
    tmp_path, capsys
):
    kept = tmp_path / "kept"
    ensure_key(kept, ME)
    given = write_key(tmp_path / "given", Ed25519PrivateKey.generate(), PrivateFormat.PKCS8)
    before = kept.read_text()
    take_key(given, kept, ME)
    ensure_key(kept, ME)
    assert kept.read_text() != before
    assert "people set up their SSH clients again" in capsys.readouterr().out
    take_key(given, kept, ME)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no key",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----",
        "rsa",
        None,
    ],
)
def test_what_is_no_ed25519_key_is_refused_with_its_file_and_the_cure(tmp_path, content):
    given = tmp_path / "ca"
    if content == "rsa":
        write_key(given, generate_private_key(65537, 2048), PrivateFormat.PKCS8)
    elif content is not None:
        given.write_text(content)
    with pytest.raises(
        ConfigurationError, match="MLHUB_SSH_KEYS_DIR holds the files ca and host_key"
    ) as refusal:
        take_key(given, tmp_path / "kept", ME)
    assert str(given) in str(refusal.value)
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("text", "name", "expected", "servers"),
    [
        (
            "search lab.svc.cluster.local svc.cluster.local cluster.local\n"
            "nameserver 10.96.0.10\noptions ndots:5\n",
            "hub",
            "hub.lab.svc.cluster.local",
            ("10.96.0.10",),
        ),
        (
            "search lab.svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
            "hub.lab.svc.cluster.local",
            "hub.lab.svc.cluster.local",
            ("10.96.0.10",),
        ),
        (
            "nameserver 127.0.0.11\nsearch corp.example\noptions edns0 trust-ad ndots:0\n",
            "hub",
            "hub",
            ("127.0.0.11",),
        ),
        (
            "# none\nnameserver fd00::a\nnameserver fe80::1%eth0\n"
            "nameserver 10.0.0.2\ndomain corp.example.",
            "hub",
            "hub.corp.example",
            ("[fd00::a]", "10.0.0.2"),
        ),
        ("", "hub", "hub", ("127.0.0.1",)),
        ("nameserver\noptions ndots:many\nsearch\n", "hub", "hub", ("127.0.0.1",)),
    ],
)
def test_a_name_means_what_it_means_to_the_containers_own_resolver(
    tmp_path, text, name, expected, servers
):
    file = tmp_path / "resolv.conf"
    file.write_text(text)
    resolver = read_resolver(file)
    assert resolver.complete(name) == expected
    assert resolver.servers == servers


def test_without_a_resolv_conf_the_resolver_is_the_default_one(tmp_path):
    assert read_resolver(tmp_path / "none") == Resolver()


IMPORTS = """
import os, sys
import mlhub.hub.app, mlhub.hub.layers.chart, mlhub.hub.layers.facts
print("", *sys.modules, flush=True)
for name in ("MLHubDockerSpawner", "MLHubKubernetesSpawner"):
    if not os.fork():
        exec(f"from mlhubspawner import {name}")
        print(name, *sys.modules, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.fixture(scope="module")
def loaded():
    """Return what a hub has loaded, before and after either spawner is named."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True
    )
    rows = (line.split(" ") for line in done.stdout.splitlines())
    return {name: set(modules) for name, *modules in rows}


def test_a_hub_loads_neither_backends_client_until_a_spawner_is_named(loaded):
    assert "jupyterhub.app" in loaded[""]
    assert not loaded[""] & {"docker", "dockerspawner", "kubespawner", "kubernetes_asyncio"}


@pytest.mark.parametrize(
    ("name", "own", "other"),
    [
        ("MLHubDockerSpawner", "docker", "kubernetes_asyncio"),
        ("MLHubKubernetesSpawner", "kubernetes_asyncio", "docker"),
    ],
)
def test_a_spawner_loads_its_own_client_alone(loaded, name, own, other):
    assert own in loaded[name]
    assert other not in loaded[name]
