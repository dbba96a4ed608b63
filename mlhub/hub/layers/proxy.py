"""What hub and proxy know of each other: our proxy, or another one that the site brings."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from aiohttp import ClientTimeout
from traitlets.config import Config

from mlhub.errors import ConfigurationError
from mlhub.hub.layers.fact import HUB_SECTIONS, Fact, set_fact
from mlhub.hub.layers.refusals import Refusals
from mlhub.hub.layers.sections import MISSING, get, list_configured
from mlhub.settings import HUB_PROXY_PORT, Settings
from mlhub.traits import RefusedLineError

# An answer of a workspace that has just started, or all routes of a proxy.
CLIENT_SECONDS = 60.0


def has_own(c: Config) -> bool:
    """Return True if the user's file names a proxy class."""
    return get(c, "JupyterHub", "proxy_class") is not MISSING


def check_class(c: Config, settings: Settings) -> None:
    """Check that file and container mean the same proxy: boot starts it before the file is run.

    Raises ``ConfigurationError`` with the cure.
    """
    if has_own(c) and settings.runs_proxy:
        raise RefusedLineError(
            "JupyterHub",
            "proxy_class",
            repr(c.JupyterHub.proxy_class),
            f"this container runs {'CHP' if settings.runs_chp else 'nginx as its proxy'}. Set"
            " MLHUB_OTHER_PROXY=true, or remove the line.",
        )
    if settings.mlhub_other_proxy and not has_own(c):
        raise ConfigurationError(
            "MLHUB_OTHER_PROXY=true, but jupyterhub_user_config.py names no other proxy. Set"
            " c.JupyterHub.proxy_class there, or unset the variable."
        )


def list_facts(settings: Settings) -> list[Fact]:
    """List the facts about the proxy: where its API is, and the token that both know."""
    started = "START_CHP: the proxy runs beside the hub, not under it"
    place = "ADDITIONAL_ARGS"
    if settings.mlhub_proxy_api_url:
        api_url, place = settings.mlhub_proxy_api_url, "MLHUB_PROXY_API_URL (the chart sets it)"
    elif settings.is_self_contained:
        socket = f"{settings.mlhub_run_dir}/chp-api/api.sock"
        api_url = f"http+unix://{quote(socket, safe='')}"
    else:
        api_url = f"http://127.0.0.1:{settings.chp_api_port}"
    parts = urlsplit(api_url)
    ip, port = (parts.hostname, parts.port) if parts.scheme == "http" else (api_url, api_url)
    facts = [
        Fact("ConfigurableHTTPProxy", "should_start", False, started),
        Fact("ConfigurableHTTPProxy", "api_url", api_url, place),
        Fact("JupyterHub", "proxy_api_ip", ip, place, is_other_name=True),
        Fact("JupyterHub", "proxy_api_port", port, place, is_other_name=True),
    ]
    if token := _read_token(settings):
        place = "CONFIGPROXY_AUTH_TOKEN (in the chart: mlhub.secretToken)"
        facts.append(Fact("ConfigurableHTTPProxy", "auth_token", token, place))
        facts.append(Fact("JupyterHub", "proxy_auth_token", token, place, is_other_name=True))
    return facts


def _read_token(settings: Settings) -> str:
    """Return the token that CHP was started with: the given one, else the one that boot made and
    keeps.
    """
    if settings.configproxy_auth_token:
        return settings.configproxy_auth_token.get_secret_value()
    kept = settings.data_volume_container / "proxy_auth_token"
    return kept.read_text().strip() if kept.exists() else ""


def wire(c: Config, settings: Settings) -> None:
    """Name our proxy where the site has no other, and bound what the hub waits for."""
    if not has_own(c):
        c.JupyterHub.proxy_class = "mlhub.hub.proxy.WatchedProxy"
    # Of a proxy that the hub starts: where it may write, which its own folder is not.
    c.ConfigurableHTTPProxy.setdefault("pid_file", str(settings.mlhub_run_dir / "hub/proxy.pid"))
    wire_client(c, settings)


def choose_side(c: Config, settings: Settings, refusals: Refusals) -> str:
    """Return the address at which the hub listens for its proxy, and is reached by it.

    There the proxy is believed whose request it is. It is refused where the user's file would lead
    it elsewhere.
    """
    if has_own(c) and not settings.mlhub_proxy_api_url:
        return str(c.JupyterHub.setdefault("hub_connect_ip", "127.0.0.1"))
    # Beside the hub the proxy is in the same container, elsewhere it asks the hub's Service.
    address = settings.hub_name if settings.mlhub_proxy_api_url else "127.0.0.1"
    place = (
        "nothing: the proxy reaches the hub there, and workspaces under HUB_NAME"
        " (c.Spawner.hub_connect_url)"
    )
    if not has_own(c):
        url = f"http://{address}:{HUB_PROXY_PORT}"
        for fact in (
            Fact("JupyterHub", "hub_connect_ip", address, place),
            Fact("JupyterHub", "hub_connect_url", url, place, is_other_name=True),
        ):
            with refusals.gather():
                set_fact(c, fact, HUB_SECTIONS)
    c.JupyterHub.setdefault("hub_connect_ip", address)
    # Where others could reach it, the chart's policy shuts it.
    return "0.0.0.0" if settings.mlhub_proxy_api_url else address  # noqa: S104


def check_subdomains(c: Config, settings: Settings) -> None:
    """Check that our proxy knows of host names, where the user's file asks for them: it would find
    nobody's workspace.

    Raises ``ConfigurationError`` with the cure.
    """
    if (
        settings.mlhub_subdomain_host
        or "--host-routing" in settings.additional_args.split()
        or not settings.runs_proxy
    ):
        return
    for section, configured in list_configured(c, HUB_SECTIONS, "subdomain_host"):
        if configured:
            raise RefusedLineError(
                section,
                "subdomain_host",
                repr(configured),
                "the proxy does not know of it. Remove the line and set"
                f" MLHUB_SUBDOMAIN_HOST={configured}, which both read.",
            )


def wire_client(c: Config, settings: Settings) -> None:
    """Bound what the hub's own client of workspaces and proxy waits for.

    Both are asked through the same connections: a hundred workspaces that accept one and say
    nothing would leave none for the proxy (the client's own limit), so there is no limit but
    JupyterHub's of starts at a time.
    """
    options: dict[str, Any] = {"limit": 0}
    if settings.mlhub_proxy_api_url:
        c.WatchedProxy.is_elsewhere = True
        # A connection that is kept leads to the pod that is being replaced, as long as that one
        # lives.
        options["force_close"] = True
    ours = {
        "connector_options": options,
        "session_options": {"timeout": ClientTimeout(total=CLIENT_SECONDS)},
    }
    for trait, values in ours.items():
        configured = get(c, "JupyterHubHTTPClient", trait)
        setattr(
            c.JupyterHubHTTPClient,
            trait,
            {**values, **({} if configured is MISSING else configured)},
        )
