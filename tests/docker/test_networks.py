"""Users' networks on a real engine: who is in them, under which name, and who reaches whom."""

import asyncio
import base64
import contextlib
import platform
import socket
import struct

import pytest
from tornado import web

from mlhub.backends.docker.networks import Networks
from mlhub.errors import CapacityError, ConfigurationError
from mlhub.identity import Identity
from tests.support.engine import LABEL, POOL, eventually
from tests.support.knocking import knocking

FETCH = (
    "import socket,sys; s=socket.create_connection((sys.argv[1],int(sys.argv[2])),2);"
    " s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.recv(9))"
)


@pytest.fixture
def make_hub_container(client, image):
    """Containers that stand for the hub's own one."""

    def make(name=None, **arguments):
        return client.containers.run(
            image, detach=True, labels=LABEL, name=name, init=True, **arguments
        )

    return make


@pytest.fixture
def make_networks(engine, hub_name):
    def make(hub_container=None, pool=POOL, prefix=27):
        networks = Networks(engine, hub_name, pool, prefix, LABEL)
        networks.hub_id = hub_container.id if hub_container else None
        networks.linger_seconds = 0
        return networks

    return make


def attached(client, name):
    return set(client.api.inspect_network(name)["Containers"] or {})


def reaches(run_in, source, target, port=8080):
    return run_in(source, "python3", "-c", FETCH, target, str(port), user="0")[0] == 0


async def test_ten_users_at_once_get_ten_different_subnets_of_the_pool(
    make_networks, client, hub_name
):
    networks = make_networks()
    identities = [Identity(hub_name, f"user{index}") for index in range(10)]
    await asyncio.gather(*(networks.ensure(identity) for identity in identities for _ in range(2)))
    subnets = {
        client.api.inspect_network(identity.network)["IPAM"]["Config"][0]["Subnet"]
        for identity in identities
    }
    assert len(subnets) == 10
    assert all(subnet.startswith("10.201.") and subnet.endswith("/27") for subnet in subnets)


async def test_a_freed_subnet_is_used_again(make_networks, client, hub_name):
    networks = make_networks(pool="10.202.0.0/24")  # in which nobody else takes or frees one
    alice, bob, carol = (Identity(hub_name, user) for user in ("alice", "bob", "carol"))
    for identity in (alice, bob):
        await networks.ensure(identity)
    freed = client.api.inspect_network(alice.network)["IPAM"]["Config"][0]["Subnet"]
    assert await networks.remove(alice)
    await networks.ensure(carol)
    assert client.api.inspect_network(carol.network)["IPAM"]["Config"][0]["Subnet"] == freed


async def test_subnets_that_others_use_are_left_out_and_a_full_pool_is_a_sentence(
    make_networks, client, hub_name
):
    pool = client.networks.create(
        f"{hub_name}-other",
        labels=LABEL,
        ipam={"Driver": "default", "Config": [{"Subnet": "10.203.0.0/28"}]},
    )
    networks = make_networks(pool="10.203.0.0/26", prefix=28)
    identities = [Identity(hub_name, f"user{index}") for index in range(4)]
    for identity in identities[:3]:
        await networks.ensure(identity)
    subnets = {
        client.api.inspect_network(identity.network)["IPAM"]["Config"][0]["Subnet"]
        for identity in identities[:3]
    }
    assert subnets == {"10.203.0.16/28", "10.203.0.32/28", "10.203.0.48/28"}
    with pytest.raises(CapacityError, match="Choose a larger pool"):
        await networks.ensure(identities[3])
    assert pool


async def test_two_hubs_creating_at_the_same_time_do_not_collide(engine, client, hub_name):
    first, second = (Networks(engine, hub_name[:4] + suffix, POOL, 27, LABEL) for suffix in "xy")
    await asyncio.gather(
        *(
            networks.ensure(Identity(networks.hub_name, f"user{index}"))
            for index in range(5)
            for networks in (first, second)
        )
    )
    subnets = {
        client.api.inspect_network(Identity(networks.hub_name, f"user{index}").network)["IPAM"][
            "Config"
        ][0]["Subnet"]
        for index in range(5)
        for networks in (first, second)
    }
    assert len(subnets) == 10


