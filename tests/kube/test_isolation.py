"""Whoever is inside a pod tries to reach what is not theirs; each refused probe has a twin that
succeeds where it is allowed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable

import pytest

from tests.support.addresses import INTERNET, METADATA, listening_on_the_host, own_addresses
from tests.support.cluster import WORKSPACE_IMAGE
from tests.support.helm_release import (
    CHART,
    PROBE,
    address,
    find_reached,
    list_listening,
    pod,
    reaches,
)

# Addresses of a site's own networks.
SITE = ("10.79.5.5", "192.168.79.7")
# Runs inside a workspace: which of all ports of a host accept a connection? Refused packets are
# dropped without a word: a port that says nothing for half a second is closed.
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
# Runs inside a container: which of the texts of a JSON object are in a file or a program's
# environment that can be read?
FIND_TEXTS = """
import json, pathlib, sys
texts, found = json.load(sys.stdin), set()
# What the container has beside its image: volumes, and what its programs were given.
folders = ("/run", "/tmp", "/etc/mlhub", "/etc/jupyterhub", "/data", "/home", \
"/var/run", "/dev/shm")
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
    "services": {"get", "list", "create", "delete"},
    "networkpolicies.networking.k8s.io": {"get", "list", "create", "delete"},
    "events": {"list", "watch"},
}


@pytest.fixture(scope="module")
def people(release):
    release.start_workspace("ann")
    release.start_workspace("ann", "second")
    release.start_workspace("bob")
    return release


def all_of(release, name: str, container: str = "notebook") -> dict[int, str]:
    """Return port → host:port of everything that listens in a pod."""
    ip = address(release, name)
    return {port: f"{ip}:{port}" for port in list_listening(release, name, container)}


def find_open(release, source: str, host: str, container: str = "notebook") -> list[int]:
    return json.loads(
        release.execute(source, "python3", "-c", FIND_OPEN, host, container=container)
    )


def test_the_hubs_api_answers_workspaces_and_nothing_else_of_the_release_does(people):
    name, ann = people.name, pod(people, "ann")
    hub, bastion, proxy = (people.find_pod(part) for part in ("hub", "bastion", "proxy"))
    in_hub, in_bastion, in_proxy = (
        all_of(people, *part) for part in ((hub, "hub"), (bastion, "ssh"), (proxy, "proxy"))
    )
    assert {8081, 8082, 8083} <= set(in_hub)
    assert {2222, 2223} <= set(in_bastion)
    assert {8001, 8080} <= set(in_proxy)
    api, questions = f"{name}:8081", f"{name}:8082"  # by the name of its Service
    ssh, forwarded, proxy_api = (
        f"{name}-bastion:22",
        f"{name}-bastion:2223",
        f"{name}-proxy-api:8001",
    )
    everything = {*in_hub.values(), *in_bastion.values(), *in_proxy.values()}
    # Plain SSH is for everybody whom the Service lets in, but workspaces reach no other pod.
    named = {api, questions, f"{name}:8083", proxy_api, f"{name}-proxy-public:80", ssh, forwarded}
    assert find_reached(people, ann, everything | named) == {api, in_hub[8081]}
    assert reaches(people, bastion, name, 8082, container="ssh")  # the bastion's questions
    assert find_reached(people, proxy, {in_bastion[2222], forwarded}, "proxy") == {forwarded}
    own = {in_proxy[8001], in_proxy[8080], proxy_api}  # whose it is
    assert find_reached(people, hub, {*own, ssh, forwarded}, "hub") == {*own, ssh}


def find_api(release) -> str:
    service = release.cluster.read("--namespace", "default", "service", "kubernetes")
    return f"{service['spec']['clusterIP']}:443"


