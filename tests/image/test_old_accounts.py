"""Data of the original: tables that its own released packages made, with people's passwords, and
containers, networks and volumes as it named and labeled them.
"""

from __future__ import annotations

import http.cookiejar
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub_container import CONFIG, RUN, TEST_IMAGE, Hub, docker
from tests.support.names import make_hub_name

pytestmark = pytest.mark.full
PACKAGES = ("jupyterhub-nativeauthenticator==0.0.7", "bcrypt==5.0.0", "onetimepass==1.0.1", "six")
NATIVE = (
    CONFIG
    + """
c.JupyterHub.authenticator_class = "nativeauthenticator.NativeAuthenticator"
c.Authenticator.admin_users = {"chief"}
"""
)
PASSWORD = "an old password"
SERVERS = ("My Server", "work")
SCRIPT = f"""
import sys
import bcrypt
from jupyterhub import orm
db = orm.new_session_factory("sqlite:///" + sys.argv[1])()
from nativeauthenticator.orm import UserInfo
UserInfo.__table__.create(db.get_bind())
for name in ("veteran", "chief", "waiting"):
    user = orm.User(name=name, admin=name == "chief")
    hashed = bcrypt.hashpw({PASSWORD.encode()!r}, bcrypt.gensalt())
    db.add(user)
    db.add(UserInfo(username=name, password=hashed, is_authorized=name != "waiting"))
    if name == "veteran":
        for name in {SERVERS}:
            db.add(orm.Spawner(name=name, user=user, state={{}}))
db.commit()
"""


@pytest.fixture(scope="module")
def old_data(old_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data directory that the old packages have written."""
    packages, data = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("old") / "data"
    data.mkdir()
    install = [old_python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", packages]
    subprocess.run([*install, *PACKAGES], check=True, capture_output=True, timeout=300)
    file = data / "jupyterhub.sqlite"
    subprocess.run(
        [old_python, "-c", SCRIPT, file],
        check=True,
        capture_output=True,
        env={"PYTHONPATH": str(packages)},
    )
    data.with_name("as it was").write_bytes(file.read_bytes())
    return data


@pytest.fixture(scope="module")
def taken_over(make_hub, old_data: Path) -> Iterator[Hub]:
    """Return a hub that goes on with it, and with what stood on the engine."""
    name = make_hub_name()
    network = f"{name}-veteran"
    docker("network", "create", *make_labels(name, ""), network)
    for server in SERVERS:
        make_workspace(name, server, network)
    yield make_hub(NATIVE, data=("--volume", f"{old_data}:/data"), HUB_NAME=name)
    containers = [name_workspace(name, server) for server in SERVERS]
    docker("rm", "--force", *containers, check=False)
    docker("network", "rm", network, check=False)


def make_labels(hub: str, server: str) -> list[str]:
    """Return what the original wrote on each thing of a workspace."""
    labels = {"origin": hub, "user": "veteran", "server_name": server}
    words = [f"mlhub.{name}={text}" for name, text in labels.items()] + [f"mlhub.test={RUN}"]
    return [word for label in words for word in ("--label", label)]


def name_workspace(hub: str, server: str) -> str:
    """Return what the original called a container, and its volume."""
    return f"ws-veteran-{hub}-{server.replace(' ', '-20')}"


def make_workspace(hub: str, server: str, network: str) -> None:
    """Make a stopped workspace with a file, as the original left it."""
    name, labels = name_workspace(hub, server), make_labels(hub, server)
    docker("volume", "create", *labels, name)
    labels += ["--label", "expiration_timestamp_seconds=0"]
    place = ["--network", network, "--volume", f"{name}:/workspace", "--entrypoint", "sh"]
    script = f"echo of {server} > /workspace/file"
    docker("run", "--name", name, *labels, *place, "--user", "0", TEST_IMAGE, "-c", script)


def sign_in(hub: Hub, name: str, password: str) -> tuple[int, str]:
    """Sign in as a browser does; return the status and the page that it ends on."""
    jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    opener = urllib.request.build_opener(jar)
    with opener.open(f"{hub.url}/hub/login") as page:
        token = re.search(r'name="_xsrf" value="([^"]+)"', page.read().decode())
    assert token
    fields = {"username": name, "password": password, "_xsrf": token[1]}
    try:
        with opener.open(f"{hub.url}/hub/login", urllib.parse.urlencode(fields).encode()) as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("name", ["veteran", "chief"])
def test_an_old_password_opens_the_hub(taken_over, name):
    status, page = sign_in(taken_over, name, PASSWORD)
    assert status == 200
    assert ("My Server" in page) is (name == "veteran")


@pytest.mark.parametrize(("name", "password"), [("veteran", "wrong"), ("waiting", PASSWORD)])
def test_another_password_and_who_was_not_authorized_do_not(taken_over, name, password):
    assert sign_in(taken_over, name, password)[0] == 403


def test_a_copy_of_the_database_stays_as_it_was(taken_over, old_data):
    assert taken_over.name
    copies = [file for file in old_data.iterdir() if file.name.startswith("jupyterhub.sqlite.")]
    before = old_data.with_name("as it was").read_bytes()
    assert any(file.read_bytes() == before for file in copies)


@pytest.mark.parametrize("server", SERVERS)
def test_a_workspace_of_the_original_starts_on_its_own_volume(taken_over, server):
    old = name_workspace(taken_over.name, server)
    before = docker("inspect", "--format", "{{.Id}} {{.State.Status}}", old)
    taken_over.api("POST", f"users/veteran/servers/{urllib.parse.quote(server)}", {})
    taken_over.wait_for(
        lambda: taken_over.is_workspace_ready("veteran", server), f"{server} is ready", 120
    )
    started = [each for each in taken_over.containers() if each != old]
    mounts = {each: docker("inspect", "--format", "{{json .Mounts}}", each) for each in started}
    (new,) = [each for each, text in mounts.items() if f'"Name":"{old}"' in text]
    assert docker("exec", new, "cat", "/workspace/file") == f"of {server}"
    assert docker("inspect", "--format", "{{.Id}} {{.State.Status}}", old) == before


def test_nothing_of_the_original_is_cleaned_up(taken_over):
    plan = taken_over.exec("mlhub", "cleanup", "users", "--dry-run", user="hub")
    assert "users: 0 would be removed" in plan
    for server in SERVERS:
        assert docker("volume", "inspect", name_workspace(taken_over.name, server))