async def test_a_workspace_reaches_the_hub_by_its_name_also_after_the_hub_was_made_anew(
    hub, make_hub_container, client, run_in
):
    old = make_hub_container()
    await use_as_hub(hub, old)
    await hub.start("alice")
    workspace = Identity(hub.hub_name, "alice").container
    assert reaches(run_in, workspace, hub.hub_name)
    old.remove(force=True)
    assert not reaches(run_in, workspace, hub.hub_name)
    new = make_hub_container()
    hub.reset_database()
    await use_as_hub(hub, new)
    await hub.backend.networks.prepare()
    assert reaches(run_in, workspace, hub.hub_name)


async def use_as_hub(hub, container):
    """Let the backend take a container of ours for its own."""
    await hub.backend.prepare()
    hub.backend.networks.hub_id = container.id
    hub.backend.networks.linger_seconds = 0


async def test_the_hub_joins_when_the_first_workspace_starts_and_leaves_with_the_last(
    hub, make_hub_container, client
):
    container = make_hub_container()
    await use_as_hub(hub, container)
    network = Identity(hub.hub_name, "alice").network
    await asyncio.gather(hub.start("alice"), hub.start("alice", "two"))
    assert container.id in attached(client, network)
    await hub.stop("alice")
    await asyncio.sleep(0.5)
    assert container.id in attached(client, network)
    await hub.stop("alice", "two")
    await eventually(lambda: container.id not in attached(client, network))
    await hub.start("alice")
    assert container.id in attached(client, network)


@pytest.mark.parametrize("rounds", [1, pytest.param(5, marks=pytest.mark.full)])
async def test_a_start_while_the_hub_is_about_to_leave_keeps_it_in(
    hub, make_hub_container, client, rounds
):
    container = make_hub_container()
    await use_as_hub(hub, container)
    network = Identity(hub.hub_name, "alice").network
    for _ in range(rounds):
        await hub.start("alice")
        await hub.stop("alice")
        await hub.start("alice", "two")
        assert container.id in attached(client, network)
        await asyncio.sleep(0.3)
        assert container.id in attached(client, network)
        await hub.stop("alice", "two")


async def test_the_published_ports_of_two_hubs_answer_while_twenty_new_people_come(
    engine, make_hub_container, client, hub_name, clean_engine
):
    """In a network whose name sorts behind ``net-`` and most others, as a compose project's may."""
    shared = f"web-{hub_name}"
    client.networks.create(shared, labels=LABEL)
    hubs = []
    for suffix in "xy":
        container = make_hub_container(network=shared, ports={"8080/tcp": ("127.0.0.1", None)})
        container.reload()
        networks = Networks(engine, hub_name[:4] + suffix, POOL, 28, LABEL)
        networks.hub_id, networks.linger_seconds = container.id, 0
        await networks.prepare()
        hubs.append((networks, int(container.ports["8080/tcp"][0]["HostPort"])))
    ports = [port for _, port in hubs]
    with knocking(*ports) as (answered, refused), contextlib.ExitStack() as kept:
        await eventually(lambda: {*answered} == {*ports}, 30, "both answer")
        refused.clear()  # while they were not up yet
        opened = [kept.enter_context(socket.create_connection(("127.0.0.1", p), 5)) for p in ports]
        for index in range(10):
            people = {networks: Identity(networks.hub_name, f"new{index}") for networks, _ in hubs}
            await asyncio.gather(*(networks.ensure(who) for networks, who in people.items()))
            await asyncio.gather(*(networks.join(who) for networks, who in people.items()))
            assert all(attached(client, who.network) for who in people.values())
        await asyncio.gather(*(networks.release(who) for networks, who in people.items()))
        for each in opened:  # begun before, and still open
            each.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert each.recv(9)
    assert len(answered) > 20
    assert not refused


