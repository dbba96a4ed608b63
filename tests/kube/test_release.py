"""The installed chart as its people meet it: sign-in, workspaces, SSH through the one port, what
reaches what.
"""

from __future__ import annotations

import json
import secrets

import pytest

from tests.support.ssh_client import Person

PURPOSE = "hub.jupyter.org/node-purpose"


def make_term(purpose: str) -> dict:
    return {"matchExpressions": [{"key": PURPOSE, "operator": "In", "values": [purpose]}]}


@pytest.fixture
def values_as_before(release):
    """The release is everybody's: these tests change its values."""
    yield
    release.install()


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


def test_ssh_leads_into_a_workspace_that_has_just_been_started_again(release, person):
    """Whose name may still lead to where it was before: DNS remembers."""

    def find_service() -> str:
        return release.read("service", f"ws-{release.name}--alice")["metadata"]["uid"]

    before = find_service()
    assert person.ask("echo in") == "in\n"
    release.stop_workspace("alice")
    release.start_workspace("alice")
    assert person.run(person.alias, "echo in", timeout=30).stdout == "in\n"
    assert find_service() != before


def test_the_cleanups_documented_addresses_answer_a_token_and_touch_nobody_who_is_there(
    release, person
):
    for what in ("users", "expired"):
        for query in ("?dry_run=1", ""):
            status, _, body = release.request("GET", f"/services/cleanup-service/{what}{query}")
            told = json.loads(body)
            assert (status, told["removed"], told["errors"]) == (200, [], []), told
        status, headers, _ = release.request("GET", f"/services/cleanup-service/{what}", headers={})
        assert status == 302
        assert headers["location"].endswith("/hub/services/cleanup-service")
    assert release.request("GET", "/user/alice/echo")[0] == 200
    volumes = release.read("pod", f"ws-{release.name}--alice")["spec"]["volumes"]
    (claim,) = [
        each["persistentVolumeClaim"] for each in volumes if "persistentVolumeClaim" in each
    ]
    assert release.read("pvc", claim["claimName"])["status"]["phase"] == "Bound"


def test_a_changed_policy_holds_without_a_start_of_the_hub(release, values_as_before):
    def explain(mem_limit: str) -> dict:
        return release.api(
            "POST", "policy/explain", {"user": "pia", "options": {"mem_limit": mem_limit}}
        )

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
    assert "200 MB" in json.loads(body)["message"]
    assert f"ws-{release.name}--pia" not in release.containers()
    release.start_workspace("pia", options={"mem_limit": "200M"})
    limits = release.read("pod", f"ws-{release.name}--pia")["spec"]["containers"][0]["resources"][
        "limits"
    ]
    assert limits["memory"] == str(200 * 2**20)
    assert release.find_pod("hub") == hub


def test_pods_may_go_to_nodes_kept_for_their_purpose_and_prefer_those(release, person):
    purposes = {
        f"ws-{release.name}--alice": "user",
        release.find_pod("hub"): "core",
        release.find_pod("proxy"): "core",
    }
    for pod, purpose in purposes.items():
        spec = release.read("pod", pod)["spec"]
        taints = [each for each in spec["tolerations"] if each["key"].startswith("hub.jupyter.org")]
        kept = {"operator": "Equal", "value": purpose, "effect": "NoSchedule"}
        assert taints == [
            {"key": key, **kept}
            for key in ("hub.jupyter.org/dedicated", "hub.jupyter.org_dedicated")
        ]
        preferred = [{"weight": 100, "preference": make_term(purpose)}]
        assert spec["affinity"] == {
            "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}
        }
