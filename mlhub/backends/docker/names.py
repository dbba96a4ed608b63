"""A site's own ``prefix`` and ``name_template``: honored where names stay injective.

Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from string import Formatter

from mlhub.errors import ConfigurationError
from mlhub.identity import Identity, is_dns_label

_FIELDS = {"prefix", "username", "safe_username", "servername"}
_PREFIX = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
_MAX_PREFIX = 16
# DockerSpawner escapes names to letters, digits and '-' plus two hex digits. A '-' that is followed
# by anything else inside the separator can therefore not come from a name.
_SEPARATOR = re.compile(r"-(?![0-9a-f]{2})[^\s]")


def render_name(
    identity: Identity, prefix: str, template: str, render: Callable[[str], str]
) -> str:
    """Make the container's name: from the identity, or from the site's template.

    Raises ``ConfigurationError`` where two people could get one name.
    """
    check_prefix(prefix)
    if not template:
        return identity.name(prefix)
    check_template(template)
    name = render(template)
    if not is_dns_label(name):
        raise ConfigurationError(
            f"name_template={template!r} makes {name[:100]!r}, which is not a DNS label (a-z, 0-9, "
            "'-'; at most 63 characters). Remove name_template to use the built-in names."
        )
    return name


def check_prefix(prefix: str) -> None:
    """Refuse what no name of a container can begin with."""
    if not _PREFIX.match(prefix) or len(prefix) > _MAX_PREFIX:
        raise ConfigurationError(
            f"prefix={prefix!r} cannot begin a DNS label of 63 characters. Use a-z, 0-9 and single "
            f"'-', at most {_MAX_PREFIX} characters."
        )


def check_template(template: str) -> None:
    """Refuse a template with which two workspaces could get one name."""
    parts = [(literal, field) for literal, field, _, _ in Formatter().parse(template)]
    fields = [field for _, field in parts if field is not None]
    cure = "Write e.g. '{prefix}-{username}--{servername}', or remove it to use the built-in names."
    unknown = sorted(set(fields) - _FIELDS)
    if unknown:
        raise ConfigurationError(
            f"name_template={template!r} uses {', '.join(map(repr, unknown))}, with which names of "
            f"two workspaces could be equal. {cure}"
        )
    users = [
        index for index, (_, field) in enumerate(parts) if field in ("username", "safe_username")
    ]
    servers = [index for index, (_, field) in enumerate(parts) if field == "servername"]
    if len(users) != 1 or len(servers) != 1 or users[0] > servers[0]:
        raise ConfigurationError(
            f"name_template={template!r} has to hold {{username}} and then {{servername}}, once "
            f"each. {cure}"
        )
    between = "".join(
        literal + ("" if index == servers[0] else "x")
        for index, (literal, _) in enumerate(parts)
        if users[0] < index <= servers[0]
    )
    if not _SEPARATOR.search(between):
        raise ConfigurationError(
            f"name_template={template!r} separates user and server by {between!r}, which may be "
            f"part of a name itself. {cure}"
        )
