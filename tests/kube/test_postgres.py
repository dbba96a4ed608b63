"""A release whose database is a server: PostgreSQL in a pod of its own, in a namespace that admits
restricted pods alone.
"""

from __future__ import annotations

import base64
import json
import secrets
import urllib.parse

import pytest

from tests.support.helm_release import address, merge, pod, reaches, read_example, wait_for_hub

IMAGE = "mlhub-test-postgres:latest"
# With what has a meaning in a URL.
PASSWORD = f"p@s/s:w%rd-{secrets.token_hex(8)}"
URL = f"postgresql://mlhub:{urllib.parse.quote(PASSWORD, safe='')}@postgres/mlhub"
VALUES = merge(read_example("postgres"), {"hub": {"db": {"password": PASSWORD}}})
OWN_SECRET = {"hub": {"db": {"type": "postgres", "existingSecret": "database"}}}
# Runs in the hub's container: whom does the server know?
LIST_USERS = """
import psycopg2, sys
connection = psycopg2.connect(host="postgres", user="mlhub", dbname="mlhub", password=sys.argv[1])
cursor = connection.cursor()
cursor.execute("SELECT name FROM users")
print(*(name for name, in cursor))
"""


def make_server() -> list[dict]:
    """Make the objects of a database server that loses everything with its pod."""
    restricted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    container = {
        "name": "postgres",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": [
            {
                "name": "PASSWORD",
                "valueFrom": {"secretKeyRef": {"name": "database", "key": "password"}},
            }
        ],
        "readinessProbe": {"tcpSocket": {"port": 5432}, "periodSeconds": 1},
        "securityContext": restricted,
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    spec = {
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "fsGroup": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    metadata = {"name": "postgres", "labels": {"app": "postgres"}}
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "database"},
            "stringData": {"password": PASSWORD, "hub.db.url": URL},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": {"app": "postgres"}, "ports": [{"port": 5432}]},
        },
    ]


@pytest.fixture(scope="module")
def release(make_release):
    made = make_release()
    for each in make_server():
        each["metadata"]["namespace"] = made.namespace
        made.cluster.apply(each)
    made.kubectl("wait", "--for=condition=Ready", "pod/postgres", "--timeout=60s")
    made.install(VALUES)
    made.start_workspace("alice")
    return made


def replace_hub(release) -> None:
    """Delete the hub's pod; the next one is there when this returns."""
    before = release.find_pod("hub")
    release.kubectl("delete", "pod", before, "--wait=true", "--timeout=60s")
    release.wait_for(lambda: release.find_pod("hub") != before, "another hub pod is there", 60)


def list_users(release) -> list[str]:
    return release.execute(
        release.find_pod("hub"), "python", "-c", LIST_USERS, PASSWORD, container="hub"
    ).split()


def list_places_of_password(release) -> list[str]:
    """Name what can be read without a right to Secrets, and holds the password all the same."""
    hub, proxy = release.find_pod("hub"), release.find_pod("proxy")
    kinds = (
        "pods,configmaps,deployments,replicasets,services,events,networkpolicies,serviceaccounts"
    )
    places = {
        "objects": json.dumps(release.read(kinds), ensure_ascii=False),
        "description": release.kubectl("describe", "pods"),
        "notes": release.helm("get", "notes", release.name),
        "processes": release.execute(
            hub,
            "sh",
            "-c",
            "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null",
            container="hub",
        ),
        "log of hub": release.kubectl("logs", hub, "--all-containers"),
        "log of proxy": release.kubectl("logs", proxy, "--all-containers"),
    }
    assert all(places.values())
    forms = (
        PASSWORD,
        urllib.parse.quote(PASSWORD, safe=""),
        urllib.parse.quote(PASSWORD),
        base64.b64encode(PASSWORD.encode()).decode(),
    )
    return [name for name, text in places.items() if any(form in text for form in forms)]


