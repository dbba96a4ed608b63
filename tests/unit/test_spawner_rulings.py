"""What a site writes of its spawner is kept, and is part of the container that Docker is told to
make.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from jupyterhub import orm
from tornado import web

from mlhub.backends.docker.limits import list_changes
from mlhub.backends.docker.spawner import MLHubDockerSpawner
from mlhub.backends.docker.spec import make_spec
from mlhub.backends.fake import FakeBackend, FakeSpawner
from mlhub.errors import ConfigurationError, OptionsError
from mlhub.workspaces.rulings import KEPT, SPAWNER
from tests.support.at_hand import HubAtHand

VOLUME = "ws-data"


@pytest.fixture
def hub():
    hub = HubAtHand("registry.example/own:1", "ttrts", MLHubDockerSpawner)
    del hub.spawner["port"]
    hub.spawner.use_init = False
    return hub


def make_spawner(hub, **written):
    """Make ann's spawner anew, with what a site writes now and no more."""
    hub.config.DockerSpawner.clear()
    hub.config.DockerSpawner.update(written)
    spawner = hub.user("ann")._new_spawner("")
    spawner.orm_spawner.server = orm.Server(
        proto="http", ip="", port=8080, base_url="/user/ann/", cookie_name="any"
    )
    spawner.api_token = "token"
    return spawner


async def make_container(hub, **written):
    """Make what the engine would be told, with the site's last word on it."""
    spawner = make_spawner(hub, **written)
    spawner.apply_image_settings()
    return (await spawner.make_spec(VOLUME)).arguments


KEPT_VALUES = {
    "auth_state_hook": print,
    "consecutive_failure_limit": 5,
    "http_timeout": 7,
    "oauth_client_allowed_scopes": ["access:servers"],
    "oauth_roles": ["user"],
    "poll_interval": 7,
    "poll_jitter": 0.5,
    "post_stop_hook": print,
    "progress_ready_hook": print,
    "server_token_scopes": ["users:activity!user"],
    "start_timeout": 7,
}


def test_what_a_site_writes_of_its_spawner_is_kept(hub):
    assert set(KEPT_VALUES) == {name for name, ruling in SPAWNER.items() if ruling.test == KEPT}
    del hub.spawner["http_timeout"], hub.spawner["start_timeout"]
    spawner = make_spawner(hub, **KEPT_VALUES)
    for name, value in KEPT_VALUES.items():
        assert getattr(spawner, name) == value


@pytest.fixture
def fake_hub():
    yield HubAtHand("fake/workspace:1", "t-traits", FakeSpawner)
    FakeBackend.backends.pop("t-traits", None)


async def test_what_a_group_gets_is_laid_over_what_all_have(fake_hub):
    fake_hub.spawner.cpu_limit = 1
    fake_hub.spawner.group_overrides = {
        "strong": {"groups": ["strong"], "spawner_override": {"cpu_limit": 2}}
    }
    fake_hub.user("bob").orm_user.groups.append(orm.Group(name="strong"))
    await fake_hub.start("ann")
    assert fake_hub.user("ann").spawners[""].reservation.cpu_limit == 1
    await fake_hub.start("bob")
    assert fake_hub.user("bob").spawners[""].reservation.cpu_limit == 2


ENVIRONMENT = [
    ("environment", {"SITE": "north"}, "SITE", "north"),
    ("env_keep", ["HOME_OF_TESTS"], "HOME_OF_TESTS", "here"),
    ("default_url", "/lab", "JUPYTERHUB_DEFAULT_URL", "/lab"),
    ("disable_user_config", True, "JUPYTERHUB_DISABLE_USER_CONFIG", "1"),
    ("hub_connect_url", "http://other:8081", "JUPYTERHUB_API_URL", "http://other:8081/hub/api"),
    ("ip", "0.0.0.1", "JUPYTERHUB_SERVICE_URL", "http://0.0.0.1:8080/user/ann/"),
    ("port", 9999, "JUPYTERHUB_SERVICE_URL", "http://0.0.0.0:9999/user/ann/"),
    ("container_port", 9999, "JUPYTERHUB_SERVICE_URL", "http://0.0.0.0:9999/user/ann/"),
    ("notebook_dir", "/home/me", "JUPYTERHUB_ROOT_DIR", "/home/me"),
    ("debug", True, "JUPYTERHUB_DEBUG", "1"),
]


