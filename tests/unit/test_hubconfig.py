"""The layers of the hub's configuration, on a plain traitlets Config."""

from __future__ import annotations

import pytest
from traitlets.config import Config

from mlhub.errors import ConfigurationError
from mlhub.hubconfig.defaults import apply_defaults
from mlhub.hubconfig.userconfig import run_user_config
from mlhub.hubconfig.wiring import apply_facts, wire
from mlhub.settings import Settings


@pytest.fixture
def layered(tmp_path):
    """Return a function: user config text → the finished ``c``."""

    def layer(text: str = "", **environment: str) -> Config:
        settings = Settings.from_environment({name: str(value) for name, value in environment.items()})
        file = tmp_path / "jupyterhub_user_config.py"
        file.write_text(text)
        c = Config()
        apply_defaults(c, settings)
        run_user_config(c, file)
        apply_facts(c, settings)
        wire(c, settings)
        return c

    return layer


def test_the_defaults_of_the_original_hold(layered):
    c = layered()
    assert c.JupyterHub.allow_named_servers is True
    assert c.JupyterHub.redirect_to_server is False
    assert c.JupyterHub.cleanup_servers is False
    assert c.JupyterHub.db_url == "sqlite:////data/jupyterhub.sqlite"
    assert c.JupyterHub.upgrade_db is True
    assert c.Authenticator.admin_users == {"admin"}
    assert c.Spawner.start_timeout == 600
    assert c.Spawner.port == 8080


def test_the_documented_list_of_images_can_name_the_default_image(layered):
    c = layered('c.Spawner.workspace_images = [c.Spawner.image, "mltooling/ml-workspace-gpu:0.8.7"]')
    assert c.Spawner.workspace_images == ["mltooling/ml-workspace:latest", "mltooling/ml-workspace-gpu:0.8.7"]


def test_the_users_file_has_the_last_word_on_every_default(layered):
    c = layered("c.JupyterHub.allow_named_servers = False\nc.Spawner.start_timeout = 5\nc.Authenticator.admin_users = {'boss'}")
    assert c.JupyterHub.allow_named_servers is False
    assert c.Spawner.start_timeout == 5
    assert c.Authenticator.admin_users == {"boss"}


def test_the_users_file_can_read_the_environment_and_its_own_place(layered, monkeypatch):
    monkeypatch.setenv("AAD_TENANT_ID", "tenant-7")
    c = layered("import os\nc.Custom.tenant = os.environ.get('AAD_TENANT_ID')\nc.Custom.file = __file__")
    assert c.Custom.tenant == "tenant-7"
    assert c.Custom.file.endswith("jupyterhub_user_config.py")


def test_the_users_file_may_load_another_one_beside_it(layered, tmp_path):
    (tmp_path / "more.py").write_text("c.Spawner.mem_limit = '2G'")
    assert layered("load_subconfig('more.py')").Spawner.mem_limit == "2G"


def test_get_config_returns_the_prepared_config(layered):
    assert layered("c = get_config()\nc.Spawner.cpu_limit = 2").Spawner.cpu_limit == 2


def test_an_error_in_the_users_file_names_file_line_and_reason(layered, tmp_path):
    with pytest.raises(ConfigurationError) as refusal:
        layered("c.Spawner.port = 1\n\nnot_there()\n")
    assert f"{tmp_path}/jupyterhub_user_config.py, line 3: NameError" in str(refusal.value)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ('c.JupyterHub.base_url = "/elsewhere"', ["c.JupyterHub.base_url", "'/elsewhere'", "MLHUB_BASE_URL"]),
        ("c.JupyterHub.hub_port = 9999", ["c.JupyterHub.hub_port", "9999"]),
        ("c.ConfigurableHTTPProxy.should_start = True", ["should_start", "START_CHP"]),
        ('c.ConfigurableHTTPProxy.api_url = "http://elsewhere:1"', ["api_url", "ADDITIONAL_ARGS"]),
        ("c.JupyterHub.port = 9000", ["c.JupyterHub.port", "9000", "--publish"]),
        ('c.JupyterHub.bind_url = "http://:7000"', ["c.JupyterHub.bind_url", "--publish"]),
    ],
)
def test_a_line_that_contradicts_a_fact_is_refused_with_both_places(layered, line, parts):
    with pytest.raises(ConfigurationError) as refusal:
        layered(line)
    for part in parts:
        assert part in str(refusal.value)


def test_a_contradicted_token_is_not_shown(layered):
    with pytest.raises(ConfigurationError) as refusal:
        layered('c.ConfigurableHTTPProxy.auth_token = "mine-mine-mine"', CONFIGPROXY_AUTH_TOKEN="theirs-theirs")
    assert "mine-mine" not in str(refusal.value)
    assert "theirs" not in str(refusal.value)


