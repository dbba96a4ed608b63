"""The watch of pods: KubeSpawner's, limited to this hub's pods, and replaced when it stops.

Invariants: nothing here calls a pod dead because the API does not answer, or refuses to.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

from kubespawner.spawner import PodReflector

from mlhub.backends.kubernetes import pods
from mlhub.backends.kubernetes.client import UNANSWERED
from mlhub.backends.kubernetes.names import owns
from mlhub.backends.kubernetes.traits import ConfiguredKubeSpawner
from mlhub.identity import LABEL_ORIGIN

# Upstream lists anew after 30 s, or when a watch of 10 s saw nothing; its calls end after 60 s.
FROZEN_SECONDS = 120.0


class WatchedPods(PodReflector):
    """Remember pods, and know whether that memory is still kept up to date.

    KubeSpawner's watch can stop without a word (kubespawner#209, #577): the hub would go on with a
    picture of the past.
    """

    heard_at = 0.0

    async def _list_and_update(self, resource_version: str | None = None) -> Any:
        version = await super()._list_and_update(resource_version)
        self.heard_at = time.monotonic()
        return version

    @property
    def is_frozen(self) -> bool:
        """Return True if the watch has ended, or has heard nothing for too long."""
        if self.watch_task is not None and self.watch_task.done():
            return True
        return self.heard_at > 0 and time.monotonic() - self.heard_at > FROZEN_SECONDS


class WatchingKubeSpawner(ConfiguredKubeSpawner):
    """KubeSpawner with our watch."""

    # It was started, and the watch has not seen its pod yet: it may be there all the same.
    may_have_pod = False
    _replacing: ClassVar[asyncio.Lock | None] = None

    def find_known_pod(self) -> dict[str, Any] | None:
        """Return the workspace's pod as the watch knows it."""
        known = self.pod_reflector.pods if self.pod_reflector is not None else {}
        pod = known.get(f"{self.namespace}/{self.pod_name}")
        return pod if pod is not None and owns(self.identity, pod) else None

    async def poll(self) -> int | None:
        """Return None while the pod runs, else its exit code; an API that does not tell proves
        nothing.
        """
        try:
            await self._start_watching_pods()
            pod = self.find_known_pod() or await self._find_new_pod()
        except UNANSWERED as error:
            # Also a refusal: an API server that has just begun refuses what it allows a moment
            # later, and JupyterHub stops at its start whatever it could not ask about.
            self.log.warning(
                "Whether %s runs is unknown, the Kubernetes API does not tell: %s",
                self.pod_name,
                error,
            )
            return None if self.server or self.may_have_pod else 0
        if pod is None:
            self.may_have_pod = False
            return 0
        # Not KubeSpawner's: it removes a pod whose workspace is about to be started again.
        return None if pods.is_alive(pod) or pods.comes_back(pod) else await super().poll()

    async def _find_new_pod(self) -> dict[str, Any] | None:
        """Ask for a pod that the watch may not have seen yet."""
        if not self.may_have_pod:
            return None
        pod = await self.backend.api.read("pod", self.pod_name)
        return pod if owns(self.identity, pod) else None

    async def find_url(self) -> str | None:
        """Return where the pod is now; a pod that its node starts again has another address."""
        pod = self.find_known_pod()
        if pod is None or pods.read_address(pod) is None:
            return None
        return self.make_url(str(self._get_pod_url(pod)))

    def _get_reflector_key(self, kind: str) -> Any:
        return (kind, self.namespace, self.hub_name)

    async def _start_watching_pods(self, replace: bool = False) -> Any:
        key = self._get_reflector_key("pods")
        if self._is_watching(key) and not replace:
            return await super()._start_reflector("pods", WatchedPods)
        cls = type(self)
        cls._replacing = cls._replacing or asyncio.Lock()
        async with cls._replacing:
            if self._is_watching(key) and not replace:
                return self.reflectors[key]
            old = self.reflectors.get(key)
            if old is not None:
                self.log.warning("The watch of pods has stopped and is started anew")
            try:
                selector = {"component": self.component_label, LABEL_ORIGIN: self.hub_name}
                return await super()._start_reflector(
                    "pods", WatchedPods, replace=True, labels=selector
                )
            except Exception:
                # What was known before is better than nothing, and the next call tries again.
                if old is None:
                    self.reflectors.pop(key, None)
                else:
                    self.reflectors[key] = old
                raise

    def _is_watching(self, key: Any) -> bool:
        watch = self.reflectors.get(key)
        return watch is not None and not watch.is_frozen
