"""What a workspace's objects are to be. Pure: no I/O.

That is what is added to the pod, claim and Service that KubeSpawner makes of its traits, and the
policy of a user's network.

Invariants: what was granted comes frozen (``Wanted``). What the site says of security contexts has
the last word; without that, every container of the pod satisfies the level ``restricted`` of the
Pod Security Standards.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes_asyncio import client

from mlhub.backends.kubernetes.pods import CONTAINER, read_container
from mlhub.backends.trash import LABEL_GENERATION
from mlhub.identity import Identity
from mlhub.quantities import MEBIBYTE, parse_quantity
from mlhub.ssh.authority import BUNDLE, PORT

SHM = "/dev/shm"  # noqa: S108 - the kernel's own place for shared memory
BUNDLE_VOLUME, KEYS_VOLUME, DATA_VOLUME, SHM_VOLUME = (
    "mlhub-ssh",
    "mlhub-ssh-keys",
    "mlhub-data",
    "mlhub-shm",
)
ANNOTATION_KEYS = "mlhub.ssh_keys_command"
KEYS_COMMAND = "/.mlhub-keys/keys"
_CONTEXT = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_FOR_EVER = 2**31 - 1


@dataclass(frozen=True)
class Sshd:
    """The sshd of a pod: the image's own, or one that ``fetch`` (Python) gets from the hub, to look
    keys up by the command ``keys``.
    """

    port: int = PORT
    fetch: str = ""
    keys: str = ""


@dataclass(frozen=True)
class Wanted:
    """What a workspace's pod gets beside what KubeSpawner's traits say.

    ``uid`` and ``gid`` are the image's, where they are known. ``facts`` are annotations,
    ``devices`` are numbers of what nodes offer. ``claim`` is mounted at ``mount_point``, "" is
    none.
    """

    grace_seconds: int
    uid: int | None = None
    gid: int | None = None
    facts: Mapping[str, str] | None = None
    devices: Mapping[str, int] | None = None
    claim: str = ""
    mount_point: str = ""
    shm_size: int | None = None
    sshd: Sshd | None = None


def complete_pod(pod: Any, wanted: Wanted) -> Any:
    """Lay what is wanted under what the site says of KubeSpawner's pod, and return it."""
    pod.metadata.annotations.update(wanted.facts or {})
    harden(pod, wanted.uid, wanted.gid, wanted.grace_seconds)
    ask(pod, wanted.devices or {})
    if wanted.claim and not has_mount(pod, wanted.mount_point):
        mount_data(pod, wanted.claim, wanted.mount_point)
    if wanted.shm_size and not has_mount(pod, SHM):
        mount_shm(pod, wanted.shm_size)
    if wanted.sshd and wanted.sshd.fetch:
        admit_ssh(pod, wanted.sshd.fetch, wanted.sshd.keys)
    elif wanted.sshd:
        add_port(pod, "ssh", wanted.sshd.port)
    return pod


def complete_claim(claim: Any, identity: Identity, generation: int) -> Any:
    """Name and number KubeSpawner's claim, and return it."""
    claim.metadata.name = identity.volume(generation)
    claim.metadata.labels = {**claim.metadata.labels, LABEL_GENERATION: str(generation)}
    return claim


def complete_service(service: Any, identity: Identity, http: int, ssh: int | None) -> Any:
    """Give KubeSpawner's Service both ports, and a selector of what never changes; return it."""
    ports = {"http": http, **({"ssh": ssh} if ssh and ssh != http else {})}
    service.spec.ports = [
        client.V1ServicePort(name=name, port=port, target_port=port) for name, port in ports.items()
    ]
    service.spec.selector = dict(identity.safe_labels)
    # The hub knows earlier than the cluster that it answers.
    service.spec.publish_not_ready_addresses = True
    return service


