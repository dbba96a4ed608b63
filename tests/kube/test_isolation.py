"""Whoever is inside a pod tries to reach what is not theirs; each refused probe has a twin that succeeds where it is allowed."""

from __future__ import annotations

import base64
import itertools
import json

import pytest

from tests.addresses import INTERNET, METADATA, listening_on_the_host, own_addresses

PROBE = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close()"
# Runs inside a workspace: which of all ports of a host accept a connection? Refused packets are dropped without a word: a
# port that says nothing for half a second is closed.
FIND_OPEN = """
import errno, json, os, select, socket, sys
at_once, found = min(16000, os.sysconf("SC_OPEN_MAX") - 100), []
for first in range(1, 65536, at_once):
    asked, answers = {}, select.epoll()
    for port in range(first, min(first + at_once, 65536)):
        tried = socket.socket()
        tried.setblocking(False)
        code = tried.connect_ex((sys.argv[1], port))
        if code == errno.EINPROGRESS:
            asked[tried.fileno()] = (port, tried)
            answers.register(tried, select.EPOLLOUT)
        elif code == 0:
            found.append(port)
        elif code != errno.ECONNREFUSED:
            raise OSError(code, os.strerror(code))  # nothing was asked
    while asked and (ready := answers.poll(0.5)):
        for number, _ in ready:
            port, tried = asked.pop(number)
            if tried.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found.append(port)
            tried.close()
    for _, tried in asked.values():
        tried.close()
print(json.dumps(sorted(found)))
"""
# Runs inside a container: which of the texts of a JSON object are in a file or a program's environment that can be read?
FIND_TEXTS = """
import json, pathlib, sys
texts, found = json.load(sys.stdin), set()
# What the container has beside its image: volumes, and what its programs were given.
folders = ("/run", "/tmp", "/etc/mlhub", "/etc/jupyterhub", "/data", "/home", "/var/run", "/dev/shm")
files = [file for folder in folders for file in pathlib.Path(folder).rglob("*") if file.is_file()]
for name in ("environ", "cmdline"):
    files += pathlib.Path("/proc").glob(f"[0-9]*/{name}")
for file in files:
    try:
        content = file.read_bytes()
    except OSError:
        continue
    found |= {name for name, text in texts.items() if text.encode() in content}
print(json.dumps(sorted(found)))
"""
# All that the hub's account may beside what every account of the cluster may.
NODES = {"nodes": {"list"}}
RIGHTS = {
    "pods": {"get", "list", "watch", "create", "patch", "delete"},
    "pods/log": {"get"},
    "persistentvolumeclaims": {"get", "list", "create", "patch", "delete"},
    "services": {"get", "create", "delete"},
    "networkpolicies.networking.k8s.io": {"get", "list", "create", "delete"},
    "events": {"list", "watch"},
}


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


def find_open(release, source: str, host: str, container: str = "notebook") -> list[int]:
    return json.loads(release.execute(source, "python3", "-c", FIND_OPEN, host, container=container))


def test_the_hubs_api_answers_workspaces_and_nothing_else_of_the_release_does(people):
    ann, hub, proxy = pod(people, "ann"), people.find_pod("hub"), people.find_pod("proxy")
    assert reaches(people, ann, people.name, 8081)  # by the name of its Service
    assert find_open(people, ann, address(people, hub)) == [8081]
    bastion = people.find_pod("bastion")
    assert reaches(people, bastion, people.name, 8082, container="ssh")  # the bastion's questions
    # Plain SSH is for everybody whom the Service lets in, but workspaces reach no other pod.
    assert find_open(people, ann, address(people, bastion)) == []
    assert reaches(people, proxy, address(people, bastion), 2222, container="proxy") is False
    assert reaches(people, proxy, f"{people.name}-bastion", 2223, container="proxy")
    assert not reaches(people, hub, f"{people.name}-bastion", 2223, container="hub")
    assert reaches(people, hub, f"{people.name}-bastion", 22, container="hub")
    assert find_open(people, ann, address(people, proxy)) == []
    for port in (8001, 8080):
        assert reaches(people, hub, address(people, proxy), port, container="hub")
    assert not reaches(people, ann, f"{people.name}-proxy-api", 8001)
    assert reaches(people, hub, f"{people.name}-proxy-api", 8001, container="hub")  # whose it is


def test_a_bastion_reaches_the_port_for_its_questions_workspaces_and_nothing_else(people):
    """Everybody's SSH ends in it: whoever takes it over shall find nothing of the hub's."""
    bastion, hub, proxy = (people.find_pod(component) for component in ("bastion", "hub", "proxy"))
    assert find_open(people, bastion, address(people, hub), "ssh") == [8082]
    assert find_open(people, bastion, address(people, proxy), "ssh") == []
    assert reaches(people, bastion, pod(people, "ann"), 8080, container="ssh")
    api = people.cluster.read("--namespace", "default", "service", "kubernetes")["spec"]["clusterIP"]
    with own_addresses(INTERNET, METADATA), listening_on_the_host() as port:
        for host, number in ((INTERNET, port), (METADATA, port), (api, 443)):
            assert reaches(people, hub, host, number, container="hub")
            assert not reaches(people, bastion, host, number, container="ssh")
    # Of the secrets it has the key that it shows to clients, and the token for its questions.
    kept = {name: base64.b64decode(value).decode().strip() for name, value in people.read("secret", f"{people.name}-hub")["data"].items()}
    words = ("exec", "--stdin", bastion, "--container", "ssh", "--", "python", "-I", "-c", FIND_TEXTS)
    seen = json.loads(people.cluster.run("--namespace", people.namespace, *words, stdin=json.dumps(kept)))
    assert sorted(seen) == ["ssh.hostKey", "ssh.token"]


