"""The host guard on a real engine: what a workspace reaches with it and without it."""

import contextlib
import subprocess

import pytest

from mlhub.backends.docker import guard
from mlhub.workspace.identity import Identity
from tests.addresses import listening_on_the_host, own_addresses
from tests.docker.conftest import LABEL

ALIENS = ("169.254.169.254", "203.0.113.10")  # the clouds' metadata service, and somebody on the internet (RFC 5737)
FETCH = (
    "import socket,sys\n"
    "s=socket.create_connection((sys.argv[1],int(sys.argv[2])),2)\n"
    "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.recv(99))"
)


@pytest.fixture
def aliens():
    """Give foreign addresses to this machine."""
    with own_addresses(*ALIENS):
        yield ALIENS


@pytest.fixture
def host_port():
    """A web server on all addresses of the host."""
    with listening_on_the_host() as port:
        yield port


@contextlib.asynccontextmanager
async def guarded(engine, hub_name, image):
    assert await guard.ensure_guard(engine, hub_name, image, extra_labels=LABEL)
    try:
        yield
    finally:
        assert await guard.remove_guard(engine, hub_name, image, extra_labels=LABEL)


async def test_the_guard_shuts_the_host_and_the_metadata_address_and_nothing_else(hub, engine, image, run_in, host_port, aliens):
    await hub.start("alice")
    await hub.start("alice", "other")
    one, other = Identity(hub.hub_name, "alice"), Identity(hub.hub_name, "alice", "other")
    gateway = hub_gateway(run_in, one.container)

    def reaches(address, port):
        return run_in(one.container, "python3", "-c", FETCH, address, str(port), user="0")[0] == 0

    assert reaches(gateway, host_port)  # the twin: without the guard the host is open
    assert reaches("169.254.169.254", host_port)
    async with guarded(engine, hub.hub_name, image):
        assert not reaches(gateway, host_port)
        for address in aliens:
            assert not reaches(address, host_port)  # both are addresses of this host here: input is shut
        assert reaches(other.container, 8080)  # by name: Docker's DNS and the own network work
        spawner = hub.user("alice").spawners[""]
        assert await spawner.poll() is None
        await hub.stop("alice", "other")
        await hub.start("alice", "other")  # host → workspace and its answers work
        assert await guard.ensure_guard(engine, hub.hub_name, image, extra_labels=LABEL)  # again: replaced, not doubled
        assert not reaches(gateway, host_port)
    assert reaches(gateway, host_port)


async def test_the_metadata_address_is_shut_for_forwarded_packets_and_the_internet_is_not(hub, engine, image, client, run_in):
    """The foreign addresses live in a container of another network here: packets are forwarded, not delivered to the host."""
    await hub.start("alice")
    workspace = Identity(hub.hub_name, "alice").container
    network = client.networks.create(f"{hub.hub_name}-outside", labels=LABEL)
    server = client.containers.run(image, detach=True, labels=LABEL, network=network.name)
    server.reload()
    for alien in ALIENS:
        namespace = ["nsenter", "-t", str(server.attrs["State"]["Pid"]), "-n"]
        subprocess.run([*namespace, "ip", "addr", "add", f"{alien}/32", "dev", "lo"], check=True)
    address = server.attrs["NetworkSettings"]["Networks"][network.name]["IPAddress"]

    def reaches(alien):
        return run_in(workspace, "python3", "-c", FETCH, alien, "8080", user="0")[0] == 0

    with routed_to(address, f"br-{network.id[:12]}"):
        assert reaches("169.254.169.254")
        assert reaches("203.0.113.10")
        async with guarded(engine, hub.hub_name, image):
            assert not reaches("169.254.169.254")
            assert reaches("203.0.113.10")


@contextlib.contextmanager
def routed_to(address, bridge):
    """Route the foreign addresses to a container of ours, past Docker's separation of networks."""
    with contextlib.ExitStack() as stack:
        for alien in ALIENS:
            subprocess.run(["ip", "route", "add", f"{alien}/32", "via", address, "dev", bridge], check=True)
            stack.callback(subprocess.run, ["ip", "route", "del", f"{alien}/32", "via", address, "dev", bridge])
            route = subprocess.run(["ip", "route", "get", alien], check=True, capture_output=True, text=True).stdout
            assert bridge in route, route
        for direction in ("-o", "-i"):
            subprocess.run(["iptables", "-I", "DOCKER-USER", direction, bridge, "-j", "ACCEPT"], check=True)
            stack.callback(subprocess.run, ["iptables", "-D", "DOCKER-USER", direction, bridge, "-j", "ACCEPT"])
        yield


def hub_gateway(run_in, container):
    """Read the default gateway from inside, as an attacker would."""
    code, table = run_in(container, "cat", "/proc/net/route")
    assert code == 0
    for line in table.splitlines()[1:]:
        fields = line.split()
        if fields[1] == "00000000":
            return ".".join(str(byte) for byte in reversed(bytes.fromhex(fields[2])))
    raise AssertionError(table)


async def test_the_hubs_container_stops_forwarding(engine, image, client):
    hub_like = client.containers.run(image, detach=True, labels=LABEL)

    def forwards():
        return hub_like.exec_run(["cat", "/proc/sys/net/ipv4/ip_forward"]).output.decode().strip()

    assert forwards() == "1"
    assert hub_like.exec_run(["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"], user="0").exit_code != 0
    await guard.stop_forwarding(engine, "tst", image, hub_like.id, LABEL)
    assert forwards() == "0"


async def test_a_guard_that_can_not_be_installed_is_one_warning_and_no_crash(engine, image, client, caplog):
    assert not await guard.ensure_guard(engine, "tst", "mlhub-test-no-such-image:1", extra_labels=LABEL)
    assert len(caplog.records) == 1
    assert "MLHUB_HOST_GUARD=false" in caplog.text
    assert not client.containers.list(all=True, filters={"label": ["mlhub.helper", f"mlhub.test={LABEL['mlhub.test']}"]})
