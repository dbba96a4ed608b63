"""Fetch the definitions of other projects' kinds that the chart can render, from published Go
modules, once per version of them.

The module's go.sum says what they are; the folder appears in the cache whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tools.console import CACHE, run, stage
from tools.programs import SOURCES, ensure_go, find_version, hash_texts, locked

MODULE = SOURCES / "definitions"
CERT_MANAGER, GATEWAY, PROMETHEUS = (
    "github.com/cert-manager/cert-manager",
    "sigs.k8s.io/gateway-api",
    "github.com/prometheus-operator/prometheus-operator",
)
# Kind, module, file. The experimental channel serves v1alpha2 of routes beside v1.
FILES = (
    ("Certificate", CERT_MANAGER, "deploy/crds/cert-manager.io_certificates.yaml"),
    ("HTTPRoute", GATEWAY, "config/crd/experimental/gateway.networking.k8s.io_httproutes.yaml"),
    ("TCPRoute", GATEWAY, "config/crd/experimental/gateway.networking.k8s.io_tcproutes.yaml"),
    ("TLSRoute", GATEWAY, "config/crd/experimental/gateway.networking.k8s.io_tlsroutes.yaml"),
    (
        "ServiceMonitor",
        PROMETHEUS,
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
)


def ensure_definitions() -> Path:
    """Return the folder with a file for each kind: Certificate.yaml and so on."""
    folder = (
        CACHE
        / f"""definitions-{
            hash_texts(repr(FILES), *((MODULE / name).read_text() for name in ("go.mod", "go.sum")))
        }"""
    )
    with locked("definitions"):
        if not folder.exists():
            with (
                stage("Fetching the definitions of other projects' kinds"),
                tempfile.TemporaryDirectory(dir=CACHE) as temporary,
            ):
                fetch_definitions(Path(temporary)).rename(folder)
    return folder


def fetch_definitions(work: Path) -> Path:
    """Download the modules, which Go holds against go.sum, and return a folder with what of them is
    wanted.
    """
    modules, wanted = work / "modules", work / "wanted"
    environment = {
        "GOMODCACHE": str(modules),
        "GOCACHE": str(work / "cache"),
        "GOFLAGS": "-mod=readonly -modcacherw",
        "GOWORK": "off",
    }
    run(
        ensure_go(),
        "mod",
        "download",
        cwd=MODULE,
        env={**os.environ, **environment},
        log=CACHE / "definitions.log",
    )
    wanted.mkdir()
    for kind, module, file in FILES:
        shutil.copyfile(
            modules / f"{module}@{find_version(module, MODULE.name)}" / file,
            wanted / f"{kind}.yaml",
        )
    return wanted
