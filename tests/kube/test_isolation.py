"""Whoever is inside a pod tries to reach what is not theirs; each refused probe has a twin that succeeds where it is allowed."""

from __future__ import annotations

import base64
import json

import pytest

from tests.addresses import INTERNET, METADATA, listening_on_the_host, own_addresses

PROBE = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close()"
# Runs inside a workspace: which of these ports of a host accept a connection?
FIND_OPEN = """
import socket, sys, threading
host, ports, found = sys.argv[1], iter(range(int(sys.argv[2]), int(sys.argv[3]) + 1)), []
lock = threading.Lock()
def look():
    while True:
        with lock:
            port = next(ports, None)
        if port is None:
            return
        try:
            socket.create_connection((host, port), 1.0).close()
            found.append(port)
        except OSError:
            pass
threads = [threading.Thread(target=look) for _ in range(200)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(sorted(found))
"""


@pytest.fixture(scope="module")
def people(release):
    release.start_workspace("ann")
    release.start_workspace("ann", "second")
    release.start_workspace("bob")
    return release


def pod(release, user: str, server: str = "") -> str:
    return f"ws-{release.name}--{user}" + (f"--{server}" if server else "")


def address(release, name: str) -> str:
    return release.read("pod", name)["status"]["podIP"]


def component_address(release, component: str) -> str:
    return address(release, release.find_pod(component))


def reaches(release, source: str, host: str, port: int, container: str = "notebook") -> bool:
    said = release.execute(source, "python3", "-c", f"{PROBE}\nprint('open')", host, str(port), container=container, check=False)
    return said == "open"


def test_the_hubs_api_answers_workspaces_and_nothing_else_of_the_release_does(people):
    ann = pod(people, "ann")
    assert reaches(people, ann, people.name, 8081)
    assert reaches(people, ann, component_address(people, "hub"), 8081)
    proxy = component_address(people, "proxy")
    assert json.loads(people.execute(ann, "python3", "-c", FIND_OPEN, component_address(people, "hub"), "1", "3000")) == []
    assert reaches(people, people.find_pod("hub"), proxy, 8001, container="hub")  # whose it is
    assert not reaches(people, ann, proxy, 8001)
    assert not reaches(people, ann, f"{people.name}-proxy-api", 8001)
    assert json.loads(people.execute(ann, "python3", "-c", FIND_OPEN, proxy, "7900", "8100")) == []


def test_an_own_workspace_is_reached_and_anothers_is_not(people):
    ann, second, bob = pod(people, "ann"), pod(people, "ann", "second"), pod(people, "bob")
    assert reaches(people, ann, second, 8080)  # by the name of its Service
    assert reaches(people, ann, address(people, second), 8080)
    assert people.request("GET", "/user/bob/api")[0] == 200  # bob's answers where it is allowed
    assert not reaches(people, ann, bob, 8080)
    for port in (8080, 2222):
        assert not reaches(people, ann, address(people, bob), port)


def test_the_internet_is_reached_and_metadata_private_networks_and_the_api_server_are_not(people):
    ann = pod(people, "ann")
    node = people.cluster.read("nodes")["items"][0]["status"]["addresses"][0]["address"]
    api = people.cluster.read("--namespace", "default", "service", "kubernetes")["spec"]["clusterIP"]
    with own_addresses(INTERNET, METADATA), listening_on_the_host() as port:
        assert reaches(people, ann, INTERNET, port)
        assert not reaches(people, ann, METADATA, port)
        assert not reaches(people, ann, node, port)
        # The hub may: the address answers, and the refusals above are the policy's.
        assert reaches(people, people.find_pod("hub"), METADATA, port, container="hub")
    assert reaches(people, people.find_pod("hub"), api, 443, container="hub")
    assert not reaches(people, ann, api, 443)


def test_a_workspace_holds_no_right_in_the_cluster_and_the_hub_only_what_it_needs(people):
    namespace, hub_account = people.namespace, people.read("pod", people.find_pod("hub"))["spec"]["serviceAccountName"]
    account = people.read("pod", pod(people, "ann"))["spec"].get("serviceAccountName", "default")

    def may(who: str, verb: str, resource: str, where: str = namespace) -> bool:
        kind, _, part = resource.partition("/")  # kubectl would take what is behind a slash for a name
        words = ["auth", "can-i", verb, kind, "--namespace", where, f"--as=system:serviceaccount:{namespace}:{who}"]
        said = people.cluster.run(*words, *([f"--subresource={part}"] if part else []), check=False)
        return said.splitlines()[-1] == "yes"

    needed = {
        "pods": ("get", "list", "watch", "create", "patch", "delete"),
        "pods/log": ("get",),
        "persistentvolumeclaims": ("get", "list", "create", "patch", "delete"),
        "services": ("get", "create", "delete"),
        "networkpolicies.networking.k8s.io": ("get", "list", "create", "delete"),
        "events": ("list", "watch"),
    }
    for resource, verbs in needed.items():
        for verb in verbs:
            assert may(hub_account, verb, resource), (verb, resource)
            assert not may(account, verb, resource), (verb, resource)
            assert not may(hub_account, verb, resource, "kube-system"), (verb, resource)
    never = (
        "secrets",
        "configmaps",
        "pods/exec",
        "pods/attach",
        "roles.rbac.authorization.k8s.io",
        "serviceaccounts/token",
        "deployments.apps",
    )
    for resource in never:
        for verb in ("get", "create", "delete"):
            assert not may(hub_account, verb, resource), (verb, resource)
    assert people.execute(pod(people, "ann"), "ls", "/var/run/secrets/kubernetes.io", check=False) == ""
    assert people.execute(people.find_pod("hub"), "ls", "/var/run/secrets/kubernetes.io/serviceaccount", container="ssh", check=False) == ""


def test_every_pod_of_the_namespace_is_admitted_as_restricted_with_a_read_only_root_where_it_is_ours(people):
    labels = people.cluster.read("namespace", people.namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for component, containers in {"hub": ("hub", "ssh"), "proxy": ("proxy",)}.items():
        name = people.find_pod(component)
        for container in containers:
            assert "Read-only" in people.execute(name, "sh", "-c", "touch /etc/x 2>&1 || :", container=container)
            status = people.execute(name, "cat", "/proc/self/status", container=container)
            assert "CapEff:\t0000000000000000" in status
            assert "NoNewPrivs:\t1" in status
            assert "Seccomp:\t2" in status


def test_a_privileged_pod_is_refused_where_a_restricted_one_runs(people):
    privileged = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "attack", "namespace": people.namespace},
        "spec": {"containers": [{"name": "a", "image": "mlhub-test-workspace:latest", "securityContext": {"privileged": True}}]},
    }
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        people.cluster.apply(privileged)


def test_the_hubs_secrets_are_not_in_a_workspace(people):
    token = people.read("secret", f"{people.name}-hub")["data"]
    assert token
    seen = people.execute(pod(people, "ann"), "sh", "-c", "cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; ls /data /run/mlhub 2>&1 || :")
    for value in token.values():
        assert base64.b64decode(value).decode().strip() not in seen
