"""Make a release: images, chart, lists of what they are made of, notes, checksums."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.console import CACHE, ROOT, ToolError, main_with_sentences, read, run, stage
from tools.engine import ensure_engine
from tools.images import HUB, VARIANTS, WORKSPACE, Image, ensure_image, read_version
from tools.release.chart import package_chart, push_chart
from tools.release.contents import read_contents
from tools.release.sbom import make_sbom
from tools.release.sums import MANIFEST, read_release, write_sums
from tools.release.version import read_notes, set_version, to_semver

USAGE = (
    "Usage: ./scripts/release [FOLDER] [--all] [--push REGISTRY] | chart [FOLDER] | version X.Y.Z"
    " | lock"
)


def main(arguments: Sequence[str]) -> int:
    """Run one command."""
    words = list(arguments)
    if words[:1] == ["version"] and len(words) == 2:
        changed = set_version(words[1])
        print(f"{words[1]}: {', '.join(changed)}. Now run ./scripts/docs.")
        return 0
    if words[:1] == ["chart"] and len(words) < 3:
        print(package_chart(find_folder(words[1:], ROOT / "build"), read_moment()[0]))
        return 0
    registry = None
    if "--push" in words:
        index = words.index("--push")
        if len(words) == index + 1:
            raise ToolError(USAGE)
        registry = words[index + 1].rstrip("/")
        del words[index : index + 2]
    images = [HUB, WORKSPACE, *(VARIANTS.values() if "--all" in words else ())]
    words = [word for word in words if word != "--all"]
    if len(words) > 1 or any(word.startswith("-") for word in words):
        raise ToolError(USAGE)
    version = to_semver(read_version())
    folder = find_folder(words, ROOT / "build" / f"mlhub-{version}")
    if registry and is_changed():
        raise ToolError("The working tree has changes that no commit has: commit them, then push.")
    make_release(folder, version, images)
    if registry:
        push(folder, version, registry)
    return 0


def find_folder(words: Sequence[str], default: Path) -> Path:
    """Return the folder that was asked for, made where it is missing."""
    folder = Path(words[0]).resolve() if words else default
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def is_changed() -> bool:
    """Return True if files differ from the last commit's."""
    return bool(read("git", "status", "--porcelain"))


def read_moment() -> tuple[int, str]:
    """Return when the last commit was made: in seconds, and as a date."""
    told = (read("git", "log", "-1", "--format=%ct %cI") or "0 1970-01-01T00:00:00Z").split()
    return int(told[0]), told[1]


def make_release(folder: Path, version: str, images: Sequence[Image]) -> None:
    """Fill a folder with everything of a release; what was there of it is written anew."""
    ensure_engine()
    for image in images:
        if not ensure_image(image):
            print(f"{image.tag} is up to date")
    seconds, moment = read_moment()
    manifest = {
        "version": version,
        "revision": (read("git", "rev-parse", "HEAD") or "unknown")
        + ("-dirty" if is_changed() else ""),
        "images": [archive_image(folder, image, version, moment) for image in images],
    }
    with stage("Packaging the chart"):
        manifest["chart"] = package_chart(folder, seconds).name
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    notes = read_notes((ROOT / "CHANGELOG.md").read_text(), version)
    (folder / "NOTES.md").write_text(f"# MLHub {version}\n\n{notes}\n")
    write_sums(folder)
    print(
        f"{folder} is the release {version}. ./scripts/load {folder} takes it to another machine."
    )


def archive_image(folder: Path, image: Image, version: str, moment: str) -> dict[str, object]:
    """Write one image's archive, and the list of what it is made of; return its manifest entry."""
    repository = image.tag.partition(":")[0]
    name = repository.rpartition("/")[2]
    tags = [f"{repository}:{version}", image.tag]
    machine = read("docker", "image", "inspect", "--format", "{{.Os}}-{{.Architecture}}", image.tag)
    archive = folder / f"{name}-{version}-{machine}.tar.gz"
    with stage(f"Writing {archive.name}"):
        run("docker", "tag", image.tag, tags[0], quiet=True)
        save(tags, archive)
    with stage(f"Reading what is in {image.tag}"):
        contents = read_contents(image.tag)
    sbom = folder / f"{name}-{version}.cdx.json"
    sbom.write_text(json.dumps(make_sbom(repository, version, moment, contents), indent=1) + "\n")
    return {
        "repository": repository,
        "tags": tags,
        "archive": archive.name,
        "sbom": sbom.name,
        "content": contents.digest,
    }


def save(tags: Sequence[str], archive: Path) -> None:
    """Have the engine write an image, compressed."""
    log = CACHE / "save.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        archive.open("wb") as target,
        log.open("wb") as complaints,
        subprocess.Popen(
            ["docker", "save", *tags], stdout=subprocess.PIPE, stderr=complaints
        ) as saving,
    ):
        zipping = subprocess.run(["gzip", "-1", "-n"], stdin=saving.stdout, stdout=target)
    if saving.returncode or zipping.returncode:
        archive.unlink()
        raise ToolError(f"{archive.name} cannot be written: {log.read_text().strip()}")


def push(folder: Path, version: str, registry: str) -> None:
    """Put a release's images and chart into a registry; say how to install from there."""
    manifest = read_release(folder)
    for image in manifest["images"]:
        there = f"{registry}/{image['repository']}:{version}"
        with stage(f"Pushing {there}"):
            run("docker", "tag", image["tags"][0], there, quiet=True)
            try:
                run("docker", "push", "--quiet", there, quiet=True)
            finally:
                read("docker", "image", "rm", "--no-prune", there)
    plain = registry.startswith(("127.", "localhost"))
    with stage(f"Pushing {manifest['chart']}"):
        chart = push_chart(folder / manifest["chart"], registry, plain=plain)
    hub, workspace = (f"{registry}/{each['repository']}" for each in manifest["images"][:2])
    print(
        f"docker run … -e MLHUB_WORKSPACE_IMAGE={workspace}:{version} {hub}:{version}\n"
        f"helm upgrade --install mlhub {chart} --version {version}"
        f" --set hub.image.name={hub} --set proxy.chp.image.name={hub}"
        f" --set singleuser.image.name={workspace} --set singleuser.image.tag={version}"
        f"{' --plain-http' if plain else ''}"
    )


if __name__ == "__main__":
    sys.exit(main_with_sentences(main, sys.argv[1:]))
