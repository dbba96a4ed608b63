"""The bastion's files: its host key and the certificate authority, made once and kept, and sshd's own configuration."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from mlhub.boot.accounts import Account, find_account
from mlhub.boot.data import write_private
from mlhub.boot.render import Renderer
from mlhub.errors import ConfigurationError
from mlhub.settings import Settings
from mlhub.workspace.ssh import AUTHORITY_FILE, Authority, make_private_text, make_public_line

HOST_KEY_FILE = "ssh_host_ed25519_key"
# The name by which clients check the bastion, under whatever address they reach it.
BASTION_NAME = "mlhub-bastion"


def prepare_sshd(settings: Settings, renderer: Renderer) -> None:
    """Make host key and authority once, kept under the data directory, sign the host key, and write sshd's file."""
    bastion, hub = find_account("limited-user"), find_account("hub")
    kept = settings.data_volume_container / "ssh"
    kept.mkdir(mode=0o700, exist_ok=True)
    hub.own(kept, 0o700)
    host_key = ensure_key(kept / HOST_KEY_FILE, hub)
    authority = Authority(ensure_key(kept / AUTHORITY_FILE, hub).encode())
    names = [BASTION_NAME, settings.hub_name, *settings.mlhub_hostnames, "localhost", "127.0.0.1", "::1"]
    public_line = (kept / f"{HOST_KEY_FILE}.pub").read_text()
    certificate = authority.certify(public_line, names, datetime.datetime.now(datetime.UTC))
    folder = settings.mlhub_run_dir / "ssh"
    write_private(folder / HOST_KEY_FILE, host_key + "\n", bastion)
    write_private(folder / f"{HOST_KEY_FILE}-cert.pub", certificate + "\n", bastion)
    write_private(folder / "sshd_config", renderer.render("sshd_config.j2"), bastion)


def ensure_key(file: Path, owner: Account) -> str:
    """Return the private ed25519 key in ``file``, made once; its public half lies beside it as ``.pub``.

    Raises ``ConfigurationError`` for a file that holds no such key.
    """
    if not file.exists():
        write_private(file, make_private_text(Ed25519PrivateKey.generate()) + "\n", owner)
    text = file.read_text().strip()
    try:
        key = load_ssh_private_key(text.encode(), None)
    except ValueError as error:
        raise ConfigurationError(
            f"{file} is no private key ({error}). Restore it, or remove it: a new one is made, and people set up their SSH clients again."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{file} is no ed25519 key. Remove it: a new one is made, and people set up their SSH clients again.")
    write_private(file.with_name(f"{file.name}.pub"), make_public_line(key) + "\n", owner)
    return text
