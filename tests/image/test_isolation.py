"""Root in one workspace attacks hub, host and other people through the real image; each refused
probe has a twin that succeeds.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.support.addresses import (
    METADATA,
    PROBE,
    SERVER,
    add_addresses,
    leading_to,
    listening_on_the_host,
    own_addresses,
)
from tests.support.hub_container import RUN, TEST_IMAGE, Hub, HubMaker, docker

HUB_PORTS_OPEN = {8080, 8081}
# Beyond this machine: an address of the site's that the hub's setting names, others of the site's,
# somebody on the internet.
NAMED, PRIVATE, INTERNET = "10.79.5.5", ("10.79.6.6", "172.31.79.7", "192.168.79.7"), "203.0.113.30"
# Runs inside a workspace: which of these ports of a host accept a connection?
SCAN = """
import json, socket, sys, threading
host, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ports, found = iter(range(first, last + 1)), []
def look():
    for port in ports:
        try:
            socket.create_connection((host, port), 1.0).close()
            found.append(port)
        except OSError:
            pass
class Shared:
    def __init__(self, values): self.values, self.lock = values, threading.Lock()
    def __iter__(self): return self
    def __next__(self):
        with self.lock: return next(self.values)
ports = Shared(ports)
threads = [threading.Thread(target=look) for _ in range(64)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(found))
"""
RAW_FRAME = (
    "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); "
    "print('open')"
)
RAW_IP = (
    "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); "
    "print('open')"
)


@pytest.fixture(scope="module")
def people(make_hub: HubMaker) -> Hub:
    """Return a hub with its rules on the host and a network of the site's, two workspaces of ann
    and one of bob.
    """
    hub = make_hub(MLHUB_HOST_GUARD="true", MLHUB_WORKSPACE_EGRESS=f"internet,{NAMED}/32")
    hub.start_workspace("ann")
    hub.start_workspace("ann", "second")
    hub.start_workspace("bob")
    return hub


@pytest.fixture(scope="module")
def outsider() -> Iterator[str]:
    """Return a plain container, which no hub has started.

    What it reaches is there to be reached.
    """
    name = f"mlhub-test-{secrets.token_hex(4)}"
    docker("run", "--detach", "--name", name, "--label", f"mlhub.test={RUN}", TEST_IMAGE)
    yield name
    docker("rm", "--force", "--volumes", name)


def container_of(hub: Hub, user: str, server: str = "") -> str:
    return f"ws-{hub.name}--{user}" + (f"--{server}" if server else "")


def inspect_networks(container: str) -> dict[str, dict]:
    return json.loads(
        docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", container)
    )


def own_network(hub: Hub, user: str) -> dict:
    (endpoint,) = inspect_networks(container_of(hub, user)).values()
    return endpoint


def scan(container: str, host: str, first: int, last: int | None = None) -> set[int]:
    """Return the open ports of a host as root inside a container sees them."""
    return set(
        json.loads(
            docker(
                "exec",
                "--user",
                "root",
                container,
                "python3",
                "-c",
                SCAN,
                host,
                str(first),
                str(last or first),
            )
        )
    )


def hub_addresses(hub: Hub) -> dict[str, str]:
    return {
        network: endpoint["IPAddress"] for network, endpoint in inspect_networks(hub.name).items()
    }


def run_as_root(container: str, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["docker", "exec", "--user", "root", container, *command],
        capture_output=True,
        text=True,
        timeout=60,
    )


def run_with_capability(capability: str, program: str, *arguments: str) -> str:
    """Run as root in a container of the test's own, which has what no workspace has; return what it
    printed.
    """
    words = (
        "--label",
        f"mlhub.test={RUN}",
        "--cap-drop",
        "ALL",
        "--cap-add",
        capability,
        "--entrypoint",
        program,
    )
    return docker("run", "--rm", *words, TEST_IMAGE, *arguments)


def test_of_the_hub_only_two_ports_answer_by_name_and_by_address(people):
    ann, bridge = container_of(people, "ann"), own_network(people, "ann")
    address = next(
        entry["IPAddress"]
        for entry in inspect_networks(people.name).values()
        if entry["NetworkID"] == bridge["NetworkID"]
    )
    assert scan(ann, people.name, 1, 10_000) == HUB_PORTS_OPEN
    assert scan(ann, address, 1, 10_000) == HUB_PORTS_OPEN
    assert scan(ann, address, 22_000, 22_300) == set()


def test_an_own_workspace_is_reached_and_anothers_is_not(people):
    ann = container_of(people, "ann")
    own, others = container_of(people, "ann", "second"), container_of(people, "bob")
    (second,) = inspect_networks(own).values()
    bob = own_network(people, "bob")
    assert scan(ann, own, 8080) == {8080}
    assert scan(ann, second["IPAddress"], 8080) == {8080}
    assert (
        people.request("GET", "/user/bob/api")[0] == 200
    )  # bob's workspace answers where it is allowed
    assert scan(ann, others, 8080) == set()
    assert scan(ann, bob["IPAddress"], 8080) == set()
    assert scan(container_of(people, "bob"), bob["IPAddress"], 8080) == {8080}


def test_the_hubs_addresses_in_other_networks_are_out_of_reach(people):
    ann, bob = container_of(people, "ann"), container_of(people, "bob")
    mine = own_network(people, "ann")["NetworkID"]
    foreign = [
        entry["IPAddress"]
        for entry in inspect_networks(people.name).values()
        if entry["NetworkID"] != mine
    ]
    assert foreign
    theirs = next(
        entry["IPAddress"]
        for entry in inspect_networks(people.name).values()
        if entry["NetworkID"] == own_network(people, "bob")["NetworkID"]
    )
    assert scan(bob, theirs, 8081) == {8081}
    for address in foreign:
        assert scan(ann, address, 8081) | scan(ann, address, 8080) == set()


def test_the_hub_does_not_forward_packets_and_a_workspace_can_not_set_a_route_through_it(people):
    ann, bob = container_of(people, "ann"), own_network(people, "bob")
    assert people.exec("cat", "/proc/sys/net/ipv4/ip_forward") == "0"
    script = (
        f"ip route add {bob['IPAddress']} via $(ip -4 route show default | cut -d ' ' -f 3) && "
        "echo set"
    )
    refused = run_as_root(ann, "sh", "-c", script)
    assert refused.returncode != 0
    assert "Operation not permitted" in refused.stderr
    assert run_with_capability("NET_ADMIN", "sh", "-c", script) == "set"


def test_raw_frames_and_spoofing_tools_are_refused(people):
    ann = container_of(people, "ann")
    another_address = ("sh", "-c", "ip link set eth0 address 02:42:0a:40:00:99 && echo set")
    for capability, command, success in (
        ("NET_RAW", ("python3", "-c", RAW_FRAME), "open"),
        ("NET_RAW", ("python3", "-c", RAW_IP), "open"),
        ("NET_ADMIN", another_address, "set"),
    ):
        refused = run_as_root(ann, *command)
        assert refused.returncode != 0
        assert "Operation not permitted" in refused.stderr
        assert run_with_capability(capability, *command) == success


def test_the_hosts_own_ports_are_shut(people, outsider):
    ann = container_of(people, "ann")
    with listening_on_the_host() as port:
        (plain,) = inspect_networks(outsider).values()
        assert scan(outsider, plain["Gateway"], port) == {port}
        assert scan(ann, own_network(people, "ann")["Gateway"], port) == set()
        assert scan(ann, plain["Gateway"], port) == set()


def test_the_clouds_metadata_address_is_shut(people, outsider):
    with own_addresses(METADATA), listening_on_the_host() as port:
        assert scan(outsider, METADATA, port) == {port}
        assert scan(container_of(people, "ann"), METADATA, port) == set()


def test_of_what_the_host_reaches_the_internet_is_open_and_the_sites_networks_only_where_named(
    people, outsider
):
    beyond, foreign = f"mlhub-test-{secrets.token_hex(4)}", (NAMED, *PRIVATE, INTERNET)
    docker(
        "run",
        "--detach",
        "--name",
        beyond,
        "--label",
        f"mlhub.test={RUN}",
        "--network",
        "none",
        TEST_IMAGE,
        "sleep",
        "600",
    )
    try:
        process = int(docker("inspect", "--format", "{{.State.Pid}}", beyond))
        add_addresses(process, *foreign)
        docker("exec", "--detach", beyond, "python3", "-c", SERVER, "7007", *foreign)
        with leading_to(process, *foreign):

            def reached(container: str) -> set[str]:
                targets = [f"{address}/7007" for address in foreign]
                return set(
                    docker(
                        "exec", "--user", "root", container, "python3", "-c", PROBE, *targets
                    ).splitlines()
                )

            answers = {
                f"{protocol} {address}/7007" for protocol in ("tcp", "udp") for address in foreign
            }
            people.wait_for(
                lambda: reached(outsider) == answers, "the foreign addresses answer", 30
            )
            allowed = {
                f"{protocol} {address}/7007"
                for protocol in ("tcp", "udp")
                for address in (NAMED, INTERNET)
            }
            assert reached(container_of(people, "ann")) == allowed
            people.exec(
                "mlhub", "guard", "install"
            )  # as after somebody has flushed the host's rules
            assert reached(container_of(people, "bob")) == allowed
    finally:
        docker("rm", "--force", "--volumes", beyond)


def test_the_hubs_data_engine_and_secrets_are_not_in_a_workspace(people):
    ann = container_of(people, "ann")
    assert run_as_root(ann, "sh", "-c", "ls /var/run/docker.sock /data /run/mlhub").returncode != 0
    assert (
        run_as_root(
            people.name, "sh", "-c", "ls -d /var/run/docker.sock /data /run/mlhub"
        ).returncode
        == 0
    )
    mounts = json.loads(docker("inspect", "--format", "{{json .Mounts}}", ann))
    assert all(mount["Type"] == "volume" for mount in mounts)
    secret = people.exec("cat", "/data/proxy_auth_token")
    assert secret not in run_as_root(ann, "sh", "-c", "cat /proc/*/environ | tr '\\0' '\\n'").stdout


def test_a_workspaces_token_opens_its_owners_data_and_nobody_elses(people):
    call = (
        'curl -s -o /dev/null -w "%{http_code}" -H "Authorization: token $JUPYTERHUB_API_TOKEN" -X'
    )
    ann = container_of(people, "ann")

    def ask(method: str, path: str) -> str:
        return run_as_root(
            ann, "sh", "-c", f"{call} {method} http://{people.name}:8081/hub/api/{path}"
        ).stdout

    assert ask("GET", "user") == "200"
    assert ask("GET", "users/ann") == "200"
    assert ask("GET", "users/bob") == "404"
    assert ask("GET", "users") == "403"
    assert ask("DELETE", "users/bob/server") == "403"
    assert ask("POST", "users/mallory") == "403"
    assert ask("POST", "shutdown") == "403"
    assert ask("GET", "proxy") == "403"
    assert people.is_workspace_ready("bob")


def test_by_the_port_for_workspaces_the_hub_answers_its_api_and_no_page(people):
    ann = container_of(people, "ann")
    call = 'curl -s -o /dev/null -w "%{http_code}" -H "Authorization: token $JUPYTERHUB_API_TOKEN"'

    def ask(path: str, *more: str, port: int = 8081) -> str:
        return run_as_root(
            ann, "sh", "-c", f"{call} {' '.join(more)} http://{people.name}:{port}{path}"
        ).stdout

    now = datetime.now(UTC).isoformat()
    report = json.dumps({"last_activity": now, "servers": {"": {"last_activity": now}}})
    assert ask("/hub/api") == "200"
    assert ask("/hub/api/users/ann/activity", "-X", "POST", "-d", f"'{report}'") == "200"
    assert ask("/hub/api/ssh/bundle") in ("200", "404")  # pods fetch it, containers have it
    for page in ("/", "/hub/login", "/hub/home", "/hub/api/oauth2/authorize"):
        assert ask(page) == "403", page
        assert ask(page, port=8080) in (
            "200",
            "302",
            "400",
            "405",
        ), page  # as anybody gets it by the public port
    password = json.dumps({"auth": {"username": "ann", "password": "whatever"}})
    assert (
        ask(
            "/hub/api/users/ann/tokens",
            "-H",
            "'Authorization:'",
            "-X",
            "POST",
            "-d",
            f"'{password}'",
        )
        == "403"
    )


def test_a_workspace_does_not_decide_whose_address_the_hub_writes_down(people):
    ann = container_of(people, "ann")
    forged = "-H 'X-Forwarded-For: 203.0.113.7' -H 'X-Real-Ip: 203.0.113.7'"
    for port, path in ((8081, "/hub/api/nowhere-8081"), (8080, "/hub/nowhere-8080")):
        run_as_root(
            ann, "sh", "-c", f"curl -s -o /dev/null {forged} http://{people.name}:{port}{path}"
        )
        own = own_network(people, "ann")["IPAddress"]
        people.wait_for(
            lambda port=port: f"nowhere-{port}" in people.logs(), "the request in the log", 10
        )
        lines = [line for line in people.logs().splitlines() if f"nowhere-{port} " in line]
        assert any(f"@{own})" in line for line in lines), lines
        assert "203.0.113.7" not in "".join(lines)