def harden(pod: Any, uid: int | None, gid: int | None, grace_seconds: int) -> None:
    """Lay security contexts under those of the site; ``uid`` and ``gid`` are the image's, where
    they are known.
    """
    notebook = _notebook(pod)
    own = notebook.security_context or {}
    notebook.security_context = own = {
        **({} if uid is None else {"runAsUser": uid}),
        **({} if gid is None else {"runAsGroup": gid}),
        **own,
    }
    under = {
        "runAsNonRoot": own.get("runAsUser") != 0,
        "seccompProfile": {"type": "RuntimeDefault"},
        "fsGroupChangePolicy": "OnRootMismatch",
    }
    pod.spec.security_context = {**under, **(pod.spec.security_context or {})}
    for container in [*pod.spec.containers, *(pod.spec.init_containers or [])]:
        if container.security_context is None or isinstance(container.security_context, dict):
            container.security_context = {**_CONTEXT, **(container.security_context or {})}
    pod.spec.enable_service_links = (
        False  # a variable for each Service of the namespace, other people's too
    )
    pod.spec.termination_grace_period_seconds = grace_seconds
    pod.metadata.annotations.setdefault("kubectl.kubernetes.io/default-container", CONTAINER)


def ask(pod: Any, devices: Mapping[str, int]) -> None:
    """Ask for devices, and for no share of a node that the site did not ask for: limits alone would
    be requests as well.

    Nor for more than the limit, which the API refuses: a guarantee of the site's is cut to what
    this workspace may have.
    """
    resources = _notebook(pod).resources
    resources.limits = limits = {
        **(resources.limits or {}),
        **{name: str(number) for name, number in devices.items()},
    }
    requests = {"cpu": "0", "memory": "0", **(resources.requests or {})}
    resources.requests = {
        name: _smaller(asked, limits[name]) if name in limits else asked
        for name, asked in requests.items()
    }


def read_held(pod: dict[str, Any], gpu_resource: str, site: Collection[str] = ()) -> dict[str, Any]:
    """Read what the workspace of a pod, as the API describes it, holds, as options; limits named in
    ``site`` are the site's, not its own.
    """
    limits = {
        name: value
        for name, value in (read_container(pod).get("resources") or {}).get("limits", {}).items()
        if name not in site
    }
    held: dict[str, Any] = {}
    if "cpu" in limits:
        held["cpu_limit"] = round(float(parse_quantity(limits["cpu"]) or 0), 3)
    if "memory" in limits:
        held["mem_limit"] = int(parse_quantity(limits["memory"]) or 0) // MEBIBYTE * MEBIBYTE
    if gpu_resource not in site:
        gpus = int(parse_quantity(limits.get(gpu_resource)) or 0)
        held["gpus"] = [str(index) for index in range(gpus)]
    for volume in pod["spec"].get("volumes") or []:
        if volume["name"] == SHM_VOLUME:
            size = (volume.get("emptyDir") or {}).get("sizeLimit")
            held["shm_size"] = int(parse_quantity(size) or 0) or None
        elif volume["name"] == DATA_VOLUME:
            held["is_mount_volume"] = True
    return held


def has_limits(
    held: Mapping[str, Any], cpu: float | None, memory: int | None, site: Collection[str] = ()
) -> bool:
    """Return True if what a pod holds (``read_held``) are these very limits, where they are not the
    site's.
    """
    wanted = {"cpu": ("cpu_limit", cpu), "memory": ("mem_limit", memory)}
    return all(name in site or held.get(key) == limit for name, (key, limit) in wanted.items())


def mount_data(pod: Any, claim: str, mount_point: str) -> None:
    """Mount a workspace's claim into its pod."""
    source = client.V1PersistentVolumeClaimVolumeSource(claim_name=claim)
    pod.spec.volumes.append(client.V1Volume(name=DATA_VOLUME, persistent_volume_claim=source))
    _notebook(pod).volume_mounts.append(
        client.V1VolumeMount(name=DATA_VOLUME, mount_path=mount_point)
    )


