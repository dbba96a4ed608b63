"""Find or make the base image; build the images of the product; say how large they are.

An image is rebuilt only when one of its inputs changed: their hash is a label of the image.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tools.console import CACHE, ROOT, ToolError, read, run, stage
from tools.engine import install_packages

BASE_IMAGE = "debian:trixie-slim"
INPUTS_LABEL = "mlhub.inputs"


@dataclass(frozen=True)
class Image:
    """One image: its tag, its Dockerfile, and the paths whose content decides about a rebuild."""

    tag: str
    dockerfile: str
    inputs: tuple[str, ...]
    context: str = "."


HUB = Image(
    "mltooling/ml-hub:latest",
    "Dockerfile",
    (
        "Dockerfile",
        ".dockerignore",
        "mlhub",
        "mlhubspawner",
        "resources",
        "docker/requirements/hub.txt",
        "docker/requirements/ldap.txt",
        "docker/proxy",
        "docker/ssh-bundle",
        "docker/bastion",
    ),
)
WORKSPACE = Image(
    "mltooling/mlhub-workspace:latest",
    "docker/workspace/Dockerfile",
    ("docker/workspace", "docker/requirements/workspace.txt"),
)
# Larger workspaces, each on the small one.
VARIANTS = {
    name: Image(
        f"mltooling/mlhub-workspace-{name}:latest",
        f"docker/workspace-{name}/Dockerfile",
        (f"docker/workspace-{name}", *locks, *WORKSPACE.inputs),
    )
    for name, locks in {
        "science": ("docker/requirements/science.txt",),
        "r": (),
        "gpu": ("docker/requirements/gpu.txt",),
        "desktop": ("docker/requirements/desktop.txt",),
    }.items()
}
TEST_WORKSPACE = Image(
    "mlhub-test-workspace:latest", "docker/test-workspace/Dockerfile", ("docker/test-workspace",)
)
TEST_POSTGRES = Image(
    "mlhub-test-postgres:latest", "docker/test-postgres/Dockerfile", ("docker/test-postgres",)
)
# Its packages are those of the workspace image, so it changes with that one.
TEST_STACKS = Image(
    "mlhub-test-stacks:latest",
    "docker/test-workspace/Dockerfile.stacks",
    ("docker/test-workspace", "docker/workspace", "docker/requirements/workspace.txt"),
)


def ensure_base_image() -> str:
    """Return the base image's name after making sure that the engine has it."""
    if read("docker", "image", "inspect", "--format", "{{.Id}}", BASE_IMAGE):
        return BASE_IMAGE
    if read("docker", "pull", "--quiet", BASE_IMAGE, timeout=300):
        return BASE_IMAGE
    install_packages(
        "debootstrap",
        why=f"{BASE_IMAGE} is neither here nor to be pulled, so it is made from Debian packages",
    )
    with (
        stage(f"Making {BASE_IMAGE} from Debian packages"),
        tempfile.TemporaryDirectory(prefix="mlhub-base-") as folder,
    ):
        root = Path(folder) / "root"
        run("debootstrap", "--variant=minbase", "trixie", root, _find_mirror(), quiet=True)
        for superfluous in (
            "usr/share/doc",
            "usr/share/man",
            "usr/share/locale",
            "usr/share/info",
            "var/cache/apt",
            "var/lib/apt/lists",
            "var/log",
        ):
            shutil.rmtree(root / superfluous, ignore_errors=True)
        for needed in ("var/cache/apt/archives/partial", "var/lib/apt/lists/partial", "var/log"):
            (root / needed).mkdir(parents=True, exist_ok=True)
        (root / "etc/dpkg/dpkg.cfg.d/docker").write_text(
            "force-unsafe-io\npath-exclude /usr/share/doc/*\npath-exclude"
            " /usr/share/man/*\npath-exclude /usr/share/locale/*\n"
        )
        archive = Path(folder) / "base.tar"
        run("tar", "-C", root, "-cf", archive, ".", quiet=True)
        run("docker", "import", "--change", 'CMD ["bash"]', archive, BASE_IMAGE, quiet=True)
    return BASE_IMAGE


def ensure_build_image() -> str:
    """Return an image for the build stages: the base image, with this machine's CA bundle where it
    names one.
    """
    bundle = next(
        (
            os.environ[name]
            for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
            if os.environ.get(name)
        ),
        None,
    )
    if not bundle or not Path(bundle).is_file():
        return BASE_IMAGE
    target = "/etc/ssl/certs/ca-certificates.crt"
    base_id = read("docker", "image", "inspect", "--format", "{{.Id}}", BASE_IMAGE) or ""
    tag = (
        "mlhub-build-base:"
        + hashlib.sha256(base_id.encode() + Path(bundle).read_bytes()).hexdigest()[:12]
    )
    if read("docker", "image", "inspect", "--format", "{{.Id}}", tag):
        return tag
    with (
        stage("Preparing the build stages for this machine's certificates"),
        tempfile.TemporaryDirectory(prefix="mlhub-ca-") as folder,
    ):
        shutil.copy(bundle, Path(folder) / "bundle.crt")
        variables = " ".join(
            f"{name}={target}"
            for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        )
        (Path(folder) / "Dockerfile").write_text(
            f"FROM {BASE_IMAGE}\nRUN apt-get update && apt-get install -y --no-install-recommends"
            f" ca-certificates && rm -rf /var/lib/apt/lists/*\nCOPY bundle.crt {target}\nENV"
            f" {variables}\n"
        )
        run("docker", "build", "--network=host", "--tag", tag, folder, quiet=True)
    return tag


