"""What every workspace's container is denied, and how that meets the site's own host config. Pure:
no I/O.

Invariants: a site's ``extra_host_config`` has the last word on everything but what isolation
between people rests on: raw or administrative network access, ``no-new-privileges``, and processes
and shared memory that are one workspace's own. Nor does it take people's volumes away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlhub.errors import ConfigurationError

# What ordinary images need when they start as root: own files, switch users, end children, use low
# ports.
CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
)
CPU_SHARES = 128
FORBIDDEN_CAPABILITIES = frozenset({"ALL", "NET_ADMIN", "NET_RAW"})
# Their value is another namespace: the host's, or that of another container.
SHARED_NAMESPACES = {
    "ipc_mode": "shared memory: shm_size says how much of it each workspace has",
    "pid_mode": "processes, with what stands in their environment",
}
# What the engine takes for false: https://pkg.go.dev/strconv#ParseBool
_FALSE = frozenset({"0", "f", "false"})
# Arguments of ``create_container`` that are written elsewhere.
_WRITTEN_ELSEWHERE = {
    "host_config": "extra_host_config",
    "image": "image",
    "name": "name_template",
}
_INITS = frozenset(
    {"tini", "tini-static", "dumb-init", "docker-init", "catatonit", "init", "s6-svscan"}
)


def make_host_config() -> dict[str, Any]:
    """Make our part of the host config, in the terms of docker-py."""
    return {
        "cap_drop": ["ALL"],
        "cap_add": list(CAPABILITIES),
        "security_opt": ["no-new-privileges"],
        "pids_limit": 4096,
        # An eighth of what the hub's own container weighs: where all want the processor, the hub
        # answers first.
        "cpu_shares": CPU_SHARES,
        "shm_size": "256m",
        # A chatty workspace must not fill the host's disk.
        "log_config": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
    }


def merge_host_config(ours: Mapping[str, Any], configured: Mapping[str, Any]) -> dict[str, Any]:
    """Lay the configured values over ours; lists of what is dropped, added or enforced are joined.

    Raises ``ConfigurationError`` for what would take the isolation away.
    """
    check_host_config(configured)
    merged = {**ours, **configured}
    for key in ("cap_drop", "cap_add", "security_opt"):
        merged[key] = list(dict.fromkeys([*(ours.get(key) or []), *(configured.get(key) or [])]))
    return merged


def check_host_config(configured: Mapping[str, Any]) -> None:
    """Refuse what would let one person's workspace reach another's."""
    capabilities = {
        str(name).upper().removeprefix("CAP_") for name in configured.get("cap_add") or []
    }
    if bad := sorted(capabilities & FORBIDDEN_CAPABILITIES):
        raise ConfigurationError(
            f"extra_host_config: cap_add names {', '.join(bad)}, with which one workspace could"
            " reach or imitate another. Remove it."
        )
    if configured.get("privileged"):
        raise ConfigurationError(
            "extra_host_config: privileged=True would give every workspace the whole host. Remove"
            " it and add the capabilities or devices needed."
        )
    if any(map(_gives_privileges, configured.get("security_opt") or [])):
        raise ConfigurationError(
            "extra_host_config: security_opt takes no-new-privileges away. Remove that entry."
        )
    for key, what in SHARED_NAMESPACES.items():
        mode = str(configured.get(key) or "")
        if mode.partition(":")[0] in ("host", "container"):
            raise ConfigurationError(
                f"extra_host_config: {key}={mode!r} would show every workspace the others' {what}."
                " Remove it."
            )
    for key in ("binds", "mounts"):
        if configured.get(key):
            raise ConfigurationError(
                f"extra_host_config: {key} would take the place of people's own volumes, and their"
                " files would go with the container. Remove it, and write c.DockerSpawner.volumes,"
                " read_only_volumes or mounts."
            )


def _gives_privileges(option: Any) -> bool:
    name, _, value = str(option).replace("=", ":").partition(":")
    return name == "no-new-privileges" and value.lower() in _FALSE


def check_create_arguments(configured: Mapping[str, Any]) -> None:
    """Refuse what is written elsewhere, and would be ignored here."""
    for key in sorted(_WRITTEN_ELSEWHERE.keys() & configured.keys()):
        raise ConfigurationError(
            f"extra_create_kwargs has {key!r}, for which there is a setting of its own. Write"
            f" c.DockerSpawner.{_WRITTEN_ELSEWHERE[key]}."
        )


def brings_init(entrypoint: list[str] | str | None) -> bool:
    """Return True if an image starts an init process of its own."""
    words = entrypoint.split() if isinstance(entrypoint, str) else entrypoint or []
    return bool(words) and words[0].rsplit("/", 1)[-1] in _INITS
