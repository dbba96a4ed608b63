"""The layers of the hub's configuration, on a plain traitlets Config."""

from __future__ import annotations

import logging

import pytest
from traitlets.config import Config

from mlhub.backends.registry import read_settings
from mlhub.errors import ConfigurationError
from mlhub.hub.app import MLHub
from mlhub.hub.layers.classes import find_spawner_class
from mlhub.hub.layers.site import configure

# A site's own class, as its file would define it.
OWN_SPAWNER = """
import mlhubspawner
class Mine(mlhubspawner.MLHubDockerSpawner): pass
c.JupyterHub.spawner_class = Mine
"""


@pytest.fixture
def layered(tmp_path):
    """Return a function: user config text → the finished ``c``."""

    def layer(text: str = "", **environment: str) -> Config:
        settings = read_settings({name: str(value) for name, value in environment.items()})
        settings = settings.model_copy(update={"mlhub_resources_dir": tmp_path})
        (tmp_path / "jupyterhub_user_config.py").write_text(text)
        c = Config()
        configure(c, settings, MLHub)
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
    assert c.MLHubDockerSpawner.default_port == 8080


def test_the_documented_list_of_images_can_name_the_default_image(layered):
    c = layered(
        'c.Spawner.workspace_images = [c.Spawner.image, "mltooling/ml-workspace-gpu:0.8.7"]'
    )
    assert c.Spawner.workspace_images == [
        "mltooling/mlhub-workspace:latest",
        "mltooling/ml-workspace-gpu:0.8.7",
    ]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://a:b%40c@d/e", "postgresql+psycopg2://a:b%40c@d/e"),
        ("postgres://a@d/e", "postgresql+psycopg2://a@d/e"),
        ("mysql://a@d/e", "mysql+pymysql://a@d/e"),
        ("postgresql+asyncpg://a@d/e", "postgresql+asyncpg://a@d/e"),
        ("sqlite:////data/x.sqlite", "sqlite:////data/x.sqlite"),
        ("no url", "no url"),
    ],
)
def test_a_database_server_is_spoken_to_by_the_driver_that_the_image_has(layered, url, expected):
    assert layered(f"c.JupyterHub.db_url = {url!r}").JupyterHub.db_url == expected


def test_the_users_file_has_the_last_word_on_every_default(layered):
    c = layered(
        "c.JupyterHub.allow_named_servers = False\n"
        "c.Spawner.start_timeout = 5\nc.Authenticator.admin_users = {'boss'}"
    )
    assert c.JupyterHub.allow_named_servers is False
    assert c.Spawner.start_timeout == 5
    assert c.Authenticator.admin_users == {"boss"}


def test_the_users_file_can_read_the_environment_and_its_own_place(layered, monkeypatch):
    monkeypatch.setenv("AAD_TENANT_ID", "tenant-7")
    c = layered(
        "import os\nc.Custom.tenant = os.environ.get('AAD_TENANT_ID')\nc.Custom.file = __file__"
    )
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


def test_a_file_that_wants_to_exit_is_an_error_like_any_other(layered):
    with pytest.raises(ConfigurationError, match="line 1: SystemExit: no license"):
        layered("raise SystemExit('no license')\n")


