"""The bastion's files: its host key and the certificate authority, given or made once and kept, and
sshd's own configuration.
"""

from __future__ import annotations

import socket
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
from mlhub.ssh.authority import AUTHORITY_FILE, make_private_text, make_public_line
from mlhub.ssh.host import certify
from mlhub.ssh.hub_link import PORT, ask, make_greeting

HOST_KEY_FILE = "ssh_host_ed25519_key"
CERTIFICATE_FILE = f"{HOST_KEY_FILE}-cert.pub"
# The names of the files in MLHUB_SSH_KEYS_DIR.
GIVEN = {AUTHORITY_FILE: "ca", HOST_KEY_FILE: "host_key"}
WAIT_SECONDS = 120.0
LOOK_SECONDS = 0.5


def prepare_bastion(settings: Settings, renderer: Renderer) -> None:
    """Make keys where this container has the hub's data, put them where sshd finds them, and write
    sshd's file.
    """
    if settings.is_bastion_alone:
        obtain_certificate(settings)
    else:
        provide_keys(settings)
    if settings.start_ssh:
        write_private(
            settings.mlhub_run_dir / "ssh" / "sshd_config",
            renderer.render("sshd_config.j2"),
            find_account("limited-user"),
        )


def provide_keys(settings: Settings) -> None:
    """Keep the authority under the data directory, and with it the host key of a bastion beside the
    hub.
    """
    hub = find_account("hub")
    kept = settings.data_volume_container / "ssh"
    kept.mkdir(mode=0o700, exist_ok=True)
    hub.own(kept, 0o700)
    keys = {}
    for name in (AUTHORITY_FILE, HOST_KEY_FILE) if settings.start_ssh else (AUTHORITY_FILE,):
        if settings.mlhub_ssh_keys_dir:
            take_key(settings.mlhub_ssh_keys_dir / GIVEN[name], kept / name, hub)
        keys[name] = ensure_key(kept / name, hub)
    if settings.start_ssh:
        write_host_key(
            settings,
            keys[HOST_KEY_FILE],
            certify(settings, (kept / f"{HOST_KEY_FILE}.pub").read_text()),
        )


def obtain_certificate(settings: Settings, wait_seconds: float = WAIT_SECONDS) -> None:
    """Have the hub, which may start later, sign the host key of this bastion: the given one, else
    one made now.

    Raises ``ConfigurationError`` when the hub does not answer, or refuses.
    """
    assert settings.mlhub_bastion_token
    given = settings.mlhub_ssh_keys_dir
    key = read_key(given / GIVEN[HOST_KEY_FILE]) if given else Ed25519PrivateKey.generate()
    greeting = make_greeting(settings.mlhub_bastion_token.get_secret_value(), socket.gethostname())
    write_private(
        settings.mlhub_run_dir / "bastion" / "greeting", greeting, find_account("limited-user")
    )
    certificate = wait_for_answer(
        settings.hub_name, greeting, f"certify {make_public_line(key)}", wait_seconds
    )
    write_host_key(settings, make_private_text(key), certificate)


def wait_for_answer(host: str, greeting: str, question: str, seconds: float) -> str:
    """Ask the hub until it answers.

    Raises ``ConfigurationError`` when it does not.
    """
    deadline, pause, said = time.monotonic() + seconds, threading.Event(), ""
    while True:
        try:
            answer = ask(host, greeting, question)
            obstacle = (
                f"{host}:{PORT} hangs up; MLHUB_BASTION_TOKEN must be the same for hub and bastion"
            )
        except OSError as error:
            answer, obstacle = "", f"{host}:{PORT} does not answer ({error.strerror or error})"
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"The hub did not sign this bastion's host key within {seconds:.0f} s: {obstacle}."
                " Look at the hub's log."
            )
        if obstacle != said:
            say(f"Waiting for the hub, for {seconds:.0f} s at most: {obstacle}")
            said = obstacle
        pause.wait(LOOK_SECONDS)


def write_host_key(settings: Settings, key: str, certificate: str) -> None:
    """Put the host key where sshd finds it."""
    owner = find_account("limited-user")
    write_private(settings.mlhub_run_dir / "ssh" / HOST_KEY_FILE, key + "\n", owner)
    write_private(settings.mlhub_run_dir / "ssh" / CERTIFICATE_FILE, certificate + "\n", owner)


def take_key(given: Path, kept: Path, owner: Account) -> None:
    """Let a given private key take the place of the kept one.

    Raises ``ConfigurationError`` where there is none, or another kind of one.
    """
    key = read_key(given)
    public = kept.with_name(f"{kept.name}.pub")
    if public.exists() and public.read_text().strip() != make_public_line(key):
        say(
            f"Warning: the key of {given} takes the place of another one in {kept}; people set up"
            " their SSH clients again."
        )
    write_private(kept, make_private_text(key) + "\n", owner)


def read_key(given: Path) -> Ed25519PrivateKey:
    """Read a private key of MLHUB_SSH_KEYS_DIR.

    Raises ``ConfigurationError`` where there is none, or another kind of one.
    """
    cure = (
        "MLHUB_SSH_KEYS_DIR holds the files ca and host_key, each with one private ed25519 key."
        " Unset it to have them generated."
    )
    try:
        text = given.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"{given} cannot be read ({error.strerror}). {cure}") from error
    try:
        key = (
            load_ssh_private_key(text, None)
            if b"OPENSSH" in text[:40]
            else load_pem_private_key(text, None)
        )
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{given} is no private key ({error}). {cure}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{given} is no ed25519 key. {cure}")
    return key


def ensure_key(file: Path, owner: Account) -> str:
    """Return the private ed25519 key in ``file``, made once; its public half lies beside it as
    ``.pub``.

    Raises ``ConfigurationError`` for a file that holds no such key.
    """
    if not file.exists():
        write_private(file, make_private_text(Ed25519PrivateKey.generate()) + "\n", owner)
    text = file.read_text().strip()
    try:
        key = load_ssh_private_key(text.encode(), None)
    except ValueError as error:
        raise ConfigurationError(
            f"{file} is no private key ({error}). Restore it, or remove it: a new one is made, and"
            " people set up their SSH clients again."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(
            f"{file} is no ed25519 key. Remove it: a new one is made, and people set up their SSH"
            " clients again."
        )
    write_private(file.with_name(f"{file.name}.pub"), make_public_line(key) + "\n", owner)
    return text
