"""What the largest node has, so far as the hub may know it.

Promise: nothing is guessed. Where the hub may not list nodes, everything is unknown.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from kubernetes_asyncio.client import ApiException

from mlhub.backends.kubernetes.api import UNANSWERED, Api, is_hiccup
from mlhub.backends.kubernetes.quantities import read_quantity
from mlhub.workspace.policy import Host

FRESH_SECONDS = 60.0
log = logging.getLogger(__name__)


class Nodes:
    """Remember for a minute what the cluster says about its nodes."""

    def __init__(self, api: Api, gpu_resource: str) -> None:
        self.api, self.gpu_resource = api, gpu_resource
        self._host, self._read_at = Host(), float("-inf")
        self._may_ask = True

    async def read(self) -> Host:
        """Return what the largest node has; what was known last time where the API has a hiccup."""
        now = asyncio.get_running_loop().time()
        if self._may_ask and now - self._read_at > FRESH_SECONDS:
            try:
                self._host, self._read_at = make_host(await self.api.list_nodes(), self.gpu_resource), now
            except UNANSWERED as error:
                if isinstance(error, ApiException) and error.status == 403:
                    self._may_ask = False
                    log.info("The hub may not list nodes (the chart's rbac.nodes): their sizes are unknown to the form and to limits.")
                elif not is_hiccup(error):
                    raise
        return self._host


def make_host(nodes: list[dict[str, Any]], gpu_resource: str) -> Host:
    """Make the facts of one machine that is as large as the largest node in each respect."""
    sizes = [node["status"].get("allocatable") or {} for node in nodes if not (node.get("spec") or {}).get("unschedulable")]
    if not sizes:
        return Host()
    gpus = max(int(read_quantity(size.get(gpu_resource, "0"))) for size in sizes)
    return Host(
        cpus=max(read_quantity(size.get("cpu", "0")) for size in sizes) or None,
        memory_bytes=max(int(read_quantity(size.get("memory", "0"))) for size in sizes) or None,
        gpus=tuple(str(index) for index in range(gpus)),
    )