@pytest.mark.parametrize(
    ("trait", "value", "sentence"),
    [
        ("spawner_class", "nowhere.NoSpawner", "cannot be imported"),
        ("authenticator_class", "nowhere.NoAuth", "cannot be imported"),
        ("proxy_class", "nowhere.NoProxy", "cannot be imported"),
        ("spawner_class", "pathlib.Path", "is not a subclass of"),
        ("proxy_class", "pathlib.Path", "is not a subclass of"),
    ],
)
def test_a_class_that_is_not_there_or_something_else_is_refused(layered, trait, value, sentence):
    environment = {"MLHUB_OTHER_PROXY": str(trait == "proxy_class")}
    with pytest.raises(ConfigurationError, match=f"c.JupyterHub.{trait} = '{value}' {sentence}"):
        layered(f"c.JupyterHub.{trait} = {value!r}\n", **environment)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (
            'c.JupyterHub.base_url = "/elsewhere"',
            ["c.JupyterHub.base_url", "'/elsewhere'", "MLHUB_BASE_URL"],
        ),
        ("c.JupyterHub.hub_port = 9999", ["c.JupyterHub.hub_port", "9999"]),
        ("c.ConfigurableHTTPProxy.should_start = True", ["should_start", "START_CHP"]),
        ('c.ConfigurableHTTPProxy.api_url = "http://elsewhere:1"', ["api_url", "ADDITIONAL_ARGS"]),
        ("c.JupyterHub.port = 9000", ["c.JupyterHub.port", "9000", "--publish"]),
        ('c.JupyterHub.ip = "10.0.0.1"', ["c.JupyterHub.ip to '10.0.0.1'", "--publish"]),
        ('c.JupyterHub.bind_url = "http://:7000"', ["c.JupyterHub.bind_url", "--publish"]),
        ("c.MLHub.port = 9000", ["c.MLHub.port", "--publish"]),
        ('c.MLHub.base_url = "/elsewhere"', ["c.MLHub.base_url", "MLHUB_BASE_URL"]),
        (
            'c.JupyterHub.hub_bind_url = "http://127.0.0.1:8081"',
            ["c.JupyterHub.hub_bind_url", "'http://0.0.0.0:8081'"],
        ),
        (
            'c.JupyterHub.hub_bind_url = "http://:9999/hub/"',
            ["c.JupyterHub.hub_bind_url", "'http://0.0.0.0:8081'"],
        ),
        (
            'c.JupyterHub.hub_connect_ip = "jupyterhub"',
            ["c.JupyterHub.hub_connect_ip to 'jupyterhub'", "'127.0.0.1'", "hub_connect_url"],
        ),
        (
            'c.JupyterHub.hub_connect_url = "http://mlhub:8081"',
            ["c.JupyterHub.hub_connect_url to 'http://mlhub:8081'", "'http://127.0.0.1:8083'"],
        ),
        ("c.Proxy.should_start = True", ["c.Proxy.should_start", "START_CHP"]),
        (
            'c.WatchedProxy.api_url = "http://elsewhere:1"',
            ["c.WatchedProxy.api_url", "http://elsewhere:1", "ADDITIONAL_ARGS"],
        ),
        (
            "c.JupyterHub.proxy_api_port = 9001",
            ["c.JupyterHub.proxy_api_port to 9001", "ADDITIONAL_ARGS"],
        ),
        (
            'c.JupyterHub.proxy_api_ip = "10.0.0.1"',
            ["c.JupyterHub.proxy_api_ip to '10.0.0.1'", "ADDITIONAL_ARGS"],
        ),
        ('c.Spawner.hub_name = "other"', ["c.Spawner.hub_name to 'other'", "'mlhub'", "HUB_NAME"]),
        (
            'c.MLHubDockerSpawner.network_pool = "10.0.0.0/16"',
            ["c.MLHubDockerSpawner.network_pool to '10.0.0.0/16'", "MLHUB_NETWORK_POOL"],
        ),
        (
            "c.DockerSpawner.network_prefix = 24",
            ["c.DockerSpawner.network_prefix to 24", "27", "MLHUB_NETWORK_PREFIX"],
        ),
        (
            "c.Spawner.workspace_egress = ['all']",
            ["c.Spawner.workspace_egress to ['all']", "['internet']", "MLHUB_WORKSPACE_EGRESS"],
        ),
        (
            "c.Spawner.host_guard = False",
            ["c.Spawner.host_guard to False", "True", "MLHUB_HOST_GUARD"],
        ),
        ('c.Spawner.policy_file = "/etc/policy.yaml"', ["c.Spawner.policy_file", "POLICY_FILE"]),
        (
            'c.Spawner.ssh_hostnames = ["hub.example"]',
            ["c.Spawner.ssh_hostnames", "MLHUB_HOSTNAMES"],
        ),
        ('c.SshEntryMixin.ssh_folder = "/keys"', ["c.SshEntryMixin.ssh_folder", "START_SSH"]),
        (
            OWN_SPAWNER + "c.Mine.host_guard = False",
            ["c.Mine.host_guard to False", "MLHUB_HOST_GUARD"],
        ),
    ],
)
def test_a_line_that_contradicts_a_fact_is_refused_with_both_places(layered, line, parts):
    with pytest.raises(ConfigurationError) as refusal:
        layered(line)
    for part in parts:
        assert part in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("ConfigurableHTTPProxy.auth_token", "CONFIGPROXY_AUTH_TOKEN"),
        ("WatchedProxy.auth_token", "CONFIGPROXY_AUTH_TOKEN"),
        ("JupyterHub.proxy_auth_token", "CONFIGPROXY_AUTH_TOKEN"),
        ("MLHubNativeAuthenticator.admin_password", "MLHUB_ADMIN_PASSWORD"),
        ("NativeAuthenticator.admin_password", "MLHUB_ADMIN_PASSWORD"),
    ],
)
def test_a_contradicted_secret_is_not_shown(layered, name, variable):
    with pytest.raises(
        ConfigurationError, match=f"c.{name} to another value.*{variable}"
    ) as refusal:
        layered(f'c.{name} = "mine-mine-mine"', **{variable: "theirs-theirs"})
    assert "mine-mine" not in str(refusal.value)
    assert "theirs" not in str(refusal.value)
    layered(f'c.{name} = "theirs-theirs"', **{variable: "theirs-theirs"})


