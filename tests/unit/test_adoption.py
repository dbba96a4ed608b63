"""When a workspace that runs, and that the hub knows nothing of, may go on as it is."""

import pytest

from mlhub.backends.adoption import Adopt, Replace, judge

OURS = {
    "JUPYTERHUB_API_URL": "http://mlhub:8081/hub/api",
    "JUPYTERHUB_SERVICE_PREFIX": "/user/alice/",
    "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-alice",
}


def test_one_of_this_hub_goes_on_with_the_token_that_it_was_made_with():
    held = {**OURS, "JUPYTERHUB_API_TOKEN": "old", "SITE": "of yesterday"}
    wanted = {**OURS, "JUPYTERHUB_API_TOKEN": "new", "SITE": "of today"}
    assert judge(held, (), wanted) == Adopt("old")


def test_one_without_a_token_brings_none():
    assert judge(OURS, (), OURS) == Adopt("")


@pytest.mark.parametrize("name", OURS)
def test_one_that_would_ask_another_hub_or_answer_elsewhere_is_made_anew(name):
    verdict = judge({**OURS, name: "another"}, (), OURS)
    assert isinstance(verdict, Replace)
    assert "another hub" in verdict.reason
    without = {key: value for key, value in OURS.items() if key != name}
    assert isinstance(judge(without, (), OURS), Replace)


@pytest.mark.parametrize("held", [{}, {"COURSE": "physics"}])
def test_one_whose_owner_asks_for_another_variable_now_is_made_anew(held):
    wanted = {**OURS, "COURSE": "ml"}
    verdict = judge({**OURS, **held}, ["COURSE"], wanted)
    assert isinstance(verdict, Replace)
    assert "variables" in verdict.reason


def test_a_variable_that_was_asked_for_and_is_there_is_no_reason():
    wanted = {**OURS, "COURSE": "ml"}
    assert isinstance(judge(wanted, ["COURSE"], wanted), Adopt)