PARTS = [
    ("image", "other:2", lambda made: made["image"] == "other:2"),
    ("container_image", "other:2", lambda made: made["image"] == "other:2"),
    ("args", ["--x"], lambda made: made["command"] == ["--x"]),
    ("cmd", ["run"], lambda made: made["command"] == ["run"]),
    ("extra_create_kwargs", {"user": "7"}, lambda made: made["user"] == "7"),
    (
        "extra_host_config",
        {"pids_limit": 7},
        lambda made: made["host_config"]["pids_limit"] == 7,
    ),
    ("cpu_limit", 2.0, lambda made: made["host_config"]["cpu_quota"] == 200_000),
    ("mem_limit", "1G", lambda made: made["host_config"]["mem_limit"] == 2**30),
    ("mem_guarantee", "1G", lambda made: made["host_config"]["mem_reservation"] == 2**30),
    ("links", {"db": "db"}, lambda made: made["host_config"]["links"] == {"db": "db"}),
    ("network_name", "site", lambda made: made["host_config"]["network_mode"] == "site"),
    (
        "volumes",
        {"of-{username}": "/x"},
        lambda made: made["host_config"]["binds"]["of-ann"] == {"bind": "/x", "mode": "rw"},
    ),
    (
        "read_only_volumes",
        {"/shared": "/x"},
        lambda made: made["host_config"]["binds"]["/shared"] == {"bind": "/x", "mode": "ro"},
    ),
    (
        "mounts",
        [{"source": "s-{username}", "target": "/x", "type": "volume"}],
        lambda made: made["host_config"]["mounts"][0]["Source"] == "s-ann",
    ),
]


async def test_what_a_site_writes_is_part_of_the_container(hub, monkeypatch):
    monkeypatch.setenv("HOME_OF_TESTS", "here")
    for trait, value, variable, text in ENVIRONMENT:
        made = await make_container(hub, **{trait: value})
        assert made["environment"][variable] == text, trait
    del hub.spawner["image"]
    for trait, value, holds in PARTS:
        made = await make_container(hub, **{trait: value})
        assert holds(made), (trait, made)


async def test_volumes_are_named_and_names_escaped_as_the_site_says(hub):
    made = await make_container(
        hub,
        volumes={"of-{username}": "/x", "plain": "/y"},
        escape=lambda text: text.upper(),
        format_volume_name=lambda template, spawner: template.format(username=spawner.escaped_name),
    )
    assert {"of-ANN", "plain"} <= set(made["host_config"]["binds"])


async def test_a_site_has_containers_removed_that_stop(hub):
    for trait in ("remove", "remove_containers"):
        spec = await make_spawner(hub, **{trait: True}).make_spec(VOLUME)
        assert spec.wanted.is_kept is False, trait
    assert (await make_spawner(hub).make_spec(VOLUME)).wanted.is_kept is True


async def test_a_guarantee_is_cut_to_what_this_workspace_may_have(hub):
    made = await make_container(hub, mem_guarantee="4G", mem_limit="1G")
    assert made["host_config"]["mem_reservation"] == 2**30


async def test_a_container_that_was_made_without_the_reservation_is_kept_and_gets_it(hub):
    spec = await make_spawner(hub, mem_guarantee="2G").make_spec(VOLUME)
    before = make_spec(replace(spec.wanted, mem_guarantee=None), spec.place).arguments
    assert "mem_reservation" not in before["host_config"]
    assert before["labels"] == spec.arguments["labels"]
    found = {"Memory": 0, "MemoryReservation": 0}
    assert list_changes(spec.arguments["host_config"], found) == {"mem_reservation": 2**31}
    assert list_changes(before["host_config"], found) == {}


NAMES = [
    ("prefix", "site", "site-ttrts--ann"),
    ("container_prefix", "site", "site-ttrts--ann"),
    ("name_template", "x-{username}--{servername}y", "x-ann--y"),
    ("container_name_template", "x-{username}--{servername}y", "x-ann--y"),
]


async def test_what_a_site_writes_of_names_is_part_of_the_container(hub):
    for trait, value, name in NAMES:
        assert (await make_container(hub, **{trait: value}))["name"] == name, trait


