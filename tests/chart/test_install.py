"""The chart installed for real: pods that run, ports that open, ports that stay shut."""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
import subprocess

import pytest

from tests.support.certificates import make_pair
from tests.support.helm import CHART, Namespace, read_howto, run, succeed, values_of

IMAGE = os.environ.get("MLHUB_TEST_CLUSTER_IMAGE", "mltooling/ml-hub:latest")
NAME, TAG = IMAGE.rsplit(":", 1)
IMAGES = [
    word
    for place in ("hub.image", "proxy.chp.image")
    for word in (
        "--set",
        f"{place}.name={NAME}",
        "--set",
        f"{place}.tag={TAG}",
        "--set",
        f"{place}.pullPolicy=IfNotPresent",
    )
]
WAIT = ["--wait", "--timeout", "180s"]


def install(namespace: Namespace, *arguments: str, release: str = "one") -> str:
    return namespace.helm(
        "upgrade",
        "--install",
        release,
        str(CHART),
        "--set",
        "proxy.service.type=ClusterIP",
        *IMAGES,
        *arguments,
        *WAIT,
    )


def find_pod(namespace: Namespace, component: str, release: str = "one") -> str:
    selector = f"app.kubernetes.io/component={component},app.kubernetes.io/instance={release}"
    return namespace.kubectl("get", "pod", "--selector", selector, "--output", "name").strip()


@pytest.fixture(scope="module")
def release(shared_namespace) -> Namespace:
    """Return the namespace in which the release `one` runs."""
    install(shared_namespace)
    return shared_namespace


def let_kubelet_look(namespace: Namespace, component: str) -> None:
    """Change an annotation of the pod: the kubelet then renews its volumes now, and not within the
    next minute.
    """
    namespace.kubectl(
        "annotate",
        "--overwrite",
        find_pod(namespace, component),
        f"mlhub.test/look={os.urandom(3).hex()}",
    )


def asks(namespace: Namespace, labels: dict[str, str], *targets: str) -> dict[str, bool]:
    """Tell which host:port a pod with these labels reaches."""
    program = (
        "import socket, sys, time\n"
        "time.sleep(1)\n"  # a policy holds only some tenths of a second after the pod's start
        "for target in sys.argv[1:]:\n"
        "    host, port = target.split(':')\n"
        "    try: socket.create_connection((host, int(port)), 3).close(); print(target, 'open')\n"
        "    except OSError: print(target, 'shut')\n"
    )
    name = "probe-" + os.urandom(3).hex()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"mlhub.test": "chart", **labels}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "probe",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-I", "-c", program, *targets],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }
    namespace.kubectl("create", "--filename", "-", given=json.dumps(pod))
    namespace.kubectl(
        "wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s", f"pod/{name}"
    )
    lines = namespace.kubectl("logs", name).split("\n")
    namespace.kubectl("delete", "pod", name, "--wait=false")
    return {line.split()[0]: line.endswith("open") for line in lines if line}


def test_everything_answers_and_the_notes_lead_to_the_administrator(release):
    notes = release.helm("test", "one")
    assert "Phase:          Succeeded" in notes
    command = next(line.strip() for line in notes.splitlines() if "grep -i setup" in line)
    link = subprocess.run(["sh", "-c", command], capture_output=True, text=True).stdout
    assert re.search(r"http://localhost:8080/hub/signup\?setup=[\w-]+", link)


def test_containers_have_nothing_that_they_do_not_need(release):
    for component, container in (("hub", "hub"), ("bastion", "ssh"), ("proxy", "proxy")):
        script = (
            "grep CapBnd /proc/self/status; grep NoNewPrivs /proc/self/status; touch /written; "
            "ls /var/run/secrets/kubernetes.io/serviceaccount"
        )
        result = run(
            "kubectl",
            "--namespace",
            release.name,
            "exec",
            find_pod(release, component),
            "--container",
            container,
            "--",
            "sh",
            "-c",
            script,
        )
        assert re.search(r"CapBnd:\s+0{16}", result.stdout)
        assert re.search(r"NoNewPrivs:\s+1", result.stdout)
        assert "Read-only file system" in result.stderr
        assert ("token" in result.stdout) == (container == "hub")


@pytest.mark.full
def test_a_stranger_in_the_namespace_reaches_the_public_doors_alone(release):
    doors = {"one-proxy-public:80": True, "one-bastion:22": True}
    rooms = {
        "one:8081": False,
        "one:8082": False,
        "one:8083": False,
        "one-bastion:2223": False,
        "one-proxy-api:8001": False,
    }
    assert asks(release, {}, *doors, *rooms) == {**doors, **rooms}
    guest = {"hub.jupyter.org/network-access-hub": "true", "app.kubernetes.io/instance": "one"}
    assert asks(release, guest, "one:8081", "one:8083", "one-proxy-api:8001") == {
        "one:8081": True, "one:8083": False, "one-proxy-api:8001": False,
    }  # fmt: skip
    other = {"hub.jupyter.org/network-access-hub": "true", "app.kubernetes.io/instance": "two"}
    assert asks(release, other, "one:8081") == {"one:8081": False}


