"""What workspaces reach, by real packets: each setting against each kind of address, on a real
engine and by IPv6.

No packet leaves this machine: foreign addresses live in a container without a network, to which a
pair of interfaces leads.
"""

from __future__ import annotations

import contextlib
import ipaddress
from pathlib import Path

import pytest

from mlhub.backends.docker import guard, ruleset
from mlhub.backends.docker.inventory import DockerBackend
from mlhub.egress import ALL, DEFAULT, NONE
from mlhub.errors import ConfigurationError
from mlhub.identity import Identity, make_bridge_prefix
from tests.support.addresses import (
    PROBE,
    SERVER,
    add_addresses,
    enter,
    join,
    leading_to,
    listening_on_the_host,
)
from tests.support.engine import LABEL, POOL, eventually

PORT = 7007
INTERNET, NAMED, PRIVATE, SHARED, METADATA, AZURE = (
    "203.0.113.20",
    "10.77.5.5",
    ("10.78.5.5", "172.31.77.7", "192.168.77.7", "198.18.77.7"),
    "100.64.77.7",
    "169.254.169.254",
    "168.63.129.16",
)
FOREIGN = (INTERNET, NAMED, *PRIVATE, SHARED, METADATA, AZURE)


def run_bare(client, image, *addresses, ports=(PORT,)):
    """Run a container without a network, which has addresses of its own and answers on them; return
    it and its process.
    """
    container = client.containers.run(
        image, ["sleep", "600"], detach=True, labels=LABEL, network_mode="none", init=True
    )
    container.reload()
    process = container.attrs["State"]["Pid"]
    add_addresses(process, *addresses)
    if addresses:
        container.exec_run(
            ["python3", "-c", SERVER, ",".join(map(str, ports)), *addresses], detach=True
        )
    return container, process


def probe(container, targets):
    """Return which targets a program of root's in a container reaches, and by which protocols."""
    output = container.exec_run(["python3", "-c", PROBE, *targets], user="0").output.decode()
    return {tuple(line.split()) for line in output.splitlines()}


def both(*addresses):
    return {(protocol, f"{address}/{PORT}") for address in addresses for protocol in ("tcp", "udp")}


@contextlib.asynccontextmanager
async def guarded(engine, hub_name, image):
    """Remove the rules that a test lays."""
    try:
        yield
    finally:
        assert await guard.remove_guard(engine, hub_name, image, extra_labels=LABEL)


