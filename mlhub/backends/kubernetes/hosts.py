"""What the largest node has, so far as the hub may know it.

Invariants: nothing is guessed. Where the hub may not list nodes, everything is unknown.
"""

from __future__ import annotations

import logging
from typing import Any

from kubernetes_asyncio.client import ApiException

from mlhub.backends.background import Once
from mlhub.backends.kubernetes.client import UNANSWERED, Api, is_transient
from mlhub.options.option import Host
from mlhub.quantities import parse_quantity

FRESH_SECONDS = 60.0
log = logging.getLogger(__name__)


class Nodes:
    """Remember for a minute what the cluster says about its nodes."""

    def __init__(self, api: Api, gpu_resource: str) -> None:
        self.api, self.gpu_resource = api, gpu_resource
        self._host, self._may_ask = Host(), True
        self._asking = Once(self._ask, FRESH_SECONDS)

    async def read(self) -> Host:
        """Return what the largest node has; after a transient error, what was known last time."""
        if self._may_ask:
            try:
                self._host = await self._asking.get()
            except UNANSWERED as error:
                if isinstance(error, ApiException) and error.status == 403:
                    self._may_ask = False
                    log.info(
                        "The hub may not list nodes (the chart's rbac.nodes): their sizes are"
                        " unknown to the form and to limits."
                    )
                elif not is_transient(error):
                    raise
        return self._host

    async def _ask(self) -> Host:
        return make_host(await self.api.list_nodes(), self.gpu_resource)


def make_host(nodes: list[dict[str, Any]], gpu_resource: str) -> Host:
    """Make the facts of one machine that is as large as the largest node in each respect."""
    sizes = [
        node["status"].get("allocatable") or {}
        for node in nodes
        if not (node.get("spec") or {}).get("unschedulable")
    ]
    if not sizes:
        return Host()
    cpus, memory, gpus = (
        max(parse_quantity(size.get(name)) or 0 for size in sizes)
        for name in ("cpu", "memory", gpu_resource)
    )
    return Host(
        cpus=float(cpus) or None,
        memory_bytes=int(memory) or None,
        gpus=tuple(str(index) for index in range(int(gpus))),
    )
