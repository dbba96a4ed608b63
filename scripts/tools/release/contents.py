"""What is in an image: one hash over all of it, and the packages that it was made of.

Times are no content: two builds of one commit have one hash, whatever the hour. Nor is what the
engine puts into each container, nor caches that programs write again.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.parser import HeaderParser

from tools.console import ToolError, read

LEFT_OUT = re.compile(
    r"(dev|proc|sys|var/cache)/|\.dockerenv$|etc/(hostname|hosts|resolv\.conf|mtab)$"
)
# Of an image's configuration, what says how it is run.
CONFIGURATION = (
    *("Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "User", "Volumes"),
    "WorkingDir",
)
WRITTEN = {"org.opencontainers.image.created"}
PYTHON = re.compile(r"site-packages/[^/]+\.dist-info/METADATA$")
NODE = re.compile(r"node_modules/(@[^/]+/)?[^/]+/package\.json$")
DEBIAN = "var/lib/dpkg/status"


@dataclass(frozen=True, order=True)
class Package:
    """One package in an image, by its package URL."""

    kind: str  # deb, pypi, npm
    name: str
    version: str
    license: str = ""

    @property
    def url(self) -> str:
        """Return its package URL."""
        name = f"debian/{self.name}" if self.kind == "deb" else self.name.replace("@", "%40")
        return f"pkg:{self.kind}/{name}@{self.version.replace('+', '%2B').replace(':', '%3A')}"


@dataclass
class Contents:
    """What was found in an image."""

    digest: str = ""
    entries: list[str] = field(default_factory=list)
    packages: set[Package] = field(default_factory=set)


def read_contents(image: str) -> Contents:
    """Look through an image without running anything of it."""
    container = read("docker", "create", image)
    if container is None:
        raise ToolError(f"The container engine has no image {image!r}. ./scripts/build makes it.")
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                contents = read_archive(archive)
            process.stdout.read()
        if process.returncode:
            raise ToolError(f"The container engine does not hand out the files of {image!r}.")
    finally:
        read("docker", "rm", "--volumes", container)
    configuration = json.loads(read("docker", "image", "inspect", image) or "[{}]")[0]["Config"]
    lines = [describe_configuration(configuration), *sorted(contents.entries)]
    contents.digest = f"sha256:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"
    return contents


def describe_configuration(configuration: dict[str, object]) -> str:
    """Describe how an image is run, as a line that is the same for the same settings."""
    chosen = {name: configuration.get(name) or None for name in CONFIGURATION}
    labels = chosen["Labels"]
    if isinstance(labels, dict):
        chosen["Labels"] = {key: text for key, text in labels.items() if key not in WRITTEN}
    return json.dumps(chosen, sort_keys=True)


def read_archive(archive: tarfile.TarFile) -> Contents:
    """Note each file, with its rights, owner and content."""
    contents = Contents()
    for member in archive:
        name = member.name.removeprefix("./")
        if LEFT_OUT.match(name):
            continue
        file = archive.extractfile(member) if member.isfile() else None
        data = steady(name, file.read()) if file else b""
        contents.packages.update(list_packages(name, data))
        kind = member.type.decode(errors="replace")
        digest = hashlib.sha256(data).hexdigest()
        owner = f"{member.uid}:{member.gid}"
        contents.entries.append(f"{name} {kind} {member.mode:o} {owner} {member.linkname} {digest}")
    return contents


def steady(name: str, data: bytes) -> bytes:
    """Return a file's content without the day on which an account was made."""
    if name not in ("etc/shadow", "etc/shadow-"):
        return data
    return re.sub(rb"^([^:]*:[^:]*:)\d+(:.*)$", rb"\1\2", data, flags=re.MULTILINE)


def list_packages(name: str, data: bytes) -> Iterator[Package]:
    """List the packages that a file tells of."""
    text = data.decode(errors="replace") if name == DEBIAN or PYTHON.search(name) else ""
    if name == DEBIAN:
        for paragraph in re.split(r"\n\n+", text):
            told = HeaderParser().parsestr(paragraph.lstrip("\n"))
            if "installed" in (told["Status"] or "").split():
                yield Package("deb", told["Package"], told["Version"])
    elif text:
        told = HeaderParser().parsestr(text)
        license_ = told["License-Expression"] or ""
        yield Package("pypi", normalize(told["Name"]), told["Version"], license_)
    elif NODE.search(name):
        manifest = json.loads(data)
        if manifest.get("name") and manifest.get("version"):
            license_ = manifest.get("license")
            yield Package(
                *("npm", manifest["name"], manifest["version"]),
                license_ if isinstance(license_, str) else "",
            )


def normalize(name: str) -> str:
    """Return the name of a Python package as indexes have it."""
    return re.sub(r"[-_.]+", "-", name).lower()