@pytest.mark.parametrize("level", ['"DEBUG"', '"debug"', "10", None])
def test_a_hub_that_is_told_to_log_more_does(layered, level):
    text = f"c.JupyterHub.log_level = {level}" if level else ""
    hub = MLHub(config=layered(text, MLHUB_DEBUG="true"))
    assert hub.log_level == logging.DEBUG
    with pytest.raises(
        ConfigurationError, match=r"c\.JupyterHub\.log_level to 'INFO'.*MLHUB_DEBUG"
    ):
        layered('c.JupyterHub.log_level = "INFO"', MLHUB_DEBUG="true")
    assert layered('c.JupyterHub.log_level = "WARN"').JupyterHub.log_level == "WARN"


def test_a_line_that_repeats_a_fact_is_fine(layered):
    c = layered(
        'c.JupyterHub.base_url = "/mlhub"\nc.JupyterHub.port = 8000', MLHUB_BASE_URL="/mlhub/"
    )
    assert c.JupyterHub.base_url == "/mlhub/"
    c = layered(
        """
c.JupyterHub.hub_ip = ""
c.JupyterHub.hub_bind_url = "http://*:8081/hub/"
c.Proxy.should_start = False
c.WatchedProxy.api_url = "http://127.0.0.1:9001"
c.JupyterHub.proxy_api_ip, c.JupyterHub.proxy_api_port = "127.0.0.1", 9001
c.DockerSpawner.network_pool, c.Spawner.hub_name, c.Spawner.ssh_hostnames = \
"10.64.0.0/12", "mlhub", ("hub.example",)
""",
        ADDITIONAL_ARGS="--api-port=9001",
        MLHUB_HOSTNAMES="hub.example",
    )
    assert (c.JupyterHub.hub_ip, c.JupyterHub.hub_port) == ("0.0.0.0", 8081)
    assert c.ConfigurableHTTPProxy.should_start is False
    assert c.ConfigurableHTTPProxy.api_url == "http://127.0.0.1:9001"
    assert c.MLHubDockerSpawner.network_pool == "10.64.0.0/12"


def effective(c: Config, cls: type, trait: str):
    """Return what an object of this class gets to see."""
    return (
        cls.class_traits()[trait].default_value
        if not (found := configured(c, cls, trait))
        else found[-1]
    )


def configured(c: Config, cls: type, trait: str) -> list:
    return [
        c[section][trait] for section in cls.section_names() if section in c and trait in c[section]
    ]


@pytest.mark.parametrize(
    "section", ["Spawner", "DockerSpawner", "WorkspaceSpawnerMixin", "MLHubDockerSpawner", "Mine"]
)
def test_the_site_has_the_last_word_on_what_its_spawner_prefers_by_whatever_name(layered, section):
    text = OWN_SPAWNER if section == "Mine" else ""
    c = layered(
        text + f"c.{section}.stop_seconds = 99\nc.{section}.image_pull_interval_seconds = 60",
        MLHUB_STOP_SECONDS="7",
    )
    spawner = find_spawner_class(c)
    assert effective(c, spawner, "stop_seconds") == 99
    assert effective(c, spawner, "image_pull_interval_seconds") == 60
    untouched = layered(text, MLHUB_STOP_SECONDS="7", MLHUB_IMAGE_PULL_INTERVAL_SECONDS="5")
    assert effective(untouched, spawner, "stop_seconds") == 7
    assert effective(untouched, spawner, "image_pull_interval_seconds") == 5


