"""A workspace's life on a real engine: start, stop, start again, adopt, delete."""

import asyncio
import logging
import time
from datetime import datetime

import pytest
from tornado import web

from mlhub.backends.docker.volumes import LABEL_TRASHED
from mlhub.identity import Identity
from mlhub.workspaces.port import Recipient
from tests.support.engine import LABEL


def name(hub, user, server=""):
    return Identity(hub.hub_name, user, server).container


async def test_a_workspace_starts_answers_stops_and_its_container_is_used_again_with_its_token(
    hub, client
):
    spawner = await hub.start("alice")
    container = client.containers.get(f"ws-{hub.hub_name}--alice")
    assert container.status == "running"
    assert container.labels["mlhub.origin"] == hub.hub_name
    assert container.labels["mlhub.user"] == "alice"
    assert container.labels["mlhub.server_name"] == ""
    assert await spawner.poll() is None
    token = spawner.api_token
    await hub.stop("alice")
    container.reload()
    assert container.status == "exited"
    spawner = await hub.start("alice")
    assert client.containers.get(name(hub, "alice")).id == container.id
    assert spawner.api_token == token
    assert await spawner.poll() is None


async def test_a_workspace_whose_container_gets_another_address_is_found_there(hub, client):
    spawner = await hub.start("alice")
    assert await spawner.poll() is None
    before, identity = await spawner.find_url(), Identity(hub.hub_name, "alice")
    container, network = client.containers.get(name(hub, "alice")), identity.network
    network = client.networks.get(network)
    network.disconnect(container)
    stranger = client.containers.create(container.image.id, network=network.name, labels=LABEL)
    stranger.start()  # has the address by now
    network.connect(container)
    async with asyncio.timeout(10):
        while await spawner.find_url() == before:
            assert await spawner.poll() is None
            await asyncio.sleep(0.1)
    moved = await spawner.find_url()
    assert moved == spawner.make_url(
        "http://{0.host}:{0.port}".format(await hub.backend.address(identity))
    )
    stranger.remove(force=True)


async def test_a_changed_config_makes_the_container_anew_and_keeps_the_data(hub, client, run_in):
    await hub.start("alice")
    container = client.containers.get(name(hub, "alice"))
    assert run_in(container.id, "sh", "-c", "echo precious > /workspace/data")[0] == 0
    await hub.stop("alice")
    hub.spawner.environment = {"FOO": "BAR"}
    await hub.start("alice")
    anew = client.containers.get(name(hub, "alice"))
    assert anew.id != container.id
    assert "FOO=BAR" in anew.attrs["Config"]["Env"]
    assert run_in(anew.id, "cat", "/workspace/data") == (0, "precious\n")


async def test_the_default_server_and_named_ones_each_have_a_labeled_volume(hub, client):
    await hub.start("alice")
    await hub.start("alice", "gpu")
    for server in ("", "gpu"):
        identity = Identity(hub.hub_name, "alice", server)
        (mount,) = client.containers.get(identity.container).attrs["Mounts"]
        assert (mount["Name"], mount["Destination"]) == (identity.volume(1), "/workspace")
        labels = client.volumes.get(mount["Name"]).attrs["Labels"]
        assert identity.owns(labels)
        assert labels.items() >= LABEL.items()


async def test_a_deleted_server_goes_to_the_trash_and_its_name_gets_a_new_empty_volume(
    hub, client, run_in
):
    identity = Identity(hub.hub_name, "alice", "work")
    spawner = await hub.start("alice", "work")
    run_in(identity.container, "sh", "-c", "echo secret > /workspace/old")
    await hub.stop("alice", "work")
    await spawner.delete_forever()
    assert not client.containers.list(all=True, filters={"name": identity.container})
    assert not client.networks.list(names=[identity.network])
    assert client.volumes.get(identity.volume(1))
    await hub.start("alice", "work")
    assert run_in(identity.container, "ls", "/workspace") == (0, "welcome.txt\n")
    assert client.containers.get(identity.container).attrs["Mounts"][0]["Name"] == identity.volume(
        2
    )
    (trashed,) = [
        resource for resource in await hub.backend.list_resources("alice") if resource.trashed_at
    ]
    assert trashed.name == identity.volume(1)
    assert time.time() - trashed.trashed_at < 60


