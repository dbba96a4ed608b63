"""Parts of a release end, are replaced or upgraded while people work: workspaces live on, and so do
connections through the proxy.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.helm_release import CHART, IMAGE, merge, wait_for_hub
from tests.support.ssh_client import Person
from tests.support.wire import Echo

# The image under the tag of an earlier version: the same content, which the cluster cannot know.
EARLIER = {"hub": {"image": {"tag": "2.99.0"}}, "proxy": {"chp": {"image": {"tag": "2.99.0"}}}}


@pytest.fixture(scope="module")
def release(make_release, tmp_path_factory, root):
    """A release of an earlier version of the chart, as it was packaged."""
    made = make_release()
    folder = tmp_path_factory.mktemp("chart")
    made.helm(
        "package",
        str(CHART),
        "--version",
        "2.99.0",
        "--app-version",
        "2.99.0",
        "--destination",
        str(folder),
    )
    image = f"{IMAGE['name']}:2.99.0"
    subprocess.run(["docker", "tag", f"{IMAGE['name']}:latest", image], check=True)
    subprocess.run([root / "scripts/cluster", "load", image], check=True, timeout=180)
    made.install(EARLIER, chart=folder / "mlhub-chart-2.99.0.tgz")
    yield made
    subprocess.run(["docker", "rmi", "--force", image], check=True)


@pytest.fixture(scope="module")
def person(release, tmp_path_factory):
    found = Person(release, "alice", tmp_path_factory.mktemp("alice")).join()
    release.start_workspace("alice")
    return found


@pytest.fixture
def open_echo(release, person):
    """A WebSocket through the proxy into the workspace, and the workspace's pod, which has to stay
    the same.
    """
    pod = f"ws-{release.name}--alice"
    before = release.read("pod", pod)
    echo = Echo(release.port, "/user/alice/echo", host=release.host)
    assert echo.is_alive()
    yield echo
    echo.close()
    after = release.read("pod", pod)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0


@pytest.fixture
def open_session(person):
    """An SSH session through the proxy that echoes."""
    with contextlib.closing(Session(person)) as session:
        assert session.is_alive("before")
        yield session


class Session:
    """One SSH session, open until it is closed."""

    def __init__(self, person: Person) -> None:
        command = ["ssh", "-F", str(person.config), person.alias, "cat"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def is_alive(self, word: str) -> bool:
        try:
            self.process.stdin.write(f"{word}\n")
        except BrokenPipeError:
            return False
        return self.process.stdout.readline() == f"{word}\n"

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def answers(release, path: str = "/user/alice/api") -> bool:
    try:
        return release.request("GET", path, timeout=5)[0] == 200
    except OSError:
        return False


def kill_hub_program(release) -> None:
    """End the hub's program as a crash does; its container stays."""
    program = (
        "import os, pathlib, signal\n"
        "for file in pathlib.Path('/proc').glob('[0-9]*/cmdline'):\n"
        "    if b'mlhub.hub' in file.read_bytes().split(bytes(1)):\n"
        "        os.kill(int(file.parent.name), signal.SIGKILL)"
    )
    release.execute(release.find_pod("hub"), "python", "-c", program, container="hub")


@pytest.mark.full
def test_a_crash_of_the_hub_program_cuts_nobody_off(release, person, open_echo):
    kill_hub_program(release)
    assert open_echo.is_alive()
    wait_for_hub(release)
    assert open_echo.is_alive()
    assert release.is_workspace_ready("alice")


def test_a_new_hub_pod_adopts_what_runs_and_connections_through_the_proxy_live_on(
    release, person, open_echo, open_session
):
    before = release.find_pod("hub")
    release.kubectl("delete", "pod", before, "--wait=false")
    release.wait_for(lambda: release.find_pod("hub") != before, "another hub pod is there", 60)
    assert open_echo.is_alive()
    assert open_session.is_alive("meanwhile")
    release.kubectl("rollout", "status", f"deployment/{release.name}-hub", "--timeout=120s")
    wait_for_hub(release)
    assert open_echo.is_alive()
    assert open_session.is_alive("after")
    assert release.is_workspace_ready("alice")
    assert release.request("GET", "/user/alice/api")[0] == 200
    release.wait_for(
        lambda: person.run(person.alias, "echo in").stdout == "in\n", "SSH works again", 60
    )


class Visits:
    """Somebody asks for a running workspace all the time, over a new connection each."""

    EVERY_SECONDS = 0.05

    def __init__(self, release) -> None:
        self.release, self.answers = release, []
        self._ends, self._thread = threading.Event(), threading.Thread(target=self._visit)

    def __enter__(self):
        self._thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *error) -> None:
        self._ends.set()
        self._thread.join()

    def _visit(self) -> None:
        with ThreadPoolExecutor(40) as pool:  # one that hangs keeps no other from asking
            while not self._ends.wait(self.EVERY_SECONDS):
                pool.submit(self._ask)

    def _ask(self) -> None:
        asked = time.monotonic()
        try:
            status, headers, body = self.release.request("GET", "/user/alice/api", timeout=5)
        except OSError as error:
            self.answers.append((asked, None, str(error)))
        else:
            self.answers.append((asked, status, f"{headers.get('location', '')} {body[:200]!r}"))

    @property
    def wrong(self) -> list:
        """What anybody but the workspace answered, with the seconds since the first question."""
        began = min(asked for asked, _, _ in self.answers)
        return [
            (round(asked - began, 2), status, text)
            for asked, status, text in sorted(self.answers)
            if status not in (200, None)
        ]

    def list_unanswered(self) -> list:
        return [answer for answer in sorted(self.answers) if answer[1] is None]

    def wait_for_more(self) -> None:
        """Wait until the workspace has answered many questions that come from now on."""
        now = time.monotonic()
        self.release.wait_for(
            lambda: (
                len(
                    [
                        asked
                        for asked, status, _ in list(self.answers)
                        if status == 200 and asked > now
                    ]
                )
                >= 40
            ),
            "the workspace answers",
            20,
        )


