"""What the text of a variable must look like: types for the fields of ``Settings``, each refusing
with the cure. Pure: no I/O.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, SecretStr

from mlhub.egress import normalize_egress
from mlhub.texts import Text

HOST_PORT = re.compile(r"(?P<host>\[[0-9a-fA-F:]+\]|[^:\s/]+):(?P<port>\d{1,5})\Z")
SECRET_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){32,}\Z")
# The underscore is none of RFC 1123's, but services of Compose are named with it, and certificates
# and browsers take it.
HOST_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")
HOST_NAME_MAX = 253
ZONE = re.compile(r"[A-Za-z0-9_+-]{1,30}(?:/[A-Za-z0-9_+-]{1,30}){0,2}\Z")


def _split(value: Any) -> Any:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, str)
        else value
    )


def _normalize_names(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_normalize_name, value)))


def _normalize_name(entry: str) -> str:
    """Return one spelling of each host name (small letters, IDNA) or address (compressed), the one
    that a certificate holds.
    """
    try:
        if "%" not in entry:  # a zone means something on one machine only
            return str(ipaddress.ip_address(entry))
    except ValueError:
        pass  # a name, then
    try:
        name = entry.lower().removesuffix(".").encode("idna").decode()
    except UnicodeError:
        name = ""  # an empty label, one over 63 letters, or characters that no name has
    labels = name.removeprefix("*.").split(".")
    if not all(map(HOST_LABEL.match, labels)) or labels[-1].isdigit() or len(name) > HOST_NAME_MAX:
        raise ValueError(
            f"has the entry {entry[:300]!r}, which is neither a host name nor an address. Write"
            " e.g. hub.example.org,192.0.2.7, without https:// and without a port."
        )
    return name


def _check_networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for entry in value:
        try:
            ipaddress.ip_network(entry, strict=False)
        except ValueError:
            raise ValueError(
                f"has the entry {entry!r}, which is neither an address nor a CIDR range. Write e.g."
                " 10.0.0.0/8,192.0.2.7."
            ) from None
    return value


def _check_private_network(value: str) -> str:
    try:
        network = ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"is not an IPv4 range ({error}). Write e.g. 10.64.0.0/12.") from None
    if network.version != 4 or not network.is_private:
        raise ValueError(
            "is not a private IPv4 range; public addresses would become unreachable from"
            " workspaces. Write e.g. 10.64.0.0/12."
        )
    return value


def _check_words(value: str) -> str:
    try:
        shlex.split(value)
    except ValueError as error:
        raise ValueError(
            f"cannot be split into words as a shell does ({error}). Close the quotes."
        ) from None
    return value


def _check_host_port(value: str) -> str:
    if value and not HOST_PORT.match(value):
        raise ValueError("is not host:port. Write e.g. hub:22.")
    return value


def _check_engine_address(value: str) -> str:
    if value and not value.startswith(("unix:///", "tcp://", "http://", "https://")):
        raise ValueError("is not an engine address (unix:///path or tcp://host:port).")
    return value


def _normalize_path(value: str) -> str:
    value = "/" + value.strip("/") + "/" if value.strip("/") else "/"
    if not re.fullmatch(r"[A-Za-z0-9/_~.-]+", value) or "//" in value:
        raise ValueError(
            "is not a URL path of letters, digits, '-', '_', '.', '~' and '/'. Write e.g. /mlhub."
        )
    return value


def _check_server_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_good = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        )
    except ValueError:
        is_good = False
    if value and (
        not is_good
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise ValueError("is not the URL of a server. Write e.g. http://mlhub-proxy-api:8001.")
    return value.rstrip("/")


def _check_site_url(value: str) -> str:
    try:
        value = _check_server_url(value)
        host = urlsplit(value).hostname or ""
        is_name = not value or (
            _normalize_name(host) == host and not re.fullmatch(r"[0-9a-f:.]+", host)
        )
    except ValueError:
        is_name = False
    if not is_name:
        raise ValueError(
            "is not the URL of a host name, without a path. Write e.g. https://hub.example.org;"
            " addresses have no subdomains."
        )
    return value


def _check_hex(value: SecretStr) -> SecretStr:
    if not SECRET_HEX.match(value.get_secret_value()):
        raise ValueError(
            "is not a secret of at least 64 hexadecimal digits. Make one with: openssl rand -hex 32"
        )
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_normalize_names)]
Egress = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(normalize_egress)]
Networks = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_check_networks)]
PrivateNetwork = Annotated[str, AfterValidator(_check_private_network)]
Words = Annotated[str, AfterValidator(_check_words)]
HostPort = Annotated[str, AfterValidator(_check_host_port)]
EngineAddress = Annotated[str, AfterValidator(_check_engine_address)]
UrlPath = Annotated[str, AfterValidator(_normalize_path)]
ServerUrl = Annotated[str, AfterValidator(_check_server_url)]
SiteUrl = Annotated[str, AfterValidator(_check_site_url)]
HexSecret = Annotated[SecretStr, AfterValidator(_check_hex)]


def parse_zone(name: str) -> str:
    """Read the name of a time zone; raise ``ValueError`` where the database has none of it."""
    cure = Text("Write e.g. Europe/Berlin or UTC.")
    try:
        if not ZONE.match(name):
            raise ValueError
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            Text(
                "names no time zone that is known: %(name)s. %(cure)s",
                name=repr(name[:64]),
                cure=cure,
            )
        ) from None
    return name


Zone = Annotated[str, AfterValidator(parse_zone)]
