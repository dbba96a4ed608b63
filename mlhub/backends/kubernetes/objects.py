"""What a workspace adds to the pod that KubeSpawner makes, and its other objects. Pure: no I/O.

Promise: what the site says of security contexts has the last word; without that, every container of the pod satisfies the
level ``restricted`` of the Pod Security Standards.
"""

from __future__ import annotations

from typing import Any

from kubernetes_asyncio import client

from mlhub.backends.kubernetes.pods import CONTAINER, SSH_CONTAINER
from mlhub.workspace.identity import Identity
from mlhub.workspace.ssh import BUNDLE, PORT, HostIdentity

SHM = "/dev/shm"  # noqa: S108 - the kernel's own place for shared memory
BUNDLE_VOLUME, KEYS_VOLUME, DATA_VOLUME, SHM_VOLUME = "mlhub-ssh", "mlhub-ssh-keys", "mlhub-data", "mlhub-shm"
ANNOTATION_KEYS = "mlhub.ssh_keys_command"
KEYS_COMMAND = "/.mlhub-keys/keys"
# The bundle is started by the container's own user after the container; what goes wrong there must not end the workspace.
_START = f"log=/proc/1/fd/1; [ -w $log ] || log=/dev/null; {BUNDLE}/start >$log 2>&1 || :"
# The shell that starts it comes last: where that is, everything is.
_COPY = (
    f"[ -e /target/bin ] || {{ rm -rf /target/new && cp -r {BUNDLE} /target/new && mkdir /target/new/host && cd /target/new/host && "
    + "".join(f'printf "%s\\n" "$MLHUB_SSH_{name.upper()}" >{name} && ' for name in ("key", "certificate", "hub"))
    + "cd .. && mv [!b]* .. && mv bin ..; }; exec tini sleep infinity"
)
_CONTEXT = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_SMALL: dict[str, Any] = {"requests": {"cpu": "1m", "memory": "4Mi"}, "limits": {"memory": "128Mi"}}
_FOR_EVER = 2**31 - 1


def harden(pod: Any, uid: int | None, gid: int | None, grace_seconds: int) -> None:
    """Lay security contexts under those of the site; ``uid`` and ``gid`` are the image's, where they are known."""
    notebook = _notebook(pod)
    own = notebook.security_context or {}
    notebook.security_context = own = {**({} if uid is None else {"runAsUser": uid}), **({} if gid is None else {"runAsGroup": gid}), **own}
    under = {
        "runAsNonRoot": own.get("runAsUser") != 0,
        "seccompProfile": {"type": "RuntimeDefault"},
        "fsGroupChangePolicy": "OnRootMismatch",
    }
    pod.spec.security_context = {**under, **(pod.spec.security_context or {})}
    for container in [*pod.spec.containers, *(pod.spec.init_containers or [])]:
        if container.security_context is None or isinstance(container.security_context, dict):
            container.security_context = {**_CONTEXT, **(container.security_context or {})}
    pod.spec.enable_service_links = False  # a variable for each Service of the namespace, other people's too
    pod.spec.termination_grace_period_seconds = grace_seconds
    pod.metadata.annotations.setdefault("kubectl.kubernetes.io/default-container", CONTAINER)


def ask(pod: Any, devices: dict[str, int]) -> None:
    """Ask for devices, and for no share of a node that the site did not ask for: limits alone would be requests as well."""
    resources = _notebook(pod).resources
    resources.limits = {**(resources.limits or {}), **{name: str(number) for name, number in devices.items()}}
    resources.requests = {"cpu": "0", "memory": "0", **(resources.requests or {})}


def mount_data(pod: Any, claim: str, mount_point: str) -> None:
    """Mount a workspace's claim into its pod."""
    source = client.V1PersistentVolumeClaimVolumeSource(claim_name=claim)
    pod.spec.volumes.append(client.V1Volume(name=DATA_VOLUME, persistent_volume_claim=source))
    _notebook(pod).volume_mounts.append(client.V1VolumeMount(name=DATA_VOLUME, mount_path=mount_point))


