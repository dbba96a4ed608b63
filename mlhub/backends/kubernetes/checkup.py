"""Look at the cluster with the rights that the hub has there."""

from __future__ import annotations

from pathlib import Path

from kubespawner.clients import load_config

from mlhub.backends.finding import Finding, fail, ok
from mlhub.backends.kubernetes.client import Api, friendly_errors
from mlhub.errors import MLHubError
from mlhub.identity import LABEL_ORIGIN, LABEL_SERVER
from mlhub.settings import Settings

NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


async def examine(settings: Settings) -> list[Finding]:
    """Ask the API server for what the hub asks for at each start."""
    namespace = read_namespace()
    load_config()
    api, selector = Api(namespace), f"{LABEL_ORIGIN}={settings.hub_name}"
    findings = []
    for kind, name in (("pod", "pods"), ("persistent_volume_claim", "volume claims")):
        try:
            with friendly_errors():
                found = await api.list_all(kind, f"{selector},{LABEL_SERVER}")
        except MLHubError as error:
            cure = "Look at the Role of the hub's service account, and at the API server."
            findings.append(fail("cluster", f"{name} of workspaces: {error}", cure))
        else:
            findings.append(
                ok("cluster", f"{len(found)} {name} of workspaces in the namespace {namespace}.")
            )
    return findings


def read_namespace() -> str:
    """Return the namespace that this process runs in."""
    return NAMESPACE.read_text().strip() if NAMESPACE.exists() else "default"
