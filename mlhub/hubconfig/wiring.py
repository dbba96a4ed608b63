"""What a deployment is, and what joins its parts: facts are set last, wiring appends and never assigns."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from traitlets.config import Config, LazyConfigValue

from mlhub.auth.policy import resolve_authenticator
from mlhub.errors import ConfigurationError
from mlhub.settings import Settings
from mlhub.workspace.policy_file import PolicyFile

MISSING = object()


def list_facts(settings: Settings) -> dict[tuple[str, str], tuple[Any, str]]:
    """Return what the deployment has decided: (class, trait) → (value, where to change it)."""
    run = settings.mlhub_run_dir
    facts: dict[tuple[str, str], tuple[Any, str]] = {
        ("JupyterHub", "base_url"): (settings.mlhub_base_url, "MLHUB_BASE_URL (in the chart: mlhub.baseUrl)"),
        ("JupyterHub", "hub_ip"): ("0.0.0.0", "nothing: workspaces reach the hub there"),  # noqa: S104
        ("JupyterHub", "hub_port"): (8081, "nothing: workspaces reach the hub there"),
        ("ConfigurableHTTPProxy", "should_start"): (False, "START_CHP: the proxy runs beside the hub, not under it"),
    }
    if settings.mlhub_proxy_api_url:
        facts["ConfigurableHTTPProxy", "api_url"] = (settings.mlhub_proxy_api_url, "MLHUB_PROXY_API_URL (the chart sets it)")
    elif settings.is_self_contained:
        facts["ConfigurableHTTPProxy", "api_url"] = (f"http+unix://{quote(f'{run}/chp-api/api.sock', safe='')}", "ADDITIONAL_ARGS")
    else:
        facts["ConfigurableHTTPProxy", "api_url"] = (f"http://127.0.0.1:{settings.chp_api_port}", "ADDITIONAL_ARGS")
    if token := _read_proxy_token(settings):
        facts["ConfigurableHTTPProxy", "auth_token"] = (token, "CONFIGPROXY_AUTH_TOKEN (in the chart: mlhub.secretToken)")
    if settings.mlhub_debug:
        facts["JupyterHub", "debug"] = (True, "MLHUB_DEBUG (in the chart: mlhub.debug)")
    return facts


def apply_facts(c: Config, settings: Settings) -> None:
    """Set the facts on ``c``.

    Raises ``ConfigurationError`` when the user's file says otherwise; both places are named.
    """
    for (owner, trait), (value, place) in list_facts(settings).items():
        configured = _get(c, owner, trait)
        if configured is MISSING:
            setattr(c[owner], trait, value)
        elif _normalise(trait, configured) != value:
            shown = "another value" if trait == "auth_token" else f"{configured!r}"
            raise ConfigurationError(
                f"jupyterhub_user_config.py sets c.{owner}.{trait} to {shown}, but this deployment has decided {'otherwise' if trait == 'auth_token' else repr(value)}. Remove the line; the place to change it is {place}."
            )
        else:
            setattr(c[owner], trait, value)
    for trait in ("ip", "port", "bind_url"):
        configured = _get(c, "JupyterHub", trait)
        if configured is not MISSING and (trait, configured) not in {("port", 8000), ("ip", "")}:
            raise ConfigurationError(
                f"jupyterhub_user_config.py sets c.JupyterHub.{trait} to {configured!r}, but nginx serves the one public port 8080. Remove the line and publish another port of the host: --publish 9090:8080"
            )
    # The proxy beside the hub reaches it inside the container, another one by its Service; workspaces reach it under HUB_NAME (the
    # spawner's hub_connect_url).
    c.JupyterHub.setdefault("hub_connect_ip", settings.hub_name if settings.mlhub_proxy_api_url else "127.0.0.1")
    c.JupyterHub.bind_url = f"http://127.0.0.1:8000{settings.mlhub_base_url}"


def wire(c: Config, settings: Settings) -> None:
    """Join the product's own classes, pages and templates to what was configured."""
    if _get(c, "JupyterHub", "proxy_class") is MISSING:
        c.JupyterHub.proxy_class = "mlhub.hubconfig.proxy.WatchedProxy"
    if settings.mlhub_proxy_api_url:
        c.WatchedProxy.is_elsewhere = True
        # A connection that is kept leads to the pod that is being replaced, as long as that one lives.
        options = _get(c, "JupyterHubHTTPClient", "connector_options")
        c.JupyterHubHTTPClient.connector_options = {"force_close": True, **({} if options is MISSING else options)}
    resources = settings.mlhub_resources_dir
    allow_list = resources / "users" / "dynamic_whitelist.txt" if settings.dynamic_whitelist_enabled else None
    c.JupyterHub.authenticator_class = resolve_authenticator(c.JupyterHub.authenticator_class, allow_list)
    c.MLHubNativeAuthenticator.setup_directory = str(settings.data_volume_container)
    c.MLHubNativeAuthenticator.admin_password = settings.mlhub_admin_password
    c.MLHubNativeAuthenticator.public_address = settings.public_address.removesuffix(settings.mlhub_base_url)
    _append(c, "JupyterHub", "template_paths", str(resources / "html"))
    # A hub does not start with rules that nobody can read; later the last good ones hold.
    PolicyFile(settings.policy_file).current()
    spawner = c.MLHubDockerSpawner if settings.execution_mode == "local" else c.MLHubKubernetesSpawner
    for trait, value in list_spawner_facts(settings).items():
        setattr(spawner, trait, value)


def list_spawner_facts(settings: Settings) -> dict[str, Any]:
    """Return what this deployment's own spawner is told."""
    facts = {
        "hub_name": settings.hub_name,
        "stop_seconds": settings.mlhub_stop_seconds,
        "policy_file": str(settings.policy_file),
        "ssh_folder": str(settings.data_volume_container / "ssh") if settings.has_bastion else "",
        "ssh_hostnames": list(settings.mlhub_hostnames),
    }
    if settings.execution_mode == "k8s":
        return facts | {"hub_image": settings.mlhub_hub_image, "hub_image_pull_policy": settings.mlhub_hub_image_pull_policy}
    return facts | {
        "network_pool": settings.mlhub_network_pool,
        "network_prefix": settings.mlhub_network_prefix,
        "host_guard": settings.mlhub_host_guard,
        "image_pull_interval_seconds": settings.mlhub_image_pull_interval_seconds,
    }


def _read_proxy_token(settings: Settings) -> str:
    """Return the token that CHP was started with: the given one, else the one that boot made and keeps."""
    if settings.configproxy_auth_token:
        return settings.configproxy_auth_token.get_secret_value()
    kept = settings.data_volume_container / "proxy_auth_token"
    return kept.read_text().strip() if kept.exists() else ""


def _get(c: Config, owner: str, trait: str) -> Any:
    section = c.get(owner, {})
    value = section.get(trait, MISSING) if trait in section else MISSING
    return MISSING if isinstance(value, LazyConfigValue) else value


def _normalise(trait: str, value: Any) -> Any:
    if trait == "base_url" and isinstance(value, str):
        return "/" + value.strip("/") + "/" if value.strip("/") else "/"
    return value


def _append(c: Config, owner: str, trait: str, value: Any) -> None:
    configured = _get(c, owner, trait)
    setattr(c[owner], trait, [*([] if configured is MISSING else configured), value])