@pytest.mark.parametrize("section", ["Spawner", "KubeSpawner", "MLHubKubernetesSpawner"])
def test_on_kubernetes_too(layered, section):
    c = layered(f"c.{section}.stop_seconds = 99", **CHART, MLHUB_STOP_SECONDS="7")
    assert effective(c, find_spawner_class(c), "stop_seconds") == 99
    with pytest.raises(
        ConfigurationError, match=rf"c\.{section}\.policy_file to 'mine'.*POLICY_FILE"
    ):
        layered(f"c.{section}.policy_file = 'mine'", **CHART)


def test_what_the_site_says_of_its_first_administrator_holds_where_no_variable_does(layered):
    c = layered(
        "c.NativeAuthenticator.setup_directory = ''\n"
        "c.MLHubNativeAuthenticator.public_address = 'https://hub.example'"
    )
    authenticator = c.JupyterHub.authenticator_class
    assert effective(c, authenticator, "setup_directory") == ""
    assert effective(c, authenticator, "public_address") == "https://hub.example"
    assert configured(c, authenticator, "admin_password") == []
    c = layered("c.MLHubNativeAuthenticator.admin_password = 'quite a good one'")
    assert effective(c, c.JupyterHub.authenticator_class, "admin_password") == "quite a good one"
    c = layered(MLHUB_ADMIN_PASSWORD="quite a good one")
    assert (
        effective(c, c.JupyterHub.authenticator_class, "admin_password").get_secret_value()
        == "quite a good one"
    )
    assert effective(c, c.JupyterHub.authenticator_class, "setup_directory") == "/data"


def test_a_spawner_and_a_proxy_of_others_may_mean_something_else_by_our_words(layered):
    c = layered(
        "c.JupyterHub.spawner_class = 'simple'\n"
        "c.Spawner.hub_name = 'other'\nc.Spawner.stop_seconds = 3"
    )
    assert (c.Spawner.hub_name, c.Spawner.stop_seconds) == ("other", 3)
    text = "c.JupyterHub.proxy_class = 'jupyterhub.proxy.Proxy'\nc.Proxy.should_start = True"
    c = layered(text, MLHUB_OTHER_PROXY="true")
    assert c.Proxy.should_start is True


def test_wiring_appends_to_what_the_site_has(layered, tmp_path):
    c = layered("c.JupyterHub.template_paths = ['/mine']")
    assert c.JupyterHub.template_paths == ["/mine", f"{tmp_path}/html"]


def test_host_names_per_person_are_known_to_hub_and_proxy_alike_or_not_at_all(layered):
    host, line = (
        "https://hub.example.org",
        'c.JupyterHub.subdomain_host = "https://hub.example.org"',
    )
    assert layered(MLHUB_SUBDOMAIN_HOST=host).JupyterHub.subdomain_host == host
    assert layered(MLHUB_SUBDOMAIN_HOST=host).MLHubDockerSpawner.ssh_hostnames == [
        "hub.example.org"
    ]
    assert layered(line, MLHUB_SUBDOMAIN_HOST=host).JupyterHub.subdomain_host == host
    with pytest.raises(ConfigurationError, match="set MLHUB_SUBDOMAIN_HOST=https://hub"):
        layered(line)
    with pytest.raises(ConfigurationError, match="place to change it is MLHUB_SUBDOMAIN_HOST"):
        layered(line, MLHUB_SUBDOMAIN_HOST="https://other.example.org")
    # As it was done before there was the variable; and where the proxy is another one's business.
    assert layered(line, ADDITIONAL_ARGS="--host-routing").JupyterHub.subdomain_host == host
    text = f'{line}\nc.JupyterHub.proxy_class = "jupyterhub.proxy.Proxy"'
    assert layered(text, MLHUB_OTHER_PROXY="true").JupyterHub.subdomain_host == host


