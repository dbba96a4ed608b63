"""Values as a site of the original chart has them, installed: all that the cluster here can have
stays as it is.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.request

import pytest

from tests.support.certificates import make_pair
from tests.support.cluster import WORKSPACE_IMAGE
from tests.support.helm_release import CONFIG, IMAGE, merge, read_example
from tests.support.rest import OPENER

IMAGES = {"hub": {"image": IMAGE}, "proxy": {"chp": {"image": IMAGE}}}
ANYWHERE = {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}


def install_original(release, scenario: str, **parts: dict) -> None:
    """Install an example of the chart, with the images that are here, and its user config beside
    the tests'.
    """
    values = merge(read_example(scenario), IMAGES)
    for path, replaced in parts.items():
        part = values
        *folders, key = path.split("__")
        for folder in folders:
            part = part[folder]
        part[key] = replaced
    release.notes = release.install(values, config=CONFIG + values.pop("userConfig"))


def find_environment(release, user: str) -> str:
    return release.execute(f"ws-{release.name}--{user}", "printenv", "FOO")


@pytest.fixture(scope="module")
def original(make_release):
    release = make_release(name="original")
    install_original(release, "original")
    return release


def test_values_of_the_original_chart_give_a_hub_that_passes_its_own_test(original):
    assert "Succeeded" in original.helm("test", original.name, "--timeout", "3m")
    # What its defaults left open is said.
    assert "hub.networkPolicy.enabled=false" in original.notes
    assert "singleuser.networkPolicy.egress lets workspaces into private networks" in original.notes
    assert "hub.pdb.minAvailable=1" in original.notes


def test_values_of_the_original_chart_start_workspaces_with_its_examples_user_config(original):
    original.start_workspace("alice")
    status, _, body = original.request("GET", "/user/alice/echo")
    assert status == 200
    assert json.loads(body)["path"] == "/mlhub/user/alice/echo"
    assert find_environment(original, "alice") == "BAR"


def test_values_of_the_original_chart_open_the_port_of_the_node_that_they_name(original):
    addresses = original.cluster.read("nodes")["items"][0]["status"]["addresses"]
    node = next(each["address"] for each in addresses if each["type"] == "InternalIP")
    assert original.base == "/mlhub"
    with OPENER.open(
        urllib.request.Request(f"http://{node}:30180/mlhub/hub/login"), timeout=20
    ) as answer:
        assert answer.status == 200
        assert b"Sign in" in answer.read()


def make_beside(name: str, *command: str) -> list[dict]:
    """Make what the site runs in the hub's pod, of an image that is here."""
    security = {
        "allowPrivilegeEscalation": False,
        "runAsUser": 1000,
        "capabilities": {"drop": ["ALL"]},
    }
    container = {
        "name": name,
        "image": WORKSPACE_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
    }
    return [{**container, "securityContext": security}]


@pytest.fixture(scope="module")
def full(make_release, tmp_path_factory):
    """Every value of the original: but for images, nodes, volumes and load balancers that only its
    site has.
    """
    release = make_release(name="full")
    release.pair = make_pair(tmp_path_factory.mktemp("full") / "ssl", name="full.example.org")
    files = {"private.key": "cert.key", "public.crt": "cert.crt"}
    data = {
        key: base64.b64encode((release.pair / file).read_bytes()).decode()
        for key, file in files.items()
    }
    metadata = {"name": "hub-certificate", "namespace": release.namespace}
    release.cluster.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
    )
    install_original(
        release,
        "original-full",
        hub__initContainers=make_beside("wait", "true"),
        hub__extraContainers=make_beside("beside", "sleep", "3600"),
        hub__nodeSelector={},
        proxy__nodeSelector={},
        scheduling__corePods__nodeAffinity__matchNodePurpose="prefer",
        # A priority that is everybody's default would be so in namespaces of others, too.
        scheduling__podPriority__globalDefault=False,
        hub__db__pvc__selector={},
        hub__db__pvc__accessModes=["ReadWriteOnce"],
        hub__db__pvc__storageClassName=None,
        hub__service__type="NodePort",
        proxy__service__type="NodePort",
        # As it stands there, the hub reaches no API server, and may ask it for nothing.
        hub__networkPolicy__egress=[ANYWHERE],
        rbac__enabled=True,
    )
    return release


@pytest.mark.full
def test_all_values_of_the_original_chart_together_give_a_hub_that_starts_workspaces(full):
    assert full.url.startswith("https://")
    assert "Succeeded" in full.helm("test", full.name, "--timeout", "3m")
    full.start_workspace("alice")
    assert full.request("GET", "/user/alice/echo")[0] == 200
    assert find_environment(full, "alice") == "BAR"
    assert (
        ssl.get_server_certificate((full.host, full.port), timeout=10).strip()
        == (full.pair / "cert.crt").read_text().strip()
    )


@pytest.mark.full
def test_what_the_original_lets_a_site_say_of_the_pods_is_how_they_run(full):
    hub, proxy = full.find_pod("hub"), full.find_pod("proxy")
    assert full.execute(hub, "id", "-u", container="hub") == "1234"
    assert (
        full.execute(hub, "stat", "--format", "%u", "/data/jupyterhub.sqlite", container="hub")
        == "1234"
    )
    assert full.execute(hub, "printenv", "FOO", container="hub") == "BAR"
    assert full.execute(proxy, "printenv", "FOO", container="proxy") == "PROXY"
    assert full.execute(hub, "ls", "-d", "/branding", container="hub") == "/branding"
    states = {
        each["name"]: each["ready"] for each in full.read("pod", hub)["status"]["containerStatuses"]
    }
    assert states == {"hub": True, "beside": True}
    assert [full.read("pod", pod)["spec"]["priority"] for pod in (hub, proxy)] == [10, 10]


@pytest.mark.full
def test_the_api_server_admits_the_ingress(full):
    (ingress,) = full.read("ingresses")["items"]
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert (rule["host"], path["path"]) == ("full.example.org", "/full/*")
    backend = path["backend"]["service"]
    ports = {
        port["name"]: port["port"]
        for port in full.read("service", backend["name"])["spec"]["ports"]
    }
    assert backend["port"] in ({"name": "https"}, {"number": ports["https"]})
