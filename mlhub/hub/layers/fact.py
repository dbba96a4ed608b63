"""One thing that the deployment has decided; the configuration may not say otherwise."""

from __future__ import annotations

import logging
import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr
from traitlets.config import Config

from mlhub.hub.layers.sections import list_configured
from mlhub.settings import HUB_PORT
from mlhub.traits import RefusedLineError

# Which sections reach the hub and the proxy, the most special one last.
HUB_SECTIONS = ["JupyterHub", "MLHub"]
PROXY_SECTIONS = ["Proxy", "ConfigurableHTTPProxy", "WatchedProxy"]
SECRET_TRAITS = ("auth_token", "proxy_auth_token", "admin_password")


class Fact(NamedTuple):
    """What the deployment has decided: a trait's value, and the place where that is to be changed.

    An ``is_other_name`` is not set, only compared: JupyterHub would let it win over the trait that
    is.
    """

    owner: str
    trait: str
    value: Any
    place: str
    is_other_name: bool = False


def set_fact(c: Config, fact: Fact, sections: list[str]) -> None:
    """Set a fact.

    Raises ``RefusedLineError`` when one of the sections says otherwise.
    """
    for section, configured in list_configured(c, sections, fact.trait):
        if _normalize(fact.trait, configured) != _normalize(fact.trait, fact.value):
            is_secret = fact.trait in SECRET_TRAITS
            shown, decided = (
                ("another value", "otherwise")
                if is_secret
                else (repr(configured), repr(fact.value))
            )
            raise RefusedLineError(
                section,
                fact.trait,
                shown,
                f"this deployment has decided {decided}. Remove the line; the place to change it is"
                f" {fact.place}.{_explain_name(fact.trait, configured)}",
            )
    if not fact.is_other_name:
        setattr(c[fact.owner], fact.trait, fact.value)


def _explain_name(trait: str, configured: Any) -> str:
    """Return what is written in place of a name under which workspaces are to reach the hub."""
    if trait not in ("hub_ip", "hub_connect_ip") or not re.search("[a-z]", str(configured)):
        return ""
    return (
        " For workspaces that are to know the hub by this name, write"
        f' c.Spawner.hub_connect_url = "http://{configured}:{HUB_PORT}" in its place.'
    )


def _normalize(trait: str, value: Any) -> Any:
    """Return one spelling of values that mean the same."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, (tuple, set)):
        return list(value)
    if trait == "log_level":
        return logging.getLevelName(value) if isinstance(value, int) else str(value).upper()
    if not isinstance(value, str):
        return value
    if trait == "base_url":
        return "/" + value.strip("/") + "/" if value.strip("/") else "/"
    if trait == "hub_ip":
        return value or "0.0.0.0"  # noqa: S104
    if trait == "hub_bind_url":
        # JupyterHub puts its own path there.
        # https://jupyterhub.readthedocs.io/en/stable/reference/config-reference.html
        parts = urlsplit(value)
        return f"{parts.scheme}://{parts.netloc.replace('*', '')}".replace("://:", "://0.0.0.0:")
    return value
