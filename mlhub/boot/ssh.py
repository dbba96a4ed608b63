"""The bastion's files: its host key and the certificate authority, given or made once and kept, and sshd's own configuration."""

from __future__ import annotations

import datetime
import threading
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

from mlhub.boot.accounts import Account, find_account
from mlhub.boot.data import write_private
from mlhub.boot.log import say
from mlhub.boot.render import Renderer
from mlhub.errors import ConfigurationError
from mlhub.settings import Settings
from mlhub.workspace.ssh import AUTHORITY_FILE, Authority, make_private_text, make_public_line

HOST_KEY_FILE = "ssh_host_ed25519_key"
CERTIFICATE_FILE = f"{HOST_KEY_FILE}-cert.pub"
# The names of the files in MLHUB_SSH_KEYS_DIR.
GIVEN = {AUTHORITY_FILE: "ca", HOST_KEY_FILE: "host_key"}
# The name by which clients check the bastion, under whatever address they reach it.
BASTION_NAME = "mlhub-bastion"
WAIT_SECONDS = 120.0


def prepare_bastion(settings: Settings, renderer: Renderer) -> None:
    """Make keys where this container has the hub's data, put them where sshd finds them, and write sshd's file."""
    if settings.is_bastion_alone:
        fetch_host_key(settings)
    else:
        provide_host_key(settings)
    if settings.start_ssh:
        write_private(settings.mlhub_run_dir / "ssh" / "sshd_config", renderer.render("sshd_config.j2"), find_account("limited-user"))


def provide_host_key(settings: Settings) -> None:
    """Keep authority and host key under the data directory, and put the host key, signed, where the bastion finds it."""
    hub = find_account("hub")
    kept = settings.data_volume_container / "ssh"
    kept.mkdir(mode=0o700, exist_ok=True)
    hub.own(kept, 0o700)
    if settings.mlhub_ssh_keys_dir:
        for name, given in GIVEN.items():
            take_key(settings.mlhub_ssh_keys_dir / given, kept / name, hub)
    host_key = ensure_key(kept / HOST_KEY_FILE, hub)
    authority = Authority(ensure_key(kept / AUTHORITY_FILE, hub).encode())
    names = [BASTION_NAME, settings.hub_name, *settings.mlhub_hostnames, "localhost", "127.0.0.1", "::1"]
    public_line = (kept / f"{HOST_KEY_FILE}.pub").read_text()
    certificate = authority.certify(public_line, names, datetime.datetime.now(datetime.UTC))
    # In a container of its own, the bastion has another account, and one group in common with this one.
    owner, mode = (find_account("limited-user"), 0o600) if settings.start_ssh else (hub, 0o640)
    write_private(settings.bastion_dir / "ssh" / HOST_KEY_FILE, host_key + "\n", owner, mode)
    write_private(settings.bastion_dir / "ssh" / CERTIFICATE_FILE, certificate + "\n", owner, mode)


def fetch_host_key(settings: Settings, wait_seconds: float = WAIT_SECONDS) -> None:
    """Take host key and certificate from the hub's container, which may start later than this one.

    Raises ``ConfigurationError`` when they do not come, or can not be read.
    """
    source = settings.bastion_dir / "ssh"
    wait_for_file(source / CERTIFICATE_FILE, wait_seconds)
    try:
        for name in (HOST_KEY_FILE, CERTIFICATE_FILE):
            write_private(settings.mlhub_run_dir / "ssh" / name, (source / name).read_bytes(), find_account("limited-user"))
    except OSError as error:
        raise ConfigurationError(
            f"{source} can not be read ({error.strerror}). Hub and bastion need a group in common, to which MLHUB_BASTION_DIR belongs (the pod's fsGroup)."
        ) from error


def wait_for_file(file: Path, seconds: float) -> None:
    """Wait for a file of another container.

    Raises ``ConfigurationError`` when it does not come.
    """
    deadline, pause = time.monotonic() + seconds, threading.Event()
    if not _exists(file):
        say(f"Waiting for {file} of the hub's container, for {seconds:.0f} s at most")
    while not _exists(file):
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"{file} did not come within {seconds:.0f} s. The hub's container writes it: look at its log, and mount the same volume at MLHUB_BASTION_DIR in both."
            )
        pause.wait(0.2)


def take_key(given: Path, kept: Path, owner: Account) -> None:
    """Let a given private key take the place of the kept one.

    Raises ``ConfigurationError`` where there is none, or another kind of one.
    """
    cure = "MLHUB_SSH_KEYS_DIR holds the files ca and host_key, each with one private ed25519 key. Unset it to have them generated."
    try:
        text = given.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"{given} can not be read ({error.strerror}). {cure}") from error
    try:
        key = load_ssh_private_key(text, None) if b"OPENSSH" in text[:40] else load_pem_private_key(text, None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{given} is no private key ({error}). {cure}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{given} is no ed25519 key. {cure}")
    text_kept = make_private_text(key)
    public = kept.with_name(f"{kept.name}.pub")
    if public.exists() and public.read_text().strip() != make_public_line(key):
        say(f"Warning: the key of {given} takes the place of another one in {kept}; people set up their SSH clients again.")
    write_private(kept, text_kept + "\n", owner)


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


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except PermissionError:
        return True  # there, and not for us: reading it tells
