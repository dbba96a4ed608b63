"""What a container is to be: made of plain data, without an engine and without a hub."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from mlhub.backends.docker.held import keeps_data, read_held
from mlhub.backends.docker.spec import Mounts, Place, Wanted, make_spec
from mlhub.errors import ConfigurationError
from mlhub.ssh.authority import BUNDLE

WANTED = Wanted(
    name="ws-t--alice",
    image="fake/workspace:1",
    network="net-t--alice",
    port=8080,
    environment={"A": "1"},
    labels={"mlhub.user": "alice"},
    mounts=Mounts("/workspace", {}),
    options=["--port=8080"],
)
IMAGE = {"Config": {"Cmd": ["jupyterhub-singleuser"], "Entrypoint": None, "User": ""}}
PLACE = Place(IMAGE, volume="vol", has_init=True)


def describe(spec, **changes):
    """Describe the spec's container as the engine would."""
    config = {"Labels": dict(spec.arguments["labels"])}
    return {"Config": config, "HostConfig": {}, "Mounts": [], **changes}


def test_a_spec_is_what_the_site_and_the_owner_want_and_what_the_engine_has():
    spec = make_spec(replace(WANTED, use_init=True), PLACE)
    arguments, host = spec.arguments, spec.host_config
    assert (arguments["name"], arguments["image"]) == ("ws-t--alice", "fake/workspace:1")
    assert arguments["command"][:2] == ["jupyterhub-singleuser", "--port=8080"]
    assert host["network_mode"] == "net-t--alice"
    assert host["binds"] == {"vol": {"bind": "/workspace", "mode": "rw"}}
    assert host["init"] is True
    assert host["cap_drop"] == ["ALL"]
    assert arguments["hostname"] == "ws-t--alice", "what prompts and titles inside show"


def test_a_spec_cannot_be_changed_and_the_same_wishes_make_the_same_one():
    spec = make_spec(WANTED, PLACE)
    assert make_spec(WANTED, PLACE) == spec
    with pytest.raises(AttributeError):
        spec.place = Place()


def test_the_sites_words_lie_over_ours_but_not_over_the_labels():
    site = {
        "labels": {"team": "x", "mlhub.user": "bob"},
        "environment": {"A": "2"},
        "command": ["own"],
        "hostname": "box",
    }
    spec = make_spec(replace(WANTED, site_create=site, site_host={"pids_limit": 7}), PLACE)
    assert spec.arguments["labels"].items() >= {"team": "x", "mlhub.user": "alice"}.items()
    assert spec.environment == {"A": "2"}
    assert spec.arguments["command"] == ["own"]
    assert spec.arguments["hostname"] == "box"
    assert spec.host_config["pids_limit"] == 7


def test_what_a_function_of_the_sites_writes_in_the_wrong_place_is_not_ignored():
    for key, cure in (("name", "name_template"), ("host_config", "extra_host_config")):
        with pytest.raises(ConfigurationError, match=rf"Write c\.DockerSpawner\.{cure}"):
            make_spec(replace(WANTED, site_create={key: "mine"}), PLACE)


def test_where_the_site_mounts_something_of_its_own_ours_is_left_out():
    for mounts in (
        Mounts("/workspace", {"site": {"bind": "/workspace/", "mode": "rw"}}),
        Mounts("/workspace", {}, [{"Target": "/workspace", "Source": "x"}]),
    ):
        assert mounts.takes_mount_point
        spec = make_spec(replace(WANTED, mounts=mounts), replace(PLACE, volume=None))
        assert not keeps_data(describe(spec))
    assert not Mounts("/workspace", {"x": {"bind": "/workspace/x", "mode": "rw"}}).takes_mount_point


def test_a_container_without_a_volume_says_that_it_holds_the_files_itself():
    spec = make_spec(WANTED, replace(PLACE, volume=None))
    assert keeps_data(describe(spec))
    assert read_held(describe(spec), {})["is_mount_volume"] is False


def test_a_kept_container_fits_whatever_may_change_without_making_it_anew():
    found = describe(make_spec(WANTED, PLACE))
    newer = {"Config": {"Cmd": ["other"], "Entrypoint": ["tini"]}}
    assert make_spec(WANTED, replace(PLACE, image=newer)).fits(found)
    assert make_spec(WANTED, replace(PLACE, image=None)).fits(found)
    token = {**WANTED.environment, "JUPYTERHUB_API_TOKEN": "new"}
    assert make_spec(replace(WANTED, environment=token), PLACE).fits(found)


@pytest.mark.parametrize(
    "changes",
    [
        {"image": "fake/workspace:2"},
        {"environment": {"A": "2"}},
        {"options": ["--port=9000"]},
        {"command": ["own"]},
        {"use_init": True},
        {"wants_ssh": True},
        {"site_host": {"pids_limit": 7}},
        {"site_create": {"hostname": "box"}},
        {"mem_limit": 2**30},  # a limit can be changed, but not given to one that has none
    ],
)
def test_a_kept_container_does_not_fit_where_anything_else_was_changed(changes):
    found = describe(make_spec(WANTED, PLACE))
    assert not make_spec(replace(WANTED, **changes), PLACE).fits(found)


def test_another_amount_of_memory_fits():
    found = describe(make_spec(replace(WANTED, mem_limit=2**30), PLACE))
    assert make_spec(replace(WANTED, mem_limit=2**29), PLACE).fits(found)


def test_a_container_that_lacks_the_ssh_server_does_not_fit_once_that_can_be_had():
    wanted = replace(WANTED, wants_ssh=True)
    without, with_it = make_spec(wanted, PLACE), make_spec(wanted, replace(PLACE, bundle="ssh"))
    assert without.fits(describe(without))
    assert not with_it.fits(describe(without))
    assert with_it.fits(describe(without, Mounts=[{"Destination": BUNDLE}]))
    assert with_it.host_config["binds"]["ssh"] == {"bind": BUNDLE, "mode": "ro"}


def test_what_was_granted_is_told_apart_from_what_the_site_changed():
    granted = SimpleNamespace(shm_size=1, gpus=(), env={}, is_mount_volume=True)
    found = describe(make_spec(replace(WANTED, decision=granted), PLACE))
    site = make_spec(replace(WANTED, decision=granted, environment={"SITE": "1"}), PLACE)
    assert (site.fits(found), site.fits_choice(found)) == (False, True)
    more = SimpleNamespace(shm_size=2, gpus=(), env={}, is_mount_volume=True)
    assert not make_spec(replace(WANTED, decision=more), PLACE).fits_choice(found)


def test_a_spec_without_an_image_is_completed_by_it():
    spec = make_spec(WANTED, replace(PLACE, image=None))
    assert spec.arguments["command"] == ["--port=8080"]
    assert spec.with_image(IMAGE) == make_spec(WANTED, PLACE)


def test_a_container_with_the_hosts_own_name_is_given_none():
    spec = make_spec(replace(WANTED, site_host={"uts_mode": "host"}), PLACE)
    assert "hostname" not in spec.arguments


def test_neither_a_networks_new_name_nor_a_seccomp_profile_is_a_reason_to_make_a_container_anew():
    older = describe(make_spec(WANTED, PLACE))  # its network was called so
    wanted = replace(WANTED, network="zz-net-t--alice", former_network="net-t--alice")
    spec = make_spec(wanted, replace(PLACE, seccomp="{}"))
    assert spec.host_config["network_mode"] == "zz-net-t--alice"
    assert "seccomp={}" in spec.host_config["security_opt"]
    assert spec.fits(older)
    # The twin: a network of the site's is one.
    assert not make_spec(replace(WANTED, network="shared"), PLACE).fits(older)
