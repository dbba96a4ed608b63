"""Two hubs of one name on one engine: the second one ends before anybody could use both, a
successor does not.
"""

from __future__ import annotations

import pytest

from tests.support.hub_container import docker


def read_id(container: str) -> str:
    return docker("inspect", "--format", "{{.Id}} {{.State.Running}}", container)


@pytest.fixture(scope="module")
def first(make_hub):
    """The hub that was there before the others."""
    return make_hub()


def test_the_second_of_two_hubs_ends_with_a_sentence_and_the_first_one_goes_on(
    make_brief_hub, first
):
    first.start_workspace("ann")
    before = read_id(first.name)
    second = make_brief_hub(arguments=("--env", f"HUB_NAME={first.name}"), start=False)
    ended = second.run_until_it_ends(90)
    assert ended.code != 0
    assert (
        f"[MLHub] Error: The container '{first.name}' is a running hub: two hubs with"
        f" HUB_NAME={first.name}. Stop the" in ended.log
    )
    assert ended.log.count("two hubs") == 1, ended.log
    assert "Traceback" not in ended.log, ended.log
    assert read_id(first.name) == before
    assert first.request("GET", "/hub/login", headers={})[0] == 200
    assert first.request("GET", "/user/ann/api")[0] == 200
    first.start_workspace("bob")
    assert first.request("GET", "/user/bob/api")[0] == 200
    # The first one may be started again; it is the second one that is too many.
    docker("restart", "--time", "20", first.name)
    first.read_port()
    first.wait_until_ready()


def test_a_successor_waits_for_a_hub_that_is_still_ending_and_takes_its_name(make_brief_hub, first):
    second = make_brief_hub(arguments=("--env", f"HUB_NAME={first.name}"), ready=False)
    successor = read_id(second.name)
    second.wait_for(lambda: "waiting 10 s for its end" in second.logs(), "it waits", 60)
    docker("rm", "--force", first.name)
    second.wait_for(
        lambda: docker("ps", "--quiet", "--filter", f"name=^{first.name}$"), "it has the name", 20
    )
    assert read_id(first.name) == successor
    first.read_port()
    first.wait_until_ready()


def test_a_hub_beside_the_other_roles_of_its_name_is_no_second_one(make_brief_hub):
    proxy = make_brief_hub(
        START_JHUB="false", MLHUB_ROUTER="true", START_SSH="false", CONFIGPROXY_AUTH_TOKEN="token"
    )
    hub = make_brief_hub(arguments=("--env", f"HUB_NAME={proxy.name}"))
    assert hub.request("GET", "/hub/login", headers={})[0] == 200
    assert read_id(proxy.name).endswith("true")