def test_a_bastion_reaches_the_port_for_its_questions_workspaces_and_nothing_else(people):
    """Everybody's SSH ends in it: whoever takes it over shall find nothing of the hub's."""
    bastion, hub, proxy = (people.find_pod(component) for component in ("bastion", "hub", "proxy"))
    in_hub, in_proxy = all_of(people, hub, "hub"), all_of(people, proxy, "proxy")
    workspace = f"{pod(people, 'ann')}:8080"
    with own_addresses(INTERNET, METADATA), listening_on_the_host() as port:
        beyond = {f"{INTERNET}:{port}", f"{METADATA}:{port}", find_api(people)}
        assert find_reached(people, hub, beyond, "hub") == beyond
        targets = {workspace, *in_hub.values(), *in_proxy.values(), *beyond}
        assert find_reached(people, bastion, targets, "ssh") == {workspace, in_hub[8082]}
    # Of the secrets it has the key that it shows to clients, and the token for its questions.
    kept = {
        name: base64.b64decode(value).decode().strip()
        for name, value in people.read("secret", f"{people.name}-hub")["data"].items()
    }
    words = (
        "exec",
        "--stdin",
        bastion,
        "--container",
        "ssh",
        "--",
        "python",
        "-I",
        "-c",
        FIND_TEXTS,
    )
    seen = json.loads(
        people.cluster.run("--namespace", people.namespace, *words, stdin=json.dumps(kept))
    )
    assert sorted(seen) == ["ssh.hostKey", "ssh.token"]


def test_an_own_workspace_is_reached_and_anothers_is_not(people, wait_for):
    ann, second, bob, hub = (
        pod(people, "ann"),
        pod(people, "ann", "second"),
        pod(people, "bob"),
        people.find_pod("hub"),
    )
    for name in (second, bob):
        wait_for(lambda name=name: 2222 in list_listening(people, name), f"SSH listens in {name}")
    in_second, in_bob = (all_of(people, name) for name in (second, bob))
    targets = {*in_second.values(), *in_bob.values(), f"{second}:8080", f"{bob}:8080"}
    reached = find_reached(people, ann, targets)
    own = {in_second[port] for port in (2222, 2223, 8080)}
    assert reached == {*own, f"{second}:8080"}
    # The hub reaches all that listens in them.
    assert find_reached(people, hub, targets - reached, "hub") >= {
        in_bob[2222],
        in_bob[8080],
        f"{bob}:8080",
    }


def test_the_internet_is_reached_and_metadata_private_networks_and_the_api_server_are_not(people):
    ann, hub = pod(people, "ann"), people.find_pod("hub")
    addresses = people.cluster.read("nodes")["items"][0]["status"]["addresses"]
    node = next(each["address"] for each in addresses if each["type"] == "InternalIP")
    with own_addresses(INTERNET, METADATA, *SITE), listening_on_the_host() as port:
        targets = {f"{host}:{port}" for host in (INTERNET, METADATA, node, *SITE)}
        targets.add(find_api(people))
        assert find_reached(people, ann, targets) == {f"{INTERNET}:{port}"}
        assert find_open(people, ann, node) == []
        # The hub may: the addresses answer, and the refusals above are the policy's.
        assert find_reached(people, hub, targets, "hub") == targets


def ask_as(release, people: dict[str, dict[str, str]], targets: Iterable[str]) -> dict[str, set]:
    """Return what pods reach that differ by their labels."""
    security = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    # A policy holds only some tenths of a second after a pod's start.
    container = {
        "name": "main",
        "image": WORKSPACE_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", f"import time; time.sleep(1)\n{PROBE}", *targets],
        "securityContext": security,
    }
    spec = {"restartPolicy": "Never", "containers": [container]}
    spec["automountServiceAccountToken"] = False
    made = [f"pod/{name}" for name in people]
    release.cluster.apply(
        *(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": release.namespace, "labels": labels},
                "spec": spec,
            }
            for name, labels in people.items()
        )
    )
    release.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s", *made)
    reached = {name: set(release.kubectl("logs", name).split()) for name in people}
    release.kubectl("delete", "--wait=false", *made)
    return reached


