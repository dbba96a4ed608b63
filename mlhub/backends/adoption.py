"""When a workspace that runs already may be used as it is. Pure: no I/O.

A hub that lost its database, or that died within a start, finds workspaces that it knows nothing
of. What such a one was made with is part of it and cannot change while it runs; whether its amounts
may be had now is the policy's to say (``WorkspaceSpawnerMixin.take_over``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Where the workspace finds its hub, and under which path it answers.
HUB_VARIABLES = ("JUPYTERHUB_API_URL", "JUPYTERHUB_SERVICE_PREFIX", "JUPYTERHUB_CLIENT_ID")
TOKEN_VARIABLE = "JUPYTERHUB_API_TOKEN"  # noqa: S105
NOT_ALLOWED = "with more than may be had now"


@dataclass(frozen=True)
class Adopt:
    """Use the workspace as it is, with the token that it was made with."""

    token: str


@dataclass(frozen=True)
class Replace:
    """Make the workspace anew: it runs as ``reason`` says."""

    reason: str


def judge(
    held: Mapping[str, str], asked: Iterable[str], wanted: Mapping[str, str]
) -> Adopt | Replace:
    """Judge a workspace that runs by the environment that it was made with (``held``) and the one
    that a new one would get (``wanted``); ``asked`` names the variables that its owner chose.

    What else of the environment differs comes from the site, and waits for the next start.
    """
    if not fits_hub(wanted, held):
        return Replace("for another hub, or for an earlier address of this one")
    if any(held.get(name) != wanted.get(name) for name in asked):
        return Replace("with other variables than were asked for")
    return Adopt(held.get(TOKEN_VARIABLE, ""))


def fits_hub(wanted: Mapping[str, str], found: Mapping[str, str]) -> bool:
    """Return True if the environment that a workspace was made with is that of this hub."""
    return all(wanted.get(name) == found.get(name) for name in HUB_VARIABLES)
