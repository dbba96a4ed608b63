"""A Kubernetes to develop and test against: the caller's, one of kind or k3d, or a real one made on
this machine.

Whatever it is, it is used through ``ensure_cluster``; what the caller's KUBECONFIG names is never
stopped or changed.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.console import CACHE, ToolError, main_with_sentences, read, run, stage
from tools.engine import find_engine, install_packages
from tools.images import WORKSPACE, make_chart_image
from tools.programs import CLIENTS, SOURCES, ensure_programs, locked

NAME = "mlhub-test"
LOCAL = SOURCES / "cluster"
LOCAL_KUBECONFIG = Path("/var/lib/local-cluster/kubeconfig")
# Of commands, where another package than Debian's may have brought them.
COMMANDS = {
    "containerd": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "iptables": "iptables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "openssl": "openssl",
}
USAGE = "Usage: ./scripts/cluster up | load [IMAGE…] | status | down"


@dataclass(frozen=True)
class Cluster:
    """A cluster that answers, and the programs to speak to it."""

    kind: str  # given, kind, k3d or local
    kubeconfig: Path
    kubectl: Path
    helm: Path
    node_address: str

    def make_environment(self) -> dict[str, str]:
        """Return what to set in an environment so `kubectl` and `helm` are for this cluster."""
        folders = dict.fromkeys([str(self.kubectl.parent), str(self.helm.parent)])
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": os.pathsep.join([*folders, os.environ.get("PATH", "")]),
        }


def main(arguments: Sequence[str]) -> int:
    """Run one command."""
    command, *rest = arguments or [""]
    if command not in ("up", "load", "status", "down") or (rest and command != "load"):
        raise ToolError(USAGE)
    if command == "up":
        cluster = ensure_cluster()
        print(f"Kubernetes answers. To use it: export KUBECONFIG={cluster.kubeconfig}")
        print(f"  kubectl: {cluster.kubectl}\n  helm:    {cluster.helm}")
    elif command == "load":
        load_images(rest or [make_chart_image(), WORKSPACE.tag])
    elif command == "status":
        return show_status()
    else:
        remove_cluster()
    return 0


def ensure_cluster() -> Cluster:
    """Return a cluster that answers: the one of KUBECONFIG, else one that is brought up now."""
    with locked("cluster"):
        kind = find_kind()
        if kind == "given":
            print(f"Using the cluster of KUBECONFIG={os.environ['KUBECONFIG']}")
        elif kind in ("kind", "k3d"):
            kind = start_in_engine(kind)
        if kind == "local":
            start_local()
        return find_cluster(kind)


def find_kind() -> str:
    """Return what kind of cluster is used here, or would be."""
    given = os.environ.get("KUBECONFIG")
    if given and Path(given) not in {own_kubeconfig(kind) for kind in ("kind", "k3d", "local")}:
        return "given"
    for kind in ("local", "kind", "k3d"):
        if own_kubeconfig(kind).exists():
            return kind
    return next((kind for kind in ("kind", "k3d") if shutil.which(kind) and find_engine()), "local")


def own_kubeconfig(kind: str) -> Path:
    """Return where the kubeconfig of a cluster of ours is; it is there while the cluster is."""
    return LOCAL_KUBECONFIG if kind == "local" else CACHE / f"{kind}-kubeconfig"


def find_cluster(kind: str) -> Cluster:
    """Return the cluster of that kind after it answered."""
    kubeconfig = Path(os.environ["KUBECONFIG"]) if kind == "given" else own_kubeconfig(kind)
    there = (
        {}
        if kind == "local"
        else {name: Path(path) for name in CLIENTS if (path := shutil.which(name))}
    )
    missing = [name for name in CLIENTS if name not in there]
    programs = {**there, **{name: ensure_programs(missing) / name for name in missing}}
    kubectl = programs["kubectl"]
    address = read(
        kubectl, "--kubeconfig", kubeconfig, "--request-timeout=10s", "get", "nodes",
        "--output", 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}',
    )  # fmt: skip
    if not address:
        raise ToolError(
            f"KUBECONFIG={str(kubeconfig)!r}: this cluster does not answer `kubectl get nodes`. "
            "Start it, or unset KUBECONFIG for one that is made here."
        )
    return Cluster(kind, kubeconfig, kubectl, programs["helm"], address)


def start_in_engine(kind: str) -> str:
    """Start a cluster by kind or k3d and return its kind; where the engine does not let it run,
    that is the local one.
    """
    kubeconfig = own_kubeconfig(kind)
    there = {
        "kind": ("kind", "get", "kubeconfig", "--name", NAME),
        "k3d": ("k3d", "kubeconfig", "get", NAME),
    }[kind]
    create = {
        "kind": (
            "kind",
            "create",
            "cluster",
            "--name",
            NAME,
            "--wait",
            "120s",
            "--kubeconfig",
            kubeconfig,
        ),
        "k3d": (
            "k3d",
            "cluster",
            "create",
            NAME,
            "--wait",
            "--timeout",
            "180s",
            "--kubeconfig-update-default=false",
        ),
    }[kind]
    content = read(*there)
    if not content:
        try:
            with stage(f"Creating the {kind} cluster {NAME}"):
                run(*create, log=CACHE / f"{kind}.log")
        except ToolError as error:
            print(f"{error}\n{kind} makes no cluster with this engine, so one is made without it.")
            delete_from_engine(kind)
            return "local"
        content = read(*there)
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(f"{content}\n")
    return kind


def delete_from_engine(kind: str) -> None:
    """Delete our cluster of kind or k3d."""
    read(
        *{
            "kind": ("kind", "delete", "cluster", "--name", NAME),
            "k3d": ("k3d", "cluster", "delete", NAME),
        }[kind],
        timeout=120,
    )
    own_kubeconfig(kind).unlink(missing_ok=True)


def start_local() -> None:
    """Bring up the real one-node cluster of scripts/local-cluster, or what of it does not run."""
    if os.geteuid() != 0:
        raise ToolError(
            "Only root can start a Kubernetes on this machine. Set KUBECONFIG, or install kind or "
            "k3d beside a container engine."
        )
    programs = ensure_programs()
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [
        package for command, package in COMMANDS.items() if not shutil.which(command, path=path)
    ]
    install_packages(
        *missing,
        "containernetworking-plugins",
        "busybox-static",
        why="the local Kubernetes is made of them",
    )
    with stage("Starting the local Kubernetes"):
        log = CACHE / "local-cluster.log"
        run(LOCAL, "up", programs, log=log)
    print(log.read_text(), end="")


def load_images(images: Sequence[str]) -> None:
    """Make the engine's images usable by pods; what the cluster has already is skipped."""
    kind = find_kind()
    if kind == "given":
        print(
            "Images are not loaded into the cluster of KUBECONFIG: it must be able to pull them, "
            "or have them."
        )
        return
    if not own_kubeconfig(kind).exists():
        raise ToolError("No cluster is up. ./scripts/cluster up starts one.")
    for image in images:
        if read("docker", "image", "inspect", image) is None:
            raise ToolError(
                f"The container engine has no image {image!r}. ./scripts/build makes the product's "
                "images."
            )
    command = {
        "kind": ("kind", "load", "docker-image", "--name", NAME),
        "k3d": ("k3d", "image", "import", "--cluster", NAME),
    }
    with stage(f"Loading {', '.join(images)}"):
        run(*command.get(kind, (LOCAL, "load")), *images)


