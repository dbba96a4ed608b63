"""A spawner that is none of ours runs, with a warning that names what it goes without."""

from __future__ import annotations

import socket

import pytest

from mlhub.errors import ConfigurationError
from tests.support import compose_site
from tests.support.site_file import SiteFile

PLAIN = 'c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"\n'
KUBERNETES = {"EXECUTION_MODE": "k8s", "HUB_NAME": "lab-hub"}
PLAIN_KUBE = 'c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"\n'
OWN = """
from dockerspawner import DockerSpawner
class Mine(DockerSpawner): pass
c.JupyterHub.spawner_class = Mine
"""


@pytest.fixture
def site(tmp_path) -> SiteFile:
    return SiteFile(tmp_path)


@pytest.mark.parametrize("text", [PLAIN, OWN])
def test_upstreams_class_or_one_made_from_it_runs_and_is_said_to_go_without(site, text):
    c = site(text + 'c.DockerSpawner.network_name = "people"')
    (warning,) = site.warnings
    assert warning.startswith("jupyterhub_user_config.py, line ")
    for lost in ("network", "policy", "SSH", "trash", "MLHubDockerSpawner"):
        assert lost in warning
    # Where its workspaces reach the hub; upstream would say a port that is for the proxy alone.
    assert c.DockerSpawner.hub_connect_url == f"http://{socket.gethostname()}:8081"
    # Upstream's own port and image settings are its own.
    assert "port" not in c.Spawner


def test_our_own_spawner_and_one_made_from_it_go_without_nothing(site):
    c = site()
    assert site.warnings == []
    assert "hub_connect_url" not in c.DockerSpawner
    site("import mlhubspawner\nclass Mine(mlhubspawner.MLHubDockerSpawner): pass\n"
         "c.JupyterHub.spawner_class = Mine")  # fmt: skip
    assert site.warnings == []


def test_what_the_site_says_of_the_way_to_the_hub_holds(site):
    line = 'c.Spawner.hub_connect_url = "http://jupyterhub:8081"'
    c = site(PLAIN + line)
    assert "hub_connect_url" not in c.DockerSpawner
    assert c.Spawner.hub_connect_url == "http://jupyterhub:8081"


def test_workspaces_in_the_engines_own_network_are_told_an_address(site):
    c = site(PLAIN)
    host = c.DockerSpawner.hub_connect_url.removeprefix("http://").removesuffix(":8081")
    assert host in {socket.gethostname(), socket.gethostbyname(socket.gethostname())}


def test_what_is_refused_of_ours_is_upstreams_own_affair_there(site):
    site(PLAIN + "c.DockerSpawner.use_internal_ip = False\nc.DockerSpawner.prefix = 'My_Site'")
    with pytest.raises(ConfigurationError, match=r"c\.DockerSpawner\.use_internal_ip to False"):
        site("c.DockerSpawner.use_internal_ip = False")


def test_in_a_cluster_its_pods_are_let_ask_the_hub_and_reach_it_by_its_service(site):
    c = site(PLAIN_KUBE + "c.KubeSpawner.extra_labels = {'a': 'b'}", **KUBERNETES)
    assert c.KubeSpawner.hub_connect_url == "http://lab-hub:8081"
    assert c.KubeSpawner.extra_labels == {"a": "b", "mlhub.origin": "lab-hub"}
    assert "MLHubKubernetesSpawner" in site.warnings[0]


def test_another_class_altogether_is_left_alone_but_for_the_warning(site):
    c = site('c.JupyterHub.spawner_class = "simple"')
    assert "SimpleLocalProcessSpawner" in site.warnings[0]
    assert "hub_connect_url" not in c.Spawner


def test_of_the_file_of_a_hub_of_docker_compose_two_lines_are_refused_at_once_with_the_cure(
    site, monkeypatch
):
    for name in ("DOCKER_NETWORK_NAME", "DOCKER_NOTEBOOK_IMAGE", "HUB_NAME", "TEST_RUN"):
        monkeypatch.setenv(name, "mlhub")
    monkeypatch.setenv("TEST_TOKEN", "0123456789abcdef")
    with pytest.raises(ConfigurationError) as refusal:
        site(compose_site.CONFIG)
    first, second = str(refusal.value).splitlines()
    assert "sets c.JupyterHub.hub_ip to 'jupyterhub'" in first
    assert 'c.Spawner.hub_connect_url = "http://jupyterhub:8081"' in first
    assert "sets c.JupyterHub.hub_port to 8080" in second
    c = site(compose_site.without_decided_lines())
    assert [warning.partition(" runs, but")[0][-13:] for warning in site.warnings] == [
        "DockerSpawner"
    ]
    assert c.DockerSpawner.network_name == "mlhub"
