"""Names that were made to collide, to climb or to break: distinct objects, or the refusal that
belongs to it; never somebody else's, never a 5xx.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import quote

import pytest

from tests.support.hub_container import Hub, docker

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
TWINS = [
    ("a-b", "c"),
    ("a-b", ""),
    ("a", "b-c"),
    ("a", "b"),
    ("a--b", "c"),
    ("a-b-c", ""),
    ("a-2db", "c"),
]
ODD_USERS = [
    "ann@example.com",
    "ann.example.com",
    "Ännchen",
    "用户",
    "user😀",
    "with space",
    "UPPER",
    "-dash",
    "under_score",
    "%41",
    "a%2Fb",
    "a\\b",
    "a'b\"c",
    "<script>",
    "{username}",
    "$(id)",
    "a\nb",
    "x" * 250,
    "x" * 300,
]
# What can be nobody's name, with the refusal. Those that climb are another address before the hub
# ever sees them.
NO_USERS = {"..": 405, "../x": 400, "x/../../admin": 400, "a\x00b": 400}
NO_SERVERS = {
    "..": 404,
    **dict.fromkeys(
        (
            "../x",
            "a/b",
            "%2e%2e",
            "a b",
            "Ä",
            "x" * 300,
            "{servername}",
            "$(id)",
            "a\nb",
            "<b>",
            "-",
            "--",
            "UPPER",
            "a--b",
        ),
        400,
    ),
}


def start(hub: Hub, user: str, server: str = "") -> int:
    """Create a user and start a workspace as a client would; return the last status."""
    status, _, _ = hub.request("POST", f"/hub/api/users/{quote(user, safe='')}", b"")
    if status not in (201, 409):
        return status
    path = f"/hub/api/users/{quote(user, safe='')}/" + (
        f"servers/{quote(server, safe='')}" if server else "server"
    )
    status, _, _ = hub.request("POST", path, {})
    if status == 202:
        hub.wait_for(
            lambda: (
                hub.api("GET", f"users/{quote(user, safe='')}")["servers"].get(server) or {}
            ).get("ready"),
            "it is ready",
            40,
        )
        status = 201
    return status


def stop(hub: Hub, user: str, server: str = "") -> None:
    path = f"/hub/api/users/{quote(user, safe='')}/" + (
        f"servers/{quote(server, safe='')}" if server else "server"
    )
    hub.request("DELETE", path)


def list_objects(hub: Hub) -> dict[tuple[str, str], dict]:
    """Return the inspected containers by the identity in their labels."""
    found = {}
    names = hub.containers()
    for container in json.loads(docker("inspect", *names)) if names else []:
        labels = container["Config"]["Labels"]
        identity = (labels["mlhub.user"], labels["mlhub.server_name"])
        assert identity not in found, "two containers for one workspace"
        found[identity] = container
    return found


def assert_distinct(hub: Hub) -> None:
    """Check that no two workspaces share a name or a volume, and no two users a network."""
    objects = list_objects(hub)
    names = [container["Name"] for container in objects.values()]
    mounts = [
        mount
        for container in objects.values()
        for mount in container["Mounts"]
        if mount["Type"] == "volume"
    ]
    # What everybody may read, the bundle of OpenSSH, nobody may write.
    volumes = [mount["Name"] for mount in mounts if mount["RW"]]
    assert len(set(names)) == len(names)
    assert len(set(volumes)) == len(volumes) == len(objects)
    owners: dict[str, set[str]] = {}
    for (user, _), container in objects.items():
        assert DNS_LABEL.match(container["Name"].lstrip("/")), container["Name"]
        for network in container["NetworkSettings"]["Networks"]:
            owners.setdefault(network, set()).add(user)
    assert all(len(users) == 1 for users in owners.values()), owners


def start_all(hub: Hub, identities: list[tuple[str, str]]) -> None:
    """Start workspaces, several at a time; each must come up."""
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda each: start(hub, *each), identities))
    assert dict(zip(identities, statuses, strict=True)) == dict.fromkeys(identities, 201)


def stop_all(hub: Hub, identities: list[tuple[str, str]]) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: stop(hub, *each), identities))


def test_names_that_would_be_equal_when_glued_together_stay_apart(hub):
    start_all(hub, TWINS)
    assert_distinct(hub)
    for user, server in TWINS:
        path = f"/user/{user}/{server}/whoami" if server else f"/user/{user}/whoami"
        status, _, body = hub.request("GET", path)
        assert status == 200
        seen = json.loads(body)["environment"]
        assert (seen["JUPYTERHUB_USER"], seen.get("JUPYTERHUB_SERVER_NAME", "")) == (user, server)
    stop_all(hub, TWINS)


def test_odd_user_names_get_workspaces_of_their_own_side_by_side(hub):
    identities = [(user, "") for user in ODD_USERS]
    start_all(hub, identities)
    assert set(identities) <= set(list_objects(hub))
    for user in ODD_USERS:
        status, _, body = hub.request("GET", f"/user/{quote(user, safe='')}/whoami")
        assert status == 200, ascii(user)
        assert json.loads(body)["environment"]["JUPYTERHUB_USER"] == user
    assert_distinct(hub)
    stop_all(hub, identities)


@pytest.mark.parametrize(("user", "refusal"), NO_USERS.items(), ids=ascii)
def test_what_can_be_nobodys_name_is_refused_and_makes_nothing(hub, user, refusal):
    before = set(list_objects(hub))
    assert start(hub, user) == refusal
    assert set(list_objects(hub)) == before
    assert all(model["name"] != user for model in hub.api("GET", "users?limit=200"))


@pytest.mark.parametrize(
    ("server", "refusal"), NO_SERVERS.items(), ids=lambda value: ascii(value)[:24]
)
def test_what_can_be_no_servers_name_is_refused_and_makes_nothing(hub, name, server, refusal):
    assert start(hub, name, server) == refusal
    assert not any(user == name for user, _ in list_objects(hub))


def test_a_server_named_like_a_path_of_the_hub_gets_its_own_workspace(hub):
    assert start(hub, "oda", "api") == 400  # a path of her own default workspace's, too
    assert start(hub, "oda", "hub") == 201
    assert list(hub.api("GET", "users/oda")["servers"]) == ["hub"]
    inside = json.loads(hub.request("GET", "/user/oda/hub/whoami")[2])["environment"]
    assert inside["JUPYTERHUB_SERVER_NAME"] == "hub"
    assert_distinct(hub)
    stop(hub, "oda", "hub")


def test_a_user_named_like_anothers_container_gets_nothing_of_it(hub):
    assert start(hub, "victim") == 201
    victim = list_objects(hub)["victim", ""]
    for user in (
        victim["Name"].lstrip("/"),
        hub.name,
        f"zz-net-{hub.name}--victim",
        f"net-{hub.name}--victim",
        f"v1-{hub.name}--victim",
    ):
        assert start(hub, user) == 201, user
        assert list_objects(hub)["victim", ""]["Id"] == victim["Id"]
        mine = list_objects(hub)[user, ""]
        assert mine["Id"] != victim["Id"]
        assert not set(mine["NetworkSettings"]["Networks"]) & set(
            victim["NetworkSettings"]["Networks"]
        )
        stop(hub, user)
    stop(hub, "victim")


def test_a_foreign_container_under_the_name_is_refused_and_left_alone(hub):
    name = f"ws-{hub.name}--squatted"
    foreign = docker(
        "create",
        "--name",
        name,
        "--label",
        f"mlhub.origin={hub.name}",
        "--label",
        "mlhub.user=somebody-else",
        "mlhub-test-workspace:latest",
    )
    try:
        assert start(hub, "squatted") == 409
        assert docker("inspect", "--format", "{{.Id}}", name) == foreign
    finally:
        docker("rm", "--force", foreign)


def list_volumes(hub: Hub, user: str) -> dict[str, dict[str, str]]:
    """Return the labels of a user's volumes by name."""
    names = docker(
        "volume",
        "ls",
        "--quiet",
        "--filter",
        f"label=mlhub.origin={hub.name}",
        "--filter",
        f"label=mlhub.user={user}",
    ).split()
    return (
        {each["Name"]: each["Labels"] for each in json.loads(docker("volume", "inspect", *names))}
        if names
        else {}
    )


