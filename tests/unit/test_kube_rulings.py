"""What a site writes of KubeSpawner is part of the pod and the claim that are asked for."""

from __future__ import annotations

import certifi
import pytest
from jupyterhub import orm
from kubernetes_asyncio.client import ApiClient, Configuration

from mlhub.backends.kubernetes.spawner import MLHubKubernetesSpawner
from mlhub.backends.kubernetes.watch import WatchedPods
from mlhub.ssh.relay import list_keys
from mlhub.workspaces.holder import LABEL_PERSON
from tests.support.at_hand import HubAtHand

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: only
clusters: [{name: only, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: only, user: {token: any}}]
contexts: [{name: only, context: {cluster: only, user: only}}]
"""
STORAGE = {
    "storage_access_modes": (["ReadWriteMany"], "spec.accessModes", ["ReadWriteMany"]),
    "storage_capacity": ("7Gi", "spec.resources.requests.storage", "7Gi"),
    "storage_class": ("fast", "spec.storageClassName", "fast"),
    "storage_extra_annotations": ({"a": "b"}, "metadata.annotations.a", "b"),
    "storage_extra_labels": ({"a": "b"}, "metadata.labels.a", "b"),
    "storage_selector": ({"matchLabels": {"a": "b"}}, "spec.selector.matchLabels.a", "b"),
}
TERM = {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
POD_TERM = {"topologyKey": "a", "labelSelector": {"matchLabels": {"a": "b"}}}
NODE, POD = "spec.affinity.nodeAffinity", "spec.affinity.podAffinity"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
BOX = "spec.containers.0"
# Trait → its value, where the pod has it, and what is there.
PARTS = {
    "allow_privilege_escalation": (True, f"{BOX}.securityContext.allowPrivilegeEscalation", True),
    "args": (["--x"], f"{BOX}.args", ["run", "--x"]),
    "automount_service_account_token": (True, "spec.automountServiceAccountToken", True),
    "cmd": (["run"], f"{BOX}.args", ["run"]),
    "common_labels": ({"a": "b"}, "metadata.labels.a", "b"),
    "component_label": ("other", "metadata.labels.component", "other"),
    "container_security_context": ({"runAsUser": 7}, f"{BOX}.securityContext.runAsUser", 7),
    "cpu_guarantee": (0.5, f"{BOX}.resources.requests.cpu", 0.5),
    "cpu_limit": (2.0, f"{BOX}.resources.limits.cpu", 2.0),
    "delete_grace_period": (7, "spec.terminationGracePeriodSeconds", 7),
    "extra_annotations": ({"a": "b"}, "metadata.annotations.a", "b"),
    "extra_container_config": ({"tty": True}, f"{BOX}.tty", True),
    "extra_containers": ([{"name": "beside"}], "spec.containers.1.name", "beside"),
    "extra_labels": ({"a": "b"}, "metadata.labels.a", "b"),
    "extra_pod_config": ({"dnsPolicy": "None"}, "spec.dnsPolicy", "None"),
    "extra_resource_guarantees": ({"x/y": "1"}, f"{BOX}.resources.requests.x/y", "1"),
    "extra_resource_limits": ({"x/y": "1"}, f"{BOX}.resources.limits.x/y", "1"),
    "fs_gid": (7, "spec.securityContext.fsGroup", 7),
    "gid": (7, f"{BOX}.securityContext.runAsGroup", 7),
    "image": ("other:2", f"{BOX}.image", "other:2"),
    "image_pull_policy": ("Always", f"{BOX}.imagePullPolicy", "Always"),
    "image_pull_secrets": (["s"], "spec.imagePullSecrets.0.name", "s"),
    "init_containers": ([{"name": "first"}], "spec.initContainers.0.name", "first"),
    "lifecycle_hooks": (
        {"postStart": {"exec": {"command": ["x"]}}},
        f"{BOX}.lifecycle.postStart.exec.command.0",
        "x",
    ),
    "mem_guarantee": ("1G", f"{BOX}.resources.requests.memory", 2**30),
    "mem_limit": ("1G", f"{BOX}.resources.limits.memory", 2**30),
    "node_affinity_preferred": (
        [{"weight": 1, "preference": TERM}],
        f"{NODE}.{PREFERRED}.0.weight",
        1,
    ),
    "node_affinity_required": ([TERM], f"{NODE}.{REQUIRED}.nodeSelectorTerms.0", TERM),
    "node_selector": ({"a": "b"}, "spec.nodeSelector.a", "b"),
    "pod_affinity_preferred": (
        [{"weight": 1, "podAffinityTerm": POD_TERM}],
        f"{POD}.{PREFERRED}.0.weight",
        1,
    ),
    "pod_affinity_required": ([POD_TERM], f"{POD}.{REQUIRED}.0", POD_TERM),
    "pod_anti_affinity_preferred": (
        [{"weight": 1, "podAffinityTerm": POD_TERM}],
        f"spec.affinity.podAntiAffinity.{PREFERRED}.0.weight",
        1,
    ),
    "pod_anti_affinity_required": (
        [POD_TERM],
        f"spec.affinity.podAntiAffinity.{REQUIRED}.0",
        POD_TERM,
    ),
    "pod_name_template": ("own-{user_server}", "metadata.name", "own-ann"),
    "pod_security_context": ({"runAsUser": 7}, "spec.securityContext.runAsUser", 7),
    "priority_class_name": ("high", "spec.priorityClassName", "high"),
    "privileged": (True, f"{BOX}.securityContext.privileged", True),
    "scheduler_name": ("other", "spec.schedulerName", "other"),
    "service_account": ("other", "spec.serviceAccountName", "other"),
    "slug_scheme": ("escape", "metadata.labels.hub.jupyter.org/username", "ann"),
    "supplemental_gids": ([7], "spec.securityContext.supplementalGroups", [7]),
    "tolerations": ([{"key": "a"}], "spec.tolerations.0.key", "a"),
    "uid": (7, f"{BOX}.securityContext.runAsUser", 7),
    "volume_mounts": ([{"name": "v", "mountPath": "/x"}], f"{BOX}.volumeMounts.0.name", "v"),
    "volumes": ([{"name": "v", "emptyDir": {}}], "spec.volumes.0.name", "v"),
    "working_dir": ("/of/{username}", f"{BOX}.workingDir", "/of/ann"),
}
ENVIRONMENT = {
    "default_url": ("/lab", "JUPYTERHUB_DEFAULT_URL", "/lab"),
    "debug": (True, "JUPYTERHUB_DEBUG", "1"),
    "disable_user_config": (True, "JUPYTERHUB_DISABLE_USER_CONFIG", "1"),
    "env_keep": (["HOME_OF_TESTS"], "HOME_OF_TESTS", "here"),
    "environment": ({"SITE": "north"}, "SITE", "north"),
    "hub_connect_url": ("http://other:8081", "JUPYTERHUB_API_URL", "http://other:8081/hub/api"),
    "ip": ("0.0.0.1", "JUPYTERHUB_SERVICE_URL", "http://0.0.0.1:8080/user/ann/"),
    "notebook_dir": ("/home/me", "JUPYTERHUB_ROOT_DIR", "/home/me"),
    "port": (9999, "JUPYTERHUB_SERVICE_URL", "http://0.0.0.0:9999/user/ann/"),
}


@pytest.fixture
async def hub(tmp_path, monkeypatch):
    (tmp_path / "config").write_text(KUBECONFIG)
    # kubernetes_asyncio has read the variable already.
    monkeypatch.setattr(
        "kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION",
        str(tmp_path / "config"),
    )
    before = Configuration.get_default_copy()
    hub = HubAtHand("registry.example/own:1", "trts", MLHubKubernetesSpawner)
    del hub.spawner["port"]
    hub.spawner.ssh_folder = ""
    yield hub
    Configuration.set_default(before)


def make_spawner(hub, **written):
    """Make ann's spawner anew, with what a site writes now and no more."""
    hub.config.KubeSpawner.clear()
    hub.config.KubeSpawner.update({"namespace": "team", **written})
    spawner = hub.user("ann")._new_spawner("")
    spawner.orm_spawner.server = orm.Server(
        proto="http", ip="", port=8080, base_url="/user/ann/", cookie_name="any"
    )
    spawner.api_token = "token"
    spawner.apply_image_settings()
    return spawner


