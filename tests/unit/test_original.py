"""Containers of the original: whose they are, what they were told, and by which client they ask."""

from __future__ import annotations

import pytest
from jupyterhub import orm

from mlhub.backends.adoption import Replace, judge
from mlhub.backends.docker.held import keeps_data, read_held
from mlhub.backends.docker.limits import list_changes
from mlhub.backends.docker.original import (
    Original,
    find_originals,
    is_shared,
    make_client_id,
    read_told,
)
from mlhub.identity import Identity

ANN = Identity("mlhub", "ann", "My Server")
LABELS = {**ANN.labels, "expiration_timestamp_seconds": "0"}
TOLD = {
    "JUPYTERHUB_API_URL": "http://mlhub:8081/hub/api",
    "JUPYTERHUB_SERVICE_PREFIX": "/user/ann/My Server/",
    "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-ann-My%20Server",
    "JUPYTERHUB_API_TOKEN": "0123456789abcdef0123456789abcdef",
}
WANTED = {
    **TOLD,
    "JUPYTERHUB_SERVICE_PREFIX": "/user/ann/My%20Server/",
    "JUPYTERHUB_API_TOKEN": "fresh",
}


def list_container(name: str, state: str = "running", **labels: str) -> dict:
    """Make an entry as the engine lists it."""
    return {
        "Names": [f"/{name}"],
        "Image": "mltooling/ml-workspace:0.13.2",
        "State": state,
        "Labels": {**LABELS, **labels},
    }


def describe(told: dict[str, str], **host) -> dict:
    """Make a container as the engine describes it."""
    environment = [f"{name}={value}" for name, value in told.items()]
    config = {"Env": environment, "Labels": LABELS}
    return {"Config": config, "HostConfig": host, "Mounts": []}


def test_one_that_runs_is_found_by_its_labels_whatever_its_name_is():
    found = find_originals([list_container("ws-ann-mlhub-my-20server")])
    assert found == {ANN: Original("ws-ann-mlhub-my-20server", "mltooling/ml-workspace:0.13.2")}


@pytest.mark.parametrize(
    "entries",
    [
        [list_container("ws-ann", "exited")],
        [list_container("ws-ann", **{"mlhub.config": "5a"})],
        [list_container("ws-ann"), list_container("another-of-hers")],
        [list_container("ws-ann"), list_container("ours", **{"mlhub.user_id": "1.2"})],
    ],
    ids=["stopped", "ours", "two", "ours beside it"],
)
def test_what_does_not_run_is_ours_or_has_another_one_beside_it_is_none(entries):
    assert find_originals(entries) == {}


def test_the_client_has_the_id_that_jupyterhub_gave_it():
    assert make_client_id(ANN) == "jupyterhub-user-ann-My%20Server"
    assert make_client_id(Identity("mlhub", "a@b.c")) == "jupyterhub-user-a%40b.c"


@pytest.mark.parametrize(
    ("person", "server"), [("a-b", "c"), ("a-b-c", None)], ids=["named", "default"]
)
def test_an_id_that_is_another_person_s_too_is_given_to_nobody(db, person, server):
    one = Identity("mlhub", "a", "b-c")
    db.add(orm.User(name="a"))
    other = orm.User(name=person)
    db.add(other)
    db.commit()
    assert is_shared(db, one) is (server is None)
    db.add(orm.Spawner(name=server or "", user=other))
    db.commit()
    assert is_shared(db, one)
    assert not is_shared(db, Identity("mlhub", "a", "x"))


def test_it_was_told_what_one_of_ours_is():
    verdict = judge(read_told(describe(TOLD)), (), WANTED)
    assert not isinstance(verdict, Replace)
    assert verdict.token == TOLD["JUPYTERHUB_API_TOKEN"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JUPYTERHUB_CLIENT_ID", "jupyterhub-user-bob"),
        ("JUPYTERHUB_SERVICE_PREFIX", "/user/bob/My Server/"),
        ("JUPYTERHUB_API_URL", "http://evil:8081/hub/api"),
        ("JUPYTERHUB_API_TOKEN", "guessable"),
        ("JUPYTERHUB_API_TOKEN", ""),
    ],
)
def test_one_whose_owner_wrote_something_else_there_does_not_go_on(name, value):
    told = read_told(describe({**TOLD, name: value}))
    assert isinstance(judge(told, (), WANTED), Replace)


def test_its_processors_count_and_are_left_as_they_are():
    found = describe(TOLD, NanoCpus=1_500_000_000, Memory=2**30, ShmSize=2**28)
    held = read_held(found, {})
    assert (held["cpu_limit"], held["mem_limit"]) == (1.5, 2**30)
    wanted = {"cpu_period": 100_000, "cpu_quota": 150_000, "mem_limit": 2**30}
    assert list_changes(wanted, found["HostConfig"]) == {}
    less = {**wanted, "cpu_quota": 50_000}
    assert list_changes(less, found["HostConfig"]) == less


def test_one_without_a_volume_holds_its_files_itself():
    found = describe(TOLD)
    assert keeps_data(found)
    assert read_held(found, {})["is_mount_volume"] is False
    assert not keeps_data({**found, "Mounts": [{"Type": "volume", "Name": "ws-ann-mlhub"}]})
