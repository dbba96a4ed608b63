"""From nothing to nothing, as the notes say: install, sign up, work in the browser and by SSH,
stop, find the data, uninstall.
"""

from __future__ import annotations

import re

import pytest

from tests.support.browser_window import launch_chromium, open_windows
from tests.support.certificates import make_pair
from tests.support.first_day import live_through_a_day
from tests.support.helm_release import CONFIG
from tests.support.ssh_client import Person

# Accounts as they are by default; the token is for what the browser does not show.
CONFIG = "\n".join(line for line in CONFIG.splitlines() if "authenticator" not in line.lower())
OUR_IMAGE = {
    "singleuser": {
        "image": {"name": "mltooling/mlhub-workspace", "tag": "latest"},
        "storage": {"capacity": "64Mi"},
    }
}

KINDS = (
    "deployments,replicasets,statefulsets,services,configmaps,secrets,serviceaccounts,"
    "roles,rolebindings,networkpolicies,poddisruptionbudgets,persistentvolumeclaims,pods,ingresses"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """The system's Chromium. Its event loop ends with these tests: those of other modules have
    loops of their own.
    """
    with launch_chromium(tmp_path_factory.mktemp("browser")) as chromium:
        yield chromium


@pytest.fixture
def open_window(browser, request):
    """A function that opens a fresh window at a hub."""
    with open_windows(browser, request) as open_at:
        yield open_at


def make_values(kind: str, folder) -> dict:
    if kind == "http":
        return OUR_IMAGE
    if kind == "CHP":
        return {**OUR_IMAGE, "proxy": {"chp": {"enabled": True}}}
    pair = make_pair(folder / "ssl")
    manual = {"key": (pair / "cert.key").read_text(), "cert": (pair / "cert.crt").read_text()}
    return {
        **OUR_IMAGE,
        "proxy": {
            "https": {"enabled": True, "type": "manual", "manual": manual, "hosts": ["hub.example"]}
        },
    }


# Plain HTTP in the long tier: each step of this day is in the browser tests over either, and the
# chart's HTTP in all other modules here.
@pytest.mark.parametrize(
    "kind",
    [
        "https",
        pytest.param("http", marks=pytest.mark.full),
        pytest.param("CHP", marks=pytest.mark.full),
    ],
)
def test_a_first_day_on_kubernetes(kind, make_release, open_window, tmp_path):
    release = make_release()
    release.install(make_values(kind, tmp_path), CONFIG)
    assert release.scheme == ("https" if kind == "https" else "http")
    code = re.search(r"setup=([\w-]+)", release.logs())
    assert code, release.logs()
    live_through_a_day(release, open_window(release), code[1], keeps_default=True)
    come_back_by_ssh(release, tmp_path)
    leave_what_the_notes_say(release)


def come_back_by_ssh(release, folder) -> None:
    """Enter by SSH what the browser made, and find it again after a stop."""
    person = Person(release, "admin", folder / "ssh").join()
    # Names end as people reach the hub, where the site says how that is.
    name = "admin.hub.example" if release.scheme == "https" else person.alias
    assert "answer.ipynb" in person.ask("ls; jupyter --version >/dev/null && echo fine", to=name)
    person.ask("echo kept >from-ssh", to=name)
    release.stop_workspace("admin")
    release.start_workspace("admin")
    assert person.ask("cat from-ssh", to=name) == "kept\n"


def leave_what_the_notes_say(release) -> None:
    """Uninstall; what is left are the data and the workspaces, and the notes' own commands remove
    those.
    """
    notes = release.helm("get", "notes", release.name)
    release.helm("uninstall", release.name, "--wait")
    everybodys = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}

    def list_left() -> set[tuple[str, str]]:
        return {
            (entry["kind"], entry["metadata"]["name"]) for entry in release.read(KINDS)["items"]
        } - everybodys

    release.wait_for(
        lambda: not any(kind == "Pod" and "--admin" not in name for kind, name in list_left()),
        "the pods are gone",
        60,
    )
    left = list_left()
    data = {
        ("Secret", f"{release.name}-hub"),
        ("PersistentVolumeClaim", f"{release.name}-hub-db-dir"),
    }
    assert data <= left
    assert all("--admin" in name for _, name in left - data), left
    commands = [
        line.strip()
        for line in notes.splitlines()
        if line.strip().startswith("kubectl") and " delete " in line
    ]
    assert len(commands) == 3
    for command in commands:
        release.cluster.run(*command.split()[1:])
    release.wait_for(lambda: not list_left(), "nothing is left", 60)
