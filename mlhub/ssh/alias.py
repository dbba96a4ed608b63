"""The names under which people reach workspaces by SSH: ``<server>.<user>.<suffix>``, the default
server ``<user>.<suffix>``.

Invariants: pure, injective and reversible. Letters a-z, digits, and hyphens that are not at an end
stand for themselves; every other byte of a name's UTF-8 is written ``_hh`` in lower-case hex. So a
part holds no dot, and no two names share an alias: ``Ann@example.org`` is
``_41nn_40example_2eorg``. All lower case, because clients may lower what people type.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from mlhub.errors import OptionsError

_PLAIN = re.compile(r"[a-z0-9-]")
_ESCAPED = re.compile(r"_([0-9a-f]{2})")
_PART = re.compile(r"(?:[a-z0-9-]|_[0-9a-f]{2})+\Z")
_SUFFIX = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z"
)


def make_alias(user: str, server: str, suffix: str) -> str:
    """Make the name under which a workspace is reached; ``server`` is "" for the default one."""
    return ".".join([*([_escape(server)] if server else []), _escape(user), suffix])


def parse_alias(alias: str, suffix: str) -> tuple[str, str]:
    """Return (user, server) of an alias.

    Raises ``OptionsError`` for everything that ``make_alias`` does not make.
    """
    parts = (
        alias.removesuffix(f".{suffix}").split(".")
        if is_suffix(suffix) and alias.endswith(f".{suffix}")
        else []
    )
    if len(parts) in (1, 2) and all(_PART.match(part) for part in parts):
        try:
            user, server = _unescape(parts[-1]), _unescape(parts[0]) if len(parts) == 2 else ""
        except UnicodeDecodeError:
            user = ""
        if user and make_alias(user, server, suffix) == alias:
            return user, server
    shown = alias[:200] if alias.isprintable() else ""
    raise OptionsError(
        f"{shown!r} does not name a workspace. Write <server>.<user>.<hub>, or <user>.<hub> for the"
        " default one."
    )


def list_suffixes(hub_name: str, hostnames: Iterable[str]) -> list[str]:
    """List the last parts that aliases may have, the one that clients are given first: a host name
    of the hub, else the hub's own name.
    """
    names = [name.lower() for name in hostnames if is_suffix(name.lower())]
    return list(dict.fromkeys([*names, hub_name]))


def is_suffix(text: str) -> bool:
    """Return True if a text can end an alias: a DNS name or an IPv4 address."""
    return bool(_SUFFIX.match(text))


def is_host(text: str) -> bool:
    """Return True if a text is a DNS name, an IPv4 or an IPv6 address, written without brackets."""
    if ":" not in text:
        return is_suffix(text.lower())
    try:
        return ipaddress.IPv6Address(text).scope_id is None
    except ValueError:
        return False


def _escape(name: str) -> str:
    letters = []
    for position, byte in enumerate(raw := name.encode("utf-8", "surrogatepass")):
        character = chr(byte)
        is_end = position in (0, len(raw) - 1)
        letters.append(
            character
            if _PLAIN.match(character) and not (character == "-" and is_end)
            else f"_{byte:02x}"
        )
    return "".join(letters)


def _unescape(part: str) -> str:
    raw = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), part).encode("latin-1")
    return raw.decode("utf-8")
