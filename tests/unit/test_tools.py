"""Addresses of tools as people write them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest
from pydantic import ValidationError

from mlhub.backends.docker.spawner import MLHubDockerSpawner
from mlhub.backends.fake import FakeSpawner
from mlhub.identity import Identity
from mlhub.options.image_catalogue import CatalogueImage
from mlhub.options.images import DeclaredTool, ImageSettings, find_image_settings, lay_over
from mlhub.policy.model import Person, SitePolicy
from mlhub.ssh.relay import list_keys, read_ports
from mlhub.tools.pages import Place, read_place, read_port
from mlhub.tools.ports import Found, name_ports
from mlhub.tools.ways import LOOK_SECONDS, Ways
from mlhub.workspaces.holder import LABEL_PERSON
from tests.support.at_hand import HubAtHand
from tests.support.names import make_hub_name
from tests.support.ports import find_free_port


@pytest.mark.parametrize(
    ("address", "base", "place"),
    [
        ("/user/ann/tools/8501/", "/", Place("ann", "", "8501/")),
        ("/user/ann/gpu/tools/8501/app?x=1", "/", Place("ann", "gpu", "8501/app?x=1")),
        ("/user/a%40b/tools/absolute/80/", "/", Place("a@b", "", "absolute/80/")),
        ("/mlhub/user/ann/tools/80", "/mlhub/", Place("ann", "", "80")),
        # A workspace called so cannot be made any more; the default one's tools are nearer.
        ("/user/ann/tools/tools/80/", "/", Place("ann", "", "tools/80/")),
        ("/user/ann/lab", "/", None),
        ("/user/ann/a/b/tools/80/", "/", None),
        ("/user/ann/tools/80/", "/mlhub/", None),
        ("//evil.example/user/ann/tools/80/", "/", None),
        ("https://evil.example/user/ann/tools/80/", "/", None),
        ("/user/ann/tools/\\evil.example", "/", None),
        ("", "/", None),
    ],
)
def test_an_address_names_a_workspace_and_what_follows_or_nothing(address, base, place):
    assert read_place(address, base) == place


@pytest.mark.parametrize(
    ("rest", "port"),
    [
        *(("8080/", 8080), ("8080", 8080), ("8080?x=1", 8080), ("absolute/8080/a/b", 8080)),
        *(("1/", 1), ("65535/", 65535), ("65536/", None), ("73616/", None), ("0/", None)),
        *(("08080/", None), ("+8080/", None), ("-8080/", None), ("8080.0/", None)),
        *(("8080%2f", None), ("%38080/", None), ("8080;/", None), ("8080x", None)),
        *(("../8080/", None), ("/8080/", None), ("absolute/../8080/", None), ("٨٠٨٠/", None)),
        *(("8080\n", None), ("", None), ("absolute/", None), ("80801234567/", None)),
    ],
)
def test_a_port_is_written_in_one_way(rest, port):
    assert read_port(Place("ann", "", rest)) == port


def test_the_last_rule_that_says_something_opens_or_closes_the_ports():
    policy = SitePolicy.model_validate(
        {
            "everyone": {"tools": False},
            "groups": {"developers": {"tools": True}, "visitors": {"ssh": True}},
        }
    )
    assert SitePolicy().find_flag(Person("ann"), "tools")
    assert not policy.find_flag(Person("ann"), "tools")
    assert policy.find_flag(Person("ann", ("developers", "visitors")), "tools")


@pytest.mark.parametrize("path", ["app", "//evil.example", "/a b", "/\\evil.example", 7, "/\n"])
def test_where_a_tool_begins_is_below_its_port(path):
    with pytest.raises(ValidationError, match="path of a tool"):
        DeclaredTool.model_validate({"name": "x", "port": 80, "path": path})


@pytest.mark.parametrize("command", [7, "x" * 8193, "a\0b"])
def test_a_command_is_text_of_some_length(command):
    with pytest.raises(ValidationError, match="is not a command"):
        DeclaredTool.model_validate({"name": "x", "port": 80, "start": command})


@pytest.mark.parametrize(
    ("image", "answers"),
    [
        ("mltooling/ml-workspace:0.13.2", True),
        ("registry.example/mltooling/ml-workspace-gpu:0.13.2", True),
        ("mltooling/ml-workspace-minimal:latest", True),
        ("mltooling/mlhub-workspace:latest", None),
        ("registry.example/mltooling/mlhub-workspace-science:3.0.0", None),
    ],
)
def test_images_of_2021_answer_by_themselves_and_the_default_one_does_not(image, answers):
    assert find_image_settings(image, {}).answers_tools is answers


def test_what_a_site_says_of_tools_is_kept_and_a_catalogue_says_it_anew():
    said = find_image_settings("a:1", {"a:*": {"tools": [{"name": "x", "port": 80}]}})
    assert [each.place for each in said.tools or ()] == ["80/"]
    assert ImageSettings.model_validate(said.model_dump(mode="json", exclude_none=True)) == said
    entry = CatalogueImage.model_validate(
        {"name": "a", "image": "a:1", "tools": [{"name": "y", "port": 81, "absolute": True}]}
    )
    assert [each.place for each in lay_over(said, entry).tools or ()] == ["absolute/81/"]


async def test_the_relay_is_the_way_where_a_program_does_not_answer_from_outside():
    with (
        socket.create_server(("127.0.0.1", 0)) as program,
        socket.create_server(("127.0.0.1", 0)) as relay,
    ):
        port, relay_port = (each.getsockname()[1] for each in (program, relay))
        silent, ways = find_free_port(), Ways(relay_port)
        assert await ways.choose("127.0.0.1", port, ["key"], "x") == "direct"
        assert await ways.choose("127.0.0.1", silent, []) == "direct"
        # It says nothing in time, so it is asked for no other one.
        assert await ways.choose("127.0.0.1", silent, ["key", "old"]) == "relay:key"
        assert await Ways(silent).choose("127.0.0.1", silent, ["key"], "x") == "direct"


async def test_a_relay_is_asked_once_to_start_a_tool():
    heard = []
    silent = find_free_port()
    async with run_relay("key", heard) as ways:
        for _ in range(3):
            assert await ways.choose("127.0.0.1", silent, ["key"], "run it") == "starting:key"
    head = f"POST / HTTP/1.0\r\nX-MLHub-Relay: {silent} key start\r\n\r\n"
    # Who only looks whether it is there says nothing.
    assert [each for each in heard if each.startswith(b"POST")] == [f"{head}run it".encode()]


async def test_a_program_that_dies_again_and_again_is_started_ever_more_seldom():
    heard, now, silent = [], [0.0], find_free_port()

    async def list_starts(seconds) -> list[float]:
        starts, begin = [], now[0]
        for now[0] in range(int(begin), int(begin + seconds), 5):
            heard.clear()
            await ways.choose("127.0.0.1", silent, ["key"], "run it")
            starts += [now[0] - begin for each in heard if each.startswith(b"POST")]
        return starts

    async with run_relay("key", heard) as relay:
        ways = Ways(relay.relay_port, lambda: now[0])
        assert await list_starts(200) == [0, 5, 15, 35, 75, 135, 195]
        # The twin: one that has run for a while is started at once.
        now[0] += 130
        assert await list_starts(10) == [0, 5]


@pytest.mark.parametrize("taken", ["key", "old", "oldest"])
async def test_a_relay_that_was_started_earlier_is_reached_by_the_key_that_it_has(taken):
    silent = find_free_port()
    keys = ["key", "old", "oldest"]
    async with run_relay(taken, heard := []) as ways:
        assert await ways.choose("127.0.0.1", silent, keys) == f"relay:{taken}"
        assert await ways.list_ports("127.0.0.1", keys) == [2223]
    # Who takes the newest one is told no other.
    assert any(b" old " in each for each in heard) == (taken != "key")
    async with run_relay("another") as ways:
        assert await ways.choose("127.0.0.1", silent, keys) == "relay:key"
        assert await ways.list_ports("127.0.0.1", keys) == []
        assert await ways.list_ports("127.0.0.1", []) == []


async def test_requests_wait_once_for_a_relay_that_says_nothing_and_not_each_of_them():
    silent, heard, wait = find_free_port(), [], asyncio.Event()

    async def say_nothing(reader, writer) -> None:
        heard.append(await reader.read())
        await wait.wait()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as relay:
        ways = Ways(relay.sockets[0].getsockname()[1])

        async def choose(keys=("key", "old")):
            return await ways.choose("127.0.0.1", silent, keys)

        assert set(await asyncio.gather(*(choose() for _ in range(20)))) == {"relay:key"}
        async with asyncio.timeout(LOOK_SECONDS / 2):
            assert {await choose() for _ in range(5)} == {"relay:key"}
        # Who only looks whether it is there says nothing.
        assert len([each for each in heard if each]) == 1
        # The twin: what was found of one workspace is not said of another at its address.
        assert await choose(["another"]) == "relay:another"
        wait.set()


async def test_a_relay_that_was_started_anew_is_asked_again_beside_the_requests(monkeypatch):
    silent, keys = find_free_port(), ["key", "old"]
    async with run_relay("old") as ways:
        assert await ways.choose("127.0.0.1", silent, keys) == "relay:old"
        port = ways.relay_port
    monkeypatch.setattr("mlhub.tools.ways.FRESH_SECONDS", 0.0)
    async with run_relay("key", port=port), asyncio.timeout(10):
        while await ways.choose("127.0.0.1", silent, keys) != "relay:key":
            await asyncio.sleep(0.01)


@asynccontextmanager
async def run_relay(key, heard=None, port=0):
    """Run what answers as a relay with a key does; ``heard`` gets what it is told."""

    async def answer(reader, writer) -> None:
        said = await reader.read()
        if heard is not None:
            heard.append(said)
        if f" {key} list\r\n".encode() in said:
            writer.write(b"2223\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port) as relay:
        yield Ways(relay.sockets[0].getsockname()[1])


def find_keys(secret=b"a", user="ann", server="", people=("d.1",)):
    return list_keys(secret, user, server, people)


def test_each_workspace_has_a_key_of_its_own():
    others = [find_keys(server="b"), find_keys(b"b"), find_keys(people=["d.2"])]
    assert len({find_keys()[0], *(keys[0] for keys in others)}) == 4
    assert find_keys() == find_keys(people=("d.1", "d.1", ""))
    # Somebody whose name is another person's number gets nothing of theirs.
    assert not set(find_keys(user="d.1", people=["d.2"])) & set(find_keys())


@pytest.mark.parametrize("kind", [FakeSpawner, MLHubDockerSpawner])
async def test_a_person_who_takes_a_name_again_has_another_relay_key(kind):
    hub = HubAtHand("fake/workspace:1", make_hub_name(), kind)

    def find_key(name):
        user = hub.user(name)
        user.settings["cookie_secret"] = b"secret"
        return user.get_or_create_spawner("", "").list_relay_keys()[0]

    before, other = find_key("ann"), find_key("ben")
    number = hub.user("ann").id
    hub.users.clear()
    # The twin: a hub that starts anew finds the same person.
    assert (find_key("ann"), find_key("ben")) == (before, other)
    hub.forget("ben")
    hub.forget("ann")
    again = find_key("ann")
    assert hub.user("ann").id <= number
    assert again not in (before, other)


def test_the_relay_of_a_container_that_was_made_under_another_database_is_known():
    hub = HubAtHand("fake/workspace:1", make_hub_name(), MLHubDockerSpawner)
    hub.user("ann").settings["cookie_secret"] = b"secret"
    spawner = hub.user("ann").get_or_create_spawner("", "")
    spawner._container = {"Config": {"Labels": {LABEL_PERSON: "lost.1"}}}
    people = spawner.holder.label, "lost.1"
    assert spawner.list_relay_keys() == list_keys(b"secret", "ann", "", people)


async def test_what_runs_on_after_a_lost_database_keeps_its_relay():
    hub = HubAtHand("fake/workspace:1", make_hub_name(), FakeSpawner)
    hub.user("ann").settings["cookie_secret"] = b"secret"
    (key, *_) = (await hub.start("ann")).list_relay_keys()
    hub.reset_database()
    hub.user("ann").settings["cookie_secret"] = b"secret"
    found = hub.user("ann").get_or_create_spawner("", "").list_relay_keys()
    assert key in found[1:]
    assert key != found[0]
    await hub.backend.stop(Identity(hub.hub_name, "ann"))


def test_ports_are_listed_by_what_is_declared_or_usual_without_what_nobody_opens():
    declared = [
        DeclaredTool(name="VS Code", port=8500, path="/?a=b"),
        DeclaredTool(name="x", port=9),
    ]
    said = b"8501\n8500\n8500\n2222\n2223\n8080\n40001\n7\n0\n65536\n-1\nnone\n123456789\xff\n"
    assert name_ports(read_ports(said), declared, "/user/ann/tools/", 8080) == [
        Found(7, "", "/user/ann/tools/7/"),
        Found(8500, "VS Code", "/user/ann/tools/8500/?a=b"),
        Found(8501, "Streamlit", "/user/ann/tools/8501/"),
    ]
