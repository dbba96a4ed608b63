"""What the hub makes of the chart's values, on a plain traitlets Config."""

from __future__ import annotations

import pytest
import yaml
from traitlets.config import Config

from mlhub.backends.registry import read_settings
from mlhub.errors import ConfigurationError
from mlhub.hub.layers import chart
from mlhub.hub.layers.defaults import apply_defaults
from mlhub.hub.layers.userconfig import run_user_config


@pytest.fixture
def release(tmp_path):
    """Return a function: values, secrets, user config → the finished ``c``."""

    def make(
        values: dict | str, *, secrets: dict[str, str] | None = None, user_config: str = ""
    ) -> Config:
        file = tmp_path / "config" / "values.yaml"
        for folder in ("config", "secret"):
            (tmp_path / folder).mkdir(exist_ok=True)
        file.write_text(
            values
            if isinstance(values, str)
            else yaml.safe_dump({"Release": {"Namespace": "team"}, **values})
        )
        for name, content in (secrets or {}).items():
            (tmp_path / "secret" / name).write_text(content)
        settings = read_settings({"EXECUTION_MODE": "k8s", "MLHUB_CHART_VALUES": str(file)})
        c = Config()
        apply_defaults(c, settings)
        chart.apply_preferences(c, settings)
        (tmp_path / "jupyterhub_user_config.py").write_text(user_config)
        run_user_config(c, tmp_path / "jupyterhub_user_config.py")
        chart.apply_facts(c, settings)
        return c

    return make


def test_values_become_defaults_of_the_spawner(release):
    c = release(
        {
            "singleuser": {
                "image": {
                    "name": "quay.io/jupyter/minimal-notebook",
                    "tag": "2026-11-01",
                    "pullPolicy": "Always",
                },
                "workspaceImages": ["quay.io/jupyter/scipy-notebook"],
                "cpu": {"guarantee": "250m", "limit": 2},
                "memory": {"guarantee": "512Mi", "limit": "4Gi"},
                "storage": {
                    "capacity": "20Gi",
                    "storageClass": "fast",
                    "accessModes": ["ReadWriteMany"],
                },
                "startTimeout": 300,
                "serviceAccount": "workspace",
                "extraLabels": {"cost-center": "7"},
                "nodeSelector": {"gpu": "true"},
                "extraTolerations": [{"key": "gpu", "operator": "Exists"}],
            },
            "scheduling": {
                "userPods": {"tolerations": [{"key": "hub.jupyter.org/dedicated", "value": "user"}]}
            },
            "chart": {
                "imagePullSecrets": ["registry"],
                "priorityClassName": "team-hub",
                "commonLabels": {"release": "x"},
            },
        }
    )
    spawner = c.Spawner
    assert spawner.image == "quay.io/jupyter/minimal-notebook:2026-11-01"
    assert (spawner.cpu_guarantee, spawner.cpu_limit) == (0.25, 2)
    assert (spawner.mem_guarantee, spawner.mem_limit) == ("512M", "4G")
    assert (spawner.storage_capacity, spawner.storage_class, spawner.storage_access_modes) == (
        "20Gi",
        "fast",
        ["ReadWriteMany"],
    )
    assert [toleration["key"] for toleration in spawner.tolerations] == [
        "hub.jupyter.org/dedicated",
        "gpu",
    ]
    assert (spawner.start_timeout, spawner.service_account, spawner.image_pull_policy) == (
        300,
        "workspace",
        "Always",
    )
    assert (spawner.extra_labels, spawner.node_selector) == ({"cost-center": "7"}, {"gpu": "true"})
    assert (spawner.image_pull_secrets, spawner.priority_class_name, spawner.common_labels) == (
        ["registry"],
        "team-hub",
        {"release": "x"},
    )


def test_values_that_say_nothing_leave_the_products_defaults(release):
    c = release(
        {
            "singleuser": {
                "image": {"name": "", "tag": ""},
                "cpu": {"limit": None},
                "workspaceImages": [],
                "startTimeout": None,
            }
        }
    )
    assert c.Spawner.image == "mltooling/mlhub-workspace:latest"
    assert c.Spawner.start_timeout == 600
    for trait in ("cpu_limit", "workspace_images", "tolerations", "image_pull_secrets"):
        assert trait not in c.Spawner


def test_the_users_file_has_the_last_word_on_them(release):
    c = release(
        {
            "singleuser": {
                "cpu": {"limit": 2},
                "workspaceImages": ["one"],
                "extraTolerations": [{"key": "a"}],
            }
        },
        user_config=(
            "c.Spawner.cpu_limit = 8\n"
            "c.Spawner.workspace_images += ['two']\nc.Spawner.tolerations.append({'key': 'b'})"
        ),
    )
    assert c.Spawner.cpu_limit == 8
    assert c.Spawner.workspace_images == ["one", "two"]
    assert [toleration["key"] for toleration in c.Spawner.tolerations] == ["a", "b"]
    # A more special class of ours would beat the general c.Spawner of the user's.
    assert "KubeSpawner" not in c
    assert "MLHubKubernetesSpawner" not in c


@pytest.mark.parametrize(
    ("match", "trait"),
    [("prefer", "node_affinity_preferred"), ("require", "node_affinity_required")],
)
def test_workspaces_go_to_nodes_that_are_meant_for_them(release, match, trait):
    c = release({"scheduling": {"userPods": {"nodeAffinity": {"matchNodePurpose": match}}}})
    assert "hub.jupyter.org/node-purpose" in str(c.Spawner[trait])
    assert (
        len(
            [
                name
                for name in ("node_affinity_preferred", "node_affinity_required")
                if name in c.Spawner
            ]
        )
        == 1
    )