def test_the_engine_is_spoken_to_as_the_site_says(hub):
    engine = make_spawner(
        hub, client_kwargs={"timeout": 7, "base_url": "tcp://engine.example:2376"},
        tls_config={"verify": False},
    ).backend.engine  # fmt: skip
    assert engine.arguments["timeout"] == 7
    assert engine.arguments["tls"].verify is False


@pytest.mark.parametrize(
    ("traits", "is_offered"),
    [({}, True), ({"workspace_images": ["own:1"]}, False), ({"allowed_images": ["own:1"]}, False)],
)
def test_larger_workspaces_on_the_host_are_offered_where_the_site_names_no_images(
    hub, monkeypatch, traits, is_offered
):
    found = "mltooling/mlhub-workspace-r:latest"
    spawner = make_spawner(hub, image="mltooling/mlhub-workspace:latest", **traits)
    monkeypatch.setattr(spawner.backend, "variants", (found,))
    assert (found in spawner.list_images()) is is_offered


def test_what_a_site_writes_of_images_holds(hub):
    for trait in ("allowed_images", "image_whitelist"):
        spawner = make_spawner(hub, **{trait: {"Large": "large:1"}})
        assert "large:1" in spawner.list_images(), trait
        assert spawner.translate_image("Large") == "large:1", trait
    policies = {"never": False, "skip": False, "Always": True, "ifnotpresent": True}
    for pull_policy, may_pull in policies.items():
        image = make_spawner(hub, pull_policy=pull_policy).workspace_image
        assert image._may_pull is may_pull, pull_policy


# what is known of an image, and what the site says

STACKS = "quay.io/jupyter/base-notebook:latest"


@pytest.mark.parametrize(
    ("written", "port", "root"),
    [
        ({}, "8888", "/home/jovyan"),
        ({"notebook_dir": "/home/jovyan/work"}, "8888", "/home/jovyan/work"),
        ({"port": 9999}, "9999", "/home/jovyan"),
        ({"port": 9999, "image_settings": {"*/base-notebook*": {"port": 7}}}, "7", "/home/jovyan"),
    ],
)
async def test_what_a_site_says_of_all_images_is_more_than_what_is_known_of_one(
    hub, written, port, root
):
    hub.config.Spawner.update({k: v for k, v in written.items() if k != "image_settings"})
    settings = {k: v for k, v in written.items() if k == "image_settings"}
    del hub.spawner["image"]
    made = await make_container(hub, image=STACKS, **settings)
    assert f":{port}/" in made["environment"]["JUPYTERHUB_SERVICE_URL"]
    assert made["environment"]["JUPYTERHUB_ROOT_DIR"] == root
    # The data stays where it was.
    assert made["host_config"]["binds"][VOLUME]["bind"] == "/home/jovyan"


# a form of the site's own


def test_a_field_of_the_sites_own_form_that_is_not_named_is_refused_with_the_cure(fake_hub):
    fake_hub.config.Spawner.options_form = "<input name=course>"
    spawner = fake_hub.user("ann")._new_spawner("")
    spawner.user_options = {"course": "biology", "cpu_limit": 1}
    with pytest.raises(OptionsError, match=r"'course' is not known here.*c\.Spawner\.extra_opti"):
        spawner.list_asked()
    fake_hub.config.Spawner.extra_options = ["course"]
    spawner = fake_hub.user("ann")._new_spawner("")
    spawner.user_options = {"course": "biology", "cpu_limit": 1}
    assert spawner.list_asked() == {"cpu_limit": 1}


def test_whoever_misspells_an_option_without_such_a_form_is_told_of_none(fake_hub):
    spawner = fake_hub.user("ann")._new_spawner("")
    spawner.user_options = {"course": "biology"}
    with pytest.raises(OptionsError) as refusal:
        spawner.list_asked()
    assert "extra_options" not in str(refusal.value)


async def test_what_a_function_of_the_sites_asks_in_vain_is_said_to_be_the_administrators(fake_hub):
    def break_it(spawner):
        raise ConfigurationError("extra_host_config: privileged=True.")

    fake_hub.config.Spawner.pre_spawn_hook = break_it
    with pytest.raises(web.HTTPError) as refusal:
        await fake_hub.start("ann")
    assert refusal.value.jupyterhub_message == (
        "The hub's configuration keeps this workspace from starting. Tell your administrator:"
        " extra_host_config: privileged=True. (MLHUB-E011)"
    )