async def test_the_trash_survives_the_loss_of_the_hub_and_its_database(hub, client, run_in):
    identity = Identity(hub.hub_name, "alice")
    spawner = await hub.start("alice")
    run_in(identity.container, "sh", "-c", "echo secret > /workspace/old")
    await hub.stop("alice")
    await spawner.delete_forever()
    hub.reset_database()
    await hub.start("alice")
    assert "old" not in run_in(identity.container, "ls", "/workspace")[1]


@pytest.mark.full
async def test_gigabytes_go_to_the_trash_and_come_back_to_somebody_else_as_they_were(hub, run_in):
    spawner = await hub.start("alice")
    fill = "head -c 2G /dev/urandom >/workspace/big && sha256sum /workspace/big"
    filled = await asyncio.to_thread(run_in, name(hub, "alice"), "sh", "-c", fill)
    assert filled[0] == 0
    await hub.stop("alice")
    await spawner.delete_forever()
    (trashed,) = await hub.backend.list_resources("alice")
    bob = hub.user("bob").get_or_create_spawner("big", "big")
    await hub.backend.restore(trashed, Recipient(bob.identity, bob.holder.label))
    await hub.start("bob", "big")
    read = ("sha256sum", "/workspace/big")
    assert await asyncio.to_thread(run_in, name(hub, "bob", "big"), *read) == filled


async def test_emptying_the_trash_removes_the_volume_and_its_marker(hub, client):
    spawner = await hub.start("alice")
    await hub.stop("alice")
    await spawner.delete_forever()
    (trashed,) = await hub.backend.list_resources("alice")
    await hub.backend.remove(trashed)
    assert await hub.backend.list_resources() == []
    assert not client.volumes.list(filters={"label": f"mlhub.origin={hub.hub_name}"})
    assert not client.volumes.list(
        filters={"label": [LABEL_TRASHED, f"mlhub.origin={hub.hub_name}"]}
    )


async def test_a_running_workspace_is_adopted_after_hub_and_database_were_lost(hub, client):
    spawner = await hub.start("alice", "work")
    container = client.containers.get(name(hub, "alice", "work"))
    token, started = spawner.api_token, container.attrs["State"]["StartedAt"]
    hub.reset_database()
    (workspace,) = await hub.backend.list_workspaces()
    assert workspace.identity == Identity(hub.hub_name, "alice", "work")
    assert workspace.is_running
    spawner = await hub.start("alice", "work")
    container.reload()
    assert container.attrs["State"]["StartedAt"] == started
    assert spawner.api_token == token
    assert await spawner.poll() is None


async def test_a_container_that_vanished_is_noticed_and_the_next_click_starts_again(hub, client):
    spawner = await hub.start("alice")
    client.containers.get(name(hub, "alice")).remove(force=True)
    assert await spawner.poll() == 0
    await hub.stop("alice")
    spawner = await hub.start("alice")
    assert await spawner.poll() is None


async def test_a_stopped_container_whose_network_is_gone_starts_again(hub, client):
    identity = Identity(hub.hub_name, "alice")
    await hub.start("alice")
    await hub.stop("alice")
    client.networks.get(identity.network).remove()
    spawner = await hub.start("alice")
    assert await spawner.poll() is None


async def test_a_foreign_container_of_that_name_is_refused_and_left_alone(hub, client, image):
    foreign = client.containers.run(
        image, name=name(hub, "alice"), detach=True, labels={**LABEL, "mlhub.user": "bob"}
    )
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice")
    assert caught.value.status_code == 409
    assert "does not belong to this workspace" in caught.value.jupyterhub_message
    foreign.reload()
    assert foreign.status == "running"
    assert not client.volumes.list(filters={"label": f"mlhub.origin={hub.hub_name}"})


@pytest.mark.parametrize("kind", ["volume", "network"])
async def test_a_foreign_volume_or_network_of_that_name_is_refused(hub, client, kind):
    identity = Identity(hub.hub_name, "alice")
    if kind == "volume":
        client.volumes.create(identity.volume(1), labels={**LABEL, "mlhub.user": "bob"})
    else:
        client.networks.create(identity.network, labels={**LABEL, "mlhub.user": "bob"})
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice")
    assert caught.value.status_code == 409
    assert not client.containers.list(all=True, filters={"label": f"mlhub.origin={hub.hub_name}"})