def test_nodes_purposes_can_be_ignored(release):
    c = release({"scheduling": {"userPods": {"nodeAffinity": {"matchNodePurpose": "ignore"}}}})
    assert "node_affinity_preferred" not in c.Spawner
    assert "node_affinity_required" not in c.Spawner


@pytest.mark.parametrize(
    ("value", "memory"),
    [("2G", "2G"), ("2Gi", "2G"), ("1.5Ti", "1.5T"), (1073741824, 1073741824), ("512", 512)],
)
def test_memory_counts_in_powers_of_1024_however_it_is_written(value, memory):
    assert chart.parse_memory(value) == memory


@pytest.mark.parametrize("kind", ["", "sqlite-pvc", "sqlite-memory"])
def test_a_database_in_a_file_is_upgraded_by_itself(release, kind):
    c = release({"hub": {"db": {"type": kind, "upgrade": None}}})
    assert c.JupyterHub.db_url == "sqlite:////data/jupyterhub.sqlite"
    assert c.JupyterHub.upgrade_db is True


@pytest.fixture
def drivers(tmp_path, monkeypatch):
    """Put modules of the drivers' names where Python finds them.

    Only their presence is looked at.
    """
    folder = tmp_path / "drivers"
    folder.mkdir()
    for name in ("psycopg2", "pymysql"):
        (folder / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(str(folder))


@pytest.mark.usefixtures("drivers")
@pytest.mark.parametrize(
    ("kind", "url", "password", "finished"),
    [
        (
            "postgres",
            "postgresql://mlhub@db/mlhub",
            "p@ss",
            "postgresql+psycopg2://mlhub:p%40ss@db/mlhub",
        ),
        (
            "postgres",
            "postgres://mlhub:own@db:5433/mlhub",
            "unused",
            "postgresql+psycopg2://mlhub:own@db:5433/mlhub",
        ),
        ("mysql", "mysql://mlhub@db/mlhub\n", "", "mysql+pymysql://mlhub@db/mlhub"),
    ],
)
def test_a_database_server_is_named_by_secrets(release, kind, url, password, finished):
    c = release(
        {"hub": {"db": {"type": kind}}}, secrets={"hub.db.url": url, "hub.db.password": password}
    )
    assert c.JupyterHub.db_url == finished
    assert c.JupyterHub.upgrade_db is False


@pytest.mark.usefixtures("drivers")
def test_a_site_decides_on_the_upgrade_of_its_server(release):
    c = release(
        {"hub": {"db": {"type": "postgres", "upgrade": True}}},
        secrets={"hub.db.url": "postgresql://db/mlhub"},
    )
    assert c.JupyterHub.upgrade_db is True


@pytest.mark.parametrize(
    ("kind", "url", "sentence"),
    [
        ("postgres", "", "hub.db.url is not the URL of a database"),
        ("postgres", "db.example.org pa55word", "hub.db.url is not the URL of a database"),
        (
            "postgres",
            "mysql://u:pa55word@db/x",
            "begins with 'mysql', but hub.db.type is 'postgres'",
        ),
        (
            "postgres",
            "postgresql+nosuchdriver://u:pa55word@db/x",
            "needs the driver 'postgresql+nosuchdriver'",
        ),
    ],
)
def test_a_wrong_database_is_one_sentence_without_the_password(release, kind, url, sentence):
    with pytest.raises(ConfigurationError) as refusal:
        release({"hub": {"db": {"type": kind}}}, secrets={"hub.db.url": url})
    assert sentence in str(refusal.value)
    assert "pa55word" not in str(refusal.value)


def test_workspaces_are_started_in_the_hubs_own_namespace(release):
    assert release({}).Spawner.namespace == "team"
    assert release({}, user_config="c.KubeSpawner.namespace = 'team'").Spawner.namespace == "team"
    with pytest.raises(ConfigurationError, match=r"c\.KubeSpawner\.namespace to 'other'.*'team'"):
        release({}, user_config="c.KubeSpawner.namespace = 'other'")


def test_the_metrics_token_reads_metrics_and_nothing_else(release):
    c = release(
        {},
        secrets={"metrics.token": "m" * 64},
        user_config="c.JupyterHub.services = [{'name': 'own'}]",
    )
    assert [service["name"] for service in c.JupyterHub.services] == ["own", "mlhub-metrics"]
    assert c.JupyterHub.services[1]["api_token"] == "m" * 64
    roles = c.JupyterHub.load_roles.get_value([])
    assert roles == [
        {"name": "mlhub-metrics", "scopes": ["read:metrics"], "services": ["mlhub-metrics"]}
    ]


def test_without_a_metrics_token_there_is_no_service(release):
    assert "services" not in release({}).JupyterHub


@pytest.mark.parametrize("content", ["- a list", "a: [", ""])
def test_a_broken_values_file_is_one_sentence(release, content):
    with pytest.raises(ConfigurationError, match=r"(?s)MLHUB_CHART_VALUES=.*upgrade the release"):
        release(content)


def test_without_the_chart_nothing_is_set():
    c = Config()
    settings = read_settings({"EXECUTION_MODE": "k8s"})
    chart.apply_preferences(c, settings)
    chart.apply_facts(c, settings)
    assert not c