def test_a_stranger_in_the_namespace_reaches_the_public_doors_alone(people):
    name, guest = people.name, {"hub.jupyter.org/network-access-hub": "true"}
    doors = {f"{name}-proxy-public:80", f"{name}-bastion:22"}
    hub, rooms = f"{name}:8081", {f"{name}:8082", f"{name}:8083"}
    rooms |= {f"{name}-bastion:2223", f"{name}-proxy-api:8001"}
    strangers = {
        "stranger": {},
        "guest": {**guest, "app.kubernetes.io/instance": name},
        "another-releases-guest": {**guest, "app.kubernetes.io/instance": "two"},
    }
    assert ask_as(people, strangers, {*doors, hub, *rooms}) == {
        "stranger": doors,
        "guest": {*doors, hub},
        "another-releases-guest": doors,
    }


@pytest.mark.parametrize(
    ("words", "opened"),
    [("internet,10.79.5.5", {INTERNET, "10.79.5.5"}), ("none", set()), ("all", {INTERNET, *SITE})],
)
def test_workspaces_reach_what_the_site_names_and_nothing_else(people, wait_for, words, opened):
    """The policy alone is put in place: the chart's own, rendered for these words."""
    named = f"mlhub.workspaceEgress={words.replace(',', chr(92) + ',')}"
    given = (
        "--set",
        named,
        "--set",
        f"mlhub.secretToken={'0' * 32}",
        "--show-only",
        "templates/singleuser/netpol.yaml",
    )
    ann, values = pod(people, "ann"), people.folder / f"{people.name}-values.json"
    manifest = people.helm("template", people.name, str(CHART), "--values", str(values), *given)
    kept = people.read("networkpolicy", f"{people.name}-singleuser")
    try:
        people.cluster.run(
            "--namespace", people.namespace, "apply", "--filename", "-", stdin=manifest
        )
        with own_addresses(INTERNET, METADATA, *SITE), listening_on_the_host() as port:
            always = {f"{people.name}:8081", f"{pod(people, 'ann', 'second')}:8080"}
            hosts = {f"{host}:{port}" for host in (INTERNET, METADATA, *SITE)}
            targets = {*hosts, *always, f"{address(people, pod(people, 'bob'))}:8080"}
            expected = {*always, *(f"{host}:{port}" for host in opened)}
            wait_for(
                lambda: find_reached(people, ann, targets) == expected,
                f"{words} opens {sorted(opened)}",
                30,
            )
    finally:
        kept["metadata"] = {
            name: kept["metadata"][name] for name in ("name", "labels", "annotations")
        }
        people.cluster.run(
            "--namespace", people.namespace, "replace", "--filename", "-", stdin=json.dumps(kept)
        )


def list_rights(cluster, account: str, namespace: str) -> set[tuple[str, str]]:
    """List what an account (namespace:name) may in a namespace, as ``kubectl auth can-i --list``
    does.
    """
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    words = [
        "create",
        "--validate=false",
        "--filename",
        "-",
        "--output",
        "json",
        f"--as=system:serviceaccount:{account}",
    ]
    status = json.loads(cluster.run(*words, stdin=json.dumps(review)))["status"]
    found = {
        (url, verb)
        for rule in status["nonResourceRules"]
        for url in rule.get("nonResourceURLs", ())
        for verb in rule["verbs"]
    }
    for rule in status["resourceRules"]:
        for kind in rule["resources"]:
            names = [".".join(filter(None, (kind, group))) for group in rule["apiGroups"]]
            found |= {
                (f"{name}{rule.get('resourceNames', '')}", verb)
                for name in names
                for verb in rule["verbs"]
            }
    return found


def test_a_workspace_holds_no_right_in_the_cluster_and_the_hub_only_what_it_needs(people):
    namespace, hub_account = (
        people.namespace,
        people.read("pod", people.find_pod("hub"))["spec"]["serviceAccountName"],
    )
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