async def test_a_network_of_an_older_version_is_used_on_and_leaves_where_it_is_in_the_way(
    hub, make_hub_container, client
):
    alice = Identity(hub.hub_name, "alice")
    client.networks.create(alice.former_network, labels={**LABEL, **alice.user_labels})
    before = make_hub_container()  # in the network "bridge"
    await use_as_hub(hub, before)
    networks = hub.backend.networks
    await networks.prepare()
    first = await hub.start("alice")
    assert set(client.containers.get(alice.container).attrs["NetworkSettings"]["Networks"]) == {
        alice.former_network
    }
    kept = first.object_id
    # The same hub's next container is in a network of the site's, which sorts behind it.
    before.remove(force=True)
    client.networks.create(f"web-{hub.hub_name}", labels=LABEL)
    await use_as_hub(hub, make_hub_container(network=f"web-{hub.hub_name}"))
    networks._known.clear()
    await networks.prepare()
    await hub.start("alice", "two")  # while something runs there, it stays
    assert await networks.ensure(alice) == alice.former_network
    for server in ("", "two"):
        await hub.stop("alice", server)
    networks._known.clear()
    again = await hub.start("alice")
    assert again.object_id == kept  # the same container, with all that is in it
    assert set(client.containers.get(alice.container).attrs["NetworkSettings"]["Networks"]) == {
        alice.network
    }
    assert alice.former_network not in {network.name for network in client.networks.list()}


async def test_at_boot_the_hub_joins_what_runs_and_leaves_what_is_empty(
    hub, make_networks, make_hub_container, client
):
    container = make_hub_container()
    await hub.start("alice")
    await hub.start("bob")
    await hub.stop("bob")
    alice, bob = (Identity(hub.hub_name, user).network for user in ("alice", "bob"))
    client.networks.get(bob).connect(container)
    networks = make_networks(container)
    await networks.prepare()
    assert container.id in attached(client, alice)
    assert container.id not in attached(client, bob)


async def test_a_second_live_hub_of_the_same_name_is_refused_and_a_dead_one_is_not(
    hub, make_networks, make_hub_container
):
    one, two = make_hub_container(), make_hub_container()
    await use_as_hub(hub, one)
    await hub.start("alice")
    with pytest.raises(ConfigurationError, match="two hubs with HUB_NAME"):
        await make_networks(two).prepare()
    with pytest.raises(ConfigurationError, match="another HUB_NAME"):
        await make_networks(two).join(Identity(hub.hub_name, "alice"))
    one.stop(timeout=1)
    await make_networks(two).prepare()


async def test_the_network_goes_with_the_users_last_container(hub, make_hub_container, client):
    await use_as_hub(hub, make_hub_container())
    network = Identity(hub.hub_name, "alice").network
    spawners = [await hub.start("alice"), await hub.start("alice", "two")]
    for spawner in spawners:
        await hub.stop("alice", spawner.name)
    await spawners[0].delete_forever()
    assert client.networks.list(names=[network])
    await spawners[1].delete_forever()
    assert not client.networks.list(names=[network])


async def test_root_in_a_workspace_reaches_neither_other_users_nor_raw_sockets(hub, run_in, client):
    await asyncio.gather(hub.start("alice"), hub.start("alice", "two"), hub.start("bob"))
    alice, two, bob = (
        Identity(hub.hub_name, *names) for names in (("alice",), ("alice", "two"), ("bob",))
    )
    address = {
        who: (
            client.containers.get(who.container).attrs["NetworkSettings"]["Networks"][who.network][
                "IPAddress"
            ]
        )
        for who in (alice, two, bob)
    }
    # the twins: the user's own workspaces see each other
    assert reaches(run_in, alice.container, two.container)
    assert reaches(run_in, alice.container, address[two])
    assert not reaches(run_in, alice.container, bob.container)
    assert not reaches(run_in, alice.container, address[bob])
    for kind in ("socket.AF_INET, socket.SOCK_RAW, 1", "socket.AF_PACKET, socket.SOCK_RAW"):
        assert (
            run_in(
                alice.container, "python3", "-c", f"import socket; socket.socket({kind})", user="0"
            )[0]
            != 0
        )


