"""What a pod takes of its node, as its own kernel counts it: the cluster's API tells it only to
administrators, or where a site has installed a metrics server.
"""

from __future__ import annotations

from mlhub.backends.kubernetes import pods
from mlhub.backends.kubernetes.ssh import KubernetesSshEntry
from mlhub.backends.relay import ask
from mlhub.ssh.relay import PORT, make_question, read_use
from mlhub.workspaces.measures import Use
from mlhub.workspaces.port import Address


class KubernetesUseMixin(KubernetesSshEntry):
    """Ask the relay in the spawner's own pod."""

    async def measure_use(self) -> Use | None:
        """Return what the workspace takes now; None where it does not run, or has no relay."""
        pod = self.find_known_pod()
        ip = pods.read_ip(pod) if pod is not None else None
        if not ip or not self.wants_bundle:
            return None
        for key in self.list_relay_keys():
            if use := read_use(await ask(Address(ip, PORT), make_question(key, "use"))):
                return use
        return None