OTHER_PROXY = 'c.JupyterHub.proxy_class = "jupyterhub.proxy.Proxy"'


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        (OTHER_PROXY, {"MLHUB_OTHER_PROXY": "true"}),
        # Written in a way that no look at the text would find.
        (
            "setattr(c.JupyterHub, 'proxy_class', 'jupyterhub.proxy.Proxy')",
            {"MLHUB_OTHER_PROXY": "true"},
        ),
        (OTHER_PROXY, {"EXECUTION_MODE": "k8s"}),
    ],
)
def test_another_proxy_class_is_kept_where_the_container_starts_none(layered, text, environment):
    assert not read_settings(environment).runs_proxy
    assert layered(text, **environment).JupyterHub.proxy_class == "jupyterhub.proxy.Proxy"


@pytest.mark.parametrize(
    ("text", "environment", "sentence"),
    [
        (OTHER_PROXY, {}, "runs nginx as its proxy. Set MLHUB_OTHER_PROXY=true"),
        (OTHER_PROXY, {"START_CHP": "true"}, "runs CHP. Set MLHUB_OTHER_PROXY=true"),
        ("", {"MLHUB_OTHER_PROXY": "true"}, "names no other proxy"),
    ],
)
def test_file_and_container_mean_the_same_proxy_or_the_hub_says_how(
    layered, text, environment, sentence
):
    with pytest.raises(ConfigurationError, match=sentence):
        layered(text, **environment)


@pytest.mark.parametrize(
    ("mode", "spawner"), [("local", "MLHubDockerSpawner"), ("k8s", "MLHubKubernetesSpawner")]
)
def test_the_spawner_follows_the_execution_mode(layered, mode, spawner):
    assert layered(EXECUTION_MODE=mode).JupyterHub.spawner_class == f"mlhubspawner.{spawner}"


CHART = {
    "EXECUTION_MODE": "k8s",
    "HUB_NAME": "lab-hub",
    "START_NGINX": "false",
    "MLHUB_PROXY_API_URL": "http://lab-proxy-api:8001",
    "CONFIGPROXY_AUTH_TOKEN": "secret",
}


def test_a_proxy_elsewhere_finds_the_hub_by_its_name_and_is_never_spoken_to_through_an_old_connection(  # noqa: E501
    layered,
):
    c = layered("c.JupyterHubHTTPClient.connector_options = {'limit': 5}", **CHART)
    assert c.ConfigurableHTTPProxy.api_url == "http://lab-proxy-api:8001"
    assert c.ConfigurableHTTPProxy.should_start is False
    assert c.JupyterHub.hub_connect_ip == "lab-hub"
    assert c.WatchedProxy.is_elsewhere is True
    assert c.JupyterHubHTTPClient.connector_options == {"force_close": True, "limit": 5}
    beside = layered()
    assert beside.JupyterHub.hub_connect_ip == "127.0.0.1"
    assert "is_elsewhere" not in beside.WatchedProxy
    assert beside.JupyterHubHTTPClient.connector_options == {"limit": 0}


def test_a_proxy_elsewhere_is_named_by_the_deployment_alone(layered):
    with pytest.raises(ConfigurationError, match="MLHUB_PROXY_API_URL"):
        layered('c.ConfigurableHTTPProxy.api_url = "http://other:8001"', **CHART)


def test_each_spawner_is_told_what_it_knows(layered):
    shared = {
        "hub_name",
        "default_port",
        "stop_seconds",
        "policy_file",
        "ssh_folder",
        "ssh_hostnames",
    }
    kubernetes = layered(**CHART, START_SSH="false", MLHUB_BASTION_TOKEN="the-token-of-both")
    assert set(kubernetes.MLHubKubernetesSpawner) == shared
    assert kubernetes.MLHubKubernetesSpawner.ssh_folder == "/data/ssh"
    assert "MLHubDockerSpawner" not in kubernetes
    assert layered(**CHART, START_SSH="false").MLHubKubernetesSpawner.ssh_folder == ""
    docker = layered().MLHubDockerSpawner
    assert set(docker) == shared | {
        "network_pool",
        "network_prefix",
        "host_guard",
        "workspace_egress",
        "image_pull_interval_seconds",
    }


@pytest.mark.parametrize(
    ("name", "environment"), [("MLHubDockerSpawner", {}), ("MLHubKubernetesSpawner", CHART)]
)
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
