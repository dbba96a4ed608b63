"""An installation of the original's moves in while people work, and back out: 50 people and 20
workspaces, eight of which run, two of these with the single-user server of that time.
"""

from __future__ import annotations

import http.cookiejar
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.hub_container import CONFIG, TEST_IMAGE, Hub, docker
from tests.support.names import make_hub_name
from tests.support.old_site import OldSite, ask
from tests.support.original import OldWorkspace

pytestmark = pytest.mark.full
SITE = (
    CONFIG
    + """
c.JupyterHub.authenticator_class = "nativeauthenticator.NativeAuthenticator"
c.Authenticator.admin_users = {"chief"}
"""
)
PEOPLE = {f"p{number:02}": f"an old password {number}" for number in range(49)}
SERVERS = {0: "", 1: "work", 2: "", 3: "", 9: "My Server"}  # the others have one named "lab"
REAL, RUNNING, ALL = range(2), range(8), range(20)
SERVE = ("busybox", "httpd", "-f", "-p", "8080")
WRITE = "head -c 200000 /dev/urandom > /workspace/data; mkdir /workspace/d; date > /workspace/d/day"


@dataclass
class Move:
    """What was there before, and the hub that goes on with it."""

    site: OldSite
    hub: Hub
    archive: Path
    database: list[str]
    containers: dict[str, str]
    volumes: list[str]
    kernels: dict[str, str] = field(default_factory=dict)

    def find(self, number: int) -> OldWorkspace:
        """Find a workspace by its number."""
        return list(self.site.workspaces.values())[number]


def describe(names) -> dict[str, str]:
    """Tell what containers are, in what networks, and since when they run."""
    form = "{{.Id}} {{.Name}} {{.State.Status}} {{.State.StartedAt}} {{json .Config}}"
    form += " {{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}"
    return {name: docker("inspect", "--format", form, name) for name in names}


def fill(site: OldSite) -> dict[str, str]:
    """Make its people and workspaces, with a kernel in each single-user server; return these."""
    site.people = {**PEOPLE, "chief": "the chief's password"}
    for number in ALL:
        server = SERVERS.get(number, "lab")
        site.make(number, OldWorkspace(site.hub, f"p{number:02}", server))
    site.write_database()
    workspaces = list(site.workspaces.values())
    for number in (*REAL, *ALL[8:]):
        volume = ("--volume", f"{workspaces[number].name}:/workspace")
        docker("run", "--rm", "--user", "0", *volume, "--entrypoint", "sh", TEST_IMAGE, "-c", WRITE)
    for number in ALL[8:]:
        site.run(workspaces[number], "true")
    for number in RUNNING[2:]:
        site.run(workspaces[number], "sh", "-c", f"{WRITE}; exec {' '.join(SERVE)}")
    site.start_hub()
    for number in REAL:
        site.run_single_user(workspaces[number])
    return {each.name: start_kernel(site, each) for each in workspaces[:2]}


def start_kernel(site: OldSite, workspace: OldWorkspace) -> str:
    """Start a kernel as its owner did; return its id."""
    prefix = workspace.make_environment()["JUPYTERHUB_SERVICE_PREFIX"]

    def start() -> str:
        address = site.describe_place(workspace.name)["address"]
        assert address, docker("logs", workspace.name, check=False)
        url = f"http://{address}:8080{prefix}api/kernels"
        status, kernel = ask(url, workspace.token, "POST", {"name": "python3"})
        return kernel["id"] if status == 201 else ""

    return site.wait_for(start, f"{workspace.name} has a kernel", 120)


def back_up(hub: Hub, archive: Path) -> None:
    """Write a backup of what is there, before the hub has run for the first time."""
    with archive.open("wb") as output:
        command = ["docker", "run", "--rm", "--entrypoint", "mlhub", *list_arguments(hub)]
        subprocess.run(
            [*command, hub.image, "backup", "--volumes", "-"],
            stdout=output,
            check=True,
            timeout=300,
        )


def list_arguments(hub: Hub) -> list[str]:
    """List the arguments of a hub's container without its port."""
    publish = hub.arguments.index("--publish")
    return hub.arguments[:publish] + hub.arguments[publish + 2 :]