def ensure_image(image: Image, *, force: bool = False) -> bool:
    """Build the image if it is missing or its inputs changed. Return whether it was built.

    The product's get the version as a tag as well, which is what the chart asks for.
    """
    was_built = _ensure_built(image, force=force)
    if image in (HUB, WORKSPACE, *VARIANTS.values()):
        run("docker", "tag", image.tag, make_versioned_tag(image), quiet=True)
    return was_built


def _ensure_built(image: Image, *, force: bool) -> bool:
    base, build = ensure_base_image(), ensure_build_image()
    inputs = hash_inputs(image, base)
    if (
        not force
        and read(
            "docker",
            "image",
            "inspect",
            "--format",
            f'{{{{index .Config.Labels "{INPUTS_LABEL}"}}}}',
            image.tag,
        )
        == inputs
    ):
        return False
    with stage(f"Building {image.tag}"):
        name = image.tag.split("/")[-1].split(":")[0]
        run(*make_build_command(image, base, build, inputs), log=CACHE / f"build-{name}.log")
    return True


def make_build_command(image: Image, base: str, build: str, inputs: str) -> list[str]:
    """Return the command that builds an image."""
    revision = read("git", "rev-parse", "--short=12", "HEAD") or "unknown"
    return [
        "docker", "build", "--network=host", "--file", image.dockerfile, "--tag", image.tag,
        "--build-arg", f"BASE_IMAGE={base}", "--build-arg", f"BUILD_IMAGE={build}",
        "--build-arg", f"VERSION={read_version()}", "--build-arg", f"REVISION={revision}",
        "--build-arg", f"BUILD_DATE={read_commit_date()}",
        "--label", f"{INPUTS_LABEL}={inputs}", image.context,
    ]  # fmt: skip


def hash_inputs(image: Image, base: str) -> str:
    """Return a hash over the content of everything that goes into the image."""
    digest = hashlib.sha256(base.encode() + image.dockerfile.encode())
    for entry in image.inputs:
        path = ROOT / entry
        files = (
            [path]
            if path.is_file()
            else sorted(
                file
                for file in path.rglob("*")
                if file.is_file() and "__pycache__" not in file.parts
            )
        )
        for file in files:
            digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def read_commit_date() -> str:
    """Return when the last commit was made: two builds of it are the same."""
    return read("git", "log", "-1", "--format=%cI") or time.strftime("%FT%TZ", time.gmtime())


def read_version() -> str:
    """Return the product's version."""
    for line in (ROOT / "mlhub" / "__init__.py").read_text().splitlines():
        if line.startswith("__version__"):
            return line.split('"')[1]
    raise ToolError("mlhub/__init__.py names no __version__.")


def make_versioned_tag(image: Image) -> str:
    """Return the reference of an image with the chart's version, which the chart asks for."""
    chart = (ROOT / "helmchart" / "mlhub" / "Chart.yaml").read_text()
    version = next(line for line in chart.splitlines() if line.startswith("appVersion:"))
    return f"{image.tag.partition(':')[0]}:{version.partition(':')[2].strip()}"


def make_chart_image() -> str:
    """Return the reference of the hub's image in the chart's own values."""
    return make_versioned_tag(HUB)


def print_layers(tag: str) -> None:
    """Print the image's size, and the size of each of its layers."""
    size = int(read("docker", "image", "inspect", "--format", "{{.Size}}", tag) or 0)
    print(f"{tag}: {size / 1e6:.0f} MB")
    history = subprocess.run(
        ["docker", "history", "--no-trunc", "--human=false", "--format", "{{json .}}", tag],
        capture_output=True,
        text=True,
        check=True,
    )
    for line in history.stdout.splitlines():
        layer = json.loads(line)
        if int(layer["Size"]):
            step = " ".join(
                layer["CreatedBy"].replace("/bin/sh -c", "").replace("#(nop)", "").split()
            )
            print(f"  {int(layer['Size']) / 1e6:7.1f} MB  {step[:110] or 'base image'}")


def _find_mirror() -> str:
    for file in [
        *Path("/etc/apt/sources.list.d").glob("*.sources"),
        *Path("/etc/apt/sources.list.d").glob("*.list"),
        Path("/etc/apt/sources.list"),
    ]:
        if not file.exists():
            continue
        for line in file.read_text().splitlines():
            words = line.split()
            urls = [
                word
                for word in words
                if word.startswith(("http://", "https://")) and word.rstrip("/").endswith("/debian")
            ]
            if words and words[0] in ("URIs:", "deb") and urls:
                return urls[0]
    raise ToolError(
        "No Debian mirror is named in /etc/apt. Load the image debian:trixie-slim into the engine"
        " by hand."
    )
