"""What makes a workspace reachable by SSH, wherever it runs: its host identity and its sessions'
environment. Pure: no I/O.

Invariants: a client that trusts the hub's certificate authority is never asked whether it knows a
host. Every workspace has a host key of its own, made for one start, and a certificate that names
this workspace alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_private_key,
    load_ssh_public_key,
)

from mlhub.errors import ConfigurationError
from mlhub.identity import HostIdentity

PORT = 2222
BUNDLE = "/.mlhub"
LOGIN = "workspace"
AUTHORITY_FILE = "ca"

# A workspace may run for a long time, and is given a new certificate whenever it starts.
VALID = timedelta(days=3 * 365)
# A clock that is behind must not refuse a certificate of this minute.
CLOCK_SKEW = timedelta(hours=1)

# sshd itself sets the first four; the last names the container, not the person's machine.
_NOT_FOR_SESSIONS = frozenset({"USER", "LOGNAME", "SHELL", "MAIL", "PWD", "OLDPWD", "SHLVL", "_"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


class Authority:
    """Sign host keys with the hub's own key."""

    def __init__(self, private_key: bytes) -> None:
        try:
            key = load_ssh_private_key(private_key, None)
        except ValueError as error:
            raise ConfigurationError(
                f"The key of the SSH certificate authority is damaged ({error}). Restore the file"
                f" ssh/{AUTHORITY_FILE} of the data directory, or remove it: a new one is made, and"
                " people set up their SSH clients again."
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigurationError(
                f"The file ssh/{AUTHORITY_FILE} of the data directory holds no ed25519 key. Remove"
                " it: a new one is made."
            )
        self._key = key

    @property
    def public_line(self) -> str:
        """The public key as one line of OpenSSH's format."""
        return make_public_line(self._key)

    def certify(self, public_line: str, names: Iterable[str], now: datetime) -> str:
        """Make a host certificate (one line) for a public key that answers under these names;
        ``now`` knows its time zone.
        """
        names = list(dict.fromkeys(names))
        public = load_ssh_public_key(public_line.encode())
        if not isinstance(public, Ed25519PublicKey):
            raise ConfigurationError("Only ed25519 host keys are certified.")
        builder = (
            SSHCertificateBuilder()
            .public_key(public)
            .type(SSHCertificateType.HOST)
            .key_id(names[0].encode())
            .serial(0)
        )
        builder = builder.valid_principals([name.encode() for name in names])
        builder = builder.valid_after(int((now - CLOCK_SKEW).timestamp())).valid_before(
            int((now + VALID).timestamp())
        )
        return builder.sign(self._key).public_bytes().decode()

    def make_host(self, names: Iterable[str], now: datetime) -> HostIdentity:
        """Make a new host key with a certificate for these names."""
        key = Ed25519PrivateKey.generate()
        return HostIdentity(make_private_text(key), self.certify(make_public_line(key), names, now))


def make_private_text(key: Ed25519PrivateKey) -> str:
    """Write a private key as OpenSSH does."""
    return (
        key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode().rstrip("\n")
    )


def make_public_line(key: Ed25519PrivateKey) -> str:
    """Write the public half of a key as one line of OpenSSH's format."""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def make_hub_line(environment: Mapping[str, str]) -> str:
    """Write where the bundle looks keys up, and with which token, from a workspace's environment:
    host, port, path, token.
    """
    url = urlsplit(environment.get("JUPYTERHUB_API_URL", ""))
    port = url.port or (443 if url.scheme == "https" else 80)
    return (
        f"{url.hostname} {port} {url.path.rstrip('/')}"
        f" {environment.get('JUPYTERHUB_API_TOKEN', '')}"
    )


def make_session_environment(environment: Mapping[str, str]) -> str:
    """Write a container's environment as the arguments of sshd_config's ``SetEnv``: sessions start
    with what the container has.

    Values with line breaks cannot be written there and are left out. The bundle's own programs
    (rsync, scp) are found last.
    """
    words = []
    for name, value in sorted(environment.items()):
        if name in _NOT_FOR_SESSIONS or not _NAME.match(name) or _UNPRINTABLE.search(value):
            continue
        if name == "PATH":
            value = f"{value}:{BUNDLE}/bin"
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        words.append(f'{name}="{escaped}"')
    return " ".join(words)
