"""What a deployment is, and what joins its parts: facts are set last, wiring appends and never assigns."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from pydantic import SecretStr
from traitlets.config import Config

from mlhub.auth.policy import resolve_authenticator
from mlhub.errors import ConfigurationError
from mlhub.hubconfig.classes import find_spawner_class
from mlhub.hubconfig.sections import MISSING, get, list_configured, list_sections, set_default
from mlhub.settings import Settings
from mlhub.workspace.policy_file import PolicyFile

# Which sections reach the hub and the proxy, the most special one last.
HUB_SECTIONS = ["JupyterHub", "MLHub"]
PROXY_SECTIONS = ["Proxy", "ConfigurableHTTPProxy", "WatchedProxy"]
NATIVE = "MLHubNativeAuthenticator"
SECRET_TRAITS = ("auth_token", "proxy_auth_token", "admin_password")


class Fact(NamedTuple):
    """What the deployment has decided: a trait's value, and the place where that is to be changed.

    An ``is_other_name`` is not set, only compared: JupyterHub would let it win over the trait that is.
    """

    owner: str
    trait: str
    value: Any
    place: str
    is_other_name: bool = False


def list_facts(settings: Settings) -> list[Fact]:
    """List the facts about hub and proxy."""
    run = settings.mlhub_run_dir
    inside = "nothing: workspaces reach the hub there"
    facts = [
        Fact("JupyterHub", "base_url", settings.mlhub_base_url, "MLHUB_BASE_URL (in the chart: mlhub.baseUrl)"),
        Fact("JupyterHub", "hub_ip", "0.0.0.0", inside),  # noqa: S104
        Fact("JupyterHub", "hub_port", 8081, inside),
        Fact("JupyterHub", "hub_bind_url", "http://0.0.0.0:8081", inside, is_other_name=True),
        Fact("ConfigurableHTTPProxy", "should_start", False, "START_CHP: the proxy runs beside the hub, not under it"),
    ]
    if settings.mlhub_proxy_api_url:
        api_url, place = settings.mlhub_proxy_api_url, "MLHUB_PROXY_API_URL (the chart sets it)"
    elif settings.is_self_contained:
        api_url, place = f"http+unix://{quote(f'{run}/chp-api/api.sock', safe='')}", "ADDITIONAL_ARGS"
    else:
        api_url, place = f"http://127.0.0.1:{settings.chp_api_port}", "ADDITIONAL_ARGS"
    facts.append(Fact("ConfigurableHTTPProxy", "api_url", api_url, place))
    parts = urlsplit(api_url)
    facts.append(Fact("JupyterHub", "proxy_api_ip", parts.hostname if parts.scheme == "http" else api_url, place, is_other_name=True))
    facts.append(Fact("JupyterHub", "proxy_api_port", parts.port if parts.scheme == "http" else api_url, place, is_other_name=True))
    if token := _read_proxy_token(settings):
        place = "CONFIGPROXY_AUTH_TOKEN (in the chart: mlhub.secretToken)"
        facts.append(Fact("ConfigurableHTTPProxy", "auth_token", token, place))
        facts.append(Fact("JupyterHub", "proxy_auth_token", token, place, is_other_name=True))
    if settings.mlhub_debug:
        facts.append(Fact("JupyterHub", "log_level", "DEBUG", "MLHUB_DEBUG (in the chart: mlhub.debug)"))
    return facts


def list_spawner_facts(settings: Settings, owner: str) -> list[Fact]:
    """List the facts that this deployment's own spawner is told."""
    facts: dict[str, tuple[Any, str]] = {
        "hub_name": (settings.hub_name, "HUB_NAME"),
        "policy_file": (str(settings.policy_file), "POLICY_FILE"),
        "ssh_folder": (str(settings.data_volume_container / "ssh") if settings.has_bastion else "", "START_SSH"),
        "ssh_hostnames": (list(settings.mlhub_hostnames), "MLHUB_HOSTNAMES"),
    }
    if settings.execution_mode != "k8s":
        facts["network_pool"] = (settings.mlhub_network_pool, "MLHUB_NETWORK_POOL")
        facts["network_prefix"] = (settings.mlhub_network_prefix, "MLHUB_NETWORK_PREFIX")
        facts["host_guard"] = (settings.mlhub_host_guard, "MLHUB_HOST_GUARD")
    return [Fact(owner, trait, value, place) for trait, (value, place) in facts.items()]


def list_spawner_preferences(settings: Settings) -> dict[str, Any]:
    """List what this deployment's own spawner is told where the site's file says nothing."""
    if settings.execution_mode == "k8s":
        return {"stop_seconds": settings.mlhub_stop_seconds}
    return {"stop_seconds": settings.mlhub_stop_seconds, "image_pull_interval_seconds": settings.mlhub_image_pull_interval_seconds}