# A nameserver for every name, to which it gives one address; and who asks it, by way of Docker's
# own DNS.
NAMESERVER = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
while True:
    asked, peer = server.recvfrom(512)
    question = asked[12 : asked.index(0, 12) + 5]
    head = asked[:2] + bytes((129, 128, 0, 1, 0, 1, 0, 0, 0, 0))
    server.sendto(head + question + \
bytes((192, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 99)), peer)
"""
ASK = "import socket; print(socket.getaddrinfo('somewhere.example', 80, socket.AF_INET)[0][4][0])"
SETTINGS = {
    (ALL,): (INTERNET, NAMED, *PRIVATE, SHARED),
    DEFAULT: (INTERNET,),
    ("internet", "10.77.0.0/16"): (INTERNET, NAMED),
    ("10.77.5.5/32", "10.77.0.0/16", "100.64.0.0/10"): (NAMED, SHARED),
    (NONE,): (),
}


async def test_each_setting_opens_what_it_says_and_nothing_else(hub, engine, image, client):
    for person, server in (("alice", ""), ("alice", "other"), ("bob", "")):
        await hub.start(person, server)
    ours = client.containers.get(Identity(hub.hub_name, "alice").container)
    other, bob = (
        client.containers.get(Identity(hub.hub_name, *each).container)
        for each in (("alice", "other"), ("bob",))
    )
    own, foreign = (
        next(iter(each.attrs["NetworkSettings"]["Networks"].values())) for each in (other, bob)
    )
    published = client.containers.run(image, detach=True, labels=LABEL, ports={"8080/tcp": None})
    published.reload()
    with (
        leading_to(run_bare(client, image, *FOREIGN)[1], *FOREIGN),
        listening_on_the_host() as host_port,
    ):
        # The own one by its name: Docker's DNS goes on, whatever is shut.
        host, bobs, mine = (
            f"{own['Gateway']}/{host_port}",
            f"{foreign['IPAddress']}/8080",
            f"{other.name}/8080",
        )
        targets = [*(f"{address}/{PORT}" for address in FOREIGN), host, bobs, mine]
        others = [
            f"{own['Gateway']}/{published.ports['8080/tcp'][0]['HostPort']}",
            f"{published.attrs['NetworkSettings']['IPAddress']}/8080",
        ]
        assert probe(published, others[1:]) == {("tcp", others[1])}
        targets += others
        always = {("tcp", mine)}
        reached = both(*FOREIGN) | {("tcp", host), ("tcp", others[0])} | always
        # The twin: without rules all is open, ports that others publish on the host too, but what
        # is in other networks of Docker's.
        await eventually(lambda: probe(ours, targets) == reached, 30, "without rules all is open")
        assert ("tcp", bobs) in probe(bob, [bobs])
        async with guarded(engine, hub.hub_name, image):
            for egress, opened in SETTINGS.items():
                assert await guard.ensure_guard(
                    engine, hub.hub_name, image, extra_labels=LABEL, egress=egress
                )
                assert probe(ours, targets) == both(*opened) | always, egress
            await hub.stop("alice", "other")
            await hub.start("alice", "other")  # host → workspace, and its answers: also with none
        assert probe(ours, targets) == reached


async def test_dockers_dns_asks_from_inside_a_workspace_so_a_nameserver_that_is_shut_gives_no_names(
    hub, engine, image, client
):
    """This is why the engine's own nameservers stay open, and why the log names those of a site's
    that do not.
    """
    hub.spawner.extra_host_config = {"dns": [PRIVATE[0]]}
    await hub.start("alice")
    workspace = client.containers.get(Identity(hub.hub_name, "alice").container)
    beyond, process = run_bare(client, image, PRIVATE[0])
    beyond.exec_run(["python3", "-c", NAMESERVER, PRIVATE[0]], detach=True)

    def resolves():
        return (
            workspace.exec_run(["timeout", "3", "python3", "-c", ASK]).output.decode().strip()
            == "192.0.2.99"
        )

    with leading_to(process, PRIVATE[0]):
        assert "127.0.0.11" in workspace.exec_run(["cat", "/etc/resolv.conf"]).output.decode()
        await eventually(resolves, 30, "without rules the name is resolved")
        async with guarded(engine, hub.hub_name, image):
            for egress, opened in {
                DEFAULT: False,
                ("internet", f"{PRIVATE[0]}/32"): True,
                (NONE,): False,
            }.items():
                assert await guard.ensure_guard(
                    engine, hub.hub_name, image, extra_labels=LABEL, egress=egress
                )
                if opened:  # the engine may still wait for what it has asked before
                    await eventually(resolves, 30, "the name is resolved")
                else:
                    assert not resolves(), egress


async def test_the_engines_nameservers_stay_open_whatever_is_shut(engine, image, hub_name):
    named = ruleset.parse_nameservers(Path("/etc/resolv.conf").read_text())
    async with guarded(engine, hub_name, image):
        assert await guard.ensure_guard(engine, hub_name, image, extra_labels=LABEL, egress=(NONE,))
        command = ["nft", "list", "table", "inet", ruleset.make_table_name(hub_name)]
        table = await guard._run(engine, hub_name, image, command, {"NetworkMode": "host"}, LABEL)
    assert named
    for address in named:
        opened = [line for line in table.splitlines() if str(address) in line]
        assert len(opened) == 2  # whether the address is another machine's or the host's own
        assert all(line.endswith("th dport 53 accept") for line in opened)


async def test_by_ipv6_and_for_nameservers_the_same_holds(engine, image, client, hub_name):
    """A host of its own, made of three containers without a network: the workspace, the host, and
    what is beyond.
    """
    site, outside, metadata, dns = "fd77:5::5", "2001:db8:77::20", "fd00:ec2::254", "fd77:53::53"
    _, beyond = run_bare(client, image, site, outside, metadata, dns, ports=(PORT, 53))
    (host, host_process), (workspace, inside) = run_bare(client, image), run_bare(client, image)
    enter(host_process, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
    join(host_process, inside, "fd70::1/64", "fd70::2/64", f"{make_bridge_prefix(hub_name)}000001")
    join(
        host_process, beyond, "fd71::1/64", "fd71::2/64", "outside", (site, outside, metadata, dns)
    )
    host.exec_run(["python3", "-c", SERVER, str(PORT), "fd71::1"], detach=True)
    targets = [f"{address}/{PORT}" for address in (site, outside, metadata, dns, "fd71::1")] + [
        f"{dns}/53"
    ]
    opened = {(protocol, target) for target in targets for protocol in ("tcp", "udp")}
    await eventually(lambda: probe(workspace, targets) == opened, 30, "without rules all is open")

    async def lay(egress):
        script = ruleset.make_ruleset(hub_name, egress, [ipaddress.ip_address(dns)])
        await guard._run(
            engine, hub_name, image, ["nft", script], {"NetworkMode": f"container:{host.id}"}, LABEL
        )
        return probe(workspace, targets)

    asked = {("tcp", f"{dns}/53"), ("udp", f"{dns}/53")}
    assert await lay(DEFAULT) == both(outside) | asked
    assert await lay(("internet", "fd77:5::/32")) == both(outside, site) | asked
    assert await lay((ALL,)) == both(outside, site, dns) | asked
    assert await lay((NONE,)) == asked


async def test_people_are_kept_apart_also_while_the_engines_own_rules_are_away(
    engine, image, client, hub_name
):
    """As whenever an engine makes a network: a host without a single rule, made of containers that
    have no network, to which a workspace of alice's, one of bob's, one of another hub's and a
    container that is no workspace's are joined.
    """
    host, process = run_bare(client, image)
    for family in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        enter(process, "sh", "-c", f"echo 1 > /proc/sys/net/{family}")
    ours, targets = make_bridge_prefix(hub_name), {}
    for index, bridge in enumerate((f"{ours}0a", f"{ours}0b", "mh-other-0a", "br-site")):
        container, inside = run_bare(client, image)
        join(process, inside, f"10.9.{index}.1/28", f"10.9.{index}.2/28", bridge)
        for place, end, name in ((process, 1, bridge), (inside, 2, "eth0")):
            six = ("ip", "addr", "add", f"fd7{index}::{end}/64", "dev", name, "nodad")
            enter(place, "sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
            enter(place, *six)
        enter(inside, "ip", "route", "add", "default", "via", f"fd7{index}::1")
        addresses = (f"10.9.{index}.2", f"fd7{index}::2")
        container.exec_run(["python3", "-c", SERVER, str(PORT), *addresses], detach=True)
        targets[bridge] = (container, both(*addresses))
    alice, bob, other, site = targets.values()

    def reached(container):
        return probe(container, [f"{address}/{PORT}" for address in names])

    names = [target.rpartition("/")[0] for each in (bob, other, site) for _, target in each[1]]
    names = sorted(set(names))
    everything = bob[1] | other[1] | site[1]
    await eventually(lambda: reached(alice[0]) == everything, 30, "without rules all is open")
    place = {"NetworkMode": f"container:{host.id}"}
    script = ruleset.make_ruleset(hub_name, (ALL,))
    await guard._run(engine, hub_name, image, ["nft", script], place, LABEL)
    assert reached(alice[0]) == site[1]  # whatever the host reaches, but nobody else's workspace
    assert reached(bob[0]) == site[1] | bob[1]
    assert reached(site[0]) == everything  # what is no workspace of ours is not held to it


async def test_a_site_that_asks_for_more_than_the_default_is_told_before_people_come(
    engine, image, hub_name, caplog
):
    missing = "mlhub-test-no-such-image:1"
    for egress in ((NONE,), ("internet", "10.77.0.0/16")):
        with pytest.raises(
            ConfigurationError,
            match=r"MLHUB_WORKSPACE_EGRESS=.* does not hold: the host guard could not be installed",
        ):
            await guard.ensure_guard(engine, hub_name, missing, extra_labels=LABEL, egress=egress)
    assert not caplog.records
    assert not await guard.ensure_guard(
        engine, hub_name, missing, extra_labels=LABEL, egress=DEFAULT
    )
    assert "private networks" in caplog.text
    caplog.clear()
    await guard.ensure_guard(engine, hub_name, missing, host=False, egress=(ALL,))
    assert not caplog.records  # the host's own firewall decides
    await guard.ensure_guard(engine, hub_name, missing, host=False, egress=DEFAULT)
    assert (
        "private networks that it reaches and cloud metadata addresses: MLHUB_HOST_GUARD=false"
        in caplog.text
    )


async def test_a_hub_outside_of_its_engines_containers_says_that_it_lays_no_rules(
    engine, hub_name, caplog
):
    """As with DOCKER_HOST on another machine: this process is no container of the engine."""
    await DockerBackend(hub_name, engine, POOL, egress=(ALL,)).prepare()
    assert not caplog.records  # nothing was asked for
    with pytest.raises(
        ConfigurationError,
        match="MLHUB_WORKSPACE_EGRESS=none does not hold: the hub is no container of the engine",
    ):
        await DockerBackend(hub_name, engine, POOL, egress=(NONE,)).prepare()
    await DockerBackend(hub_name, engine, POOL, egress=DEFAULT).prepare()
    assert (
        "can reach the Docker host's own ports, the private networks that it reaches" in caplog.text
    )
    assert "the hub is no container of the engine" in caplog.text
