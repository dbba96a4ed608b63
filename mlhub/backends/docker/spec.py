"""What a workspace's container is to be, and whether one that exists still is that. Pure: no I/O.

Invariants: the hash of a kept container depends on what the site and its owner asked for, and on
nothing that may change without making it anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlhub.backends.docker.hardening import (
    brings_init,
    check_create_arguments,
    make_host_config,
    merge_host_config,
)
from mlhub.backends.docker.limits import CHANGEABLE, make_limits
from mlhub.backends.docker.seccomp import confine
from mlhub.backends.docker.ssh_bundle import admit_ssh, has_bundle, runs_as_root
from mlhub.policy.decide import Decision
from mlhub.policy.expiry import LABEL_EXPIRES
from mlhub.workspaces.belief import shorten_belief
from mlhub.workspaces.holder import LABEL_PERSON

LABEL_CONFIG = "mlhub.config"
LABEL_DECIDED = "mlhub.decided"
LABEL_DATA = "mlhub.data"
IN_CONTAINER = (  # value of LABEL_DATA: without a volume, files live and die with the container
    "container"
)
# A kept container brings its own tokens; the amounts are told for display only, and may be older
# than those that hold.
_PASSING_VARIABLES = frozenset({"JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN", "CPU_LIMIT", "MEM_LIMIT"})
_PASSING_LABELS = frozenset({LABEL_CONFIG, LABEL_DECIDED, LABEL_EXPIRES, LABEL_PERSON})


@dataclass(frozen=True)
class Mounts:
    """What is mounted besides our volume, in docker-py's terms, and where that volume would be."""

    mount_point: str
    binds: Mapping[str, Mapping[str, str]]
    mounts: Sequence[Mapping[str, Any]] = ()

    @property
    def takes_mount_point(self) -> bool:
        """Return True if the site mounts something of its own where our volume would be."""
        targets = {bind["bind"].rstrip("/") for bind in self.binds.values()}
        targets |= {str(mount["Target"]).rstrip("/") for mount in self.mounts}
        return self.mount_point.rstrip("/") in targets

    def make_binds(self, volume: str | None) -> dict[str, Mapping[str, str]]:
        """Add our volume, where there is one."""
        ours = {volume: {"bind": self.mount_point, "mode": "rw"}} if volume else {}
        return {**self.binds, **ours}


@dataclass(frozen=True)
class Wanted:
    """What the site and a workspace's owner ask for. Nothing of it was asked of the engine."""

    name: str
    image: str
    network: str
    port: int
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    mounts: Mounts
    command: Sequence[str] = ()  # in place of the image's own
    options: Sequence[str] = ()  # behind either command
    links: Mapping[str, str] | None = None
    site_create: Mapping[str, Any] | None = None  # for create_container, over ours
    site_host: Mapping[str, Any] | None = None  # for the host config, over ours
    decision: Decision | None = None
    cpu_limit: float | None = None
    mem_limit: int | None = None
    mem_guarantee: int | None = None
    use_init: bool = False
    wants_ssh: bool = False  # brought by the hub
    brings_sshd: bool = False  # the image's own
    probe: Probe | None = None
    is_kept: bool = True  # when the workspace stops
    former_network: str = ""  # what the network was called when kept containers were made


@dataclass(frozen=True)
class Probe:
    """How the hub asks whether the workspace answers, and for how long."""

    path: str
    seconds: float


@dataclass(frozen=True)
class Place:
    """What the engine has for the container. ``image`` is its description, None where that is not
    known; ``volume`` holds the data, ``bundle`` the SSH server, ``seccomp`` is a profile in place
    of the engine's own.
    """

    image: Mapping[str, Any] | None = None
    volume: str | None = None
    bundle: str | None = None
    has_init: bool = False
    seccomp: str | None = None


@dataclass(frozen=True)
class ContainerSpec:
    """One container as it is to be. ``arguments`` are those of docker-py's ``create_container``,
    with the host config still in docker-py's terms.
    """

    wanted: Wanted
    place: Place
    arguments: Mapping[str, Any]

    @property
    def environment(self) -> Mapping[str, str]:
        """The container's environment."""
        found: Mapping[str, str] = self.arguments["environment"]
        return found

    @property
    def host_config(self) -> dict[str, Any]:
        """The container's host config, in docker-py's terms."""
        return dict(self.arguments["host_config"])

    def with_image(self, image: Mapping[str, Any]) -> ContainerSpec:
        """Make the same spec for an image that is known by now."""
        return make_spec(self.wanted, replace(self.place, image=image))

    def fits(self, found: Mapping[str, Any]) -> bool:
        """Return True if a container that exists, as the engine describes it, is what a new one
        would be, but for what can change while it exists.
        """
        return self._has_label(found, LABEL_CONFIG) and not (
            self.place.bundle is not None and not has_bundle(found)
        )

    def fits_choice(self, found: Mapping[str, Any]) -> bool:
        """Return True if a container that exists has what was granted; the site may say other."""
        return self._has_label(found, LABEL_DECIDED)

    def _has_label(self, found: Mapping[str, Any], label: str) -> bool:
        labels = found["Config"].get("Labels") or {}
        return bool(labels.get(label) == self.arguments["labels"][label])


