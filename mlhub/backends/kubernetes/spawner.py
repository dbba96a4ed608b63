"""MLHubKubernetesSpawner: a workspace as a pod, with its own claim, and a network that its user's workspaces share.

Promise: a workspace's pod is made anew at each start and its claim is kept; what carries another identity is never
adopted, mounted, routed to or removed. All of KubeSpawner's traits mean what they mean there.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from kubespawner import KubeSpawner
from traitlets import Bool, Int, Unicode, default

from mlhub.backends.kubernetes import objects, pods, volumes
from mlhub.backends.kubernetes.api import UNANSWERED, is_hiccup, sentences
from mlhub.backends.kubernetes.entry import KubernetesSshEntry
from mlhub.backends.kubernetes.inventory import KubernetesBackend
from mlhub.backends.kubernetes.launch import Launch
from mlhub.backends.kubernetes.names import ANNOTATION_IMAGE, owns
from mlhub.errors import ConfigurationError, ImageError, OptionsError, WorkspaceError
from mlhub.workspace.expiry import LABEL_EXPIRES
from mlhub.workspace.identity import LABEL_ORIGIN
from mlhub.workspace.policy import Host
from mlhub.workspace.spawner import WorkspaceSpawnerMixin
from mlhub.workspace.ssh import PORT
from mlhub.workspace.values import ALL_GPUS

OWN_NAME = "{mlhub_name}"


class MLHubKubernetesSpawner(KubernetesSshEntry, WorkspaceSpawnerMixin, KubeSpawner):
    """Start workspaces as pods of a Kubernetes cluster."""

    stop_seconds = Int(10, min=1, config=True, help="Seconds a workspace gets to end by itself when it is stopped.")
    network_policy = Bool(
        True,
        config=True,
        help="Make a network policy for each user, by which that user's workspaces reach each other. What else workspaces reach is the chart's to say; without its policies set this to False.",
    )
    gpu_resource = Unicode("nvidia.com/gpu", config=True, help="Name under which nodes offer GPUs.")

    _backends: ClassVar[dict[tuple[str, str, str], KubernetesBackend]] = {}
    _replacing: ClassVar[asyncio.Lock | None] = None

    @property
    def backend(self) -> KubernetesBackend:
        """The backend that all spawners of this hub share."""
        key = (self.hub_name, self.namespace, self.gpu_resource)
        if key not in self._backends:
            self._backends[key] = KubernetesBackend(
                self.hub_name, self.namespace, {**self.extra_labels, **self.common_labels}, self.gpu_resource
            )
        return self._backends[key]

    # names

    @default("pod_name_template")
    def _default_pod_name_template(self) -> str:
        return OWN_NAME

    @default("pvc_name_template")
    def _default_pvc_name_template(self) -> str:
        return OWN_NAME

    @default("secret_name_template")
    def _default_secret_name_template(self) -> str:
        return OWN_NAME

    def _expand_user_properties(self, template: str, slug_scheme: str | None = None) -> str:
        if self.user is None:  # the one of prepare_hub
            return ""
        if template == OWN_NAME:
            return self.identity.container
        return str(super()._expand_user_properties(template, slug_scheme))

    @property
    def workspace_name(self) -> str:
        """Name of the pod, and of its Service."""
        return self.pod_name

    @default("storage_pvc_ensure")
    def _default_storage_pvc_ensure(self) -> bool:
        return True

    @default("storage_capacity")
    def _default_storage_capacity(self) -> str:
        return "10Gi"

    @default("storage_access_modes")
    def _default_storage_access_modes(self) -> list[str]:
        return ["ReadWriteOnce"]

    @default("delete_grace_period")
    def _default_delete_grace_period(self) -> int:
        return self.stop_seconds

    @default("fs_gid")
    def _default_fs_gid(self) -> int:
        return 1000  # any group will do: the process gets it beside its own

    # before a start

    async def prepare_hub(self) -> None:
        """Check what the site says, and that the cluster answers."""
        await super().prepare_hub()
        self._check_site()
        with sentences():
            await self.read_host()
            await self._start_watching_pods()

    def _check_site(self) -> None:
        if self.enable_user_namespaces:
            raise ConfigurationError(
                "c.KubeSpawner.enable_user_namespaces is not supported: all workspaces of a hub share its namespace. Remove the line."
            )
        for trait in ("pod_name_template", "secret_name_template"):
            template = getattr(self, trait)
            if template != OWN_NAME and "{user_server}" not in template and "{safe_user_server}" not in template:
                raise ConfigurationError(
                    f"c.KubeSpawner.{trait} = {template!r} gives two people the same name. Put {{user_server}} into it, or remove the line."
                )
        if self.profile_list:
            raise ConfigurationError(
                "c.KubeSpawner.profile_list offers what the policy would not know of. Remove the line, and offer images in the catalogue of policy.yaml, and sizes by its rules."
            )

    async def prepare_workspace(self) -> None:
        """Refuse what no pod of this cluster can be."""
        if self._image_settings.needs_root and self.pod_security_context.get("runAsNonRoot", True):
            raise ImageError(
                f"The image {self.image!r} has to start as root, and workspaces of this cluster may not be root. Choose another image."
            )
        if self.decision is not None and self.decision.gpus == ALL_GPUS:
            raise OptionsError(
                "gpus=all means nothing here: how many GPUs the nodes have is unknown. Ask for a number of them, such as 0,1."
            )

    async def read_host(self) -> Host:
        """Tell what the largest node has."""
        with sentences():
            return await self.backend.nodes.read()

    # the start

    async def start_workspace(self) -> str:
        """Make the pod, or use the one that runs, and return its URL once it answers."""
        await self.backend.finish_deletion(self.identity)
        with sentences():
            await self._start_watching_pods()
        pod = await Launch(self).run()
        self.pod_id = pod["metadata"]["uid"]
        return str(self._get_pod_url(pod))

    def report(self, percent: float, message: str) -> None:
        """Tell whoever watches the start how far it has come."""
        self.start_progress.report(percent, message)

    async def ensure_claim(self) -> str | None:
        """Make sure of the claim that holds the data, where one is wanted; return the uid of one that is new."""
        wants_none = self.decision is not None and not self.decision.is_mount_volume
        self.pvc_name, new = "", None
        if self.storage_pvc_ensure and not wants_none:
            manifest = self.get_pvc_manifest()
            manifest.metadata.annotations.update(self._make_notes())
            self.pvc_name, new = await volumes.ensure_claim(self.backend.api, self.identity, manifest)
        return new

    async def ensure_network(self) -> None:
        """Make sure of the policy of the user's network."""
        if self.network_policy:
            await self.backend.ensure_network(self.identity)

    async def note_start(self) -> None:
        """Write down on the claim what has to be known while the workspace is stopped."""
        if self.pvc_name:
            await self.backend.note(self.identity, self.pvc_name, self._make_notes())

    async def note_expiry(self) -> None:
        """Write a changed expiry on the pod and on the claim."""
        await self.backend.note_expiry(self.identity, self.pod_name, self._make_facts())

    async def get_pod_manifest(self) -> Any:
        """Make KubeSpawner's pod, with what was granted, the data, the SSH server, and security contexts under the site's own."""
        pod = await super().get_pod_manifest()
        pod.metadata.annotations.update(self._make_facts())
        objects.harden(pod, self._image_settings.uid, self._image_settings.gid, self.delete_grace_period)
        objects.ask(pod, {self.gpu_resource: len(self.decision.gpus)} if self.decision and self.decision.gpus else {})
        if self.pvc_name and not objects.has_mount(pod, self.mount_point):
            objects.mount_data(pod, self.pvc_name, self.mount_point)
        if self.decision is not None and self.decision.shm_size and not objects.has_mount(pod, objects.SHM):
            objects.mount_shm(pod, self.decision.shm_size)
        await self.admit_ssh(pod)
        return pod

    def get_env(self) -> dict[str, str]:
        """Return the environment of the workspace; what the person wrote is not expanded by Kubernetes."""
        asked = set(self.decision.env) if self.decision else set()
        # https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
        return {name: value.replace("$(", "$$(") if name in asked else value for name, value in super().get_env().items()}

    def get_service_manifest(self, owner_reference: Any, port: int) -> Any:
        """Make the workspace's Service: both its ports, selected by what never changes."""
        service = super().get_service_manifest(owner_reference, port)
        pod_ssh = self._image_settings.ssh_port if self.brings_sshd else (PORT if self.wants_bundle else None)
        service.spec.ports = objects.make_service_ports(port, pod_ssh)
        service.spec.selector = dict(self.identity.safe_labels)
        service.spec.publish_not_ready_addresses = True  # the hub knows earlier than the cluster that it answers
        return service

    def _build_common_labels(self, extra_labels: dict[str, str]) -> dict[str, str]:
        return {**super()._build_common_labels(extra_labels), **self.identity.safe_labels}

    def _build_common_annotations(self, extra_annotations: dict[str, str]) -> dict[str, str]:
        return {**super()._build_common_annotations(extra_annotations), **self.identity.labels}

    def _make_notes(self) -> dict[str, str]:
        return {ANNOTATION_IMAGE: self.image, **self._make_facts()}

    def _make_facts(self) -> dict[str, str]:
        return {} if self.expires_at is None else {LABEL_EXPIRES: str(self.expires_at)}

    # newer images

    async def describe_image(self) -> dict[str, Any]:
        """Describe the image; only the nodes know whether there is a newer one."""
        return {"reference": self.image, "update_available": None}

    async def begin_update(self) -> None:
        """Refuse: nodes pull images, the hub can not."""
        raise WorkspaceError(
            f"Whether {self.image!r} has a newer version is for the cluster's nodes to find out, when a workspace starts. Have the site set singleuser.image.pullPolicy=Always, then stop and start the workspace."
        )

    # what the hub asks while it runs

    def find_known_pod(self) -> dict[str, Any] | None:
        """Return the workspace's pod as the watch knows it."""
        known = self.pod_reflector.pods if self.pod_reflector is not None else {}
        pod = known.get(f"{self.namespace}/{self.pod_name}")
        return pod if pod is not None and owns(self.identity, pod) else None

    async def poll(self) -> int | None:
        """Return None while the pod runs, else its exit code; an API that does not answer proves nothing."""
        try:
            await self._start_watching_pods()
        except UNANSWERED as error:
            if not is_hiccup(error):
                raise
            self.log.warning("Whether %s runs is unknown, the Kubernetes API does not answer: %s", self.pod_name, error)
            return None if self.server else 0
        if self.find_known_pod() is None:
            return 0
        return await super().poll()

    async def stop_workspace(self, now: bool) -> None:
        """Remove the pod; its claim stays."""
        with sentences():
            await self.backend.remove_pod(self.identity, self.pod_name, 0 if now else self.delete_grace_period)
        self.clear_state()

    async def delete_forever(self) -> None:
        """Remove the workspace; the data goes to the trash, from where only cleanup removes it."""
        with self.sentences():
            await self.backend.delete_workspace(self.identity)

    # the watch

    def _get_reflector_key(self, kind: str) -> Any:
        return (kind, self.namespace, self.hub_name)

    async def _start_watching_pods(self, replace: bool = False) -> Any:
        key = self._get_reflector_key("pods")
        if self._is_watching(key) and not replace:
            return await super()._start_reflector("pods", pods.WatchedPods)
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
                return await super()._start_reflector("pods", pods.WatchedPods, replace=True, labels=selector)
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