async def make_pod(hub, **written):
    return to_plain(await make_spawner(hub, **written).get_pod_manifest())


def to_plain(thing):
    """Return what would be sent to the cluster."""
    client = ApiClient.__new__(ApiClient)
    return client.sanitize_for_serialization(thing)


def find(made, path):
    """Return what is at a path, divided by dots; keys may have dots of their own."""
    if not path:
        return made
    if isinstance(made, list):
        first, _, rest = path.partition(".")
        return find(made[int(first)], rest)
    for key in made:
        if path == key or path.startswith(f"{key}."):
            return find(made[key], path[len(key) + 1 :])
    raise AssertionError(f"nothing at {path}: {made}")


async def test_what_a_site_writes_is_part_of_the_pod(hub, monkeypatch):
    monkeypatch.setenv("HOME_OF_TESTS", "here")
    for trait, (value, variable, text) in ENVIRONMENT.items():
        pod = await make_pod(hub, **{trait: value})
        variables = {each["name"]: each.get("value") for each in find(pod, f"{BOX}.env")}
        assert variables[variable] == text, trait
    del hub.spawner["image"]
    for trait, (value, path, expected) in PARTS.items():
        written = {"cmd": ["run"]} if trait == "args" else {}
        assert find(await make_pod(hub, **{trait: value}, **written), path) == expected, trait


