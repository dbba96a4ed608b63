"""Import the ``config.yaml`` of The Littlest JupyterHub. Pure.

Its workspaces are processes of accounts of the host; here they are containers on one engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlhub.migration.outcome import POLICY, Outcome
from mlhub.migration.python_file import tell_verdict, tell_who_may_sign_in
from mlhub.migration.verdicts import judge
from mlhub.migration.z2jh import EMPTY, read_tree

TRAITS: Mapping[str, tuple[str, str]] = {
    "users.admin": ("Authenticator", "admin_users"),
    "users.allowed": ("Authenticator", "allowed_users"),
    "users.banned": ("Authenticator", "blocked_users"),
    "limits.cpu": ("Spawner", "cpu_limit"),
    "limits.memory": ("Spawner", "mem_limit"),
}
VARIABLES: Mapping[str, str] = {
    "base_url": "MLHUB_BASE_URL",
    "services.cull.enabled": "MLHUB_CULL_ENABLED",
    "services.cull.timeout": "MLHUB_CULL_TIMEOUT",
    "services.cull.every": "MLHUB_CULL_EVERY",
    "services.cull.max_age": "MLHUB_CULL_MAX_AGE",
    "https.enabled": "SSL_ENABLED",
}
APPS: Mapping[str, str] = {"jupyterlab": "/lab", "classic": "/tree"}
PUBLISH = "the container has one port, 8080: publish it, --publish {}:8080."
ACME = (
    "nothing here asks Let's Encrypt by itself on Docker. Let certbot or acme.sh do it, and mount"
    " what it writes at /resources/ssl; a new certificate is taken without a restart"
    " (docs/howto/https.md)."
)
DROPPED: Mapping[str, str] = {
    "http.address": "name the address when you publish the port, --publish 192.0.2.1:80:8080.",
    "https.address": "name the address when you publish the port, --publish 192.0.2.1:443:8080.",
    "https.letsencrypt": ACME,
    "https.tls.cert": "mount the file at /resources/ssl/cert.crt.",
    "https.tls.key": "mount the file at /resources/ssl/cert.key.",
    "services.configurator": "this hub has no such service: write the user config.",
    "services.cull.concurrency": "the hub stops idle workspaces one after the other. Remove it.",
    "services.cull.remove_named_servers": (
        "data stays until its owner removes it; days_to_live in the policy ends workspaces."
    ),
    "services.cull.users": "people stay until an administrator removes them.",
    "traefik_api": "nginx is the proxy here, and has no such page. Remove it.",
    "users.extra_user_groups": (
        "workspaces know no groups of the host. Groups of the hub, with rules for them, are in the"
        " policy and on the page /hub/admin/jupyterhub."
    ),
}
HOST = (
    "Workspaces were processes of the host's accounts jupyter-…: mount their homes by"
    " c.DockerSpawner.volumes = {'/home/jupyter-{username}': '/workspace/home'}, or copy them into"
    " the workspaces. What was installed by conda or pip for all belongs into an image of your own"
    " made from the workspace's (docs/howto/images.md)."
)


def import_tljh(text: str, name: str = "config.yaml") -> Outcome:
    """Import a file. Raises ``ConfigurationError`` for what is none."""
    outcome = Outcome("local")
    said: dict[tuple[str, str], Any] = {}
    tree = read_tree(text, name)
    walk(tree, "", outcome, said)
    cull = (tree.get("services") or {}).get("cull") or {}
    if "enabled" not in cull:
        outcome.write_variable("MLHUB_CULL_ENABLED", "true")
        outcome.note("services.cull", "TLJH stops idle workspaces after ten minutes; kept.")
    if "timeout" not in cull and cull.get("enabled", True):
        outcome.write_variable("MLHUB_CULL_TIMEOUT", "600")
    tell_who_may_sign_in(said, outcome)
    outcome.note("people's files", HOST)
    return outcome


def walk(
    tree: Mapping[str, Any], above: str, outcome: Outcome, said: dict[tuple[str, str], Any]
) -> None:
    """Carry each key, as far down as something is known of it."""
    known = {*TRAITS, *VARIABLES, *DROPPED, *HANDLERS}
    for name, value in tree.items():
        path = f"{above}{name}"
        if path in HANDLERS:
            HANDLERS[path](path, value, outcome)
        elif above == "auth." and isinstance(value, Mapping):
            for trait, each in value.items():
                carry_trait(f"{path}.{trait}", (str(name), str(trait)), each, outcome, said)
        elif path == "auth.type":
            carry_trait(path, ("JupyterHub", "authenticator_class"), value, outcome, said)
        elif any(each.startswith(f"{path}.") for each in known) or path == "auth":
            if isinstance(value, Mapping):
                walk({str(key): one for key, one in value.items()}, f"{path}.", outcome, said)
            elif value is not None:
                outcome.leave(path, f"{value!r} is no map of settings. Correct it.")
        elif value in EMPTY:
            continue
        elif path in TRAITS:
            carry_trait(path, TRAITS[path], value, outcome, said)
        elif path in VARIABLES:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            outcome.carry(path, outcome.write_variable(VARIABLES[path], text))
        else:
            outcome.leave(path, DROPPED.get(path, "TLJH itself does nothing with it. Remove it."))


def carry_trait(
    key: str,
    name: tuple[str, str],
    value: Any,
    outcome: Outcome,
    said: dict[tuple[str, str], Any],
) -> None:
    """Write a line of the user config, unless its ruling stands against that."""
    if value is None:
        return
    verdict = judge("local", *name, value)
    tell_verdict(key, verdict, outcome)
    if verdict.is_kept:
        said[verdict.section, verdict.trait] = value
        outcome.write_trait(verdict.section, verdict.trait, value)


def carry_port(path: str, value: Any, outcome: Outcome) -> None:
    """Tell what is published."""
    if value:
        outcome.note(path, PUBLISH.format(value))


def carry_app(path: str, value: Any, outcome: Outcome) -> None:
    """Carry what people see first."""
    if value in APPS:
        outcome.write_trait("Spawner", "default_url", APPS[value])
        outcome.carry(path, "jupyterhub_user_config.py: c.Spawner.default_url")
    elif value:
        outcome.leave(path, f"{value}: write its address as c.Spawner.default_url.")


def carry_profiles(path: str, value: Any, outcome: Outcome) -> None:
    """Carry sizes that a plug-in of TLJH offers."""
    outcome.leave(path, f"write the sizes into {POLICY} as everyone.cpu_limit and mem_limit.")


HANDLERS: Mapping[str, Callable[[str, Any, Outcome], None]] = {
    "http.port": carry_port,
    "https.port": carry_port,
    "limits.machine_profiles": carry_profiles,
    "user_environment.default_app": carry_app,
}
