"""Compile the local cluster's programs from published Go modules, once per version of them.

Each module's go.sum says what its sources are; every program appears in the cache whole or not at
all.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.console import CACHE, ROOT, main_with_sentences, read, run, stage
from tools.environments import ensure_environment

SOURCES = ROOT / "scripts" / "local-cluster"
WORK = CACHE / "cluster-build"
# Name, module, package; first what every cluster needs.
PROGRAMS = (
    ("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl"),
    ("helm", "helm", "helm.sh/helm/v3/cmd/helm"),
    ("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ("kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    ("kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"),
    ("kubelet", "kubernetes", "k8s.io/kubernetes/cmd/kubelet"),
    ("kube-proxy", "kubernetes", "k8s.io/kubernetes/cmd/kube-proxy"),
    ("etcd", "kubernetes", "go.etcd.io/etcd/server/v3"),
    ("netpol", "kubernetes", "./netpol"),
    ("local-netpol", "kubernetes", "./local-netpol"),
    ("pause", "kubernetes", "./pause"),
    ("coredns", "coredns", "github.com/coredns/coredns"),
    ("local-path-provisioner", "storage", "github.com/rancher/local-path-provisioner"),
)
EVERYTHING = tuple(name for name, _, _ in PROGRAMS)
CLIENTS = ("kubectl", "helm")
MANIFEST = "local-path-storage.yaml"
FLAGS = ("-trimpath", "-mod=readonly", "-buildvcs=false")


def main(arguments: Sequence[str]) -> int:
    """Compile everything; the tests start this early, beside other work."""
    print(ensure_programs())
    return 0


def ensure_programs(names: Sequence[str] = EVERYTHING) -> Path:
    """Return the folder with the named programs, compiling those that are missing."""
    built = {
        name: CACHE / "programs" / f"{name}-{hash_program(name, module, package)}"
        for name, module, package in PROGRAMS
    }
    folder = CACHE / f"cluster-{hash_texts(*(path.name for path in built.values()))}" / "bin"
    wanted = [program for program in PROGRAMS if program[0] in names]
    if all((folder / name).exists() for name, _, _ in wanted):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with locked("cluster-build"):
        for name, module, package in wanted:
            if not built[name].exists():
                with stage(f"Compiling {name}"):
                    compile_program(ensure_go(), built[name], module, package)
            link_files(built[name], folder)
        if WORK.exists() and all(path.exists() for path in built.values()):
            remove_work()
    return folder


def link_files(source: Path, folder: Path) -> None:
    """Put a program, and what belongs to it, where the cluster looks; the program itself comes
    last.
    """
    for file in sorted(source.iterdir(), key=lambda file: source.name.startswith(f"{file.name}-")):
        if not (folder / file.name).exists():
            os.link(file, folder / file.name)


def compile_program(go: Path, target: Path, module: str, package: str) -> None:
    """Compile one program into a folder of its own; what it needs besides itself is there, too."""
    version = find_version("k8s.io/kubernetes")
    major, minor = version.removeprefix("v").split(".")[:2]
    stamp = "k8s.io/component-base/version"
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    stamps = [*(f"{stamp}.{key}={value}" for key, value in values.items()), *list_stamps(module)]
    linker = " ".join(["-s -w", *(f"-X {each}" for each in stamps)])
    environment = make_go_environment()
    name, unfinished = target.name.rpartition("-")[0], target.with_name(f".{target.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    # Two at a time, so memory suffices.
    parallel = () if "-p=" in os.environ.get("GOFLAGS", "") else ("-p", "2")
    run(
        go, "build", *parallel, "-modcacherw", *FLAGS, "-ldflags", linker, "-o", unfinished / name,
        package,
        cwd=SOURCES / module, env=environment, log=CACHE / "build-cluster.log",
    )  # fmt: skip
    if name == "local-path-provisioner":
        source = WORK / "provisioner.txt"
        run(
            go,
            "list",
            "-m",
            "-f",
            "{{.Dir}}",
            package,
            cwd=SOURCES / module,
            env=environment,
            log=source,
        )
        shutil.copyfile(
            Path(source.read_text().strip()) / "deploy" / MANIFEST, unfinished / MANIFEST
        )
    unfinished.rename(target)


def list_stamps(module: str) -> list[str]:
    """List what a program of a module has to be told when it is linked, as its own makefile does.

    Without it Helm takes every chart for one of a cluster of Kubernetes 1.20.
    """
    if module != "helm":
        return []
    # The libraries of Kubernetes 1.34 are called v0.34.
    minor = find_version("k8s.io/client-go", module).split(".")[1]
    helm = "helm.sh/helm/v3"
    places = [f"{helm}/pkg/chartutil.k8sVersion", f"{helm}/pkg/lint/rules.k8sVersion"]
    return [
        f"{helm}/internal/version.version={find_version(helm, module)}",
        *(f"{place}Major=1" for place in places),
        *(f"{place}Minor={minor}" for place in places),
    ]


def make_go_environment() -> dict[str, str]:
    """Return the caller's environment with Go's caches in a place that we may remove."""
    places = {
        "GOCACHE": WORK / "cache",
        "GOMODCACHE": WORK / "modules",
        "GOTMPDIR": WORK / "temporary",
    }
    places["GOTMPDIR"].mkdir(parents=True, exist_ok=True)
    return {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOWORK": "off",
        **{name: str(place) for name, place in places.items()},
    }


def remove_work() -> None:
    """Have Go's caches removed, 8 GB by then. It takes minutes, and nobody waits for it."""
    WORK.rename(WORK.with_name(f"{WORK.name}-over-{os.getpid()}"))
    over = WORK.parent.glob(f"{WORK.name}-over-*")  # an earlier one may have been interrupted
    subprocess.Popen(["nice", "-n", "19", "rm", "-rf", *over], start_new_session=True)


