"""Look at a hub as its administrator would before people come: each thing in one sentence, with the
cure where it is not well.

Invariants: nothing is changed, and each check is made although another one fails.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import disk_usage

from cryptography import x509

from mlhub.backends.finding import Finding, fail, ok, warn
from mlhub.backends.registry import find_kind
from mlhub.errors import MLHubError
from mlhub.options.amount import describe_size
from mlhub.policy.file import load_policy
from mlhub.quantities import GIBIBYTE
from mlhub.settings import Settings

Check = Callable[[Settings], Iterator[Finding]]
DATABASE = "jupyterhub.sqlite"
FREE_BYTES = GIBIBYTE
EXPIRES_SOON = timedelta(days=21)
SECONDS = 5.0
NGINX_PORT = 8080


def examine(settings: Settings) -> list[Finding]:
    """Make all checks that apply to what runs in this container."""
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings += check(settings)
        except (MLHubError, OSError, sqlite3.Error, ValueError) as error:
            name = check.__name__.removeprefix("check_").replace("_", " ")
            findings.append(fail(name, f"This could not be looked at: {error}", ""))
    return findings


def check_programs(settings: Settings) -> Iterator[Finding]:
    """Ask each program of the container whether it answers."""
    command = [sys.executable, "-I", "-m", "mlhub.boot.health", "--verbose"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    lines = result.stdout.splitlines()
    well = [line.partition(":")[0] for line in lines if line.endswith(": answers")]
    for line in lines:
        is_refused = os.geteuid() != 0 and "Permission denied" in line  # not ours to ask
        if not (line.endswith(": answers") or is_refused):
            yield fail("programs", f"{line}.", "Look at the container's log.")
    if well:
        yield ok("programs", f"{', '.join(well)} answer.")


def check_address(settings: Settings) -> Iterator[Finding]:
    """Tell which address people are sent to."""
    if not settings.start_nginx:
        return
    if settings.mlhub_hostnames or settings.mlhub_subdomain_host:
        yield ok("address", f"Links lead to {settings.public_address}")
    else:
        yield warn(
            "address",
            f"The hub does not know its name: links that it makes lead to"
            f" {settings.public_address}.",
            "Pass --env MLHUB_HOSTNAMES=hub.example.org, the name that people open.",
        )


def check_tls(settings: Settings) -> Iterator[Finding]:
    """Look at the certificate that is served, or tell that passwords travel in clear."""
    if not settings.start_nginx:
        return
    if not settings.ssl_enabled:
        if settings.mlhub_trusted_proxies:
            yield ok("TLS", "A trusted proxy stands in front and is expected to serve HTTPS.")
        else:
            yield warn(
                "TLS",
                "The hub serves plain HTTP: passwords and files travel in clear.",
                "Pass --env SSL_ENABLED=true, or name the proxy that serves HTTPS in"
                " MLHUB_TRUSTED_PROXIES.",
            )
        return
    # As clients get it: the hub's own account may not read the file, which has the key in it.
    served = ssl.get_server_certificate(("127.0.0.1", NGINX_PORT), timeout=SECONDS)
    certificate = x509.load_pem_x509_certificate(served.encode())
    names = (*settings.mlhub_hostnames, *settings.subdomain_names)
    yield from judge_certificate(certificate, names, datetime.now(UTC))


def judge_certificate(
    certificate: x509.Certificate, names: tuple[str, ...], now: datetime
) -> Iterator[Finding]:
    """Judge what is served: who believes it, for how long, and under which names."""
    ends = certificate.not_valid_after_utc
    if ends < now:
        yield fail("TLS", f"The certificate ended on {ends:%Y-%m-%d}.", "Mount a new pair.")
    elif ends - now < EXPIRES_SOON:
        yield warn("TLS", f"The certificate ends on {ends:%Y-%m-%d}.", "Mount a new pair.")
    else:
        yield ok("TLS", f"The certificate is valid until {ends:%Y-%m-%d}.")
    if certificate.issuer == certificate.subject:
        yield warn(
            "TLS",
            "The certificate is one that signed itself: browsers warn of it.",
            "Mount a pair of a certificate authority as /resources/ssl/cert.crt and cert.key.",
        )
    covered = _read_names(certificate)
    missing = [name for name in names if not _is_covered(name, covered)]
    if missing:
        yield fail(
            "TLS",
            f"The certificate is not for {', '.join(missing)}.",
            "Mount a pair for these names, or correct MLHUB_HOSTNAMES or MLHUB_SUBDOMAIN_HOST.",
        )


def check_ssh(settings: Settings) -> Iterator[Finding]:
    """Knock at the public port as an SSH client does."""
    if not (settings.start_ssh and settings.start_nginx):
        return
    with socket.create_connection(("127.0.0.1", NGINX_PORT), timeout=SECONDS) as connection:
        connection.sendall(b"SSH-2.0-doctor\r\n")
        banner = connection.recv(64)
    if banner.startswith(b"SSH-2.0-"):
        yield ok("SSH", "SSH answers through the public port.")
    else:
        yield fail(
            "SSH", f"The public port answers an SSH client with {banner!r}.", "Look at the log."
        )


def check_data(settings: Settings) -> Iterator[Finding]:
    """Look at the room that is left, and at the database."""
    if not (settings.has_data and settings.start_jhub):
        return
    data = settings.data_volume_container
    free = disk_usage(data).free
    if free < FREE_BYTES:
        yield warn(
            "data",
            f"{describe_size(free)} are free for the hub's database in {data}.",
            "Make room: a full disk stops the hub.",
        )
    else:
        yield ok("data", f"{describe_size(free)} are free in {data}.")
    file = data / DATABASE
    if not file.exists():
        yield ok("database", "It is a server of the site's own.")
        return
    with closing(open_database(file)) as database:
        (said,) = database.execute("pragma quick_check(1)").fetchone()
    if said == "ok":
        yield ok("database", f"{file} is sound.")
    else:
        yield fail(
            "database", f"{file} is damaged: {said}.", "Restore it from a backup of the hub."
        )


def check_people(settings: Settings) -> Iterator[Finding]:
    """Look whether there is an administrator who can sign in."""
    file = settings.data_volume_container / DATABASE
    if not (settings.start_jhub and file.exists()):
        return
    with closing(open_database(file)) as database:
        tables = {name for (name,) in database.execute("select name from sqlite_master")}
        admins = {name for (name,) in database.execute("select name from users where admin")}
        accounts = (
            dict(database.execute("select username, is_authorized from users_info"))
            if "users_info" in tables
            else None
        )
    if accounts is not None:
        admins = {name for name in admins if accounts.get(name)}
    if admins:
        yield ok("administrators", f"{len(admins)}: {', '.join(sorted(admins)[:5])}.")
    else:
        yield warn(
            "administrators",
            "Nobody can sign in as an administrator yet.",
            "Open the link for the administrator that the hub's log shows at each start.",
        )


def check_policy(settings: Settings) -> Iterator[Finding]:
    """Read the policy as the hub does."""
    if not settings.start_jhub:
        return
    file = settings.policy_file
    if not file.exists():
        yield ok("policy", f"There is no {file}: the built-in limits hold.")
        return
    kind = find_kind(settings.execution_mode)
    try:
        load_policy(file, *(() if kind.options is None else (kind.options,)))
    except MLHubError as error:
        yield fail("policy", str(error), "Correct it, and try it with mlhub policy check.")
    else:
        yield ok("policy", f"{file} can be read.")


def check_backend(settings: Settings) -> Iterator[Finding]:
    """Have the backend look at the place where workspaces run."""
    examine_place = find_kind(settings.execution_mode).examine
    if settings.start_jhub and examine_place:
        yield from asyncio.run(examine_place(settings))


def open_database(file: Path) -> sqlite3.Connection:
    """Open the hub's database for reading alone."""
    return sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=SECONDS)


def _read_names(certificate: x509.Certificate) -> set[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return {str(entry.value).lower() for entry in found.value}


def _is_covered(name: str, covered: set[str]) -> bool:
    return name.lower() in covered or f"*.{name.lower().partition('.')[2]}" in covered


CHECKS: tuple[Check, ...] = (
    check_programs,
    check_address,
    check_tls,
    check_ssh,
    check_data,
    check_people,
    check_policy,
    check_backend,
)
