"""The workspace images that come with the hub. Pure: no I/O.

They are of no registry: a site builds, loads or pushes them.
"""

from __future__ import annotations

import re

from mlhub.texts import Text

OUR_WORKSPACE = "mltooling/mlhub-workspace"
VARIANTS = ("science", "r", "gpu", "desktop")


def is_ours(image: str) -> bool:
    """Return True if an image is a workspace that comes with the hub, from whichever registry."""
    return re.match(rf"([^/]+/)*{OUR_WORKSPACE}[-:@]", f"{image}:") is not None


def list_variants(image: str) -> tuple[str, ...]:
    """List the references of the larger workspaces that come with the default one; none where that
    is a site's own.
    """
    found = re.fullmatch(rf"((?:[^/]+/)*{OUR_WORKSPACE})((?::[^:@/]+)?)", image)
    return tuple(f"{found[1]}-{each}{found[2]}" for each in VARIANTS) if found else ()


def explain_missing_image(image: str) -> str:
    """Tell what to do about an image that cannot be pulled."""
    if not is_ours(image):
        return Text("Check its name and the registry's access.")
    return Text(
        "No public registry has it: `./scripts/build` makes it (the larger ones: `--all`),"
        " `./scripts/load FOLDER` takes it from a release, and `./scripts/release --push REGISTRY`"
        " puts it where nodes can pull it."
    )
