"""A workspace whose command is known gets the option by which it asks the hub again soon; no other
command is touched.
"""

from __future__ import annotations

import pytest

from mlhub.workspaces.belief import UNKNOWN_BELIEF_SECONDS, read_belief, shorten_belief

OPTION = "--HubOAuth.cache_max_age=2"


@pytest.mark.parametrize(
    "command",
    [
        ["jupyterhub-singleuser"],
        ["start-notebook.py"],
        ["start-singleuser.sh", "--debug"],
        ["/opt/workspace/bin/jupyterhub-singleuser"],
        ["tini", "-g", "--", "start-notebook.sh"],
        ["python3", "-m", "jupyterhub.singleuser"],
    ],
)
def test_a_command_that_is_known_is_told(command):
    assert shorten_belief(command) == [*command, OPTION]
    assert read_belief(shorten_belief(command)) == 2
    assert read_belief(command) == UNKNOWN_BELIEF_SECONDS


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["python3", "/server.py"],
        ["bash", "-c", "exec jupyterhub-singleuser"],
        ["jhsingle-native-proxy", "jupyterhub-singleuser"],
        ["jupyterhub-singleuser", "--HubOAuth.cache_max_age=60"],
    ],
)
def test_any_other_command_stays_as_it_is(command):
    assert shorten_belief(command) == command


def test_what_a_site_has_told_itself_counts():
    assert read_belief(["jupyterhub-singleuser", "--HubOAuth.cache_max_age=60"]) == 60
    assert (
        read_belief(["jupyterhub-singleuser", "--HubOAuth.cache_max_age=some"])
        == UNKNOWN_BELIEF_SECONDS
    )
