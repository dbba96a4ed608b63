"""What Zero to JupyterHub had before ``hub.config``: ``auth`` with names of its own. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# auth.type, and the name of its section → the class.
CLASSES = {
    "azuread": "AzureAdOAuthenticator",
    "bitbucket": "BitbucketOAuthenticator",
    "cilogon": "CILogonOAuthenticator",
    "dummy": "DummyAuthenticator",
    "github": "GitHubOAuthenticator",
    "gitlab": "GitLabOAuthenticator",
    "globus": "GlobusOAuthenticator",
    "google": "GoogleOAuthenticator",
}
RENAMED = {
    "callback_url": "oauth_callback_url",
    "org_whitelist": "allowed_organizations",
    "gitlab_group_whitelist": "allowed_gitlab_groups",
}
OWN = (
    "write its class and traits into the user config as c.JupyterHub.authenticator_class and c.{}."
)


def read(auth: Any) -> Iterator[tuple[str, str, str, Any]]:
    """Yield path, section, trait and value; without a section a variable and its value, without a
    trait the reason why there is none.
    """
    for name, value in auth.items():
        if value in (None, "", {}, []):
            continue
        if name == "type":
            yield from _read_type(value, auth)
        elif name in ("admin", "whitelist", "allowlist", "state"):
            yield from _read_people(name, value)
        elif name in CLASSES and isinstance(value, Mapping):
            for key, each in value.items():
                trait = _snake(str(key))
                yield f"{name}.{key}", CLASSES[name], RENAMED.get(trait, trait), each
        elif name == "scopes":
            section = CLASSES.get(auth.get("type", ""), "OAuthenticator")
            yield name, section, "scope", value
        else:
            yield name, "", "", OWN.format("Class.trait")


def _read_type(kind: Any, auth: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    if kind in CLASSES:
        yield "type", "JupyterHub", "authenticator_class", kind
    elif kind == "custom" and isinstance(auth.get("custom"), Mapping):
        name = auth["custom"].get("className", "")
        yield "type", "JupyterHub", "authenticator_class", name
    else:
        yield "type", "", "", OWN.format("Class.trait")


def _read_people(name: str, value: Any) -> Iterator[tuple[str, str, str, Any]]:
    for key, each in value.items() if isinstance(value, Mapping) else ():
        path = f"{name}.{key}"
        if key == "users" and each:
            trait = "admin_users" if name == "admin" else "allowed_users"
            yield path, "Authenticator", trait, each
        elif path == "admin.access":
            yield path, "", "", "JupyterHub 2 and later have roles in its place."
        elif path == "state.enabled":
            yield path, "Authenticator", "enable_auth_state", bool(each)
        elif path == "state.cryptoKey" and each:
            yield path, "", "JUPYTERHUB_CRYPT_KEY", str(each)
        elif each not in (None, "", {}, []):
            yield path, "", "", OWN.format("Authenticator")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: f"_{found[1].lower()}", name)