def mount_shm(pod: Any, size: int) -> None:
    """Give a pod shared memory of that many bytes; it counts as memory of the container."""
    source = client.V1EmptyDirVolumeSource(medium="Memory", size_limit=str(size))
    pod.spec.volumes.append(client.V1Volume(name=SHM_VOLUME, empty_dir=source))
    _notebook(pod).volume_mounts.append(client.V1VolumeMount(name=SHM_VOLUME, mount_path=SHM))


def has_mount(pod: Any, mount_point: str) -> bool:
    """Tell whether the site mounts something of its own there."""
    return any(mount.mount_path.rstrip("/") == mount_point.rstrip("/") for mount in _notebook(pod).volume_mounts)


def add_port(pod: Any, name: str, port: int) -> None:
    """Name one more port of the workspace."""
    ports = _notebook(pod).ports
    if all(known.container_port != port for known in ports):
        ports.append(client.V1ContainerPort(name=name, container_port=port))


def admit_ssh(pod: Any, host: HostIdentity, hub: str, keys: str, image: str, pull_policy: str | None, uid: int | None) -> None:
    """Bring the bundle into a pod: a container of the hub's image copies it, and the workspace's own user starts it.

    The workspace does not wait for that: to go on after an init container takes a node up to a second. So the container
    comes beside it and then sleeps, and a startup probe, which is tried until it succeeds, is what starts the bundle.

    ``keys`` is the command that looks keys up. sshd wants it owned by root, in folders of root's alone; what that
    container writes is its own. So it comes as an annotation, which the kubelet, being root, turns into a file.
    """
    context: Any = {**_CONTEXT, "runAsUser": uid or 1000, "readOnlyRootFilesystem": True}
    environment = {"key": host.key, "certificate": host.certificate, "hub": hub}
    bringer = client.V1Container(
        name=SSH_CONTAINER,
        image=image,
        image_pull_policy=pull_policy,
        command=["/bin/sh", "-ec", _COPY],
        env=[client.V1EnvVar(name=f"MLHUB_SSH_{name.upper()}", value=value) for name, value in environment.items()],
        volume_mounts=[client.V1VolumeMount(name=BUNDLE_VOLUME, mount_path="/target")],
        resources=client.V1ResourceRequirements(**_SMALL),
        security_context=context,
    )
    pod.spec.containers.append(bringer)
    pod.metadata.annotations[ANNOTATION_KEYS] = keys
    field = client.V1ObjectFieldSelector(field_path=f"metadata.annotations['{ANNOTATION_KEYS}']")
    item = client.V1DownwardAPIVolumeFile(path="keys", field_ref=field, mode=0o555)
    pod.spec.volumes += [
        client.V1Volume(name=BUNDLE_VOLUME, empty_dir=client.V1EmptyDirVolumeSource()),
        client.V1Volume(name=KEYS_VOLUME, downward_api=client.V1DownwardAPIVolumeSource(items=[item])),
    ]
    notebook = _notebook(pod)
    notebook.volume_mounts += [
        client.V1VolumeMount(name=BUNDLE_VOLUME, mount_path=BUNDLE, read_only=True),
        client.V1VolumeMount(name=KEYS_VOLUME, mount_path=KEYS_COMMAND, sub_path="keys", read_only=True),
    ]
    command = client.V1ExecAction(command=[f"{BUNDLE}/bin/sh", "-c", _START])
    notebook.startup_probe = client.V1Probe(_exec=command, period_seconds=1, timeout_seconds=30, failure_threshold=_FOR_EVER)
    add_port(pod, "ssh", PORT)


def make_service_ports(http: int, ssh: int | None) -> list[Any]:
    """Make the ports of a workspace's Service."""
    ports = {"http": http, **({"ssh": ssh} if ssh and ssh != http else {})}
    return [client.V1ServicePort(name=name, port=port, target_port=port) for name, port in ports.items()]


def make_network_policy(identity: Identity, labels: dict[str, str]) -> dict[str, Any]:
    """Make the policy by which all workspaces of one user reach each other; what else they reach is the chart's to say."""
    own = [{"podSelector": {"matchLabels": identity.safe_user_labels}}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": identity.network,
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


def _notebook(pod: Any) -> Any:
    return next(container for container in pod.spec.containers if container.name == CONTAINER)
