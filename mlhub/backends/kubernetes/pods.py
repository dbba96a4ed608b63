"""What the cluster says about pods: remembered by a watch that is replaced when it stops, and read into sentences.

Promise: nothing here calls a pod dead because the API does not answer.
"""

from __future__ import annotations

import time
from typing import Any

from kubespawner.spawner import PodReflector

from mlhub.errors import CapacityError, ConfigurationError, ImageError, MLHubError, WorkspaceDiedError

# Upstream lists anew after 30 s, or when a watch of 10 s saw nothing; its calls end after 60 s.
FROZEN_SECONDS = 120.0
CONTAINER = "notebook"
_UNPULLABLE = {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}


class WatchedPods(PodReflector):
    """Remember pods, and know whether that memory is still kept up to date.

    KubeSpawner's watch can stop without a word (kubespawner#209, #577): the hub would go on with a picture of the past.
    """

    heard_at = 0.0

    async def _list_and_update(self, resource_version: str | None = None) -> Any:
        version = await super()._list_and_update(resource_version)
        self.heard_at = time.monotonic()
        return version

    @property
    def is_frozen(self) -> bool:
        """Tell whether the watch has ended, or has heard nothing for too long."""
        if self.watch_task is not None and self.watch_task.done():
            return True
        return self.heard_at > 0 and time.monotonic() - self.heard_at > FROZEN_SECONDS


def is_alive(pod: dict[str, Any] | None) -> bool:
    """Tell whether a pod runs, or is about to."""
    if pod is None or "deletionTimestamp" in pod["metadata"]:
        return False
    # A pod whose other containers go on is called running without its workspace.
    statuses = pod["status"].get("containerStatuses") or []
    ended = any(each["name"] == CONTAINER and "terminated" in (each.get("state") or {}) for each in statuses)
    return not ended and pod["status"].get("phase") in (None, "Pending", "Running", "Unknown")


def read_ip(pod: dict[str, Any] | None) -> str | None:
    """Return a pod's address, or None where it has none (any more)."""
    return (pod["status"].get("podIP") or None) if pod is not None and is_alive(pod) else None


def has_arrived(pod: dict[str, Any]) -> bool:
    """Tell whether the command that a pod's workspace starts with, its startup probe, has succeeded."""
    return any(each["name"] == CONTAINER and each.get("started") for each in pod["status"].get("containerStatuses") or [])


def read_container(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a pod's specification that is the workspace itself."""
    return next((each for each in pod["spec"]["containers"] if each["name"] == CONTAINER), pod["spec"]["containers"][0])


def read_environment(pod: dict[str, Any]) -> dict[str, str]:
    """Read the environment that a pod's workspace was made with."""
    return {entry["name"]: entry.get("value") or "" for entry in read_container(pod).get("env") or []}


def read_port(pod: dict[str, Any], name: str) -> int | None:
    """Return the workspace's port of that name."""
    ports = read_container(pod).get("ports") or []
    return next((port["containerPort"] for port in ports if port.get("name") == name), None)


def find_failure(pod: dict[str, Any] | None) -> MLHubError | None:
    """Tell why a pod can not become a workspace, or None as long as it may."""
    if pod is None:
        return WorkspaceDiedError("The workspace's pod was removed while it started. Start it again.")
    status = pod["status"]
    if status.get("phase") in ("Failed", "Succeeded"):
        reason = status.get("message") or status.get("reason") or "its container ended"
        return WorkspaceDiedError(f"The workspace ended before it answered ({reason.strip().rstrip('.')}).")
    image = read_container(pod)["image"]
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        if failure := _find_container_failure(container, image):
            return failure
    return None


def _find_container_failure(container: dict[str, Any], image: str) -> MLHubError | None:
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), (waiting.get("message") or "").strip().rstrip(".")
    if reason in _UNPULLABLE:
        return ImageError(
            f"The image {container.get('image') or image!r} can not be pulled: {message or reason}. Check its name and the registry's access."
        )
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        if "runAsNonRoot" in message or "non-root" in message or "non-numeric" in message:
            return ImageError(
                f"The image {image!r} does not say by number as which user other than root it runs, and this cluster's workspaces may not be root ({message}). "
                "Name a user in the image catalogue or in image_settings (uid: 1000), or choose another image."
            )
        if "executable file not found" in message or "no such file" in message:
            return ImageError(f"The image {image!r} does not start: {message}. Set its command in image_settings, or choose another image.")
        return ConfigurationError(
            f"The workspace's container can not be made: {message or reason}. Correct what the site configures for it."
        )
    if container["name"] == CONTAINER and reason == "CrashLoopBackOff":
        return _make_death_error(container)
    ended = (container.get("state") or {}).get("terminated")
    if ended and (container["name"] == CONTAINER or ended.get("exitCode")):
        return _make_death_error(container)
    return None


def _make_death_error(container: dict[str, Any]) -> MLHubError:
    states = [container.get("state") or {}, container.get("lastState") or {}]
    ended: dict[str, Any] = next((state["terminated"] for state in states if state.get("terminated")), {})
    if ended.get("reason") == "OOMKilled":
        return CapacityError("The workspace used more memory than it may have, and was ended. Start it with a larger mem_limit.")
    where = "" if container["name"] == CONTAINER else f" in its container {container['name']!r}"
    return WorkspaceDiedError(f"The workspace ended before it answered{where} (code {ended.get('exitCode', 'unknown')}).")


def find_hindrance(pod: dict[str, Any] | None) -> str:
    """Tell what a pod is waiting for that may still come: a node with room, a volume; else the empty string."""
    conditions = (pod or {}).get("status", {}).get("conditions") or []
    return next((str(each.get("message") or "") for each in conditions if each["type"] == "PodScheduled" and each["status"] == "False"), "")