async def test_what_a_site_writes_of_storage_is_part_of_the_claim(hub):
    for trait, (value, path, expected) in STORAGE.items():
        claim = to_plain(make_spawner(hub, **{trait: value}).get_pvc_manifest())
        assert find(claim, path) == expected, trait
    spawner = make_spawner(hub, storage_pvc_ensure=False)
    assert (await spawner._ensure_claim()).name == ""


async def test_a_pod_is_reached_as_the_site_says(hub):
    pod = to_plain(await make_spawner(hub).get_pod_manifest())
    pod["status"] = {"podIP": "10.0.0.1"}
    assert make_spawner(hub)._get_pod_url(pod) == "http://10.0.0.1:8080"
    spawner = make_spawner(hub, services_enabled=True, dns_name_template="{name}.{namespace}.own")
    assert spawner._get_pod_url(pod) == f"http://{spawner.pod_name}.team.own:8080"
    spawner = make_spawner(hub, pod_connect_ip="of-{user_server}.example")
    assert spawner._get_pod_url(pod) == "http://of-ann.example:8080"
    spawner = make_spawner(hub, get_pod_url=lambda spawner, pod: "http://mine:1")
    assert spawner._get_pod_url(pod) == "http://mine:1"


async def test_the_relay_of_a_pod_goes_by_the_person_and_by_whom_the_pod_was_made_for(hub):
    hub.user("ann").settings["cookie_secret"] = b"secret"
    spawner = make_spawner(hub)
    before = spawner.list_relay_keys()[0]
    # The twin: the same person has the same key.
    assert make_spawner(hub).list_relay_keys()[0] == before
    hub.forget("ann")
    hub.user("ann").settings["cookie_secret"] = b"secret"
    spawner = make_spawner(hub)
    assert before not in spawner.list_relay_keys()
    # A pod of a database that was lost says whose it is.
    manifest = await spawner.get_pod_manifest()
    manifest.metadata.labels[LABEL_PERSON] = "lost.1"
    watched = WatchedPods(parent=spawner, namespace="team")
    watched.resources = {f"team/{spawner.pod_name}": to_plain(manifest)}
    spawner.reflectors[spawner._get_reflector_key("pods")] = watched
    try:
        people = spawner.holder.label, "lost.1"
        assert spawner.list_relay_keys() == list_keys(b"secret", "ann", "", people)
    finally:
        spawner.reflectors.clear()


async def test_the_hooks_of_a_site_are_asked(hub):
    def label(spawner, pod):
        pod.metadata.labels["of"] = spawner.user.name
        return pod

    spawner = make_spawner(hub, modify_pod_hook=label, after_pod_created_hook=print)
    assert (await spawner._make_pod()).metadata.labels["of"] == "ann"
    assert spawner.after_pod_created_hook is print


async def test_what_a_site_writes_of_its_spawner_is_kept(hub):
    assert make_spawner(hub, delete_stopped_pods=False).delete_stopped_pods is False


async def test_the_cluster_is_spoken_to_as_the_site_says(hub):
    make_spawner(
        hub,
        k8s_api_host="https://other.example:6443",
        k8s_api_ssl_ca_cert=certifi.where(),
        k8s_api_verify_ssl=False,
    )
    spoken = Configuration.get_default_copy()
    assert (spoken.host, spoken.ssl_ca_cert, spoken.verify_ssl) == (
        "https://other.example:6443",
        certifi.where(),
        False,
    )
