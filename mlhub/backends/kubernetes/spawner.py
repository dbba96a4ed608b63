"""MLHubKubernetesSpawner: a workspace as a pod, with its own claim, and a network that its user's
workspaces share.

Invariants: a workspace's pod is made anew at each start and its claim is kept; what carries another
identity is never adopted, mounted, routed to or removed. All of KubeSpawner's traits mean what they
mean there.
"""

from __future__ import annotations

import asyncio
from typing import Any

from jupyterhub.utils import maybe_future
from kubespawner.objects import make_owner_reference

from mlhub.backends.adoption import NOT_ALLOWED, Replace, judge
from mlhub.backends.inventory import LABEL_IMAGE
from mlhub.backends.kubernetes import pods, spec
from mlhub.backends.kubernetes.client import friendly_errors
from mlhub.backends.kubernetes.names import seconds
from mlhub.backends.kubernetes.start import Start, Target
from mlhub.backends.kubernetes.use import KubernetesUseMixin
from mlhub.backends.kubernetes.volumes import CLAIM, NO_CLAIM, Claim, lead_claim
from mlhub.backends.kubernetes.watch import WatchingKubeSpawner
from mlhub.errors import ImageError, OptionsError, WorkspaceError
from mlhub.options.option import Host
from mlhub.policy.expiry import LABEL_EXPIRES
from mlhub.quantities import ALL_GPUS
from mlhub.ssh.authority import PORT
from mlhub.texts import Text
from mlhub.workspaces.holder import LABEL_PERSON
from mlhub.workspaces.port import ImageInfo
from mlhub.workspaces.tokens import keep_server_token


