"""What the chart's tests take for granted of the cluster: it can refuse, it can let in, it keeps a
volume.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
from functools import partial

import pytest

IMAGE = "mlhub-test-workspace:latest"
LOCAL_NODE = "10.244.0.1"
OUTSIDE, FORBIDDEN = (
    "203.0.113.77",
    "198.51.100.77",
)  # documentation addresses, given to an interface of this machine


class Namespace:
    """A namespace of one test, and kubectl in it."""

    def __init__(self, name: str):
        self.name = name

    def kubectl(self, *arguments: str, given: object = None, ok: bool = True) -> str:
        text = json.dumps(given) if given is not None else None
        result = subprocess.run(
            ["kubectl", "--namespace", self.name, *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0 or not ok, result.stderr
        return result.stdout.strip()

    def apply(
        self,
        kind: str,
        name: str,
        version: str = "v1",
        labels: dict | None = None,
        **fields: object,
    ) -> None:
        metadata = {"name": name, "labels": labels or {}}
        self.kubectl(
            "apply",
            "--filename",
            "-",
            given={"apiVersion": version, "kind": kind, "metadata": metadata, **fields},
        )

    def run(self, name: str, script: str = "", image: str = IMAGE, claim: str = "") -> None:
        """Start a pod that runs a script and then sleeps."""
        container: dict = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent"}
        container["command"] = ["tini", "-g", "--", "sh", "-c", f"{script}\nexec sleep 3600"]
        spec: dict = {"containers": [container], "terminationGracePeriodSeconds": 1}
        if claim:
            container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
            spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
        self.apply("Pod", name, labels={"app": name}, spec=spec)

    def wait_until_ready(self, *names: str) -> None:
        self.kubectl(
            "wait", "--for=condition=Ready", "--timeout=60s", *(f"pod/{name}" for name in names)
        )

    def succeeds(self, pod: str, *command: str) -> bool:
        with contextlib.suppress(AssertionError):
            self.kubectl("exec", pod, "--", *command)
            return True
        return False

    def reaches(self, pod: str, address: str, port: int = 8080) -> bool:
        return self.succeeds(pod, "nc", "-n", "-z", "-w", "2", address, str(port))

    def address(self, pod: str) -> str:
        return self.kubectl("get", "pod", pod, "--output", "jsonpath={.status.podIP}")

    def policy(self, name: str, **spec: object) -> None:
        self.apply("NetworkPolicy", name, "networking.k8s.io/v1", spec=spec)


@pytest.fixture
def namespace(wait_for):
    """A namespace with a service account, gone afterwards."""
    made = Namespace(f"cluster-test-{secrets.token_hex(4)}")
    made.kubectl("create", "namespace", made.name)
    wait_for(
        lambda: made.kubectl("get", "serviceaccount", "default", ok=False),
        "the namespace has its service account",
        20,
    )
    yield made
    made.kubectl("delete", "namespace", made.name, "--wait=false")


@pytest.fixture
def local_cluster():
    """Only the cluster that is made on this machine has this machine's engine and interfaces at
    hand.
    """
    nodes = subprocess.run(
        ["kubectl", "get", "nodes", "--output", "jsonpath={.items[*].status.addresses[*].address}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    if LOCAL_NODE not in nodes:
        pytest.skip(
            f"the cluster of KUBECONFIG={os.environ.get('KUBECONFIG')} is not the one made by"
            " scripts/local-cluster"
        )


def test_an_image_that_was_not_loaded_fails_at_once_and_a_loaded_one_runs(namespace, wait_for):
    namespace.run("stranger", image="registry.invalid/never-loaded:1")
    namespace.run("known")
    namespace.wait_until_ready("known")

    def reason():
        return namespace.kubectl(
            "get",
            "pod",
            "stranger",
            "--output",
            "jsonpath={.status.containerStatuses[0].state.waiting.reason}",
        )

    wait_for(
        lambda: reason() in ("ErrImagePull", "ImagePullBackOff"),
        "the pod says that it has no image",
        20,
    )


def test_a_policy_closes_a_pod_to_all_but_those_it_names(namespace, wait_for):
    namespace.run("server", "busybox httpd -p 8080")
    namespace.run("friend")
    namespace.run("stranger")
    namespace.wait_until_ready("server", "friend", "stranger")
    server = namespace.address("server")
    for pod in ("friend", "stranger"):
        wait_for(
            lambda pod=pod: namespace.reaches(pod, server),
            f"without a policy {pod} reaches the server",
            20,
        )

    friends = {
        "from": [{"podSelector": {"matchLabels": {"app": "friend"}}}],
        "ports": [{"port": 8080}],
    }
    namespace.policy(
        "server",
        podSelector={"matchLabels": {"app": "server"}},
        policyTypes=["Ingress"],
        ingress=[friends],
    )
    wait_for(
        lambda: not namespace.reaches("stranger", server), "the policy shuts the stranger out", 10
    )
    assert namespace.reaches("friend", server)

    namespace.kubectl("delete", "networkpolicy", "server")
    wait_for(
        lambda: namespace.reaches("stranger", server), "without the policy the stranger is back", 10
    )


def test_policies_know_a_pod_before_its_first_packet(local_cluster, namespace, wait_for):
    namespace.run("server", "busybox httpd -p 8080")
    namespace.run("other", "busybox httpd -p 8080")
    namespace.wait_until_ready("server", "other")
    friends = {"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}
    namespace.policy(
        "server",
        podSelector={"matchLabels": {"app": "server"}},
        policyTypes=["Ingress"],
        ingress=[friends],
    )
    to_server = {"to": [{"podSelector": {"matchLabels": {"app": "server"}}}]}
    namespace.policy(
        "friend",
        podSelector={"matchLabels": {"app": "friend"}},
        policyTypes=["Egress"],
        egress=[to_server],
    )
    tries = [
        f"nc -n -z -w 1 {namespace.address(name)} 8080 2>/dev/null && echo {name}"
        for name in ("server", "other")
    ]
    namespace.run("friend", "; ".join([*tries, "echo tried"]))
    wait_for(
        lambda: "tried" in namespace.kubectl("logs", "friend", ok=False),
        "the pod has tried both",
        30,
    )
    assert namespace.kubectl("logs", "friend").split() == ["server", "tried"]


def test_a_claim_keeps_its_files_from_one_pod_to_the_next(namespace):
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}
    namespace.apply("PersistentVolumeClaim", "data", spec=claim)
    namespace.run("first", "echo kept > /data/file", claim="data")
    namespace.wait_until_ready("first")
    namespace.kubectl("delete", "pod", "first")
    namespace.run("second", claim="data")
    namespace.wait_until_ready("second")
    assert namespace.kubectl("exec", "second", "--", "cat", "/data/file") == "kept"


def load(root, image: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [root / "scripts/cluster", "load", image], capture_output=True, text=True, timeout=120
    )


def test_an_image_that_is_there_is_not_loaded_again(local_cluster, root):
    assert load(root, IMAGE).returncode == 0
    assert f"{IMAGE} is there already" in load(root, IMAGE).stdout


def test_an_image_that_the_engine_does_not_have_is_named(local_cluster, root):
    refused = load(root, "mlhub-no-such-image:1")
    assert refused.returncode == 1
    assert "'mlhub-no-such-image:1'" in refused.stderr


@pytest.fixture
def outside(local_cluster):
    """Two addresses beyond the cluster that nevertheless are this machine's, and a port that is
    open on both.
    """
    interface = f"mlc{secrets.token_hex(3)}"
    subprocess.run(
        ["ip", "link", "add", interface, "type", "bridge"], check=True
    )  # not every kernel has the type dummy
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ["ip", "link", "delete", interface], check=True)
        port = (
            0  # a free one: the engine takes a published one to its container, whatever the address
        )
        for address in (OUTSIDE, FORBIDDEN):
            subprocess.run(["ip", "address", "add", f"{address}/32", "dev", interface], check=True)
            route = subprocess.run(
                ["ip", "route", "get", address], capture_output=True, text=True, check=True
            ).stdout
            assert route.startswith("local "), route
            port = stack.enter_context(socket.create_server((address, port))).getsockname()[1]
        yield port


def test_an_exception_of_an_allowed_range_is_refused(namespace, outside, wait_for):
    namespace.run("client")
    namespace.wait_until_ready("client")
    for address in (OUTSIDE, FORBIDDEN):
        wait_for(
            partial(namespace.reaches, "client", address, outside),
            f"without a policy {address} is reached",
            10,
        )
    anywhere = {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [f"{FORBIDDEN}/32"]}}]}
    namespace.policy("client", podSelector={}, policyTypes=["Egress"], egress=[anywhere])
    wait_for(lambda: not namespace.reaches("client", FORBIDDEN, outside), "the exception holds", 10)
    wait_for(lambda: namespace.reaches("client", OUTSIDE, outside), "the rest is reached", 10)
