"""What the cluster says about a pod, read into facts and sentences. Pure: no I/O."""

from __future__ import annotations

import re
from typing import Any

from mlhub.errors import (
    CapacityError,
    ConfigurationError,
    ImageError,
    MLHubError,
    WorkspaceDiedError,
)
from mlhub.options.our_images import explain_missing_image
from mlhub.texts import Text
from mlhub.workspaces.port import Address

CONTAINER = "notebook"
_FINAL = ("Failed", "Succeeded")
# What containerd and the kubelet say of a container that was not there any more when they began.
_LOST = ("Unknown", "ContainerStatusUnknown")
_MISSING_CLAIM = re.compile(r'persistentvolumeclaim "([^"]+)" not found')
_UNPULLABLE = {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}


def is_alive(pod: dict[str, Any] | None) -> bool:
    """Return True if a pod runs, or is about to."""
    if pod is None or "deletionTimestamp" in pod["metadata"]:
        return False
    # A pod whose other containers go on is called running without its workspace.
    statuses = pod["status"].get("containerStatuses") or []
    ended = any(
        each["name"] == CONTAINER and "terminated" in (each.get("state") or {}) for each in statuses
    )
    return not ended and pod["status"].get("phase") in (None, "Pending", "Running", "Unknown")


def comes_back(pod: dict[str, Any]) -> bool:
    """Return True if a pod's workspace was lost with its node, or with what ran it there, and is
    about to be started again.

    What ended by itself, or was ended, has a reason or a code of its own.
    https://github.com/containerd/containerd/blob/main/docs/cri/architecture.md
    """
    if "deletionTimestamp" in pod["metadata"] or pod["status"].get("phase") in _FINAL:
        return False
    return pod["spec"].get("restartPolicy") != "Never" and any(
        each["name"] == CONTAINER
        and ((each.get("state") or {}).get("terminated") or {}).get("reason") in _LOST
        for each in pod["status"].get("containerStatuses") or []
    )


def is_usable(pod: dict[str, Any]) -> bool:
    """Return True if a pod is a workspace, or may still become one."""
    return is_alive(pod) and find_failure(pod) is None


def read_ip(pod: dict[str, Any] | None) -> str | None:
    """Return a pod's address, or None where it has none (any more)."""
    return (pod["status"].get("podIP") or None) if pod is not None and is_alive(pod) else None


def read_address(pod: dict[str, Any] | None) -> Address | None:
    """Return where a pod's workspace answers HTTP, as far as that is known."""
    host = read_ip(pod)
    port = read_port(pod, "notebook-port") if pod is not None and host else None
    return Address(host, port) if host and port else None


def is_running(pod: dict[str, Any]) -> bool:
    """Return True if the workspace's own container runs."""
    return any(
        each["name"] == CONTAINER and (each.get("state") or {}).get("running")
        for each in pod["status"].get("containerStatuses") or []
    )


def has_arrived(pod: dict[str, Any]) -> bool:
    """Return True if the command that a pod's workspace starts with, its startup probe, has
    succeeded.
    """
    return any(
        each["name"] == CONTAINER and each.get("started")
        for each in pod["status"].get("containerStatuses") or []
    )