def test_people_and_workspaces_outlive_the_hubs_pod_in_a_database_server(release):
    before = release.read("pod", pod(release, "alice"))["metadata"]["uid"]
    replace_hub(release)
    assert not release.read("persistentvolumeclaims", "--selector", "component=hub")[
        "items"
    ]  # nothing else outlives the pod
    wait_for_hub(release)
    assert release.is_workspace_ready("alice")
    assert release.read("pod", pod(release, "alice"))["metadata"]["uid"] == before
    assert release.request("GET", "/user/alice/api")[0] == 200
    assert "alice" in list_users(release)
    files = release.execute(
        release.find_pod("hub"), "find", "/data", "-type", "f", container="hub"
    ).split()
    assert files  # the hub writes there
    assert [file for file in files if "sqlite" in file] == []


def test_the_password_stands_in_the_secret_alone(release):
    value = release.read("secret", f"{release.name}-hub")["data"]["hub.db.password"]
    assert base64.b64decode(value).decode() == PASSWORD
    assert list_places_of_password(release) == []


@pytest.mark.full
def test_the_hub_reaches_the_database_unless_the_site_shuts_it_out_and_workspaces_never_do(release):
    def hub_reaches_it() -> bool:
        return reaches(
            release, release.find_pod("hub"), address(release, "postgres"), 5432, container="hub"
        )

    hub = release.find_pod("hub")
    assert hub_reaches_it()
    assert not reaches(release, pod(release, "alice"), address(release, "postgres"), 5432)
    shut = {
        "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [f"{address(release, 'postgres')}/32"]}}]
    }
    release.install(merge(VALUES, {"hub": {"networkPolicy": {"egress": [shut]}}}))
    release.wait_for(lambda: not hub_reaches_it(), "the policy shuts the hub out", 20)
    opened = {
        "to": [{"podSelector": {"matchLabels": {"app": "postgres"}}}],
        "ports": [{"port": 5432}],
    }
    release.install(merge(VALUES, {"hub": {"networkPolicy": {"egress": [shut, opened]}}}))
    release.wait_for(hub_reaches_it, "one rule for the database lets the hub in again", 20)
    assert release.find_pod("hub") == hub


@pytest.mark.full
def test_a_database_that_comes_back_is_used_again_by_the_same_hub(release):
    def count_restarts(name: str) -> int:
        return sum(
            each["restartCount"]
            for each in release.read("pod", name)["status"]["containerStatuses"]
        )

    hub = release.find_pod("hub")
    before = count_restarts(hub)
    release.execute("postgres", "sh", "-c", "kill -QUIT 1", container="postgres")
    release.wait_for(lambda: count_restarts("postgres") == 1, "the database is started again", 30)
    release.kubectl("wait", "--for=condition=Ready", "pod/postgres", "--timeout=60s")
    release.wait_for(
        lambda: release.request("GET", "/hub/api/users/alice")[0] == 200,
        "the hub reads from it",
        30,
    )
    release.api("POST", "users/bert")
    assert "bert" in list_users(release)
    assert release.find_pod("hub") == hub
    assert count_restarts(hub) == before


@pytest.mark.full
def test_the_url_may_stand_in_a_secret_of_the_sites_own_and_debugging_shows_nothing_of_it(release):
    release.install(merge(OWN_SECRET, {"mlhub": {"debug": True}}))
    assert release.is_workspace_ready("alice")
    assert not {"hub.db.url", "hub.db.password"} & set(
        release.read("secret", f"{release.name}-hub")["data"]
    )
    assert list_places_of_password(release) == []


@pytest.mark.full
def test_a_wrong_password_is_a_sentence_in_the_hubs_log(release):
    release.install(OWN_SECRET)

    def set_url(url: str) -> None:
        release.kubectl(
            "patch",
            "secret",
            "database",
            "--patch",
            json.dumps({"stringData": {"hub.db.url": url}}),
        )

    set_url("postgresql://mlhub:something-else@postgres/mlhub")
    try:
        replace_hub(release)
        release.wait_for(
            lambda: "password authentication failed" in release.logs(),
            "the hub says why it does not start",
            60,
        )
        assert "something-else" not in release.logs()
    finally:
        set_url(URL)
    replace_hub(release)
    wait_for_hub(release)
    assert release.is_workspace_ready("alice")