def review(cluster, namespace: str, asked: Iterable[tuple[str, str, str]]) -> set:
    """Return which (account, verb, resource) the API server would allow."""

    def make_review(account: str, verb: str, resource: str) -> dict:
        kind, _, part = resource.partition("/")
        kind, _, group = kind.partition(".")
        attributes = {"namespace": namespace, "verb": verb, "group": group}
        attributes |= {"resource": kind, "subresource": part}
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
        return {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": f"system:serviceaccount:{namespace}:{account}",
                "groups": [*groups, "system:authenticated"],
                "resourceAttributes": attributes,
            },
        }

    asked = list(asked)
    given = {"apiVersion": "v1", "kind": "List", "items": [make_review(*each) for each in asked]}
    template = r"jsonpath={.status.allowed}{'\n'}"
    words = ("create", "--validate=false", "--filename", "-", "--output", template)
    answers = cluster.run(*words, stdin=json.dumps(given)).split()
    return {each for each, answer in zip(asked, answers, strict=True) if answer == "true"}


def test_what_nobody_of_a_release_may_is_denied_to_hub_and_workspaces(people):
    hub_account = people.read("pod", people.find_pod("hub"))["spec"]["serviceAccountName"]
    account = people.read("pod", pod(people, "ann"))["spec"].get("serviceAccountName", "default")
    never = (
        "secrets",
        "configmaps",
        "pods/exec",
        "pods/attach",
        "roles.rbac.authorization.k8s.io",
        "serviceaccounts/token",
        "deployments.apps",
    )
    asked = [
        (who, verb, resource)
        for who in (hub_account, account)
        for resource in (*never, "pods", "pods/log")
        for verb in ("get", "create", "delete")
    ]
    allowed = {(hub_account, verb, "pods") for verb in ("get", "create", "delete")}
    allowed.add((hub_account, "get", "pods/log"))
    assert review(people.cluster, people.namespace, asked) == allowed


def test_only_the_hubs_own_container_has_the_token_of_its_account(people):
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    hub = people.find_pod("hub")
    assert "token" in people.execute(hub, "ls", folder, container="hub").split()
    for name, container in (
        (pod(people, "ann"), "notebook"),
        (people.find_pod("bastion"), "ssh"),
        (people.find_pod("proxy"), "proxy"),
    ):
        assert people.execute(
            name, "sh", "-c", f"ls -d {folder} 2>&1 || echo none", container=container
        ).endswith("none")


def test_every_pod_of_the_namespace_is_admitted_as_restricted_with_a_read_only_root_where_it_is_ours(  # noqa: E501
    people,
):
    labels = people.cluster.read("namespace", people.namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for component, container in {"hub": "hub", "bastion": "ssh", "proxy": "proxy"}.items():
        name = people.find_pod(component)
        assert "Read-only" in people.execute(
            name, "sh", "-c", "touch /etc/x 2>&1 || :", container=container
        )
        status = people.execute(name, "cat", "/proc/self/status", container=container)
        assert "CapBnd:\t0000000000000000" in status
        assert "CapEff:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status


def test_a_privileged_pod_is_refused_where_a_restricted_one_runs(people):
    privileged = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "attack", "namespace": people.namespace},
        "spec": {
            "containers": [
                {
                    "name": "a",
                    "image": "mlhub-test-workspace:latest",
                    "securityContext": {"privileged": True},
                }
            ]
        },
    }
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        people.cluster.apply(privileged)


def test_the_hubs_secrets_are_not_in_a_workspace(people):
    token = people.read("secret", f"{people.name}-hub")["data"]
    assert token
    seen = people.execute(
        pod(people, "ann"),
        "sh",
        "-c",
        "cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; ls /data /run/mlhub 2>&1 || :",
    )
    for value in token.values():
        assert base64.b64decode(value).decode().strip() not in seen
