"""The installed chart as its people meet it: sign-in, workspaces, SSH through the one port, what reaches what."""

from __future__ import annotations

import json
import secrets

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


def test_a_changed_policy_holds_without_a_start_of_the_hub(release):
    def explain(mem_limit: str) -> dict:
        return release.api("POST", "policy/explain", {"user": "pia", "options": {"mem_limit": mem_limit}})

    hub = release.find_pod("hub")
    release.api("POST", "users/pia")
    assert explain("300M")["granted"]
    release.install({"policy": {"everyone": {"mem_limit": {"max": "200M"}}}})
    # The kubelet renews a pod's volumes within a minute, or when the pod changes.
    release.kubectl("annotate", "pod", hub, f"mlhub.test/look={secrets.token_hex(3)}")
    release.wait_for(lambda: not explain("300M")["granted"], "the new rule answers", 100, every=0.5)
    assert explain("300M")["rules"]["mem_limit"].startswith("everyone.mem_limit.max")
    status, _, body = release.request("POST", "/hub/api/users/pia/server", {"mem_limit": "300M"})
    assert status == 400, body
    assert "200M" in json.loads(body)["message"]
    assert f"ws-{release.name}--pia" not in release.containers()
    release.start_workspace("pia", options={"mem_limit": "200M"})
    limits = release.read("pod", f"ws-{release.name}--pia")["spec"]["containers"][0]["resources"]["limits"]
    assert limits["memory"] == str(200 * 2**20)
    assert release.find_pod("hub") == hub