class MLHubKubernetesSpawner(KubernetesUseMixin, WatchingKubeSpawner):
    """Start workspaces as pods of a Kubernetes cluster."""

    has_own_address = True

    # before a start

    async def prepare_hub(self) -> None:
        """Check what the site says, and that the cluster answers."""
        await super().prepare_hub()
        self.check_site()
        with friendly_errors():
            await self.read_host()
            await self._start_watching_pods()

    async def prepare_workspace(self) -> None:
        """Refuse what no pod of this cluster can be."""
        if self._image_settings.needs_root and self.pod_security_context.get("runAsNonRoot", True):
            raise ImageError(
                Text(
                    "The image %(image)s has to start as root, and workspaces of this"
                    " cluster may not be root. Choose another image.",
                    image=repr(self.image),
                )
            )
        if self.decision is not None and self.decision.gpus == ALL_GPUS:
            raise OptionsError(
                Text(
                    "gpus=all means nothing here: how many GPUs the nodes have is unknown."
                    " Ask for a number of them, such as 0,1."
                )
            )

    async def read_host(self) -> Host:
        """Tell what the largest node has."""
        with friendly_errors():
            return await self.backend.nodes.read()

    # the start

    async def start_workspace(self) -> str:
        """Make the pod, or use the one that runs, and return its URL once it answers."""
        await self.backend.finish_deletion(self.identity)
        start, self.may_have_pod = self._make_start(), True  # from now on, whatever is answered
        with friendly_errors(), start.listen():
            await self._start_watching_pods()
            pod = await start.find()
            is_new = pod is None or not self._adopt(pod)
            if is_new and self.adopts_only:
                raise self.make_adoption_error("cannot go on as it is")
            if pod is None or is_new:
                await start.make_room()
                claim = await self._prepare_place()
                pod = await start.make(await self._make_pod(), claim)
            self.backend.keep(asyncio.create_task(self._complete(pod, is_new)))
            pod = await start.wait()
        # Not before: a claim that changes while the cluster makes its volume is left for the next
        # round, 15 s later.
        self.backend.keep(asyncio.create_task(self._note_start() if is_new else self.note_expiry()))
        self.pod_id = pod["metadata"]["uid"]
        return str(self._get_pod_url(pod))

    def _make_start(self) -> Start:
        target = Target(
            self.identity,
            self.pod_name,
            None if self.internal_ssl else self.find_ready_path(),
            self.start_timeout,
            self.http_timeout,
            self.delete_grace_period,
            self.api_token,
        )
        report, look = self.start_progress.report, self.find_known_pod
        return Start(self.backend, target, look=look, report=report, log=self.log)

    def _adopt(self, pod: dict[str, Any]) -> bool:
        """Go on with a pod that runs, as far as what it holds may be had now and is what was asked;
        nothing of that can change while it runs.
        """
        is_theirs = self.holder.may_use(pod["metadata"].get("labels"), seconds(pod))
        if not is_theirs or not pods.is_usable(pod):
            return False
        asked = self.decision.env if self.decision and not self.adopts_only else {}
        verdict = judge(pods.read_environment(pod), asked, self.get_env())
        if not isinstance(verdict, Replace):
            if self._take_over_pod(pod):
                self.log.info("Workspace %s runs already and is adopted as it is.", self.pod_name)
                if verdict.token:
                    keep_server_token(self, verdict.token)
                return True
            verdict = Replace(NOT_ALLOWED)
        end = "left alone" if self.adopts_only else "made anew"
        self.log.warning("%s runs %s, and is %s.", self.pod_name, verdict.reason, end)
        return False

    def _take_over_pod(self, pod: dict[str, Any]) -> bool:
        site, granted = self.extra_resource_limits, self.decision
        held = spec.read_held(pod, self.gpu_resource, site)
        if granted and len(granted.gpus) == len(held.get("gpus", ())):
            held["gpus"] = list(granted.gpus)  # the cluster gives them by number
        if self.take_over(held) and spec.has_limits(held, self.cpu_limit, self.mem_limit, site):
            return True
        self.reserve()  # what a new one gets
        return False

    async def _prepare_place(self) -> Claim:
        self.start_progress.report(5, Text("Preparing the workspace's volume and network"))
        claim, _ = await asyncio.gather(self._ensure_claim(), self._ensure_network())
        return claim

    async def _ensure_claim(self) -> Claim:
        """Make sure of the claim that holds the data, where one is wanted."""
        wants_none = self.decision is not None and not self.decision.is_mount_volume
        self.pvc_name, claim = "", NO_CLAIM
        if self.storage_pvc_ensure and not wants_none:
            manifest = self.get_pvc_manifest()
            manifest.metadata.annotations.update(self._make_notes())
            claim = await self.backend.volumes.ensure(self.identity, manifest, self.holder)
        self.pvc_name = claim.name
        return claim

    async def _ensure_network(self) -> None:
        if self.network_policy:
            await self.backend.ensure_network(self.identity)

    async def _make_pod(self) -> Any:
        """Make the pod as it is to be; the site's hook has the last word."""
        pod = await self.get_pod_manifest()
        return await maybe_future(self.modify_pod_hook(self, pod)) if self.modify_pod_hook else pod

    async def _complete(self, pod: dict[str, Any], is_new: bool) -> None:
        """Make what belongs to a pod and goes with it; the cluster may start the pod meanwhile."""
        owner = make_owner_reference(self.pod_name, pod["metadata"]["uid"])
        port = pods.read_port(pod, "notebook-port") or self.port
        with friendly_errors():
            if self.internal_ssl and is_new:
                await self.backend.replace_secret(self.get_secret_manifest(owner))
            service = self.get_service_manifest(owner, port)
            await self.backend.ensure_service(self.identity, service)
            if self.after_pod_created_hook and is_new:
                await maybe_future(self.after_pod_created_hook(self, pod))

    async def _note_start(self) -> None:
        """Write down on the claim what has to be known while the workspace is stopped."""
        if self.pvc_name:
            await self.backend.note(self.identity, self.pvc_name, self._make_notes())

    async def note_expiry(self) -> None:
        """Write a changed expiry on the pod and on the claim."""
        await self.backend.note_expiry(self.identity, self.pod_name, self._make_facts())

    # what KubeSpawner makes of its traits, and what is added to it

    async def get_pod_manifest(self) -> Any:
        """Make KubeSpawner's pod, with what was granted, the data, the SSH server, and security
        contexts under the site's own.
        """
        pod = await super().get_pod_manifest()
        await self._lead_claim(pod)
        granted = self.decision
        wanted = spec.Wanted(
            grace_seconds=self.delete_grace_period,
            uid=self._image_settings.uid,
            gid=self._image_settings.gid,
            facts=self._make_facts(),
            devices={self.gpu_resource: len(granted.gpus)} if granted and granted.gpus else {},
            claim=self.pvc_name,
            mount_point=self.mount_point,
            shm_size=granted.shm_size if granted else None,
            sshd=await self.choose_sshd(pod),
        )
        return spec.complete_pod(pod, wanted)

    async def _lead_claim(self, pod: Any) -> None:
        """Lead volumes of the claim that ``pvc_name_template`` names to the workspace's own one,
        unless the namespace has a claim of that name, which is the site's.
        """
        name = self._expand_user_properties(self.pvc_name_template)
        if self.pvc_name not in ("", name) and await self.backend.api.read(CLAIM, name) is None:
            lead_claim(pod, name, self.pvc_name)

    def get_env(self) -> dict[str, str]:
        """Return the environment of the workspace; what the person wrote is not expanded by
        Kubernetes.
        """
        asked = set(self.decision.env) if self.decision else set()
        # https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
        return {
            name: value.replace("$(", "$$(") if name in asked else value
            for name, value in super().get_env().items()
        }

    def get_service_manifest(self, owner_reference: Any, port: int) -> Any:
        """Make the workspace's Service: both its ports, selected by what never changes."""
        ssh = self._image_settings.ssh_port if self.brings_sshd else None
        if self.wants_bundle:
            ssh = PORT
        service = super().get_service_manifest(owner_reference, port)
        return spec.complete_service(service, self.identity, port, ssh)

    def _build_common_labels(self, extra_labels: dict[str, str]) -> dict[str, str]:
        person = {} if self.user is None else {LABEL_PERSON: self.holder.label}
        return {**super()._build_common_labels(extra_labels), **person, **self.identity.safe_labels}

    def _build_common_annotations(self, extra_annotations: dict[str, str]) -> dict[str, str]:
        return {**super()._build_common_annotations(extra_annotations), **self.identity.labels}

    def _make_notes(self) -> dict[str, str]:
        return {LABEL_IMAGE: self.image, **self._make_facts()}

    def _make_facts(self) -> dict[str, str]:
        return {} if self.expires_at is None else {LABEL_EXPIRES: str(self.expires_at)}

    # newer images

    async def describe_image(self) -> ImageInfo:
        """Describe the image; only the nodes know whether there is a newer one."""
        return {"reference": self.image, "update_available": None}

    async def begin_update(self) -> None:
        """Refuse: nodes pull images, the hub cannot."""
        raise WorkspaceError(
            Text(
                "Whether %(image)s has a newer version is for the cluster's nodes to"
                " find out, when a workspace starts. Have the site set"
                " singleuser.image.pullPolicy=Always, then stop and start the workspace.",
                image=repr(self.image),
            )
        )

    # its end

    async def stop_workspace(self, now: bool) -> None:
        """Remove the pod; its claim stays."""
        with friendly_errors():
            await self.backend.remove_pod(
                self.identity, self.pod_name, 0 if now else self.delete_grace_period
            )
        self.may_have_pod = False
        self.clear_state()
