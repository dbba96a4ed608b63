"""Names of workspaces beside the default one: what they may be, and what is made of what people
type.

Some are taken, because the workspace's address would be a page of the default one. A server ``lab``
of ann's lives at ``/user/ann/lab/``, where JupyterLab of her default workspace is; one called
``api`` takes all that her notebooks ask of it. Servers that have such a name already keep it, and
the home page says what it costs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container
from itertools import count
from typing import Any

from jupyterhub.slugs import is_valid_safe_slug
from tornado import web

from mlhub.texts import Text

# The first words of addresses in Jupyter Server, JupyterLab, Notebook and nbclassic, and of the
# extensions that most images bring (jupyter-server-proxy, jupyter-lsp, nbconvert, Voilà); `tools`
# is where ml-workspace has its own.
TAKEN = frozenset(
    {
        "api",
        "consoles",
        "custom",
        "doc",
        "edit",
        "files",
        "kernelspecs",
        "lab",
        "login",
        "logout",
        "lsp",
        "metrics",
        "nbconvert",
        "nbextensions",
        "notebooks",
        "proxy",
        "retro",
        "static",
        "terminals",
        "tools",
        "tree",
        "view",
        "voila",
    }
)


MOST_CHARACTERS = 30  # as JupyterHub has it


def is_slug(name: str) -> bool:
    """Return True if a name is one that JupyterHub takes for a new server."""
    return bool(is_valid_safe_slug(name)) and len(name) <= MOST_CHARACTERS


def make_server_name(typed: str) -> str:
    """Make the name of a server of what somebody calls their workspace; "" where nothing of it can
    stand in an address. A name that can is left alone.
    """
    if is_slug(typed):
        return typed
    plain = unicodedata.normalize("NFKD", typed).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    return words[:MOST_CHARACTERS].strip("-")


def suggest_name(taken: Container[str]) -> str:
    """Suggest the name of one workspace more."""
    return next(name for number in count(2) if (name := f"workspace-{number}") not in taken)


def explain_server_name(name: str) -> str:
    """Say what is wrong with a new server's name."""
    if name in TAKEN:
        return Text(
            "A workspace cannot be called %(name)s: that is the address of a page"
            " inside the default workspace, which could not be reached any more."
            " Choose another name, for example 'my-%(part)s'.",
            name=repr(name),
            part=name,
        )
    return ""


class NamedServers:
    """Check the names of new servers; put it before a handler of JupyterHub's that makes some."""

    async def _check_named_server_request(
        self, user: Any, server_name: str, display_name: str, check_limit: bool = True
    ) -> None:
        if server_name not in user.orm_spawners and (complaint := explain_server_name(server_name)):
            raise web.HTTPError(400, complaint)
        await super()._check_named_server_request(  # type: ignore[misc]
            user, server_name, display_name, check_limit=check_limit
        )
