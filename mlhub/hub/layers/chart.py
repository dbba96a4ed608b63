"""What the chart's values say to the hub: preferences under the user's file, facts over it.

The values come as a file (``MLHUB_CHART_VALUES``), secrets among them as files in the folder
``secret`` beside its own. Everything is set on ``c.Spawner`` and ``c.JupyterHub``, so that a user's
``c.Spawner.x`` and ``c.KubeSpawner.x`` alike win.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from traitlets.config import Config

from mlhub.errors import ConfigurationError
from mlhub.settings import Settings
from mlhub.traits import RefusedLineError

KUBERNETES_SPAWNERS = ("Spawner", "KubeSpawner", "MLHubKubernetesSpawner")
# Type of hub.db → SQLAlchemy's name of the database, and the driver of a URL that names none.
DATABASES = {"postgres": ("postgresql", "postgresql+psycopg2"), "mysql": ("mysql", "mysql+pymysql")}
METRICS_SERVICE = "mlhub-metrics"


def parse_cpu(value: float | str) -> float:
    """Return CPU cores from ``2``, ``0.5`` or ``"500m"``."""
    text = str(value)
    return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)


def parse_memory(value: float | str) -> str | int:
    """Return memory as JupyterHub writes it, in powers of 1024: ``2Gi`` and ``2G`` are the same."""
    text = str(value).removesuffix("i")
    return text if text[-1] in "KMGT" else int(float(text))


# Trait of the spawner, path of the value, and what makes the one of the other.
TRAITS: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("workspace_images", "singleuser.workspaceImages", list),
    ("image_pull_policy", "singleuser.image.pullPolicy", str),
    ("image_pull_secrets", "chart.imagePullSecrets", list),
    ("start_timeout", "singleuser.startTimeout", int),
    ("cpu_guarantee", "singleuser.cpu.guarantee", parse_cpu),
    ("cpu_limit", "singleuser.cpu.limit", parse_cpu),
    ("mem_guarantee", "singleuser.memory.guarantee", parse_memory),
    ("mem_limit", "singleuser.memory.limit", parse_memory),
    ("storage_capacity", "singleuser.storage.capacity", str),
    ("storage_class", "singleuser.storage.storageClass", str),
    ("storage_access_modes", "singleuser.storage.accessModes", list),
    ("service_account", "singleuser.serviceAccount", str),
    ("extra_labels", "singleuser.extraLabels", dict),
    ("extra_annotations", "singleuser.extraAnnotations", dict),
    ("node_selector", "singleuser.nodeSelector", dict),
    ("priority_class_name", "chart.priorityClassName", str),
    ("common_labels", "chart.commonLabels", dict),
)


def apply_preferences(c: Config, settings: Settings) -> None:
    """Set what the user's file may still change.

    Raises ``ConfigurationError`` for values that cannot be read, or a database that cannot be used.
    """
    if settings.mlhub_chart_values is None:
        return
    values = read_values(settings.mlhub_chart_values)
    for trait, path, convert in TRAITS:
        value = find(values, path)
        if value not in (None, "", [], {}):
            setattr(c.Spawner, trait, convert(value))
    if name := find(values, "singleuser.image.name"):
        tag = find(values, "singleuser.image.tag")
        c.Spawner.image = f"{name}:{tag}" if tag else name
    tolerations = [
        *(find(values, "scheduling.userPods.tolerations") or ()),
        *(find(values, "singleuser.extraTolerations") or ()),
    ]
    if tolerations:
        c.Spawner.tolerations = tolerations
    apply_node_purpose(c, find(values, "scheduling.userPods.nodeAffinity.matchNodePurpose"))
    apply_database(c, values, find_secrets(settings.mlhub_chart_values))


def apply_node_purpose(c: Config, match: str | None) -> None:
    """Prefer, or require, nodes that are meant for workspaces."""
    term = {
        "matchExpressions": [
            {"key": "hub.jupyter.org/node-purpose", "operator": "In", "values": ["user"]}
        ]
    }
    if match == "prefer":
        c.Spawner.node_affinity_preferred = [{"weight": 100, "preference": term}]
    elif match == "require":
        c.Spawner.node_affinity_required = [term]


def apply_database(c: Config, values: dict[str, Any], secrets: Path) -> None:
    """Set the database; a file of the hub's own is the default already."""
    kind = find(values, "hub.db.type") or ""
    upgrade = find(values, "hub.db.upgrade")
    if kind in DATABASES:
        url = make_database_url(
            kind, read_secret(secrets / "hub.db.url"), read_secret(secrets / "hub.db.password")
        )
        c.JupyterHub.db_url = url.render_as_string(hide_password=False)
        # There is no copy of a server's database to go back to, so that is the site's decision.
        c.JupyterHub.upgrade_db = False
    if upgrade is not None:
        c.JupyterHub.upgrade_db = bool(upgrade)