def test_a_line_that_repeats_a_fact_is_fine(layered):
    c = layered('c.JupyterHub.base_url = "/mlhub"\nc.JupyterHub.port = 8000', MLHUB_BASE_URL="/mlhub/")
    assert c.JupyterHub.base_url == "/mlhub/"


def test_wiring_appends_to_what_the_site_has(layered):
    c = layered("c.JupyterHub.template_paths = ['/mine']")
    assert c.JupyterHub.template_paths == ["/mine", "/resources/html"]


def test_another_proxy_class_is_kept(layered):
    assert layered('c.JupyterHub.proxy_class = "traefik_file"').JupyterHub.proxy_class == "traefik_file"


@pytest.mark.parametrize(("mode", "spawner"), [("local", "MLHubDockerSpawner"), ("k8s", "MLHubKubernetesSpawner")])
def test_the_spawner_follows_the_execution_mode(layered, mode, spawner):
    assert layered(EXECUTION_MODE=mode).JupyterHub.spawner_class == f"mlhubspawner.{spawner}"


CHART = {"EXECUTION_MODE": "k8s", "HUB_NAME": "lab-hub", "START_NGINX": "false", "MLHUB_PROXY_API_URL": "http://lab-proxy-api:8001", "CONFIGPROXY_AUTH_TOKEN": "secret"}  # fmt: skip


def test_a_proxy_elsewhere_finds_the_hub_by_its_name_and_is_never_spoken_to_through_an_old_connection(layered):
    c = layered("c.JupyterHubHTTPClient.connector_options = {'limit': 5}", **CHART)
    assert c.ConfigurableHTTPProxy.api_url == "http://lab-proxy-api:8001"
    assert c.ConfigurableHTTPProxy.should_start is False
    assert c.JupyterHub.hub_connect_ip == "lab-hub"
    assert c.WatchedProxy.is_elsewhere is True
    assert c.JupyterHubHTTPClient.connector_options == {"force_close": True, "limit": 5}
    beside = layered()
    assert beside.JupyterHub.hub_connect_ip == "127.0.0.1"
    assert "is_elsewhere" not in beside.WatchedProxy
    assert "connector_options" not in beside.JupyterHubHTTPClient


def test_a_proxy_elsewhere_is_named_by_the_deployment_alone(layered):
    with pytest.raises(ConfigurationError, match="MLHUB_PROXY_API_URL"):
        layered('c.ConfigurableHTTPProxy.api_url = "http://other:8001"', **CHART)


def test_each_spawner_is_told_what_it_knows(layered):
    shared = {"hub_name", "stop_seconds", "policy_file", "ssh_folder", "ssh_hostnames"}
    kubernetes = layered(**CHART, START_SSH="false", MLHUB_BASTION_DIR="/shared", MLHUB_HUB_IMAGE="registry.example/hub:1")
    assert set(kubernetes.MLHubKubernetesSpawner) == shared | {"hub_image", "hub_image_pull_policy"}
    assert kubernetes.MLHubKubernetesSpawner.hub_image == "registry.example/hub:1"
    assert kubernetes.MLHubKubernetesSpawner.ssh_folder == "/data/ssh"
    assert "MLHubDockerSpawner" not in kubernetes
    assert layered(**CHART, START_SSH="false").MLHubKubernetesSpawner.ssh_folder == ""
    docker = layered().MLHubDockerSpawner
    assert set(docker) == shared | {"network_pool", "network_prefix", "host_guard", "image_pull_interval_seconds"}


@pytest.mark.parametrize(("name", "environment"), [("MLHubDockerSpawner", {}), ("MLHubKubernetesSpawner", CHART)])
def test_a_spawner_has_a_trait_for_all_that_it_is_told(layered, name, environment):
    import mlhubspawner

    assert set(layered(**environment)[name]) <= set(getattr(mlhubspawner, name).class_trait_names())


def test_a_site_may_bring_its_own_spawner(layered):
    assert layered('c.JupyterHub.spawner_class = "simple"').JupyterHub.spawner_class == "simple"


def test_containers_get_no_defaults_for_what_sites_update_in_place(layered):
    c = layered("c.Spawner.environment.update({'A': '1'})")
    for trait in ("volumes", "extra_labels", "extra_host_config"):
        assert trait not in c.Spawner
        assert trait not in c.DockerSpawner


def test_a_hub_does_not_start_with_a_policy_that_nobody_can_read(layered, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("images:\n  - name: a\n")
    with pytest.raises(ConfigurationError, match=r"policy\.yaml:2: images\.0\.image is missing"):
        layered(POLICY_FILE=str(policy))
    policy.write_text("everyone: {cpu_limit: {max: 2}}\n")
    assert layered(POLICY_FILE=str(policy)).MLHubDockerSpawner.policy_file == str(policy)
