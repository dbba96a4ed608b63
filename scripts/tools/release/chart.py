"""The chart's package, the same for the same files, and the chart in a registry."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import tempfile
from pathlib import Path

from tools.console import ROOT, run
from tools.programs import ensure_programs

CHART = ROOT / "helmchart" / "mlhub"
NAME = "mlhub-chart"


def find_helm() -> Path:
    """Return where helm is: the machine's own, else the one of the local cluster."""
    found = shutil.which("helm")
    return Path(found) if found else ensure_programs(("helm",)) / "helm"


def package_chart(folder: Path, seconds: int) -> Path:
    """Have Helm make the package, and write it anew with one time and no owner."""
    with tempfile.TemporaryDirectory(prefix="mlhub-chart-") as place:
        run(find_helm(), "package", CHART, "--destination", place, quiet=True)
        (package,) = Path(place).iterdir()
        data = make_steady(package.read_bytes(), seconds)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / package.name
    target.write_bytes(data)
    return target


def make_steady(package: bytes, seconds: int) -> bytes:
    """Write a compressed archive anew: sorted, with one time and no owner."""
    plain = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(package)) as old,
        tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = seconds, 0, 0, "", ""
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    return gzip.compress(plain.getvalue(), mtime=0)


def push_chart(package: Path, registry: str, *, plain: bool) -> str:
    """Put the package into a registry; return the chart's address there."""
    options = ["--plain-http"] if plain else []
    run(find_helm(), "push", package, f"oci://{registry}/charts", *options, quiet=True)
    return f"oci://{registry}/charts/{NAME}"