def test_a_name_that_is_taken_again_finds_nothing_of_the_one_before(hub):
    assert start(hub, "nina") == 201
    (container,) = (name for name in hub.containers() if name.endswith("--nina"))
    docker("exec", container, "sh", "-c", "echo precious > /workspace/file")
    stop(hub, "nina")
    # Another name would leave the files to whoever takes this one.
    status, _, answer = hub.request("PATCH", "/hub/api/users/nina", {"name": "norma"})
    assert status == 400
    assert b"cannot be renamed" in answer
    assert hub.request("GET", "/hub/api/users/norma")[0] == 404
    assert start(hub, "nina") == 201
    assert docker("exec", container, "cat", "/workspace/file") == "precious"
    (old,) = list_volumes(hub, "nina")

    assert hub.request("DELETE", "/hub/api/users/nina")[0] == 204
    assert start(hub, "nina") == 201
    assert docker("exec", container, "ls", "/workspace") == ""
    volumes = list_volumes(hub, "nina")
    assert old in volumes
    assert old in {labels.get("mlhub.trashed_volume") for labels in volumes.values()}
    assert hub.request("DELETE", "/hub/api/users/nina")[0] == 204
    assert old in list_volumes(hub, "nina")


def test_somebody_who_is_deleted_while_servers_run_and_start_is_gone_with_all_that_runs(hub):
    assert start(hub, "otto") == 201
    stop(hub, "otto")
    assert start(hub, "otto", "work") == 201
    with ThreadPoolExecutor() as pool:
        starting = pool.submit(start, hub, "otto", "late")
        hub.wait_for(
            lambda: "late" in hub.api("GET", "users/otto?include_stopped_servers")["servers"],
            "it is starting",
            10,
            every=0.005,
        )
        status, _, answer = hub.request("DELETE", "/hub/api/users/otto")
        assert status == 204, answer
        with suppress(AssertionError, KeyError):  # whoever waits for it finds nobody
            starting.result()
    assert not [name for name in hub.containers() if "--otto" in name]
    assert hub.request("DELETE", "/hub/api/users/otto")[0] == 404
    volumes = list_volumes(hub, "otto")
    trashed = {
        labels["mlhub.trashed_volume"]
        for labels in volumes.values()
        if "mlhub.trashed_volume" in labels
    }
    assert {
        name for name, labels in volumes.items() if "mlhub.trashed_volume" not in labels
    } == trashed
    assert {labels["mlhub.server_name"] for labels in volumes.values()} >= {"", "work"}
