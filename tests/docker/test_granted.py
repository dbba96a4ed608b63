"""What a workspace was granted, seen on the engine: each limit, what holds it, and what a changed
choice costs.
"""

import itertools
import time

import pytest
from jupyterhub import orm
from tornado import web

from mlhub.identity import Identity
from tests.support.engine import eventually

MIB = 2**20
UUIDS = ["GPU-11111111-2222-3333-4444-555555555555", "GPU-66666666-7777-8888-9999-000000000000"]


@pytest.fixture
def alice(hub):
    return Identity(hub.hub_name, "alice").container


@pytest.fixture
def set_policy(hub, tmp_path):
    """Write a policy in a file of its own: with it comes a ledger that knows of nothing, as after a
    loss of the database.
    """
    numbers = itertools.count()

    def write(text):
        file = tmp_path / f"policy-{next(numbers)}.yaml"
        file.write_text(text)
        hub.spawner.policy_file = str(file)

    return write


async def test_each_limit_arrives_at_the_engine(hub, client, alice):
    options = {
        "cpu_limit": 0.5,
        "mem_limit": "300M",
        "shm_size": "32M",
        "env": {"COURSE": "ml"},
        "days_to_live": 2,
    }
    spawner = await hub.start("alice", options=options)
    container = client.containers.get(alice)
    host = container.attrs["HostConfig"]
    assert (host["CpuQuota"], host["CpuPeriod"], host["Memory"], host["ShmSize"]) == (
        50_000,
        100_000,
        300 * MIB,
        32 * MIB,
    )
    assert host["MemorySwap"] == (300 * MIB if client.info()["SwapLimit"] else -1)
    assert host["PidsLimit"] == 4096
    assert not host["DeviceRequests"]
    assert "COURSE=ml" in container.attrs["Config"]["Env"]
    assert (
        int(container.labels["expiration_timestamp_seconds"])
        == spawner.expires_at
        > time.time() + 86_400
    )


async def test_a_license_key_is_in_the_workspace_and_not_in_the_hubs_own_record(
    hub, client, alice, set_policy
):
    set_policy("everyone: {license: {variable: LICENSE_KEY}}")
    spawner = await hub.start("alice", options={"license": "AAAA-BBBB"})
    container = client.containers.get(alice)
    assert "LICENSE_KEY=AAAA-BBBB" in container.attrs["Config"]["Env"]
    kept = [spawner.user_options, spawner.orm_spawner.user_options, spawner.orm_spawner.state]
    assert "AAAA" not in repr([*kept, spawner.get_state(), container.labels])
    await hub.stop("alice")
    await hub.start("alice")
    again = client.containers.get(alice)
    assert (again.id, "LICENSE_KEY=AAAA-BBBB" in again.attrs["Config"]["Env"]) == (
        container.id,
        True,
    )


