"""The documented lines of a user config do what they say, for each user alone, and an old database
comes along.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.support.hub_container import CONFIG, TEST_IMAGE, Hub, docker

UPDATED = (
    CONFIG
    + """
c.Spawner.workspace_images = [c.Spawner.image, "registry.example/other:1"]
c.Spawner.environment.update({"TEST_SITE": "updated"})
c.KubeSpawner.environment = {"TEST_KUBE": "1"}
c.JupyterHub.allow_named_servers = False
import os
c.Spawner.extra_labels = {"site": os.environ["SITE_NAME"]}

def add_own_value(spawner):
    spawner.environment["TEST_OF"] = spawner.user.name

c.Spawner.pre_spawn_hook = add_own_value
"""
)
ASSIGNED = (
    CONFIG
    + """
c.Spawner.environment = {"TEST_SITE": "assigned", "TEST_USER": lambda spawner: spawner.user.name}
c.Spawner.workspace_images = ["registry.example/only:1"]
c.Spawner.args = ["--extra"]
c.DockerSpawner.extra_host_config = {"dns_search": ["example"]}
c.Authenticator.admin_users = {"boss"}
"""
)


@pytest.fixture(scope="module")
def updated(make_hub) -> Hub:
    return make_hub(UPDATED, SITE_NAME="north", MLHUB_CULL_ENABLED="true", MLHUB_CULL_EVERY="10")


@pytest.fixture(scope="module")
def assigned(make_hub, old_database) -> Hub:
    """Return a hub that goes on with what an old one has left."""
    return make_hub(ASSIGNED, data=("--volume", f"{old_database}:/data"))


def read_environment(hub: Hub, user: str) -> dict[str, str]:
    """Return the environment that a workspace sees."""
    status, _, body = hub.request("GET", f"/user/{user}/whatever")
    assert status == 200, body
    return json.loads(body)["environment"]


def assert_own(environment: dict[str, str], hub: Hub, user: str) -> None:
    assert environment["JUPYTERHUB_USER"] == user
    assert environment["JUPYTERHUB_SERVICE_PREFIX"] == f"/user/{user}/"
    assert environment["JUPYTERHUB_API_URL"] == f"http://{hub.name}:8081/hub/api"
    assert environment["JUPYTERHUB_CLIENT_ID"] == f"jupyterhub-user-{user}"


def test_an_updated_environment_reaches_two_users_side_by_side_and_neither_sees_the_others(updated):
    updated.start_workspace("ann")
    updated.start_workspace("bob")
    ann, bob = read_environment(updated, "ann"), read_environment(updated, "bob")
    for user, environment in (("ann", ann), ("bob", bob)):
        assert_own(environment, updated, user)
        assert environment["TEST_SITE"] == "updated"
        assert "TEST_KUBE" not in environment
    assert "bob" not in json.dumps(ann)
    assert "ann" not in json.dumps(bob)


def test_a_hook_that_changes_the_environment_in_place_reaches_its_own_user_only(updated):
    updated.stop_workspace("ann")
    updated.start_workspace("ann")
    assert read_environment(updated, "ann")["TEST_OF"] == "ann"
    assert read_environment(updated, "bob")["TEST_OF"] == "bob"


def test_idle_workspaces_are_looked_for_beside_the_services_of_the_config(updated):
    updated.request("POST", "/hub/api/users/ann", b"")
    told = updated.api("POST", "policy/explain", {"user": "ann"})["decision"]
    assert told["idle_timeout"]["value"] == "1 hour"
    assert told["idle_timeout"]["rule"] == "MLHUB_CULL_TIMEOUT"
    assert updated.api("GET", "users") is not None  # with the token of the config's own service


def test_an_assigned_environment_keeps_what_the_product_adds(assigned):
    assigned.start_workspace("ann")
    assigned.start_workspace("bob")
    for user in ("ann", "bob"):
        environment = read_environment(assigned, user)
        assert_own(environment, assigned, user)
        assert environment["TEST_SITE"] == "assigned"
        assert environment["TEST_USER"] == user


def test_the_default_image_is_known_to_the_config_and_others_are_refused(updated):
    updated.api("POST", "users/eva", b"")
    status, _, body = updated.request(
        "POST", "/hub/api/users/eva/server", {"image": "registry.example/not-offered:1"}
    )
    assert status == 400
    assert TEST_IMAGE in body.decode()
    assert "registry.example/other:1" in body.decode()


def test_the_containers_environment_stays_readable_for_the_config(updated):
    updated.start_workspace("ann")
    assert (
        docker("inspect", "--format", '{{index .Config.Labels "site"}}', f"ws-{updated.name}--ann")
        == "north"
    )


@pytest.mark.parametrize("user", ["ann", "admin"])
def test_named_servers_switched_off_are_refused_for_everybody(updated, user):
    updated.request("POST", f"/hub/api/users/{user}", b"")
    token = updated.api("POST", f"users/{user}/tokens", {})["token"]
    for headers in (updated.headers, {"Authorization": f"token {token}"}):
        status, _, body = updated.request(
            "POST", f"/hub/api/users/{user}/servers/second", {}, headers=headers
        )
        assert status in (400, 403), body
    assert not docker(
        "ps",
        "--all",
        "--quiet",
        "--filter",
        f"label=mlhub.origin={updated.name}",
        "--filter",
        "label=mlhub.server_name=second",
    )


def test_a_value_for_one_spawner_class_wins_over_the_general_one_and_over_the_defaults(assigned):
    assigned.start_workspace("ann")
    host = json.loads(
        docker("inspect", "--format", "{{json .HostConfig}}", f"ws-{assigned.name}--ann")
    )
    assert host["DnsSearch"] == ["example"]
    assert "no-new-privileges" in host["SecurityOpt"]
    assert host["CapDrop"] == ["ALL"]


def test_another_administrator_replaces_the_default_one(assigned):
    assert assigned.api("GET", "users/boss")["admin"] is True
    assert assigned.request("GET", "/hub/api/users/admin")[0] == 404


@pytest.fixture(scope="module")
def old_database(old_python, tmp_path_factory) -> Path:
    """Return a data directory with a database that an old JupyterHub made, with two users in it."""
    data = tmp_path_factory.mktemp("old") / "data"
    data.mkdir()
    script = """
import sys
from jupyterhub import orm
url = "sqlite:///" + sys.argv[1]
db = orm.new_session_factory(url)()
db.add(orm.User(name="veteran"))
db.add(orm.User(name="chief", admin=True))
db.commit()
"""
    subprocess.run(
        [old_python, "-c", script, str(data / "jupyterhub.sqlite")], check=True, capture_output=True
    )
    shutil.copyfile(data / "jupyterhub.sqlite", data.with_name("as it was"))
    return data


def test_an_old_database_is_migrated_after_a_backup(assigned, old_database):
    before, hub = old_database.with_name("as it was").read_bytes(), assigned
    names = {user["name"] for user in hub.api("GET", "users")}
    assert {"veteran", "chief"} <= names
    backups = [
        file for file in old_database.iterdir() if file.name.startswith("jupyterhub.sqlite.")
    ]
    assert any(file.read_bytes() == before for file in backups), list(old_database.iterdir())
    with sqlite3.connect(f"file:{backups[0]}?mode=ro", uri=True) as copy:
        assert {name for (name,) in copy.execute("select name from users")} == {"veteran", "chief"}
    hub.start_workspace("veteran")
    assert read_environment(hub, "veteran")["JUPYTERHUB_USER"] == "veteran"