def read_container(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a pod's specification that is the workspace itself."""
    return next(
        (each for each in pod["spec"]["containers"] if each["name"] == CONTAINER),
        pod["spec"]["containers"][0],
    )


def list_claims(pod: dict[str, Any]) -> list[str]:
    """List the names of the claims that a pod mounts."""
    volumes = pod["spec"].get("volumes") or []
    return [
        each["persistentVolumeClaim"]["claimName"]
        for each in volumes
        if each.get("persistentVolumeClaim")
    ]


def read_environment(pod: dict[str, Any]) -> dict[str, str]:
    """Read the environment that a pod's workspace was made with."""
    return {
        entry["name"]: entry.get("value") or "" for entry in read_container(pod).get("env") or []
    }


def read_port(pod: dict[str, Any], name: str) -> int | None:
    """Return the workspace's port of that name."""
    ports = read_container(pod).get("ports") or []
    return next((port["containerPort"] for port in ports if port.get("name") == name), None)


def find_failure(pod: dict[str, Any] | None) -> MLHubError | None:
    """Tell why a pod cannot become a workspace, or None as long as it may."""
    if pod is None:
        return WorkspaceDiedError(
            Text("The workspace's pod was removed while it started. Start it again.")
        )
    status = pod["status"]
    if status.get("phase") in _FINAL:
        reason = status.get("message") or status.get("reason") or "its container ended"
        return WorkspaceDiedError(
            Text(
                "The workspace ended before it answered (%(reason)s).",
                reason=reason.strip().rstrip("."),
            )
        )
    image = read_container(pod)["image"]
    for container in [
        *(status.get("initContainerStatuses") or []),
        *(status.get("containerStatuses") or []),
    ]:
        if failure := _find_container_failure(container, image):
            return failure
    return None


def _find_container_failure(container: dict[str, Any], image: str) -> MLHubError | None:
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), (waiting.get("message") or "").strip().rstrip(".")
    if reason in _UNPULLABLE:
        reference = str(container.get("image") or image)
        return ImageError(
            Text(
                "The image %(reference)s cannot be pulled: %(reason)s. %(cure)s",
                reference=repr(reference),
                reason=message or reason,
                cure=explain_missing_image(reference),
            )
        )
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return _make_config_error(image, reason, message)
    if container["name"] == CONTAINER and reason == "CrashLoopBackOff":
        return _make_death_error(container)
    ended = (container.get("state") or {}).get("terminated")
    if ended and (container["name"] == CONTAINER or ended.get("exitCode")):
        return _make_death_error(container)
    return None


def _make_config_error(image: str, reason: str, message: str) -> MLHubError:
    if "runAsNonRoot" in message or "non-root" in message or "non-numeric" in message:
        return ImageError(
            Text(
                "The image %(image)s does not say by number as which user other than"
                " root it runs, and this cluster's workspaces may not be root"
                " (%(message)s). Name a user in the image catalogue or in"
                " image_settings (uid: 1000), or choose another image.",
                image=repr(image),
                message=message,
            )
        )
    if "executable file not found" in message or "no such file" in message:
        return ImageError(
            Text(
                "The image %(image)s does not start: %(message)s. Set its command in"
                " image_settings, or choose another image.",
                image=repr(image),
                message=message,
            )
        )
    return ConfigurationError(
        f"The workspace's container cannot be made: {message or reason}. Correct what the site"
        " configures for it."
    )


def _make_death_error(container: dict[str, Any]) -> MLHubError:
    states = [container.get("state") or {}, container.get("lastState") or {}]
    ended: dict[str, Any] = next(
        (state["terminated"] for state in states if state.get("terminated")), {}
    )
    if ended.get("reason") == "OOMKilled":
        return CapacityError(
            Text(
                "The workspace used more memory than it may have, and was ended. Start"
                " it with a larger mem_limit."
            )
        )
    where = (
        ""
        if container["name"] == CONTAINER
        else Text(" in its container %(name)s", name=repr(container["name"]))
    )
    return WorkspaceDiedError(
        Text(
            "The workspace ended before it answered%(where)s (code %(code)s).",
            where=where,
            code=ended.get("exitCode", "unknown"),
        )
    )


def find_missing_claim(pod: dict[str, Any] | None) -> str:
    """Return the name of the claim that a pod mounts and that does not exist; else the empty
    string.
    """
    found = _MISSING_CLAIM.search(find_hindrance(pod))
    return found[1] if found else ""


def find_hindrance(pod: dict[str, Any] | None) -> str:
    """Tell what a pod is waiting for that may still come: a node with room, a volume; else the
    empty string.
    """
    conditions = (pod or {}).get("status", {}).get("conditions") or []
    return next(
        (
            str(each.get("message") or "")
            for each in conditions
            if each["type"] == "PodScheduled" and each["status"] == "False"
        ),
        "",
    )