async def test_a_workspace_that_ignores_the_signal_is_killed_at_the_deadline(hub, client):
    hub.spawner.environment = {"IGNORE_TERM": "1"}
    hub.spawner.stop_seconds = 1
    await hub.start("alice")
    began = time.monotonic()
    await hub.stop("alice")
    # Docker's own deadline is ten seconds.
    assert 0.9 < time.monotonic() - began < 10
    assert client.containers.get(name(hub, "alice")).attrs["State"]["ExitCode"] == 137


async def test_a_workspace_that_dies_at_start_is_reported_at_once_with_its_last_lines(hub):
    hub.spawner.environment = {"DIE": "no such license"}
    began = time.monotonic()
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice")
    assert time.monotonic() - began < hub.spawner.http_timeout / 2
    assert "ended before it answered" in caught.value.jupyterhub_message
    assert "cannot start: no such license" in caught.value.jupyterhub_message
    assert "line 5\n" not in caught.value.jupyterhub_message  # only the last 20


async def test_a_workspace_that_never_answers_is_given_up_after_http_timeout(hub):
    hub.spawner.environment = {"MUTE": "1"}
    hub.spawner.http_timeout = 2
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice")
    assert "did not answer on port 8080 within 2 seconds" in caught.value.jupyterhub_message


async def test_an_image_that_can_not_be_pulled_is_a_sentence(hub):
    hub.spawner.image = "127.0.0.1:9/none/such:1"
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice")
    assert caught.value.status_code == 400
    assert "127.0.0.1:9/none/such:1" in caught.value.jupyterhub_message


async def test_a_command_that_the_image_lacks_is_a_sentence_and_leaves_no_container(hub, client):
    hub.spawner.cmd = ["/no/such/program"]
    hub.spawner.use_init = False
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice")
    assert "image does not start" in caught.value.jupyterhub_message
    assert not client.containers.list(all=True, filters={"name": name(hub, "alice")})


@pytest.mark.full
async def test_a_readiness_probe_finds_slow_servers_sooner_than_a_back_off_would(hub, client):
    """JupyterHub's back-off waits for random times that grow to seconds: with these delays one run
    of fifty would pass.
    """
    delays = {f"user{number}": 3 + number / 4 for number in range(5)}
    hub.spawner.environment = {"START_DELAY": lambda spawner: str(delays[spawner.user.name])}

    async def start(user):
        await hub.start(user)
        return time.time()

    returned = dict(zip(delays, await asyncio.gather(*map(start, delays)), strict=True))
    late = sorted(
        returned[user] - read_serving_since(client.containers.get(name(hub, user)))
        for user in delays
    )
    assert late[0] > 0, late
    assert late[2] < 0.2, late


def read_serving_since(container):
    """Return when a workspace said that it serves, by the engine's clock.

    That clock is this machine's.
    """
    (line,) = [
        line
        for line in container.logs(timestamps=True).decode().splitlines()
        if line.endswith(" serving")
    ]
    return datetime.fromisoformat(line.split()[0]).timestamp()


async def test_two_users_side_by_side_do_not_see_each_others_environment(hub, client):
    hub.spawner.environment.update({"TEAM": "x", "WHO": lambda spawner: spawner.user.name})
    await asyncio.gather(hub.start("alice"), hub.start("bob"))
    for user in ("alice", "bob"):
        env = dict(
            entry.split("=", 1)
            for entry in client.containers.get(name(hub, user)).attrs["Config"]["Env"]
        )
        assert (env["TEAM"], env["WHO"], env["JUPYTERHUB_USER"]) == ("x", user, user)
        assert env["SSH_JUMPHOST_TARGET"] == name(hub, user)
        assert env["JUPYTERHUB_API_URL"] == f"http://{hub.hub_name}:8081/hub/api"


async def test_the_configured_environment_wins_over_ours(hub, client):
    hub.spawner.environment = {"SHUTDOWN_INACTIVE_KERNELS": "7200"}
    await hub.start("alice")
    assert (
        "SHUTDOWN_INACTIVE_KERNELS=7200"
        in client.containers.get(name(hub, "alice")).attrs["Config"]["Env"]
    )


