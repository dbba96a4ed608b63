"""One start of one workspace: use its pod as it is, or make it.

Promise: the workspace is asked as soon as it has an address; nothing waits for the cluster to call it ready. What can not
become a workspace any more ends the start at once, with a sentence and its last lines.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from jupyterhub.utils import maybe_future, url_path_join
from kubespawner.objects import make_owner_reference

from mlhub.backends.adoption import fits_hub
from mlhub.backends.kubernetes import objects, pods
from mlhub.backends.kubernetes.api import UNANSWERED, sentences
from mlhub.backends.kubernetes.volumes import CLAIM
from mlhub.backends.readiness import INTERVAL_SECONDS, answers
from mlhub.errors import BackendError, CapacityError, ImageError, NameTakenError, WorkspaceDiedError

if TYPE_CHECKING:
    from mlhub.backends.kubernetes.spawner import MLHubKubernetesSpawner

LOG_LINES = 20
# Pauses between two looks grow with the wait, or a hundred starts at once would keep the hub busy with looking.
WAITING_SHARE = 0.01
# The watch may be behind, or gone: every now and then the API itself is asked.
ASK_SECONDS = 2.0
# A little before JupyterHub gives up, with less to say about it.
MARGIN_SECONDS = 2.0
_OWN_PATHS = ("", f"spec.containers{{{pods.CONTAINER}}}")
_STEPS = {"Scheduled": 15, "Pulling": 20, "Pulled": 60, "Created": 70, "Started": 75}


class Launch:
    """Start one workspace."""

    def __init__(self, spawner: MLHubKubernetesSpawner) -> None:
        """Nothing is asked yet."""
        self.spawner, self.backend, self.api, self.log = spawner, spawner.backend, spawner.backend.api, spawner.log
        self.began = time.monotonic()
        self.asked_at = self.began
        self.new_claim: str | None = None

    async def run(self) -> dict[str, Any]:
        """Start the workspace and return its pod once it answers."""
        spawner = self.spawner
        with sentences(), self.backend.events.listen(spawner.pod_name, self._tell):
            adopted = await self._find()
            try:
                pod = await self._wait(adopted or await self._make())
            except ImageError:
                await self._remove_new_claim()
                raise
        # Not before: a claim that changes while the cluster makes its volume is left for the next round, 15 s later.
        self.backend.keep(asyncio.create_task(spawner.note_expiry() if adopted else spawner.note_start()))
        self.log.info("Workspace %s answers after %.1f s", spawner.pod_name, time.monotonic() - self.began)
        return pod

    async def _find(self) -> dict[str, Any] | None:
        """Return a pod that can be used as it is; one that can not is removed."""
        spawner = self.spawner
        pod = await self.backend.find_pod(spawner.identity, spawner.pod_name)
        if pod is None:
            return None
        environment = pods.read_environment(pod)
        runs = pods.is_alive(pod) and pods.find_failure(pod) is None
        if runs and fits_hub(spawner.get_env(), environment) and self._may_go_on(pod, environment):
            self.log.info("Workspace %s runs already and is adopted as it is.", spawner.pod_name)
            if token := environment.get("JUPYTERHUB_API_TOKEN"):
                spawner.api_token = token
            self.backend.keep(asyncio.create_task(self._complete(pod, is_new=False)))
            return pod
        await self.backend.remove_pod(spawner.identity, spawner.pod_name, spawner.delete_grace_period if runs else 0)
        return None

    def _may_go_on(self, pod: dict[str, Any], environment: dict[str, str]) -> bool:
        """Tell whether what a pod that runs holds may be had now and is what was asked; nothing of that can change while it runs."""
        spawner, wanted = self.spawner, self.spawner.get_env()
        site = spawner.extra_resource_limits
        held, fresh = objects.read_held(pod, spawner.gpu_resource, site), spawner.decision
        if fresh and len(fresh.gpus) == len(held.get("gpus", ())):
            held["gpus"] = list(fresh.gpus)  # the cluster gives them by number
        is_as_asked = all(environment.get(name) == wanted.get(name) for name in (fresh.env if fresh else {}))
        if is_as_asked and spawner.take_over(held):
            kept = {"cpu": ("cpu_limit", spawner.cpu_limit), "memory": ("mem_limit", spawner.mem_limit)}
            if all(name in site or held.get(option) == limit for name, (option, limit) in kept.items()):
                return True
        self.log.warning("%s runs with more than may be had now, or other than was asked, and is made anew.", spawner.pod_name)
        spawner.reserve()  # what a new one gets
        return False

    async def _make(self) -> dict[str, Any]:
        spawner = self.spawner
        spawner.report(5, "Preparing the workspace's volume and network")
        self.new_claim, _ = await asyncio.gather(spawner.ensure_claim(), spawner.ensure_network())
        manifest = await spawner.get_pod_manifest()
        if spawner.modify_pod_hook:
            manifest = await maybe_future(spawner.modify_pod_hook(spawner, manifest))
        spawner.report(10, "Asking the cluster for a place")
        pod = await self.api.create("pod", manifest)
        if pod is None:
            raise NameTakenError(f"A pod named {spawner.pod_name!r} was made by somebody else just now. Start the workspace again.")
        self.backend.keep(asyncio.create_task(self._complete(pod, is_new=True)))
        return pod

    async def _remove_new_claim(self) -> None:
        """Remove the claim that this very start made: its workspace never ran."""
        if self.new_claim:
            try:
                await self.api.delete(CLAIM, self.spawner.pvc_name, self.new_claim)
            except UNANSWERED as error:
                self.log.warning("The claim %s, which is empty, is not removed: %s", self.spawner.pvc_name, error)

    async def _complete(self, pod: dict[str, Any], *, is_new: bool) -> None:
        """Make what belongs to a pod and goes with it; the cluster may start the pod meanwhile."""
        spawner = self.spawner
        owner = make_owner_reference(spawner.pod_name, pod["metadata"]["uid"])
        with sentences():
            if spawner.internal_ssl and is_new:
                await self.api.delete("secret", spawner.secret_name)
                await self.api.create("secret", spawner.get_secret_manifest(owner))
            port = pods.read_port(pod, "notebook-port") or spawner.port
            await self.backend.ensure_service(spawner.identity, spawner.get_service_manifest(owner, port))
            if spawner.after_pod_created_hook and is_new:
                await maybe_future(spawner.after_pod_created_hook(spawner, pod))

    async def _wait(self, pod: dict[str, Any] | None) -> dict[str, Any]:
        spawner = self.spawner
        uid = (pod or {})["metadata"]["uid"]
        deadline = self.began + max(spawner.start_timeout - MARGIN_SECONDS, 1)
        http_deadline, hindrance = None, ""
        path = url_path_join(spawner.server.base_url, "api")
        while True:
            pod = await self._look(uid)
            if failure := pods.find_failure(pod):
                raise type(failure)(f"{failure}{await self._read_last_words(failure)}")
            now = time.monotonic()
            host, port = pods.read_ip(pod), pods.read_port(pod, "notebook-port") if pod else None
            if pod and host and port:
                if spawner.internal_ssl and _is_running(pod):
                    return pod  # JupyterHub itself asks, with the certificates that it has
                if not spawner.internal_ssl and await answers(host, port, path):
                    return pod
                if _is_running(pod):
                    spawner.report(80, "Waiting for the workspace to answer")
                    http_deadline = http_deadline or now + spawner.http_timeout
            elif (found := pods.find_hindrance(pod)) != hindrance:
                hindrance = found
                spawner.report(12, f"Waiting: {hindrance}") if hindrance else None
            if http_deadline and now > http_deadline:
                words = await self._read_last_words(None)
                raise WorkspaceDiedError(f"The workspace did not answer on port {port} within {spawner.http_timeout} seconds.{words}")
            if now > deadline:
                raise self._make_late_error(hindrance)
            await asyncio.sleep(max(INTERVAL_SECONDS, (now - self.began) * WAITING_SHARE))

    async def _look(self, uid: str) -> dict[str, Any] | None:
        """Return the pod as it is now, as far as is known; None where it is gone."""
        found = self.spawner.find_known_pod()
        if found is not None and found["metadata"]["uid"] == uid:
            return found
        if time.monotonic() - self.asked_at < ASK_SECONDS:
            return {"metadata": {"uid": uid}, "spec": {"containers": [{"name": pods.CONTAINER, "image": self.spawner.image}]}, "status": {}}
        self.asked_at = time.monotonic()
        found = await self.api.read("pod", self.spawner.pod_name)
        return found if found and found["metadata"]["uid"] == uid else None

    def _tell(self, event: dict[str, Any]) -> None:
        """Tell whoever watches the start what the cluster says about the pod, or about the workspace in it."""
        reason, message = event.get("reason", ""), str(event.get("message") or "")
        if event.get("involvedObject", {}).get("fieldPath", "") not in _OWN_PATHS or reason == "Unhealthy":
            return
        if reason in _STEPS or event.get("type") == "Warning":
            self.spawner.report(_STEPS.get(reason, 0), message[:500])

    async def _read_last_words(self, failure: Exception | None) -> str:
        if failure is not None and not isinstance(failure, WorkspaceDiedError):
            return ""
        lines = await self.api.read_log(self.spawner.pod_name, pods.CONTAINER, LOG_LINES)
        return f" Its last lines were:\n{lines[-4000:]}" if lines else " It printed nothing."

    def _make_late_error(self, hindrance: str) -> BackendError:
        seconds = int(time.monotonic() - self.began)
        if hindrance:
            return CapacityError(
                f"The cluster found no place for this workspace within {seconds} s: {hindrance} Ask for less, or try again later."
            )
        return BackendError(
            f"The workspace did not come up within {seconds} s. Start it again; an administrator sees its pod {self.spawner.pod_name}."
        )


def _is_running(pod: dict[str, Any]) -> bool:
    return any(
        each["name"] == pods.CONTAINER and (each.get("state") or {}).get("running") for each in pod["status"].get("containerStatuses") or []
    )