def make_spec(wanted: Wanted, place: Place) -> ContainerSpec:
    """Make the spec of what is wanted at a place."""
    site, config = wanted.site_create or {}, (place.image or {}).get("Config") or {}
    check_create_arguments(site)
    labels = {**(site.get("labels") or {}), **wanted.labels}
    if place.volume is None and not wanted.mounts.takes_mount_point:
        labels[LABEL_DATA] = IN_CONTAINER
    arguments: dict[str, Any] = {
        "image": wanted.image,
        "command": [*(wanted.command or config.get("Cmd") or []), *wanted.options] or None,
        **site,
        "name": wanted.name,
        "environment": {**wanted.environment, **(site.get("environment") or {})},
        "labels": labels,
        "host_config": _make_host_config(wanted, place, config.get("Entrypoint")),
    }
    labels[LABEL_DECIDED] = hash_decision(wanted.image, wanted.decision)
    labels[LABEL_CONFIG] = hash_arguments(arguments, _list_asked(wanted), wanted.former_network)
    # After the hash: none of it is a reason to make a container anew.
    if "uts_mode" not in (wanted.site_host or {}):
        # What prompts and titles inside show, in place of the engine's number.
        arguments.setdefault("hostname", wanted.name)
    if place.seccomp:
        confine(arguments["host_config"], place.seccomp)
    if arguments["command"] and not site.get("command"):
        arguments["command"] = shorten_belief(arguments["command"])
    if place.bundle or wanted.brings_sshd:
        user = arguments.get("user") or config.get("User")
        admit_ssh(arguments["host_config"], place.bundle, as_root=runs_as_root(user))
    return ContainerSpec(wanted, place, arguments)


def _make_host_config(wanted: Wanted, place: Place, entrypoint: Any) -> dict[str, Any]:
    site = wanted.site_host or {}
    ours = make_host_config() | make_limits(
        wanted.decision, wanted.cpu_limit, wanted.mem_limit, site, wanted.mem_guarantee
    )
    if wanted.use_init and place.has_init and not brings_init(entrypoint):
        ours["init"] = True
    return {
        "network_mode": wanted.network,
        "binds": wanted.mounts.make_binds(place.volume),
        "mounts": list(wanted.mounts.mounts),
        "links": wanted.links,
        **merge_host_config(ours, site),
    }


def _list_asked(wanted: Wanted) -> dict[str, Any]:
    """List what was asked for in place of what the image says: a container keeps its image until
    its owner updates it.
    """
    site = wanted.site_create or {}
    return {
        "command": site.get("command") or [*wanted.command, *wanted.options],
        "init": wanted.use_init,
        "host": wanted.site_host or {},
        # The wish: where the bundle cannot be had just now, that is no reason to make a container
        # anew.
        "ssh": wanted.wants_ssh,
    }


def hash_arguments(
    arguments: Mapping[str, Any], asked: Mapping[str, Any], former_network: str = ""
) -> str:
    """Hash all that makes a container what it is, but for what may change without making it anew.

    That is: tokens (a kept container brings its own), the expiry, the image behind the reference,
    and amounts of CPU and memory. ``asked`` holds what the site said of the rest. The user's
    network counts by the name that it had before: its name is no reason, either.
    """
    host = {
        key: value
        for key, value in arguments["host_config"].items()
        if key not in (*CHANGEABLE, "init")
    }
    if former_network and "network_mode" not in (asked.get("host") or {}):
        host["network_mode"] = former_network
    relevant = {
        key: value
        for key, value in arguments.items()
        if key not in ("labels", "command", "host_config")
    }
    relevant["labels"] = {
        key: value for key, value in arguments["labels"].items() if key not in _PASSING_LABELS
    }
    relevant["environment"] = {
        key: _sort(value)
        for key, value in arguments["environment"].items()
        if key not in _PASSING_VARIABLES
    }
    # The engine can change a limit, but not take it away; a reservation limits nothing.
    limits = [key for key in CHANGEABLE if key != "mem_reservation"]
    limited = [key for key in limits if arguments["host_config"].get(key)]
    return _hash([relevant, host, limited, asked])


def hash_decision(image: str, decision: Decision | None) -> str:
    """Hash what the person was granted, as far as it cannot change on a container that exists."""
    granted = (
        (decision.shm_size, decision.gpus, dict(decision.env), decision.is_mount_volume)
        if decision
        else ()
    )
    return _hash([image, granted])


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _sort(value: Any) -> Any:
    # JupyterHub writes sets of scopes as JSON lists, in no particular order.
    if isinstance(value, str) and value.startswith("["):
        try:
            return sorted(json.loads(value))
        except (ValueError, TypeError):
            return value
    return value