async def test_what_a_site_mounts_at_the_mount_point_takes_the_place_of_our_volume(hub, client):
    site = f"{hub.hub_name}-site"
    client.volumes.create(site, labels=LABEL)
    hub.spawner.volumes.update({site: "/workspace", f"{site}-{{username}}": "/extra"})
    client.volumes.create(f"{site}-alice", labels=LABEL)
    await hub.start("alice")
    mounts = {
        mount["Destination"]: mount["Name"]
        for mount in client.containers.get(name(hub, "alice")).attrs["Mounts"]
    }
    assert mounts == {"/workspace": site, "/extra": f"{site}-alice"}
    assert not client.volumes.list(filters={"label": f"mlhub.user={hub.hub_name}"})


async def test_the_sites_host_config_labels_and_limits_are_kept_beside_ours(hub, client):
    hub.spawner.extra_host_config.update({"shm_size": "64m", "cap_add": ["SYS_PTRACE"]})
    hub.spawner.extra_create_kwargs = {
        "labels": {"team": "x", "mlhub.user": "bob"},
        "hostname": "box",
    }
    hub.spawner.mem_limit, hub.spawner.cpu_limit = "512M", 0.75
    await asyncio.gather(hub.start("alice"), hub.start("carol"))
    for user in ("alice", "carol"):
        container = client.containers.get(name(hub, user))
        assert (container.labels["team"], container.labels["mlhub.user"]) == ("x", user)
        host = container.attrs["HostConfig"]
        assert (host["ShmSize"], host["Memory"], host["CpuQuota"]) == (
            64 * 2**20,
            512 * 2**20,
            75_000,
        )
        assert {"SYS_PTRACE", "CHOWN"} <= {entry.removeprefix("CAP_") for entry in host["CapAdd"]}
        assert "MAX_NUM_THREADS=1" in container.attrs["Config"]["Env"]
        assert container.attrs["Config"]["Hostname"] == "box"


async def test_the_site_s_command_runs_after_each_start_of_the_container(hub, client, caplog):
    hub.spawner.post_start_cmd = "sh -c 'date +%s%N >>/workspace/starts'"
    for _ in range(2):
        await hub.start("alice")
        container = client.containers.get(name(hub, "alice"))
        lines = container.exec_run("cat /workspace/starts").output.decode().splitlines()
        await hub.stop("alice")
    assert len(lines) == 2
    hub.spawner.post_start_cmd = "sh -c 'exit 7'"
    spawner = hub.user("bob").get_or_create_spawner("", "")
    spawner.log = logging.getLogger("tests")
    await hub.start("bob")
    assert "ended with code 7" in caplog.text


async def test_a_function_of_the_sites_says_for_each_person_what_is_created(hub, client):
    async def ask_somebody(spawner):
        return {"labels": {"team": spawner.user.name}, "hostname": "box-{username}"}

    hub.spawner.extra_create_kwargs = ask_somebody
    hub.spawner.extra_host_config = lambda spawner: {
        "pids_limit": 100 + len(spawner.user.name),
        "dns_search": ["{username}.example"],
    }
    await asyncio.gather(hub.start("alice"), hub.start("bob"))
    for user in ("alice", "bob"):
        container = client.containers.get(name(hub, user))
        assert container.labels["team"] == user
        assert container.attrs["Config"]["Hostname"] == f"box-{user}"
        assert container.attrs["HostConfig"]["PidsLimit"] == 100 + len(user)
        assert container.attrs["HostConfig"]["DnsSearch"] == [f"{user}.example"]


@pytest.mark.parametrize("choice", ["evil/miner:1", ["a"], {"a": 1}, 7, "x" * 5000])
async def test_an_image_that_is_not_offered_is_refused_before_any_call_to_the_engine(
    hub, client, choice
):
    with pytest.raises(web.HTTPError) as caught:
        await hub.start("alice", options={"image": choice})
    assert caught.value.status_code == 400
    assert "image" in caught.value.jupyterhub_message
    assert not client.containers.list(all=True, filters={"label": f"mlhub.origin={hub.hub_name}"})


async def test_a_refusal_does_not_stop_a_workspace_that_runs(hub, client):
    await hub.start("alice")
    hub.reset_database()
    with pytest.raises(web.HTTPError):
        await hub.start("alice", options={"nonsense": 1})
    assert client.containers.get(name(hub, "alice")).status == "running"


async def test_stopped_is_stopped_even_when_stop_is_called_twice(hub):
    spawner = await hub.start("alice")
    await asyncio.gather(spawner.stop(), spawner.stop())
    assert await spawner.poll() is not None
