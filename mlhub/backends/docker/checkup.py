"""Look at the engine, and at how the hub's own container is run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jupyterhub

from mlhub.backends.docker import preflight
from mlhub.backends.docker.engine import Engine, seconds
from mlhub.backends.docker.hosts import is_local
from mlhub.backends.docker.hub_container import find_own_container
from mlhub.backends.finding import Finding, fail, judge_clock, ok, warn
from mlhub.errors import MLHubError
from mlhub.options.amount import describe_size
from mlhub.options.our_images import explain_missing_image, is_ours
from mlhub.quantities import GIBIBYTE
from mlhub.settings import Settings

OLDEST_API = (1, 41)  # Docker 20.10
FREE_BYTES = 5 * GIBIBYTE
_UNNAMED = re.compile(r"[0-9a-f]{64}\Z")


async def examine(settings: Settings) -> list[Finding]:
    """Look at the engine, its disk, the default image, the host's rules and our own container."""
    engine = Engine({"timeout": 20})
    try:
        with engine.friendly_errors():
            version = await engine.read_version()
            info = await engine.call("info")
            own = await find_own_container(engine)
            image = await engine.find("inspect_image", settings.mlhub_workspace_image)
    except MLHubError as error:
        return [fail("engine", str(error), "")]
    finally:
        engine.close()
    free = preflight.read_free_disk(info, is_local(info, engine.address), own is not None)
    return [
        judge_version(version),
        judge_clock(seconds(info.get("SystemTime")), "the engine"),
        *judge_disk(free),
        judge_image(image, version, settings.mlhub_workspace_image),
        judge_rules(settings),
        *judge_container(own, str(settings.data_volume_container)),
    ]


def judge_version(version: Mapping[str, Any]) -> Finding:
    """Judge the engine's version by the API that it speaks."""
    name = f"Docker {version.get('Version', '?')}, API {version.get('ApiVersion', '?')}"
    numbers = tuple(int(part) for part in re.findall(r"\d+", str(version.get("ApiVersion")))[:2])
    if numbers < OLDEST_API:
        return fail("engine", f"{name} is too old.", "Upgrade it to 20.10 or newer.")
    return ok("engine", f"{name} answers.")


def judge_disk(free: int | None) -> list[Finding]:
    """Judge the room for images and people's files."""
    if free is None:
        return []
    if free < FREE_BYTES:
        return [
            warn(
                "disk",
                f"{describe_size(free)} are free where the engine keeps its data.",
                "Make room; `docker system df` shows what takes it.",
            )
        ]
    return [ok("disk", f"{describe_size(free)} are free where the engine keeps its data.")]


def judge_image(
    image: Mapping[str, Any] | None, version: Mapping[str, Any], reference: str
) -> Finding:
    """Judge the image that workspaces start with by default."""
    if image is None:
        return warn(
            "workspace image",
            f"{reference!r} is not on this host: the first start has to pull it.",
            explain_missing_image(reference)
            if is_ours(reference)
            else f"docker pull {reference}, or name another one in MLHUB_WORKSPACE_IMAGE.",
        )
    try:
        preflight.check_image(image, version, reference, None, [])
        said = preflight.find_hub_version(image, reference)
        warning = preflight.judge_hub_version(said, jupyterhub.__version__, reference)
    except MLHubError as error:
        return fail("workspace image", str(error), "")
    if warning:
        return warn("workspace image", warning, "")
    return ok("workspace image", f"{reference!r} is here, {describe_size(image.get('Size', 0))}.")


def judge_rules(settings: Settings) -> Finding:
    """Tell whether workspaces are held off the host."""
    if settings.mlhub_host_guard:
        return ok("host's rules", "They are kept in place (mlhub guard install tries them).")
    return warn(
        "host's rules",
        "MLHUB_HOST_GUARD=false: workspaces reach the host and private networks.",
        "Set MLHUB_HOST_GUARD=true, unless the host's own firewall decides.",
    )


def judge_container(own: Mapping[str, Any] | None, data: str) -> list[Finding]:
    """Judge how the hub's own container is run: where its data lies, and whether it comes back."""
    if own is None:
        return []
    findings = []
    mount = next((each for each in own.get("Mounts") or [] if each["Destination"] == data), None)
    if mount is None or (mount.get("Type") == "volume" and _UNNAMED.match(mount.get("Name", ""))):
        findings.append(
            warn(
                "data volume",
                f"{data} lies in a volume without a name, which goes with the container.",
                f"Start the hub with --volume mlhub_data:{data}.",
            )
        )
    else:
        findings.append(
            ok("data volume", f"{data} is kept in {mount.get('Name') or mount['Source']}.")
        )
    policy = ((own.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no"
    if policy == "no":
        findings.append(
            warn(
                "restart",
                "The hub's container does not come back after the host restarts.",
                "Start it with --restart unless-stopped.",
            )
        )
    else:
        findings.append(ok("restart", f"The engine restarts the hub ({policy})."))
    return findings