def test_an_own_workspace_is_reached_and_anothers_is_not(people, wait_for):
    ann, second, bob, hub = pod(people, "ann"), pod(people, "ann", "second"), pod(people, "bob"), people.find_pod("hub")
    for name in (second, bob):  # the hub reaches all that listens in them
        assert reaches(people, hub, address(people, name), 8080, container="hub")
        wait_for(lambda name=name: reaches(people, hub, address(people, name), 2222, container="hub"), f"SSH listens in {name}")
    assert reaches(people, ann, second, 8080)  # by the name of its Service
    assert find_open(people, ann, address(people, second)) == [2222, 8080]
    assert reaches(people, hub, bob, 8080, container="hub")
    assert not reaches(people, ann, bob, 8080)
    assert find_open(people, ann, address(people, bob)) == []


def test_the_internet_is_reached_and_metadata_private_networks_and_the_api_server_are_not(people):
    ann, hub = pod(people, "ann"), people.find_pod("hub")
    addresses = people.cluster.read("nodes")["items"][0]["status"]["addresses"]
    node = next(each["address"] for each in addresses if each["type"] == "InternalIP")
    api = people.cluster.read("--namespace", "default", "service", "kubernetes")["spec"]["clusterIP"]
    with own_addresses(INTERNET, METADATA), listening_on_the_host() as port:
        assert reaches(people, ann, INTERNET, port)
        assert not reaches(people, ann, METADATA, port)
        assert find_open(people, ann, node) == []
        # The hub may: the addresses answer, and the refusals above are the policy's.
        assert reaches(people, hub, METADATA, port, container="hub")
        assert reaches(people, hub, node, port, container="hub")
    assert reaches(people, hub, api, 443, container="hub")
    assert not reaches(people, ann, api, 443)


def list_rights(cluster, account: str, namespace: str) -> set[tuple[str, str]]:
    """List what an account (namespace:name) may in a namespace, as ``kubectl auth can-i --list`` does."""
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}}
    words = ["create", "--validate=false", "--filename", "-", "--output", "json", f"--as=system:serviceaccount:{account}"]
    status = json.loads(cluster.run(*words, stdin=json.dumps(review)))["status"]
    found = {(url, verb) for rule in status["nonResourceRules"] for url in rule.get("nonResourceURLs", ()) for verb in rule["verbs"]}
    for rule in status["resourceRules"]:
        for kind in rule["resources"]:
            names = [".".join(filter(None, (kind, group))) for group in rule["apiGroups"]]
            found |= {(f"{name}{rule.get('resourceNames', '')}", verb) for name in names for verb in rule["verbs"]}
    return found


def test_a_workspace_holds_no_right_in_the_cluster_and_the_hub_only_what_it_needs(people):
    namespace, hub_account = people.namespace, people.read("pod", people.find_pod("hub"))["spec"]["serviceAccountName"]
    account = people.read("pod", pod(people, "ann"))["spec"].get("serviceAccountName", "default")

    def list_granted(who: str, where: str) -> set[tuple[str, str]]:
        everybodys = list_rights(people.cluster, "default:nobody", where)
        assert everybodys  # such as to ask for one's rights
        return list_rights(people.cluster, f"{namespace}:{who}", where) - everybodys

    def flatten(rights: dict[str, set[str]]) -> set[tuple[str, str]]:
        return {(kind, verb) for kind, verbs in rights.items() for verb in verbs}

    assert list_granted(hub_account, namespace) == flatten({**RIGHTS, **NODES})
    assert list_granted(hub_account, "kube-system") == flatten(NODES)
    assert list_granted(account, namespace) == list_granted(account, "kube-system") == set()


def test_what_nobody_of_a_release_may_is_denied_to_hub_and_workspaces(people):
    hub_account = people.read("pod", people.find_pod("hub"))["spec"]["serviceAccountName"]
    account = people.read("pod", pod(people, "ann"))["spec"].get("serviceAccountName", "default")

    def may(who: str, verb: str, resource: str) -> bool:
        kind, _, part = resource.partition("/")  # kubectl would take what is behind a slash for a name
        words = ["auth", "can-i", verb, kind, f"--as=system:serviceaccount:{people.namespace}:{who}"]
        return people.kubectl(*words, *([f"--subresource={part}"] if part else []), check=False).splitlines()[-1] == "yes"

    for resource in ("pods", "pods/log"):
        assert may(hub_account, "get", resource)
        assert not may(account, "get", resource)
    never = (
        "secrets",
        "configmaps",
        "pods/exec",
        "pods/attach",
        "roles.rbac.authorization.k8s.io",
        "serviceaccounts/token",
        "deployments.apps",
    )
    for who, resource, verb in itertools.product((hub_account, account), never, ("get", "create", "delete")):
        assert not may(who, verb, resource), (who, verb, resource)


def test_only_the_hubs_own_container_has_the_token_of_its_account(people):
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    hub = people.find_pod("hub")
    assert "token" in people.execute(hub, "ls", folder, container="hub").split()
    for name, container in ((pod(people, "ann"), "notebook"), (people.find_pod("bastion"), "ssh"), (people.find_pod("proxy"), "proxy")):
        assert people.execute(name, "sh", "-c", f"ls -d {folder} 2>&1 || echo none", container=container).endswith("none")


def test_every_pod_of_the_namespace_is_admitted_as_restricted_with_a_read_only_root_where_it_is_ours(people):
    labels = people.cluster.read("namespace", people.namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for component, container in {"hub": "hub", "bastion": "ssh", "proxy": "proxy"}.items():
        name = people.find_pod(component)
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
