"""A release that was user 1000 is upgraded: its volume is the new hub's too, also where the cluster
gives it no group.
"""

from __future__ import annotations

import yaml

from tests.support.container_release import ACCOUNTS, GROUP
from tests.support.hub_container import IMAGE, ROOT, RUN, docker

SNAPSHOT = ROOT / "tests" / "chart" / "snapshots" / "minimal.yaml"
# As that release left a volume that takes no group (hostPath, NFS).
AGE = "chown -hR 1000:1000 /data && chmod -R g-s,g-w,go-rwx /data && chmod 0777 /data"
WRITE = """
import pathlib, time
from mlhub.audit import AuditLog
AuditLog(pathlib.Path("/data/audit/ssh.jsonl"), time.time).write("refused")
"""
DATABASE = (
    "import sqlite3; print(sqlite3.connect('/data/jupyterhub.sqlite').execute('{}').fetchall())"
)
READ_CODE = "from mlhub.signin.native.setup import read_setup_code; print(read_setup_code('/data'))"


def read_take_over() -> list[str]:
    """Return what the chart runs before the hub, and as whom, in the words of the docker client."""
    objects = yaml.safe_load_all(SNAPSHOT.read_text())
    pod = next(
        each["spec"]["template"]["spec"]
        for each in objects
        if each.get("kind") == "Deployment" and each["metadata"]["name"].endswith("-hub")
    )
    (container,) = pod["initContainers"]
    context, group = container["securityContext"], pod["securityContext"]["fsGroup"]
    program, *words = [*container["command"], *container["args"]]
    user = ["--user", f"{context['runAsUser']}:{context['runAsGroup']}", "--group-add", str(group)]
    return [*user, "--read-only", "--cap-drop", "ALL", "--entrypoint", program, IMAGE, *words]


def test_an_upgraded_hub_uses_the_volume_of_user_1000(brief_release):
    def in_hub(program: str) -> str:
        return brief_release.hub.exec("python", "-c", program, user=str(ACCOUNTS["hub"]))

    hub = brief_release.start("hub")
    hub.exec(
        "sh",
        "-c",
        "echo setup-code-of-an-earlier-hub > /data/setup-code",
        user=str(ACCOUNTS["hub"]),
    )
    in_hub(WRITE)
    in_hub(DATABASE.format("pragma user_version = 77"))
    once = (
        "run",
        "--rm",
        "--label",
        f"mlhub.test={RUN}",
        "--network",
        "none",
        "--volume",
        f"{brief_release.volume('hub-data')}:/data",
    )
    docker(*once, "--entrypoint", "sh", IMAGE, "-c", AGE)

    # The twin: untouched, the volume is refused with the sentence that says what to set.
    refused = brief_release.start("hub", ready=False, again=True)
    assert docker("wait", refused.name) == "1"
    assert "belongs to user 1000, and this container runs as user 61000" in refused.logs()

    for _ in range(2):  # it runs before each start of the hub
        docker(*once, *read_take_over())
    brief_release.start("hub", again=True)
    assert in_hub(DATABASE.format("pragma user_version")) == "[(77,)]"
    in_hub(WRITE)
    assert (
        brief_release.hub.exec(
            "wc", "-l", "/data/audit/ssh.jsonl", user=str(ACCOUNTS["hub"])
        ).split()[0]
        == "2"
    )
    assert in_hub(READ_CODE) == "setup-code-of-an-earlier-hub"
    owners = brief_release.hub.exec(
        "stat", "-c", "%u:%g:%A", "/data/jupyterhub.sqlite", user=str(ACCOUNTS["hub"])
    )
    assert owners == f"1000:{GROUP}:-rw-rw----"