def apply_facts(c: Config, settings: Settings) -> None:
    """Set the facts on ``c``.

    Raises ``ConfigurationError`` when the user's file says otherwise; both places are named.
    """
    owner = _own_spawner(settings)
    sections = {"JupyterHub": HUB_SECTIONS, "ConfigurableHTTPProxy": PROXY_SECTIONS, owner: list_sections(find_spawner_class(c), owner)}
    if get(c, "JupyterHub", "proxy_class") is not MISSING:
        # What a proxy of the site's own understands by the traits of all proxies is its own affair.
        sections["ConfigurableHTTPProxy"] = ["ConfigurableHTTPProxy"]
    for fact in (*list_facts(settings), *list_spawner_facts(settings, owner)):
        set_fact(c, fact, sections[fact.owner])
    for trait in ("ip", "port", "bind_url"):
        for name, configured in list_configured(c, HUB_SECTIONS, trait):
            if (trait, configured) not in {("port", 8000), ("ip", "")}:
                raise ConfigurationError(
                    f"jupyterhub_user_config.py sets {name} to {configured!r}, but nginx serves the one public port 8080. Remove the line and publish another port of the host: --publish 9090:8080"
                )
    # The proxy beside the hub reaches it inside the container, another one by its Service; workspaces reach it under HUB_NAME (the
    # spawner's hub_connect_url).
    c.JupyterHub.setdefault("hub_connect_ip", settings.hub_name if settings.mlhub_proxy_api_url else "127.0.0.1")
    c.JupyterHub.bind_url = f"http://127.0.0.1:8000{settings.mlhub_base_url}"


def set_fact(c: Config, fact: Fact, sections: list[str]) -> None:
    """Set a fact.

    Raises ``ConfigurationError`` when one of the sections says otherwise.
    """
    for name, configured in list_configured(c, sections, fact.trait):
        if _normalise(fact.trait, configured) != _normalise(fact.trait, fact.value):
            is_secret = fact.trait in SECRET_TRAITS
            shown, decided = ("another value", "otherwise") if is_secret else (repr(configured), repr(fact.value))
            raise ConfigurationError(
                f"jupyterhub_user_config.py sets {name} to {shown}, but this deployment has decided {decided}. Remove the line; the place to change it is {fact.place}."
            )
    if not fact.is_other_name:
        setattr(c[fact.owner], fact.trait, fact.value)


def wire(c: Config, settings: Settings) -> None:
    """Join the product's own classes, pages and templates to what was configured."""
    if get(c, "JupyterHub", "proxy_class") is MISSING:
        c.JupyterHub.proxy_class = "mlhub.hubconfig.proxy.WatchedProxy"
    if settings.mlhub_proxy_api_url:
        c.WatchedProxy.is_elsewhere = True
        # A connection that is kept leads to the pod that is being replaced, as long as that one lives.
        options = get(c, "JupyterHubHTTPClient", "connector_options")
        c.JupyterHubHTTPClient.connector_options = {"force_close": True, **({} if options is MISSING else options)}
    resources = settings.mlhub_resources_dir
    allow_list = resources / "users" / "dynamic_whitelist.txt" if settings.dynamic_whitelist_enabled else None
    c.JupyterHub.authenticator_class = resolve_authenticator(c.JupyterHub.authenticator_class, allow_list)
    wire_native(c, settings)
    _append(c, "JupyterHub", "template_paths", str(resources / "html"))
    # A hub does not start with rules that nobody can read; later the last good ones hold.
    PolicyFile(settings.policy_file).current()
    owner = _own_spawner(settings)
    sections = list_sections(find_spawner_class(c), owner)
    for trait, value in list_spawner_preferences(settings).items():
        set_default(c, sections, owner, trait, value)


def wire_native(c: Config, settings: Settings) -> None:
    """Tell our own authenticator, where it is the one, what the deployment knows.

    Raises ``ConfigurationError`` for another password than ``MLHUB_ADMIN_PASSWORD``.
    """
    sections = list_sections(c.JupyterHub.authenticator_class, NATIVE)
    if settings.mlhub_admin_password:
        set_fact(c, Fact(NATIVE, "admin_password", settings.mlhub_admin_password, "MLHUB_ADMIN_PASSWORD"), sections)
    set_default(c, sections, NATIVE, "setup_directory", str(settings.data_volume_container))
    set_default(c, sections, NATIVE, "public_address", settings.public_address.removesuffix(settings.mlhub_base_url))


def _own_spawner(settings: Settings) -> str:
    return "MLHubDockerSpawner" if settings.execution_mode == "local" else "MLHubKubernetesSpawner"


def _read_proxy_token(settings: Settings) -> str:
    """Return the token that CHP was started with: the given one, else the one that boot made and keeps."""
    if settings.configproxy_auth_token:
        return settings.configproxy_auth_token.get_secret_value()
    kept = settings.data_volume_container / "proxy_auth_token"
    return kept.read_text().strip() if kept.exists() else ""


def _normalise(trait: str, value: Any) -> Any:
    """Return one spelling of values that mean the same."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, (tuple, set)):
        return list(value)
    if trait == "log_level":
        return logging.getLevelName(value) if isinstance(value, int) else str(value).upper()
    if not isinstance(value, str):
        return value
    if trait == "base_url":
        return "/" + value.strip("/") + "/" if value.strip("/") else "/"
    if trait == "hub_ip":
        return value or "0.0.0.0"  # noqa: S104
    if trait == "hub_bind_url":
        # JupyterHub puts its own path there. https://jupyterhub.readthedocs.io/en/stable/reference/config-reference.html
        parts = urlsplit(value)
        return f"{parts.scheme}://{parts.netloc.replace('*', '')}".replace("://:", "://0.0.0.0:")
    return value


def _append(c: Config, owner: str, trait: str, value: Any) -> None:
    configured = get(c, owner, trait)
    setattr(c[owner], trait, [*([] if configured is MISSING else configured), value])