def show_status() -> int:
    """Say which cluster there is and what runs in it."""
    kind = find_kind()
    if kind != "given" and not own_kubeconfig(kind).exists():
        print("No cluster is up. ./scripts/cluster up starts one.")
        return 1
    if kind == "local":
        print(f"The local cluster, KUBECONFIG={LOCAL_KUBECONFIG}", flush=True)
        run(LOCAL, "status")
        return 0
    cluster = find_cluster(kind)
    print(f"Kind of cluster: {kind}, KUBECONFIG={cluster.kubeconfig}", flush=True)
    run(
        cluster.kubectl,
        "--kubeconfig",
        cluster.kubeconfig,
        "get",
        "nodes,pods",
        "--all-namespaces",
        "--output",
        "wide",
    )
    return 0


def remove_cluster() -> None:
    """Remove the cluster that `up` made, with everything in it."""
    kind = find_kind()
    if kind == "given":
        raise ToolError(
            f"KUBECONFIG={os.environ['KUBECONFIG']!r} is a cluster of yours and stays. Unset it to "
            "remove one that was made here."
        )
    if kind == "local" and LOCAL_KUBECONFIG.parent.exists():
        with locked("cluster"), stage("Removing the local Kubernetes"):
            run(LOCAL, "down", log=CACHE / "local-cluster.log")
    elif own_kubeconfig(kind).exists():
        with stage(f"Deleting the {kind} cluster {NAME}"):
            delete_from_engine(kind)
    else:
        print("No cluster is up.")


if __name__ == "__main__":
    sys.exit(main_with_sentences(main, sys.argv[1:]))