def make_database_url(kind: str, text: str, password: str) -> URL:
    """Make the URL of a database server.

    Raises ``ConfigurationError``, in which the URL is never repeated: it may hold a password.
    """
    database, with_driver = DATABASES[kind]
    try:
        # The old scheme of PostgreSQL, which services still hand out and SQLAlchemy has dropped.
        url = make_url(
            text.replace("postgres://", "postgresql://", 1)
            if text.startswith("postgres://")
            else text
        )
    except ArgumentError:
        raise ConfigurationError(
            f"hub.db.url is not the URL of a database. Write {database}://user@host/database."
        ) from None
    if url.get_backend_name() != database:
        raise ConfigurationError(
            f"hub.db.url begins with {url.drivername!r}, but hub.db.type is {kind!r}. Write"
            f" {database}://user@host/database, or change the type."
        )
    if "+" not in url.drivername:
        url = url.set(drivername=with_driver)
    try:
        url.get_dialect().import_dbapi()
    except (ImportError, NoSuchModuleError) as error:
        raise ConfigurationError(
            f"hub.db.type={kind} needs the driver {url.drivername!r}, which this image does not"
            f" have ({error}). Name another one in hub.db.url, or install it in an image of your"
            " own (hub.image)."
        ) from None
    return url.set(password=password) if password and not url.password else url


def with_driver(text: str) -> str:
    """Name the driver that the image has, in the URL of a database server that names none."""
    drivers = dict(DATABASES.values())
    try:
        url = make_url(text.replace("postgres://", "postgresql://", 1))
    except ArgumentError:
        return text  # SQLAlchemy says later what is wrong with it
    if url.drivername not in drivers:
        return text
    return url.set(drivername=drivers[url.drivername]).render_as_string(hide_password=False)


def apply_facts(c: Config, settings: Settings) -> None:
    """Set what the deployment has decided.

    Raises ``ConfigurationError`` when the user's file says otherwise; both places are named.
    """
    if settings.mlhub_chart_values is None:
        return
    values = read_values(settings.mlhub_chart_values)
    namespace = find(values, "Release.Namespace")
    for owner in KUBERNETES_SPAWNERS:
        configured = c.get(owner, {}).get("namespace", namespace)
        if configured != namespace:
            raise RefusedLineError(
                owner,
                "namespace",
                repr(configured),
                f"the hub may only start workspaces in its own namespace, {namespace!r}. Remove the"
                " line; for another namespace install the chart there.",
            )
    c.Spawner.namespace = namespace
    if token := read_secret(find_secrets(settings.mlhub_chart_values) / "metrics.token"):
        c.JupyterHub.services.append({"name": METRICS_SERVICE, "api_token": token})
        c.JupyterHub.load_roles.append(
            {"name": METRICS_SERVICE, "scopes": ["read:metrics"], "services": [METRICS_SERVICE]}
        )


def find_secrets(values_file: Path) -> Path:
    """Return the folder of the secrets, which may not be there."""
    return values_file.parent.parent / "secret"


def read_secret(file: Path) -> str:
    """Return the content of a secret's file, nothing where there is none."""
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{file} cannot be read ({type(error).__name__}). It comes from a Secret; see that it"
            " is text."
        ) from None


def read_values(file: Path) -> dict[str, Any]:
    """Read the values that the chart hands to the hub."""
    try:
        values = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"MLHUB_CHART_VALUES={str(file)!r} cannot be read ({error}). The chart mounts it;"
            " upgrade the release."
        ) from None
    if not isinstance(values, dict):
        raise ConfigurationError(
            f"MLHUB_CHART_VALUES={str(file)!r} does not hold the chart's values. The chart mounts"
            " it; upgrade the release."
        )
    return values


def find(values: dict[str, Any], path: str) -> Any:
    """Return the value at a dotted path, None where there is none."""
    found: Any = values
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found
