"""Kinds of cert-manager, the Gateway API and Prometheus operator in the cluster, by those projects'
own definitions.

A definition that the cluster has already stays as it is. What is added here goes when the last
tests on this machine that need it end.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

LABEL, OURS = "mlhub.test", "definitions"
NAMES = {
    "Certificate": "certificates.cert-manager.io",
    "HTTPRoute": "httproutes.gateway.networking.k8s.io",
    "TCPRoute": "tcproutes.gateway.networking.k8s.io",
    "TLSRoute": "tlsroutes.gateway.networking.k8s.io",
    "ServiceMonitor": "servicemonitors.monitoring.coreos.com",
}


def run(*words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run kubectl."""
    return subprocess.run(
        ["kubectl", *words], capture_output=True, text=True, input=given, timeout=180
    )


def succeed(*words: str, given: str | None = None) -> str:
    """Run kubectl, which must succeed."""
    result = run(*words, given=given)
    assert result.returncode == 0, f"kubectl {' '.join(words)}: {result.stderr}"
    return result.stdout


@contextlib.contextmanager
def defined(wait_for: Callable[..., Any], *kinds: str) -> Iterator[None]:
    """Have kinds in the cluster."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
    from tools.console import CACHE
    from tools.definitions import ensure_definitions

    established = ("wait", "--for=condition=Established", "--timeout=10s")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "definitions-in-use.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        try:
            add_missing(kinds, ensure_definitions)
            names = [NAMES[kind] for kind in kinds]
            resources = [f"customresourcedefinition/{name}" for name in names]
            # Of one that was made just now kubectl says that it has no conditions, and gives up.
            wait_for(
                lambda: run(*established, *resources).returncode == 0,
                f"the cluster has taken {', '.join(names)}",
                60,
            )
            listed = ("get", ",".join(names), "--all-namespaces")
            wait_for(
                lambda: run(*listed).returncode == 0,
                f"the cluster answers for {', '.join(names)}",
                30,
            )
            yield
        finally:
            # Who is not alone leaves the removal to the others.
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                succeed(
                    "delete",
                    "customresourcedefinitions",
                    "--selector",
                    f"{LABEL}={OURS}",
                    "--timeout=120s",
                )


def add_missing(kinds: tuple[str, ...], ensure_definitions: Callable[[], Path]) -> None:
    """Add the definitions that the cluster does not have, and those anew that tests added."""
    found = json.loads(succeed("get", "customresourcedefinitions", "--output", "json"))["items"]
    theirs = {
        each["metadata"]["name"]
        for each in found
        if each["metadata"].get("labels", {}).get(LABEL) != OURS
    }
    missing = [kind for kind in kinds if NAMES[kind] not in theirs]
    if not missing:
        return
    folder = ensure_definitions()
    definitions = [
        yaml.load((folder / f"{kind}.yaml").read_text(), yaml.CSafeLoader) for kind in missing
    ]
    for definition in definitions:
        definition["metadata"].setdefault("labels", {})[LABEL] = OURS
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": definitions})
    # By the server: what `apply` notes in an object otherwise has no room for these.
    succeed("apply", "--server-side", "--force-conflicts", "--filename", "-", given=given)