async def test_without_a_policy_and_a_choice_a_workspace_is_an_eighth_of_what_the_hub_leaves(
    hub, client, alice
):
    await hub.start("alice")
    host, info = client.containers.get(alice).attrs["HostConfig"], client.info()
    assert host["CpuQuota"] == max(info["NCPU"] / 2, info["NCPU"] - 1) * 100_000
    left = int(max(info["MemTotal"] / 2, info["MemTotal"] - 2**30)) // MIB * MIB
    assert host["Memory"] == max(left // 8 // MIB * MIB, min(2**30, left * 3 // 4 // MIB * MIB))
    assert host["ShmSize"] == 256 * MIB


async def test_more_than_the_host_has_is_refused_and_nothing_is_created(hub, client):
    for options in (
        {"cpu_limit": 1000},
        {"mem_limit": "100T"},
        {"mem_limit": "300M", "shm_size": "301M"},
        {"gpus": "0"},
    ):
        with pytest.raises(web.HTTPError) as caught:
            await hub.start("alice", options=options)
        assert caught.value.status_code == 400
    assert not client.containers.list(all=True, filters={"label": f"mlhub.origin={hub.hub_name}"})


async def test_the_sites_host_config_has_the_last_word_on_every_limit(hub, client, alice):
    hub.spawner.extra_host_config = {
        "memswap_limit": "400m",
        "mem_limit": "200m",
        "shm_size": "16m",
        "pids_limit": 77,
        "cpu_quota": 33_000,
    }
    await hub.start("alice", options={"cpu_limit": 0.5, "mem_limit": "300M", "shm_size": "32M"})
    host = client.containers.get(alice).attrs["HostConfig"]
    assert (host["Memory"], host["ShmSize"], host["PidsLimit"], host["CpuQuota"]) == (
        200 * MIB,
        16 * MIB,
        77,
        33_000,
    )
    assert host["MemorySwap"] == (400 * MIB if client.info()["SwapLimit"] else -1)


@pytest.mark.parametrize(
    ("host_gpus", "asked", "count", "ids"),
    [
        (UUIDS, "1", 0, ["1"]),
        (UUIDS, UUIDS[0], 0, [UUIDS[0]]),
        (UUIDS, "all", 0, ["0", "1"]),
        (None, "all", -1, None),
        (UUIDS, None, None, None),
    ],
)
async def test_gpus_are_requested_as_docker_itself_does(
    hub, client, alice, host_gpus, asked, count, ids, monkeypatch
):
    """This engine cannot start such a container.

    So it is created by the same code and looked at.
    """
    hub.spawner.host_gpus = host_gpus
    if host_gpus is None:
        hub.user("alice")  # an engine whose GPUs nobody can list
        monkeypatch.setattr("mlhub.backends.docker.hosts.find_gpus", lambda *_: None)
    spawner = hub.user("alice").get_or_create_spawner("", "")
    spawner.orm_spawner.server = orm.Server(base_url="/user/alice/")
    spawner.user_options = {"gpus": asked} if asked else {}
    await spawner.apply_group_overrides()
    await spawner.run_pre_spawn_hook()
    volume, _ = await spawner.ensure_volume(), await spawner.ensure_network()
    spawner.get_env = lambda: {}  # JupyterHub's own variables want a whole start
    await spawner.container.create((await spawner.make_spec(volume)).arguments)
    requests = client.containers.get(alice).attrs["HostConfig"]["DeviceRequests"]
    if count is None:
        assert not requests
        return
    (request,) = requests
    assert (
        request["Count"],
        request["DeviceIDs"] or None,
        request["Capabilities"],
        request["Driver"],
    ) == (count, ids, [["gpu"]], "")


async def test_gpus_that_the_engine_can_not_give_are_a_sentence_and_leave_nothing_behind(
    hub, client
):
    hub.spawner.host_gpus = UUIDS
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice", options={"gpus": "0"})
    assert "cannot give GPUs to containers" in caught.value.jupyterhub_message
    assert not client.containers.list(all=True, filters={"label": f"mlhub.origin={hub.hub_name}"})


async def test_what_the_catalogue_says_of_an_image_is_how_its_container_is_made(
    hub, client, image, run_in, alice, set_policy
):
    set_policy(
        f"images:\n  - {{name: tiny, image: '{image}', port: 9123, mount_point: /data, "
        "notebook_dir: /data}\n"
    )
    hub.spawner.environment = {"PORT": "9123"}  # the tiny image listens where it is told
    spawner = await hub.start("alice", options={"image": "tiny"})
    container = client.containers.get(alice)
    (mount,) = container.attrs["Mounts"]
    assert (mount["Type"], mount["Name"], mount["Destination"]) == (
        "volume",
        Identity(hub.hub_name, "alice").volume(1),
        "/data",
    )
    assert container.labels["mlhub.port"] == "9123"
    assert (
        "JUPYTERHUB_SERVICE_URL=http://0.0.0.0:9123/user/alice/" in container.attrs["Config"]["Env"]
    )
    assert any(
        "/data" in word
        for word in [*container.attrs["Config"]["Cmd"], *container.attrs["Config"]["Env"]]
    )
    assert (
        await spawner.backend.address(Identity(hub.hub_name, "alice"))
    ).port == 9123  # it has answered there, else there were no start
    assert run_in(alice, "sh", "-c", "echo precious > /data/kept")[0] == 0
    await hub.stop("alice")
    await hub.start("alice", options={"image": "tiny", "shm_size": "16M"})
    assert run_in(alice, "cat", "/data/kept") == (0, "precious\n")


# what holds


async def test_a_fork_bomb_ends_at_the_limit_of_processes_and_the_next_workspace_starts(
    hub, run_in, alice
):
    hub.spawner.extra_host_config = {"pids_limit": 64}
    await hub.start("alice")
    bomb = (
        "import os, signal, time\n"
        "children = []\n"
        "try:\n"
        "    while len(children) < 1000:\n"
        "        child = os.fork()\n"
        "        if not child:\n"
        "            time.sleep(30); os._exit(0)\n"
        "        children.append(child)\n"
        "except BlockingIOError:\n"
        "    print('refused after', len(children))\n"
        "for child in children: os.kill(child, signal.SIGKILL)\n"
    )
    code, output = run_in(alice, "python3", "-c", bomb)
    assert code == 0
    assert output.startswith("refused after")
    assert 40 < int(output.split()[-1]) < 64
    spawner = await hub.start("bob")
    assert await spawner.poll() is None


async def test_shared_memory_is_full_where_it_was_said(hub, run_in, alice):
    await hub.start("alice", options={"shm_size": "16M"})
    write = "import sys; open('/dev/shm/x', 'wb').write(bytes(int(sys.argv[1]) * 2**20))"
    assert run_in(alice, "python3", "-c", write, "15")[0] == 0
    code, output = run_in(alice, "python3", "-c", write, "17")
    assert code != 0
    assert "No space left" in output


async def test_memory_ends_where_it_was_said(hub, run_in, alice):
    await hub.start("alice", options={"mem_limit": "128M"})
    take = "import sys; x = bytearray(b'x') * (int(sys.argv[1]) * 2**20); print('taken')"
    assert run_in(alice, "python3", "-c", take, "32") == (0, "taken\n")
    code, output = run_in(alice, "python3", "-c", take, "300")
    assert (code, output) == (137, "")


# what a changed choice costs


async def test_other_options_make_the_container_anew_and_keep_the_data(hub, client, run_in, alice):
    await hub.start("alice", options={"shm_size": "32M", "env": {"A": "1"}})
    old = client.containers.get(alice).id
    assert run_in(alice, "sh", "-c", "echo precious > /workspace/data")[0] == 0
    await hub.stop("alice")
    await hub.start("alice", options={"shm_size": "64M", "env": {"A": "2"}})
    anew = client.containers.get(alice)
    assert anew.id != old
    assert anew.attrs["HostConfig"]["ShmSize"] == 64 * MIB
    assert "A=2" in anew.attrs["Config"]["Env"]
    assert run_in(alice, "cat", "/workspace/data") == (0, "precious\n")


async def test_more_or_less_memory_and_cpu_and_another_expiry_keep_the_container_and_what_is_in_it(
    hub, client, run_in, alice
):
    await hub.start("alice", options={"cpu_limit": 0.5, "mem_limit": "300M"})
    old = client.containers.get(alice).id
    run_in(alice, "sh", "-c", "echo tool > /usr/local/bin/tool", user="0")
    await hub.stop("alice")
    for cpu, memory, days in ((0.75, 400, 1), (0.25, 260, 5)):
        options = {"cpu_limit": cpu, "mem_limit": f"{memory}M", "days_to_live": days}
        await hub.start("alice", options=options)
        container = client.containers.get(alice)
        host = container.attrs["HostConfig"]
        assert (container.id, host["CpuQuota"], host["Memory"]) == (
            old,
            cpu * 100_000,
            memory * MIB,
        )
        assert run_in(alice, "cat", "/usr/local/bin/tool") == (0, "tool\n")
        await hub.stop("alice")


# without a volume


async def test_without_a_volume_none_is_made_and_an_older_one_stays_as_it_is(
    hub, client, run_in, alice
):
    identity = Identity(hub.hub_name, "alice")
    await hub.start("alice", options={"is_mount_volume": False})
    assert client.containers.get(alice).attrs["Mounts"] == []
    assert not client.volumes.list(filters={"label": f"mlhub.origin={hub.hub_name}"})
    await hub.start("bob")
    bob = Identity(hub.hub_name, "bob")
    run_in(bob.container, "sh", "-c", "echo old > /workspace/data")
    await hub.stop("bob")
    await hub.start("bob", options={"is_mount_volume": False})
    assert run_in(bob.container, "ls", "/workspace") == (0, "welcome.txt\n")
    await hub.user("bob").spawners[""].backend.delete_workspace(identity)
    assert client.volumes.get(bob.volume(1))


async def test_a_container_that_holds_its_files_itself_is_never_made_anew(
    hub, client, run_in, alice
):
    await hub.start("alice", options={"is_mount_volume": False, "shm_size": "32M"})
    old = client.containers.get(alice).id
    run_in(alice, "sh", "-c", "echo precious > /workspace/data")
    await hub.stop("alice")
    for options in ({"is_mount_volume": False, "shm_size": "64M"}, {"shm_size": "32M"}):
        with pytest.raises(web.HTTPError) as caught:
            await hub.start("alice", options=options)
        assert caught.value.status_code == 400
        assert "keeps its files inside its container" in caught.value.jupyterhub_message
    hub.spawner.environment = {
        "SITE": "changed"
    }  # what the site changes does not reach it, and does not lock its owner out
    await hub.start(
        "alice", options={"is_mount_volume": False, "shm_size": "32M", "mem_limit": "200M"}
    )
    assert client.containers.get(alice).id == old
    assert client.containers.get(alice).attrs["HostConfig"]["Memory"] == 200 * MIB
    assert run_in(alice, "cat", "/workspace/data") == (0, "precious\n")


async def test_a_container_that_holds_its_files_itself_survives_the_loss_of_its_network(
    hub, client, run_in, alice
):
    identity = Identity(hub.hub_name, "alice")
    await hub.start("alice", options={"is_mount_volume": False})
    run_in(alice, "sh", "-c", "echo precious > /workspace/data")
    await hub.stop("alice")
    client.networks.get(identity.network).remove()
    await hub.start("alice")
    assert run_in(alice, "cat", "/workspace/data") == (0, "precious\n")


# what runs although hub and database know nothing of it


def describe(client, name):
    container = client.containers.get(name)
    host = container.attrs["HostConfig"]
    return container.attrs["State"]["StartedAt"], host["CpuQuota"], host["Memory"], host["ShmSize"]


async def test_what_runs_with_more_cpu_and_memory_than_today_s_maximum_is_cut_while_it_runs(
    hub, client, alice, set_policy
):
    set_policy("everyone: {cpu_limit: {max: 1}, mem_limit: {max: 1G}}")
    await hub.start("alice", options={"cpu_limit": 1, "mem_limit": "1G", "shm_size": "32M"})
    started, *amounts = describe(client, alice)
    assert amounts == [100_000, 1024 * MIB, 32 * MIB]
    set_policy("everyone: {cpu_limit: {max: 0.5}, mem_limit: {max: 512M}}")
    hub.reset_database()
    spawner = await hub.start("alice")
    assert describe(client, alice) == (started, 50_000, 512 * MIB, 32 * MIB)
    assert spawner.describe_limits() == {"cpu_limit": "0.5", "mem_limit": "512M", "gpus": "0"}


async def test_what_runs_within_the_policy_goes_on_as_it_is_and_counts_as_what_it_holds(
    hub, client, alice, set_policy
):
    set_policy("everyone: {mem_limit: {max: 1G}}")
    await hub.start(
        "alice",
        options={"cpu_limit": 0.5, "mem_limit": "300M", "shm_size": "64M", "env": {"COURSE": "ml"}},
    )
    before = describe(client, alice)
    # None of this takes anything away from anybody: other defaults, other variables, another image
    # for those who ask for none.
    set_policy(
        "everyone: {mem_limit: {default: 128M, max: 1G}, shm_size: {default: 16M}, "
        "total: {mem_limit: 400M}, options: [mem_limit]}"
    )
    hub.spawner.environment = {"SITE": "changed"}
    hub.spawner.workspace_images = ["fake/other"]
    hub.reset_database()
    spawner = await hub.start("alice")
    assert describe(client, alice) == before
    assert spawner.describe_limits()["mem_limit"] == "300M"
    with pytest.raises(web.HTTPError, match="400 MB of memory in all"):
        await hub.start("alice", "second", options={"mem_limit": "128M"})


async def test_what_runs_with_more_than_may_be_had_and_can_not_change_is_created_anew_with_its_data(
    hub, client, alice, run_in, set_policy
):
    await hub.start("alice", options={"shm_size": "64M", "mem_limit": "300M"})
    run_in(alice, "sh", "-c", "echo precious > /workspace/data")
    set_policy("everyone: {shm_size: {default: 16M, max: 32M}, mem_limit: {max: 1G}}")
    hub.reset_database()
    await hub.start("alice")
    assert describe(client, alice)[3] == 16 * MIB
    assert run_in(alice, "cat", "/workspace/data") == (0, "precious\n")


async def test_what_runs_other_than_somebody_asks_now_is_created_anew(hub, client, alice):
    await hub.start("alice", options={"shm_size": "64M", "env": {"A": "1"}})
    for options in ({"shm_size": "32M"}, {"shm_size": "32M", "env": {"A": "2"}}):
        hub.reset_database()
        before = describe(client, alice)
        await hub.start("alice", options=options)
        assert describe(client, alice)[0] != before[0]
    assert "A=2" in client.containers.get(alice).attrs["Config"]["Env"]
    assert describe(client, alice)[3] == 32 * MIB


async def test_memory_that_is_in_use_is_taken_back_all_the_same(
    hub, client, alice, run_in, set_policy
):
    await hub.start("alice", options={"mem_limit": "400M", "shm_size": "16M"})
    take = (
        "import pathlib, time; x = bytearray(b'x') * (250 * 2**20); "
        "pathlib.Path('/tmp/taken').touch(); time.sleep(600)"
    )
    client.containers.get(alice).exec_run(["python3", "-c", take], detach=True)
    await eventually(
        lambda: run_in(alice, "test", "-e", "/tmp/taken")[0] == 0, what="the memory is taken"
    )
    set_policy("everyone: {mem_limit: {max: 128M}}")
    hub.reset_database()
    spawner = await hub.start("alice")
    assert describe(client, alice)[2] == 128 * MIB
    assert await spawner.poll() is None
