"""The parts of the cluster that ``scripts/cluster`` makes on this machine: processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN = Path("/var/lib/local-cluster/run")
LOCKS = Path(tempfile.gettempdir())


@contextlib.contextmanager
def held_cluster(*, alone: bool = False) -> Iterator[None]:
    """Use the cluster beside others, or alone: who ends a part of it waits for whoever asks it now,
    and keeps the next one waiting.
    """
    with (
        (LOCKS / "mlhub-tests-cluster-next.lock").open("w") as following,
        (LOCKS / "mlhub-tests-cluster.lock").open("w") as used,
    ):
        # Whoever wants it alone would wait for ever behind others that come one after the other.
        fcntl.flock(following, fcntl.LOCK_EX)
        fcntl.flock(used, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(following, fcntl.LOCK_UN)
        yield


def kill(program: str) -> None:
    """End one of the cluster's programs, and wait until it has ended: whoever brings the cluster
    back would take one that is still on its way for running.
    """
    pid = int((RUN / f"{program}.pid").read_text())
    ending = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        assert select.select([ending], [], [], 30)[0], f"{program} does not end."
    finally:
        os.close(ending)


def bring_back() -> None:
    subprocess.run(
        [str(ROOT / "scripts" / "cluster"), "up"],
        check=True,
        capture_output=True,
        env={k: v for k, v in os.environ.items() if k != "KUBECONFIG"},
    )


def lose_pods(uids: set[str]) -> None:
    """End kubelet, containerd and these pods as a power cut of the node does: nobody is told, and
    nobody sees how anything ended.
    """
    kill("kubelet")
    kill("containerd")
    shims, inside = set(), set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            cgroup, status = (folder / "cgroup").read_text(), (folder / "status").read_text()
            if not any(f"/pod{uid}/" in cgroup for uid in uids):
                continue
            parent = next(line for line in status.splitlines() if line.startswith("PPid:"))
            shim = Path("/proc") / parent.split()[1]
            if (shim / "comm").read_text().startswith("containerd-shim"):
                shims.add(int(shim.name))
            inside.add(int(folder.name))
        except OSError:
            continue  # it has ended
    for pid in [*shims, *inside]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