def mount_shm(pod: Any, size: int) -> None:
    """Give a pod shared memory of that many bytes; it counts as memory of the container."""
    source = client.V1EmptyDirVolumeSource(medium="Memory", size_limit=str(size))
    pod.spec.volumes.append(client.V1Volume(name=SHM_VOLUME, empty_dir=source))
    _notebook(pod).volume_mounts.append(client.V1VolumeMount(name=SHM_VOLUME, mount_path=SHM))


def has_mount(pod: Any, mount_point: str) -> bool:
    """Return True if the site mounts something of its own there."""
    return any(
        mount.mount_path.rstrip("/") == mount_point.rstrip("/")
        for mount in _notebook(pod).volume_mounts
    )


def add_port(pod: Any, name: str, port: int) -> None:
    """Name one more port of the workspace."""
    ports = _notebook(pod).ports
    if all(known.container_port != port for known in ports):
        ports.append(client.V1ContainerPort(name=name, container_port=port))


def admit_ssh(pod: Any, fetch: str, keys: str) -> None:
    """Let a workspace fetch its SSH server from the hub, and start it as its own user, once it
    runs.

    Nothing waits for that, and no other container is needed: a startup probe, which is tried until
    it succeeds, runs ``fetch`` (Python) inside the workspace.

    ``keys`` is the command that looks keys up. sshd wants it owned by root, in folders of root's
    alone; what the workspace writes is its own. So it comes as an annotation, which the kubelet,
    being root, turns into a file.
    """
    pod.metadata.annotations[ANNOTATION_KEYS] = keys
    field = client.V1ObjectFieldSelector(field_path=f"metadata.annotations['{ANNOTATION_KEYS}']")
    item = client.V1DownwardAPIVolumeFile(path="keys", field_ref=field, mode=0o555)
    pod.spec.volumes += [
        client.V1Volume(name=BUNDLE_VOLUME, empty_dir=client.V1EmptyDirVolumeSource()),
        client.V1Volume(
            name=KEYS_VOLUME, downward_api=client.V1DownwardAPIVolumeSource(items=[item])
        ),
    ]
    notebook = _notebook(pod)
    notebook.volume_mounts += [
        client.V1VolumeMount(name=BUNDLE_VOLUME, mount_path=BUNDLE),
        client.V1VolumeMount(
            name=KEYS_VOLUME, mount_path=KEYS_COMMAND, sub_path="keys", read_only=True
        ),
    ]
    notebook.startup_probe = _make_probe(["python3", "-IS", "-c", fetch])
    add_port(pod, "ssh", PORT)


def make_network_policy(identity: Identity, labels: dict[str, str]) -> dict[str, Any]:
    """Make the policy by which all workspaces of one user reach each other; what else they reach is
    the chart's to say.
    """
    own = [{"podSelector": {"matchLabels": identity.safe_user_labels}}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": identity.network_policy,
            "labels": {**labels, **identity.safe_user_labels},
            "annotations": dict(identity.user_labels),
        },
        "spec": {
            "podSelector": {"matchLabels": identity.safe_user_labels},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": own}],
            "egress": [{"to": own}],
        },
    }


def _make_probe(command: list[str]) -> Any:
    """Make a startup probe that is tried until it succeeds.

    The first seconds belong to the workspace, and so do the next ones, if it needs them: ``fetch``
    waits for it. It also pauses by itself after a failure, and is ended only where the hub's answer
    takes more than a minute.
    """
    times: Any = {
        "initial_delay_seconds": 2,
        "period_seconds": 1,
        "timeout_seconds": 120,
        "failure_threshold": _FOR_EVER,
    }
    return client.V1Probe(_exec=client.V1ExecAction(command=command), **times)


def _smaller(asked: Any, limit: Any) -> Any:
    first, second = parse_quantity(asked), parse_quantity(limit)
    return limit if first is not None and second is not None and first > second else asked


def _notebook(pod: Any) -> Any:
    return next(container for container in pod.spec.containers if container.name == CONTAINER)
