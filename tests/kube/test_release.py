"""The installed chart as its people meet it: sign-in, workspaces, SSH through the one port, what reaches what."""

from __future__ import annotations

import json

import pytest

from tests.image.ssh_client import Person


@pytest.fixture(scope="module")
def person(release, tmp_path_factory):
    found = Person(release, "alice", tmp_path_factory.mktemp("alice")).join()
    release.start_workspace("alice")
    return found


def test_the_public_port_shows_the_sign_in_page_and_helm_test_passes(release):
    status, headers, body = release.request("GET", "/hub/login", headers={})
    assert status == 200
    assert headers["server"] == "nginx"
    assert b"Sign" in body
    assert "Succeeded" in release.helm("test", release.name, "--timeout", "3m")


def test_a_workspace_answers_through_the_public_port(release, person):
    status, _, body = release.request("GET", "/user/alice/echo")
    assert status == 200
    assert json.loads(body)["environment"]["JUPYTERHUB_USER"] == "alice"


def test_ssh_comes_in_through_the_same_port_and_asks_nothing(person):
    assert person.ask("id -u; echo $JUPYTERHUB_USER; pwd").split()[:2] == ["1000", "alice"]