@pytest.mark.full
def test_a_workspace_reaches_the_hub_and_no_other_part_of_the_release(release):
    workspace = {"mlhub.origin": "one", "component": "singleuser-server"}
    shut = (
        "one:8082",
        "one:8083",
        "one-proxy-api:8001",
        "one-proxy-public:80",
        "one-bastion:22",
        "one-bastion:2223",
    )
    shut = (*shut, "kubernetes.default:443")
    assert asks(release, workspace, "one:8081", *shut) == {
        "one:8081": True,
        **dict.fromkeys(shut, False),
    }
    # The twins: what is refused there does listen.
    connect = (
        "import socket, sys; [socket.create_connection(each.split(':'), 3) for each in "
        "sys.argv[1:]]"
    )
    for component, container, targets in (
        ("hub", "hub", ("one-proxy-api:8001", "kubernetes.default:443")),
        ("bastion", "ssh", ("one:8082",)),
        ("proxy", "proxy", ("one-bastion:2223", "one:8083")),
    ):
        pod = find_pod(release, component)
        own = run(
            "kubectl",
            "--namespace",
            release.name,
            "exec",
            pod,
            "--container",
            container,
            "--",
            "python",
            "-I",
            "-c",
            connect,
            *targets,
        )
        assert own.returncode == 0, own.stderr


def test_a_change_of_the_hubs_configuration_leaves_proxy_and_bastion_as_they_are(release):
    hub, others = (
        find_pod(release, "hub"),
        [find_pod(release, name) for name in ("proxy", "bastion")],
    )
    install(release, "--set", "custom.team=vision", "--set", "singleuser.cpu.limit=2")
    assert find_pod(release, "hub") != hub
    assert [find_pod(release, name) for name in ("proxy", "bastion")] == others
    release.helm("test", "one")
    config = release.kubectl(
        "exec",
        find_pod(release, "hub"),
        "--container",
        "hub",
        "--",
        "cat",
        "/etc/jupyterhub/config/values.yaml",
    )
    assert "team: vision" in config


@pytest.mark.full
def test_a_second_release_beside_it_knows_nothing_of_the_first(release):
    install(release, *values_of("second-release"), release="two")
    assert "Phase:          Succeeded" in release.helm("test", "two")
    connect = "import socket, sys; socket.create_connection((sys.argv[1], 8001), 3)"
    hub = (
        "--namespace",
        release.name,
        "exec",
        find_pod(release, "hub", "two"),
        "--container",
        "hub",
        "--",
        "python",
        "-I",
        "-c",
        connect,
    )
    assert run("kubectl", *hub, "one-proxy-api").returncode != 0
    assert run("kubectl", *hub, "second-proxy-api").returncode == 0
    release.helm("uninstall", "two", "--wait")
    assert "Phase:          Succeeded" in release.helm("test", "one")


def read_served_certificate(namespace: Namespace) -> str:
    """Return the certificate that the public Service shows, read through `kubectl port-forward`."""
    with subprocess.Popen(
        [
            "kubectl",
            "--namespace",
            namespace.name,
            "port-forward",
            "service/one-proxy-public",
            ":443",
        ],
        stdout=subprocess.PIPE,
        text=True,
    ) as forward:
        try:
            port = int(re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline())[1])
            return ssl.get_server_certificate(("127.0.0.1", port), timeout=10)
        finally:
            forward.terminate()


@pytest.mark.full
def test_https_and_ssh_share_the_port_and_a_changed_certificate_is_served_by_the_same_pod(
    namespace, tmp_path, wait_for
):
    first, second = (
        make_pair(tmp_path / name, name="hub.example.org") for name in ("first", "second")
    )
    arguments = [
        "--set",
        "mlhub.env.SSL_ENABLED=true",
        "--set",
        "mlhub.baseUrl=/mlhub",
        "--set",
        "proxy.https.hosts={hub.example.org}",
    ]

    def install_with(pair) -> None:
        files = [
            f"proxy.https.manual.{name}={pair / file}"
            for name, file in (("cert", "cert.crt"), ("key", "cert.key"))
        ]
        install(namespace, *arguments, "--set-file", files[0], "--set-file", files[1])

    install_with(first)
    assert "Phase:          Succeeded" in namespace.helm("test", "one")
    assert read_served_certificate(namespace) == (first / "cert.crt").read_text()
    proxy = find_pod(namespace, "proxy")
    install_with(second)
    let_kubelet_look(namespace, "proxy")
    expected = (second / "cert.crt").read_text()
    wait_for(
        lambda: read_served_certificate(namespace) == expected,
        "the changed certificate",
        seconds=150,
        every=2,
    )
    assert find_pod(namespace, "proxy") == proxy