@pytest.fixture(scope="module")
def move(make_hub, wait_for, tmp_path_factory) -> Iterator[Move]:
    """Have the original at work, write a backup, stop its hub, and start ours as documented."""
    folder = tmp_path_factory.mktemp("old")
    site = OldSite(make_hub_name(), folder, wait_for)
    try:
        kernels = fill(site)
        docker("stop", site.name)
        site.write_database()
        mount = ("--volume", f"{site.data}:/data")
        hub = make_hub(SITE, data=mount, HUB_NAME=site.hub, start=False)
        back_up(hub, folder / "backup.tar")
        before = (site.dump_database(), describe(site.workspaces), site.hash_volumes())
        hub.start()
        hub.wait_until_ready()
        yield Move(site, hub, folder / "backup.tar", *before, kernels)
    finally:
        site.remove()


def open_as(hub: Hub, name: str, password: str) -> urllib.request.OpenerDirector:
    """Sign in as a browser does."""
    jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    opener = urllib.request.build_opener(jar)
    with opener.open(f"{hub.url}/hub/login", timeout=60) as page:
        token = re.search(r'name="_xsrf" value="([^"]+)"', page.read().decode())
    assert token
    fields = {"username": name, "password": password, "_xsrf": token[1]}
    body = urllib.parse.urlencode(fields).encode()
    with opener.open(f"{hub.url}/hub/login", body, timeout=60) as page:
        assert page.status == 200
    return opener


def get_prefix(workspace: OldWorkspace) -> str:
    """Return where a workspace is behind the hub."""
    return urllib.parse.quote(workspace.make_environment()["JUPYTERHUB_SERVICE_PREFIX"])


def cut_fractions(lines: list[str]) -> list[str]:
    """Leave out what an archive does not keep of times: parts of seconds."""
    return [re.sub(r"(\d{10})\.\d+$", r"\1", line) for line in lines]


def test_everybody_has_their_workspaces_and_what_ran_is_ready(move):
    move.hub.wait_for(
        lambda: all(
            move.hub.is_workspace_ready(move.find(n).user, move.find(n).server) for n in RUNNING
        ),
        "what ran is ready",
        180,
    )
    people = move.hub.api("GET", "users?include_stopped_servers&limit=200")
    found = {each["name"]: each["servers"] for each in people}
    assert set(found) >= {*PEOPLE, "chief"}
    for number in ALL:
        one = move.find(number)
        assert found[one.user][one.server]["ready"] is (number in RUNNING), one.name


def test_kernels_that_were_there_are_there(move):
    for number in REAL:
        one = move.find(number)
        address = f"{move.hub.url}{get_prefix(one)}api/kernels"
        status, kernels = ask(address, one.token)
        assert status == 200
        assert move.kernels[one.name] in [each["id"] for each in kernels]


def test_owners_get_in_with_their_old_passwords_and_others_do_not(move):
    for number in REAL:
        one = move.find(number)
        opener = open_as(move.hub, one.user, PEOPLE[one.user])
        with opener.open(f"{move.hub.url}{get_prefix(one)}tree", timeout=60) as page:
            assert page.status == 200
            assert page.url.endswith("/tree")
        other = move.find(1 - number)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            opener.open(f"{move.hub.url}{get_prefix(other)}tree", timeout=60)


def test_no_container_and_no_byte_of_a_volume_has_changed(move):
    assert describe(move.site.workspaces) == move.containers
    assert move.site.hash_volumes() == move.volumes
    assert "0 would be removed" in move.hub.exec(
        "mlhub", "cleanup", "users", "--dry-run", user="hub"
    )


def test_the_original_goes_on_where_the_copy_of_its_database_is_put_back(move):
    site, one = move.site, move.find(0)
    docker("rm", "--force", move.hub.name)
    (copy,) = [each for each in site.data.iterdir() if each.name.startswith("jupyterhub.sqlite.")]
    shutil.copyfile(copy, site.data / "jupyterhub.sqlite")
    assert site.dump_database() == move.database
    docker("start", site.name)
    move.hub.wait_for(site.answers, "the original's hub answers", 60)
    status, known = site.ask_hub("user", one.token)
    assert (status, known["name"]) == (200, one.user)
    docker("stop", site.name)


def test_a_backup_of_before_brings_all_of_it_back_on_an_engine_that_has_nothing(move):
    site = move.site
    docker("rm", "--force", *site.workspaces, *move.hub.containers(), check=False)
    docker("volume", "rm", *site.workspaces)
    for each in site.data.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    command = ["docker", "run", "--rm", "--interactive", "--entrypoint", "mlhub"]
    with move.archive.open("rb") as source:
        restored = subprocess.run(
            [*command, *list_arguments(move.hub), move.hub.image, "restore", "-"],
            stdin=source,
            capture_output=True,
            text=True,
        )
    assert restored.returncode == 0, restored.stderr
    assert site.dump_database() == move.database
    assert cut_fractions(site.hash_volumes()) == cut_fractions(move.volumes)
