"""A spawner that is none of ours: upstream's DockerSpawner or KubeSpawner, or a site's own class.

It is run, because a site that comes from elsewhere brings one, with a warning that names what it
goes without.
"""

from __future__ import annotations

import socket

from traitlets.config import Config

from mlhub.backends.registry import BackendKind
from mlhub.hub.layers.refusals import Refusals
from mlhub.hub.layers.sections import list_configured, list_sections, set_default
from mlhub.identity import LABEL_ORIGIN
from mlhub.settings import HUB_PORT, Settings

GOES_WITHOUT = (
    "runs, but is none of this product's spawners. Its workspaces go without: a network of each"
    " person's own and what keeps workspaces off each other and the host; policy, form and REST"
    " options, limits and totals of all; SSH; a volume of each workspace's own and the trash;"
    " expiry. Remove the line to have all that: what the file says of {upstream} holds for"
    " {ours} as well. A class of your own may be made from mlhubspawner.{ours}."
)
# Docker's own network has no names.
NAMELESS_NETWORKS = ("", "bridge", "host")


def is_plain(spawner: type | None, kind: BackendKind) -> bool:
    """Return True if a hub's spawner is one of others."""
    # What our backends share is behind this name, too.
    return spawner is not None and not _names(spawner) & {
        kind.spawner_name,
        "WorkspaceSpawnerMixin",
    }


def prepare(
    c: Config, settings: Settings, kind: BackendKind, spawner: type, refusals: Refusals
) -> None:
    """Tell a spawner of others where its workspaces reach the hub, and its site what is missing."""
    upstream = kind.upstream.rpartition(".")[2]
    refusals.warn(
        "JupyterHub",
        "spawner_class",
        f"= {spawner.__name__} "
        + GOES_WITHOUT.format(upstream=upstream or "its spawner", ours=kind.spawner_name),
    )
    if upstream not in _names(spawner):
        return  # processes beside the hub, or something that we know nothing of
    sections = list_sections(spawner, upstream)
    host = find_host(c, settings, kind, sections)
    set_default(c, sections, upstream, "hub_connect_url", f"http://{host}:{HUB_PORT}")
    if not kind.runs_proxy:
        # The chart's policies know workspaces by it: they let them, and nobody else, ask the hub.
        said = [value for _, value in list_configured(c, sections, "extra_labels")]
        labels = {**(said[-1] if said else {}), LABEL_ORIGIN: settings.hub_name}
        c[sections[-1]].extra_labels = labels


def find_host(c: Config, settings: Settings, kind: BackendKind, sections: list[str]) -> str:
    """Find the name under which workspaces of upstream's spawner reach the hub."""
    if not kind.runs_proxy:
        return settings.hub_name  # a Service
    name = socket.gethostname()
    said = [value for _, value in list_configured(c, sections, "network_name")]
    if (said[-1] if said else "") in NAMELESS_NETWORKS:
        try:
            return socket.gethostbyname(name)
        except OSError:
            return name
    return name


def _names(cls: type) -> set[str]:
    return {base.__name__ for base in cls.__mro__}