def test_the_metrics_token_opens_the_metrics_and_nothing_else(namespace):
    install(namespace, "--set", "metrics.enabled=true")
    token = base64.b64decode(namespace.get("secret", "one-hub")["data"]["metrics.token"]).decode()
    program = (
        "import http.client, sys\n"
        "for path, token in (('metrics', ''), ('metrics', sys.argv[1]), "
        "('api/users', sys.argv[1])):\n"
        "    connection = http.client.HTTPConnection('one', 8081, timeout=5)\n"
        "    connection.request('GET', f'/hub/{path}', "
        "headers={'Authorization': f'Bearer {token}'} if token else {})\n"
        "    print(connection.getresponse().status)\n"
    )
    # By its own Service's name, as the hub's services ask it.
    statuses = namespace.kubectl(
        "exec",
        find_pod(namespace, "hub"),
        "--container",
        "hub",
        "--",
        "python",
        "-I",
        "-c",
        program,
        token,
    )
    assert statuses.split() == ["403", "200", "403"]


@pytest.mark.full
def test_the_volume_of_a_hub_that_was_user_1000_is_the_new_ones_and_a_rollback_runs(namespace):
    def in_pod(component: str, *words: str) -> str:
        return namespace.kubectl("exec", find_pod(namespace, component), "--", *words)

    def query(statement: str) -> str:
        program = (
            "import sqlite3; "
            f"print(sqlite3.connect('/data/jupyterhub.sqlite').execute({statement!r}).fetchall())"
        )
        return in_pod("hub", "python", "-I", "-c", program)

    install(namespace, "--set", "hub.uid=1000,hub.fsGid=1000")
    query("pragma user_version = 77")
    in_pod("hub", "sh", "-c", "umask 077; echo kept > /data/own-file")
    install(namespace)
    assert [in_pod(component, "id", "-u").strip() for component in ("hub", "bastion", "proxy")] == [
        "61000",
        "61003",
        "61002",
    ]
    assert query("pragma user_version").strip() == "[(77,)]"
    assert in_pod("hub", "cat", "/data/own-file").strip() == "kept"
    install(namespace, "--set", "mlhub.baseUrl=/other")
    namespace.helm("rollback", "one", "2", *WAIT)
    assert "Phase:          Succeeded" in namespace.helm("test", "one")


def test_the_command_of_the_readme_runs_as_printed_with_what_the_build_makes(namespace):
    readme = (CHART.parents[1] / "README.md").read_text().partition("On a Kubernetes cluster")[2]
    command = readme.partition("```sh\n")[2].partition("```")[0]
    fresh = "--namespace mlhub --create-namespace"
    assert fresh in command
    printed = command.replace(fresh, f"--namespace {namespace.name}")
    succeed("sh", "-euc", printed, cwd=CHART.parents[1])
    for component in ("hub", "proxy", "bastion"):
        namespace.kubectl(
            "rollout", "status", f"deployment/mlhub-{component}", "--timeout=150s", seconds=180
        )
    # Nothing hands out an address here, and the link pretends nothing.
    link = namespace.kubectl("logs", "deployment/mlhub-hub", "--container", "hub")
    assert re.search(r"the Service mlhub-proxy-public .*: /hub/signup\?setup=[\w-]+", link)
    assert "localhost" not in link


def test_the_gitops_commands_of_the_howto_bring_up_a_hub(namespace, tmp_path):
    package = succeed("helm", "package", CHART, "--destination", tmp_path).split("/")[-1].strip()
    commands = read_howto("GitOps").replace("--namespace mlhub", f"--namespace {namespace.name}")
    assert package in commands
    more = " ".join([*IMAGES, "--set", "proxy.service.type=ClusterIP"])
    succeed(
        "sh",
        "-euc",
        commands.replace(f"template mlhub {package}", f"template mlhub {package} {more}"),
        cwd=tmp_path,
    )
    for component in ("hub", "proxy", "bastion"):
        namespace.kubectl(
            "rollout", "status", f"deployment/mlhub-{component}", "--timeout=150s", seconds=180
        )
    assert asks(namespace, {}, "mlhub-proxy-public:80", "mlhub-bastion:22", "mlhub:8081") == {
        "mlhub-proxy-public:80": True, "mlhub-bastion:22": True, "mlhub:8081": False,
    }  # fmt: skip
    # The keys of the Secret, in the form that ssh-keygen writes, are the ones in use.
    given = {
        name: (tmp_path / f"ssh-{name}.pub").read_text().split()[1] for name in ("ca", "host-key")
    }

    def ask(component: str, script: str) -> list[str]:
        return namespace.kubectl(
            "exec", find_pod(namespace, component, "mlhub"), "--", "sh", "-c", script
        ).split()

    assert ask("hub", "cat /data/ssh/*.pub; env | grep -c JPY_COOKIE_SECRET")[1:] == [
        given["ca"],
        "1",
    ]
    assert (
        ask("bastion", "ssh-keygen -y -f /run/mlhub/ssh/ssh_host_ed25519_key")[1]
        == given["host-key"]
    )