async def test_root_in_a_workspace_holds_the_short_list_of_capabilities_and_nothing_else(
    hub, run_in, client
):
    await hub.start("alice")
    name = Identity(hub.hub_name, "alice").container
    code, status = run_in(name, "cat", "/proc/self/status", user="0")
    assert code == 0
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    # linux/capability.h: CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, FSETID 4, KILL 5, SETGID 6, SETUID 7,
    # NET_BIND_SERVICE 10
    assert int(fields["CapBnd"], 16) == sum(1 << bit for bit in (0, 1, 3, 4, 5, 6, 7, 10))
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["Seccomp"].strip() == "2"
    host = client.containers.get(name).attrs["HostConfig"]
    assert (host["PidsLimit"], host["ShmSize"], host["Privileged"]) == (4096, 256 * 2**20, False)
    assert host["PortBindings"] in (None, {})
    assert host["LogConfig"]["Config"]["max-size"] == "10m"
    # By an engine of any age: no way to the hypervisor past every network (AF_VSOCK is 40), nor
    # into the kernel's copies of files (AF_ALG is 38, of kind SOCK_SEQPACKET). That calls of
    # io_uring are not let through either stands in the same profile.
    asked = "import socket; socket.socket({}, {}).close()"
    assert run_in(name, "python3", "-c", asked.format(2, 1), user="0")[0] == 0
    for family, kind in ((40, 1), (38, 5)):
        said = run_in(name, "python3", "-c", asked.format(family, kind), user="0")[1]
        assert "PermissionError" in said, family
    # ordinary work of root still goes
    script = (
        "touch /root/x && chown 1000:1000 /root/x && chmod 4755 /root/x && python3 -c 'import os;"
        " os.setgid(1000); os.setuid(1000)'"
    )
    assert run_in(name, "sh", "-c", script, user="0")[0] == 0


def make_program_of_32_bits(family: int) -> bytes:
    """Make a program that asks for a socket by the one call of 32 bits for everything about them
    (102), whose arguments no seccomp profile sees; it ends with 0 where it gets one.
    """
    at = 0x08048000
    code = b"\xb8\x66\0\0\0\xbb\1\0\0\0\xb9" + struct.pack("<I", at + 84 + 32) + b"\xcd\x80"
    code += b"\xc1\xe8\x1f\x89\xc3\xb8\1\0\0\0\xcd\x80"
    body = code.ljust(32, b"\0") + struct.pack("<3I", family, 1, 0)
    head = b"\x7fELF\1\1\1".ljust(16, b"\0")
    head += struct.pack("<2H5I6H", 2, 3, 1, at + 84, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    size = len(head) + 32 + len(body)
    return head + struct.pack("<8I", 1, 0, at, at, size, size, 5, 4096) + body


async def test_a_program_of_32_bits_gets_no_socket_that_others_do_not_get(hub, run_in):
    script = (
        "import base64, os, sys; open('/tmp/x', 'wb').write(base64.b64decode(sys.argv[1]));"
        " os.chmod('/tmp/x', 0o755); os.execv('/tmp/x', ['x'])"
    )

    async def ask(user: str, family: int) -> int:
        await hub.start(user)
        program = base64.b64encode(make_program_of_32_bits(family)).decode()
        name = Identity(hub.hub_name, user).container
        return run_in(name, "python3", "-c", script, program)[0]

    assert await ask("alice", 40) == 1
    # The twin: a site that has no profile at all has the call; elsewhere no such program runs.
    hub.spawner.extra_host_config = {"security_opt": ["seccomp=unconfined"]}
    assert await ask("bob", 2) == (platform.machine() != "x86_64")


@pytest.mark.parametrize(
    "config",
    [
        {"cap_add": ["NET_RAW"]},
        {"cap_add": ["CAP_NET_ADMIN"]},
        {"privileged": True},
        {"security_opt": ["no-new-privileges:0"]},
        {"pid_mode": "host"},
        {"no_such_key": 1},
    ],
)
async def test_a_host_config_that_breaks_isolation_or_makes_no_sense_is_a_sentence(
    hub, client, config
):
    hub.spawner.extra_host_config = config
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice")
    assert "extra_host_config" in caught.value.jupyterhub_message
    assert not client.containers.list(all=True, filters={"label": f"mlhub.origin={hub.hub_name}"})


async def test_the_host_reaches_a_workspace_by_its_address(hub):
    spawner = await hub.start("alice")
    url = await spawner.get_url()
    host = url.split("//")[1].split(":")[0]
    with socket.create_connection((host, 8080), 2):
        pass
