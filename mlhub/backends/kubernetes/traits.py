"""KubeSpawner with what a site may set beyond upstream's traits, our defaults for upstream's, and
the backend behind all spawners of a hub.
"""

from __future__ import annotations

from typing import ClassVar

from kubespawner import KubeSpawner
from traitlets import Bool, Int, Unicode, default

from mlhub.backends.kubernetes.inventory import KubernetesBackend
from mlhub.backends.kubernetes.names import OWN_NAME, check_template
from mlhub.errors import ConfigurationError
from mlhub.workspaces.spawner import WorkspaceSpawnerMixin


class ConfiguredKubeSpawner(WorkspaceSpawnerMixin, KubeSpawner):
    """Hold what a site configures; find the backend that belongs to it."""

    stop_seconds = Int(
        10, min=1, config=True, help="Seconds a workspace gets to end by itself when it is stopped."
    )
    network_policy = Bool(
        True,
        config=True,
        help=(
            "Make a network policy for each user, by which that user's workspaces reach each other."
            " What else workspaces reach is the chart's to say; without its policies set this to"
            " False."
        ),
    )
    gpu_resource = Unicode("nvidia.com/gpu", config=True, help="Name under which nodes offer GPUs.")

    _backends: ClassVar[dict[tuple[str, str, str], KubernetesBackend]] = {}

    @property
    def backend(self) -> KubernetesBackend:
        """The backend that all spawners of this hub share."""
        key = (self.hub_name, self.namespace, self.gpu_resource)
        if key not in self._backends:
            self._backends[key] = KubernetesBackend(
                self.hub_name,
                self.namespace,
                {**self.extra_labels, **self.common_labels},
                self.gpu_resource,
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

    def check_site(self) -> None:
        """Refuse what does not fit to how workspaces are made. Raises ``ConfigurationError``."""
        if self.enable_user_namespaces:
            raise ConfigurationError(
                "c.KubeSpawner.enable_user_namespaces is not supported: all workspaces of a hub"
                " share its namespace. Remove the line."
            )
        check_template("pod_name_template", self.pod_name_template)
        check_template("secret_name_template", self.secret_name_template)
        if self.profile_list:
            raise ConfigurationError(
                "c.KubeSpawner.profile_list offers what the policy would not know of. Remove the"
                " line, and offer images in the catalogue of policy.yaml, and sizes by its rules."
            )
