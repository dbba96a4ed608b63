"""What becomes of KubeSpawner's traits. Imports no client of a cluster."""

from __future__ import annotations

from typing import Any

from mlhub.backends.kubernetes.names import check_template
from mlhub.traits import REFUSAL_TEST, Rulings, honored, refused, without_effect
from mlhub.workspaces.rulings import INTERNAL, KEPT, SPAWNER

_UNIT = "tests/unit/test_kube_rulings.py::"
POD = f"{_UNIT}test_what_a_site_writes_is_part_of_the_pod"
CLAIM = f"{_UNIT}test_what_a_site_writes_of_storage_is_part_of_the_claim"
ADDRESS = f"{_UNIT}test_a_pod_is_reached_as_the_site_says"
API = f"{_UNIT}test_the_cluster_is_spoken_to_as_the_site_says"
VOLUMES = (
    "tests/kube/test_images.py::"
    "test_a_claim_that_volumes_name_as_the_template_does_is_the_workspaces_own"
)
HOOKS = f"{_UNIT}test_the_hooks_of_a_site_are_asked"
NAMES = "c.KubeSpawner.enable_user_namespaces is refused, and nothing else uses it."
PROFILES = "c.KubeSpawner.profile_list is refused, and nothing else uses it."
PROGRESS = (
    "the progress page tells what the cluster itself says of a start. Remove the line; the page's"
    " texts are templates (c.JupyterHub.template_paths)."
)


def check_pod_name(value: Any) -> None:
    """Check a template of pods' names."""
    check_template("pod_name_template", value)


KUBESPAWNER: Rulings = {
    **SPAWNER,
    **honored(
        POD,
        "allow_privilege_escalation args automount_service_account_token cmd common_labels"
        " component_label container_security_context cpu_guarantee cpu_limit debug default_url"
        " delete_grace_period disable_user_config env_keep environment extra_annotations"
        " extra_container_config extra_containers extra_labels extra_pod_config"
        " extra_resource_guarantees extra_resource_limits fs_gid gid hub_connect_url image"
        " image_pull_policy image_pull_secrets init_containers ip lifecycle_hooks mem_guarantee"
        " mem_limit node_affinity_preferred node_affinity_required node_selector notebook_dir"
        " pod_affinity_preferred pod_affinity_required pod_anti_affinity_preferred"
        " pod_anti_affinity_required pod_security_context port priority_class_name privileged"
        " scheduler_name service_account slug_scheme supplemental_gids tolerations uid"
        " volume_mounts volumes working_dir",
    ),
    **honored(
        POD, "pod_name_template", "One that two people could share is refused.", check_pod_name
    ),
    **honored(
        CLAIM,
        "storage_access_modes storage_capacity storage_class storage_extra_annotations"
        " storage_extra_labels storage_pvc_ensure storage_selector",
    ),
    **honored(
        VOLUMES,
        "pvc_name_template",
        "The hub names claims itself; in `volumes` this name leads to the workspace's own one.",
    ),
    **honored(ADDRESS, "dns_name_template get_pod_url pod_connect_ip services_enabled"),
    **honored(API, "k8s_api_host k8s_api_ssl_ca_cert k8s_api_verify_ssl"),
    **honored(KEPT.replace("spawner_rulings", "kube_rulings"), "delete_stopped_pods"),
    **honored(HOOKS, "after_pod_created_hook modify_pod_hook"),
    **honored(
        "tests/unit/test_chart_values.py::test_workspaces_are_started_in_the_hubs_own_namespace",
        "namespace",
        "The chart's own, where the chart is used.",
    ),
    **refused(
        REFUSAL_TEST,
        "delete_pvc",
        "the data of a deleted workspace goes to the trash, where it can be had back. Remove the"
        " line.",
        [True],
    ),
    **refused(
        REFUSAL_TEST,
        "enable_user_namespaces",
        "all workspaces of a hub share its namespace. Remove the line.",
        [False],
    ),
    **refused(
        REFUSAL_TEST,
        "profile_list",
        "profiles would pass the policy by. Remove the line, and offer images in the catalogue of"
        " policy.yaml, and sizes by its rules.",
        [[]],
    ),
    **refused(
        REFUSAL_TEST,
        "k8s_api_request_timeout k8s_api_request_retry_timeout",
        "the hub's questions to the cluster have bounds of their own. Remove the line.",
        [3, 30],
    ),
    **refused(
        REFUSAL_TEST,
        "slow_spawn_message slow_spawn_message_frequency slow_spawn_message_threshold",
        PROGRESS,
    ),
    **without_effect(
        "events_enabled",
        "the hub follows the events of pods while a start lasts, and no longer.",
    ),
    **without_effect(
        "handle_legacy_names remember_pvc_name", "claims are found by their labels, not by a name."
    ),
    **without_effect("additional_profile_form_template_paths profile_form_template", PROFILES),
    **without_effect(
        "user_namespace_annotations user_namespace_labels user_namespace_template", NAMES
    ),
    **without_effect("secret_mount_path secret_name_template", INTERNAL),
    **without_effect(
        "hub_connect_ip hub_connect_port k8s_api_threadpool_workers",
        "KubeSpawner itself does nothing with it any more.",
    ),
}