def ensure_go() -> Path:
    """Return a Go that is recent enough: the machine's, else that of a locked wheel."""
    wanted = max(
        parse_version(find_version("go", module.parent.name)) for module in SOURCES.glob("*/go.mod")
    )
    for candidate in filter(None, (shutil.which("go"), "/usr/local/go/bin/go")):
        found = read(candidate, "env", "GOVERSION", env={**os.environ, "GOTOOLCHAIN": "local"})
        if found and parse_version(found) >= wanted:
            return Path(candidate)
    python = ensure_environment(SOURCES / "go.txt", what="Go")
    return python.parent / "go"


def find_version(name: str, module: str = "kubernetes") -> str:
    """Return the version that a go.mod names for a module, or for `go` itself."""
    match = re.search(
        rf"^(?:require )?\s*{re.escape(name)} (v?[\d.]+)\b",
        (SOURCES / module / "go.mod").read_text(),
        re.MULTILINE,
    )
    if not match:
        raise LookupError(f"scripts/local-cluster/{module}/go.mod names no version of {name}.")
    return match[1]


def parse_version(text: str) -> tuple[int, ...]:
    """Return 1.26.6 or go1.26.6 as numbers."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def hash_program(name: str, module: str, package: str) -> str:
    """Return a hash over what a program is made of: the versions of its module, and sources where
    they are ours.
    """
    files = [SOURCES / module / "go.mod", SOURCES / module / "go.sum"]
    files += sorted((SOURCES / module / package).rglob("*.go")) if package.startswith("./") else []
    texts = (file.read_text() for file in files)
    return hash_texts(name, package, *FLAGS, *list_stamps(module), *texts)


def hash_texts(*texts: str) -> str:
    """Return a short hash over texts in their order."""
    return hashlib.sha256(repr(texts).encode()).hexdigest()[:12]


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Let one process of this machine at a time do something."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main_with_sentences(main, sys.argv[1:]))
