"""What is checked before anything is created: image, platform, single-user server, disk.

Invariants: each refusal is a sentence with a cure. All but ``read_free_disk`` is pure.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlhub.errors import CapacityError, ImageError
from mlhub.quantities import GIBIBYTE
from mlhub.texts import Text

LABEL_HUB_VERSION = "mlhub.jupyterhub_version"
# Before 1.0 the single-user server asked the hub for API endpoints that are gone since JupyterHub
# 2.
OLDEST_MAJOR = 1
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_RUNS_TOO = {"amd64": {"386"}, "arm64": {"arm"}}
_TAG = re.compile(
    r"(?:^|/)(?:jupyterhub/(?:k8s-)?singleuser(?:-sample)?:|[^/]+:hub-)(\d+\.\d+(?:\.\d+)?)"
)


def check_image(
    image: Mapping[str, Any],
    engine: Mapping[str, Any],
    reference: str,
    platform: str | None,
    command: list[str],
) -> None:
    """Refuse an image that cannot run here; ``engine`` is its version, ``platform`` what the site
    asks for by name.
    """
    ours, theirs = (_find_platform(each) for each in (engine, image))
    runs = {ours[1], *_RUNS_TOO.get(ours[1], ())}
    if not platform and all((*ours, *theirs)) and (theirs[0] != ours[0] or theirs[1] not in runs):
        raise ImageError(
            Text(
                "The image %(reference)s is made for %(theirs)s, the Docker host is"
                " %(ours)s. Choose another image, or one of its tags for this platform."
                " Where the host emulates it, an administrator says so:"
                " c.DockerSpawner.extra_create_kwargs = {'platform': '%(theirs)s'}.",
                reference=repr(reference),
                theirs="/".join(theirs),
                ours="/".join(ours),
            )
        )
    config = image.get("Config") or {}
    if not (command or config.get("Cmd") or config.get("Entrypoint")):
        raise ImageError(
            Text(
                "The image %(reference)s says nothing about what to start. Name its"
                " command in image_settings or in the image catalogue.",
                reference=repr(reference),
            )
        )


def find_hub_version(image: Mapping[str, Any], reference: str) -> str:
    """Find the JupyterHub version of an image's single-user server, where the image tells; else the
    empty string.
    """
    config = image.get("Config") or {}
    environment = dict(entry.partition("=")[::2] for entry in config.get("Env") or [])
    told = (
        (config.get("Labels") or {}).get(LABEL_HUB_VERSION)
        or environment.get("JUPYTERHUB_VERSION")
        or ""
    )
    if not told and (match := _TAG.search(reference)):
        told = match[1]
    return told if re.match(r"\d+\.", told) else ""


def judge_hub_version(version: str, ours: str, reference: str) -> str:
    """Return a warning where the single-user server is of another major version than the hub, else
    the empty string.

    Raises ``ImageError`` for one that is known not to work.
    """
    if not version or version.partition(".")[0] == ours.partition(".")[0]:
        return ""
    if int(version.partition(".")[0]) < OLDEST_MAJOR:
        raise ImageError(
            Text(
                "The image %(reference)s brings jupyterhub-singleuser %(version)s, too"
                " old for this hub (%(ours)s). Choose a newer image.",
                reference=repr(reference),
                version=version,
                ours=ours,
            )
        )
    return (
        f"The image brings jupyterhub-singleuser {version}, the hub is {ours}: should it not work,"
        " choose an image of the same major version."
    )


def check_disk(free: int | None, minimum: int) -> None:
    """Refuse where less is free than the reserve; ``None`` is not known."""
    if free is not None and free < minimum:
        raise CapacityError(
            Text(
                "The Docker host has %(free)s GiB of disk left, and %(minimum)s GiB"
                " are kept free (min_free_disk). Nothing new is created before an"
                " administrator has freed some (`docker system df` shows what takes it).",
                free=f"{free / GIBIBYTE:.1f}",
                minimum=f"{minimum / GIBIBYTE:.1f}",
            )
        )


def read_free_disk(info: Mapping[str, Any], is_local: bool, is_container: bool) -> int | None:
    """Read how many bytes are free where the engine keeps its data; blocks, so call it in a thread.

    The root of the hub's own container lies there; a hub outside of containers looks at the
    engine's directory.
    """
    directory = Path("/") if is_container else Path(str(info.get("DockerRootDir") or "/nowhere"))
    if not is_local and not is_container:
        return None
    try:
        status = os.statvfs(directory)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


def _find_platform(found: Mapping[str, Any]) -> tuple[str, str]:
    architecture = str(found.get("Architecture") or found.get("Arch") or "").lower()
    return str(found.get("Os") or "").lower(), _ARCHITECTURES.get(architecture, architecture)
