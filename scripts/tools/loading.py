"""Take a release's images from a folder into the engine, and into a cluster that is up."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tools.cluster import find_kind, load_images, own_kubeconfig
from tools.console import ToolError, main_with_sentences, run, stage
from tools.engine import ensure_engine
from tools.release.sums import read_release


def main(arguments: Sequence[str]) -> int:
    """Check the folder, load, and say how to go on."""
    if len(arguments) != 1:
        raise ToolError("Usage: ./scripts/load FOLDER")
    folder = Path(arguments[0]).resolve()
    with stage("Checking the release"):
        manifest = read_release(folder)
    ensure_engine()
    for image in manifest["images"]:
        with stage(f"Loading {image['tags'][0]}"):
            run("docker", "load", "--quiet", "--input", folder / image["archive"], quiet=True)
    kind = find_kind()
    if kind != "given" and own_kubeconfig(kind).exists():
        load_images([tag for image in manifest["images"] for tag in image["tags"]])
    print(
        "docker run -p 8080:8080 -v /var/run/docker.sock:/var/run/docker.sock"
        f" -v jupyterhub_data:/data {manifest['images'][0]['tags'][-1]}\n"
        f"helm upgrade --install mlhub {folder / manifest['chart']} --namespace mlhub"
        " --create-namespace"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main_with_sentences(main, sys.argv[1:]))