def test_people_meet_nobody_but_their_workspace_when_the_only_proxy_pod_is_deleted(release, person):
    with Visits(release) as visits:
        release.kubectl("delete", "pod", release.find_pod("proxy"), "--wait=true", "--timeout=60s")
        release.kubectl("rollout", "status", f"deployment/{release.name}-proxy", "--timeout=60s")
        visits.wait_for_more()
    assert not visits.wrong


@pytest.mark.full
def test_people_reach_their_workspace_at_any_time_while_the_proxy_is_replaced(release, person):
    before = release.find_pod("proxy")
    with Visits(release) as visits:
        release.kubectl("rollout", "restart", f"deployment/{release.name}-proxy")
        release.kubectl("rollout", "status", f"deployment/{release.name}-proxy", "--timeout=90s")
        release.kubectl("wait", "--for=delete", f"pod/{before}", "--timeout=60s")
        visits.wait_for_more()
    assert release.find_pod("proxy") != before
    assert not visits.wrong
    assert not visits.list_unanswered()


def test_a_proxy_that_is_replaced_keeps_its_connections_until_they_end(
    release, person, open_echo, open_session
):
    before = release.find_pod("proxy")
    release.kubectl("rollout", "restart", f"deployment/{release.name}-proxy")
    release.kubectl("rollout", "status", f"deployment/{release.name}-proxy", "--timeout=90s")
    assert release.request("GET", "/user/alice/api")[0] == 200
    release.wait_for(
        lambda: person.run(person.alias, "echo in").stdout == "in\n",
        "SSH leads through the new proxy",
        10,
    )
    drains = "takes no new connections"
    release.wait_for(
        lambda: drains in release.kubectl("logs", before, check=False),
        "the old proxy has been told to stop",
        30,
    )
    assert open_echo.is_alive()
    assert open_session.is_alive("after")
    assert release.find_pod("proxy") != before
    open_echo.close()
    open_session.close()
    release.kubectl("wait", "--for=delete", f"pod/{before}", "--timeout=30s")


def test_a_bastion_that_is_replaced_keeps_its_sessions_until_they_end(
    release, person, open_session
):
    before, hub = release.find_pod("bastion"), release.find_pod("hub")
    release.kubectl("rollout", "restart", f"deployment/{release.name}-bastion")
    release.kubectl("rollout", "status", f"deployment/{release.name}-bastion", "--timeout=90s")
    drains = "takes no new connections"
    release.wait_for(
        lambda: drains in release.kubectl("logs", before, check=False),
        "the old bastion has been told to stop",
        30,
    )
    assert person.ask("echo in") == "in\n"  # through the new one
    assert open_session.is_alive("after")
    # A hub that is new knows the sessions of both, and still ends one whose key is gone.
    release.kubectl("delete", "pod", hub, "--wait=true", "--timeout=60s")
    release.kubectl("rollout", "status", f"deployment/{release.name}-hub", "--timeout=120s")
    wait_for_hub(release)
    assert open_session.is_alive("again")
    for key in release.api("GET", "users/alice/ssh-keys"):
        release.api("DELETE", f"users/alice/ssh-keys/{key['id']}")
    open_session.process.communicate(timeout=15)
    release.kubectl("wait", "--for=delete", f"pod/{before}", "--timeout=30s")
    person.register()
    release.wait_for(
        lambda: person.run(person.alias, "echo in").stdout == "in\n", "the key lets in again", 15
    )


def test_an_upgrade_to_this_version_keeps_workspaces_and_connections_and_rolls_back(
    release, person, open_echo, open_session
):
    proxy = release.find_pod("proxy")
    changed = {
        "singleuser": {"storage": {"capacity": "32Mi"}},
        "hub": {"labels": {"changed": "yes"}},
    }
    release.install(merge(changed, EARLIER))  # from the earlier package to this one, but its images
    assert release.find_pod("proxy") == proxy  # what changed is the hub's alone
    release.install(changed)
    assert release.find_pod("proxy") != proxy
    wait_for_hub(release)
    assert open_echo.is_alive()
    assert open_session.is_alive("after the upgrade")
    assert release.is_workspace_ready("alice")
    release.start_workspace("bob")
    release.helm("rollback", release.name, "1", "--wait", "--timeout", "4m")
    wait_for_hub(release)
    assert open_echo.is_alive()
    assert open_session.is_alive("after the rollback")
    assert release.is_workspace_ready("alice")
    assert release.is_workspace_ready("bob")
    assert person.ask("echo in") == "in\n"


def test_an_open_ssh_session_survives_a_crash_of_the_hub_program(release, person, open_session):
    kill_hub_program(release)
    assert open_session.is_alive("after")
    wait_for_hub(release)
    assert open_session.is_alive("again")
