"""What a deployment is, and what joins its parts: facts are set last, wiring appends and never
assigns.
"""

from __future__ import annotations

from typing import Any

from traitlets.config import Config

from mlhub.backends.registry import BackendKind, find_kind
from mlhub.cleanup.idle import check_other_culler
from mlhub.hub.layers import proxy
from mlhub.hub.layers.fact import HUB_SECTIONS, PROXY_SECTIONS, Fact, set_fact
from mlhub.hub.layers.refusals import Refusals
from mlhub.hub.layers.sections import MISSING, get, list_configured, list_sections, set_default
from mlhub.options.model import ALL_OPTIONS
from mlhub.policy.file import PolicyFile
from mlhub.settings import HUB_PORT, HUB_PROXY_PORT, Settings
from mlhub.signin.allow_list import resolve_authenticator
from mlhub.traits import RefusedLineError

NATIVE = "MLHubNativeAuthenticator"


def list_facts(settings: Settings) -> list[Fact]:
    """List the facts about hub and proxy."""
    inside = "nothing: workspaces reach the hub there"
    base_url, place = settings.mlhub_base_url, "MLHUB_BASE_URL (in the chart: mlhub.baseUrl)"
    bind_url = f"http://0.0.0.0:{HUB_PORT}"
    facts = [
        Fact("JupyterHub", "base_url", base_url, place),
        Fact("JupyterHub", "hub_ip", "0.0.0.0", inside),  # noqa: S104
        Fact("JupyterHub", "hub_port", HUB_PORT, inside),
        Fact("JupyterHub", "hub_bind_url", bind_url, inside, is_other_name=True),
        *proxy.list_facts(settings),
    ]
    if settings.mlhub_subdomain_host:
        place = "MLHUB_SUBDOMAIN_HOST (in the chart: mlhub.env)"
        facts.append(Fact("JupyterHub", "subdomain_host", settings.mlhub_subdomain_host, place))
    if settings.mlhub_debug:
        place = "MLHUB_DEBUG (in the chart: mlhub.debug)"
        facts.append(Fact("JupyterHub", "log_level", "DEBUG", place))
    return facts


def list_spawner_facts(settings: Settings, kind: BackendKind) -> list[Fact]:
    """List the facts that this deployment's own spawner is told."""
    facts: dict[str, tuple[Any, str]] = {
        "hub_name": (settings.hub_name, "HUB_NAME"),
        "policy_file": (str(settings.policy_file), "POLICY_FILE"),
    }
    if kind.has_ssh:
        folder = str(settings.data_volume_container / "ssh") if settings.has_bastion else ""
        facts["ssh_folder"] = (folder, "START_SSH")
        facts["ssh_hostnames"] = (list(settings.host_names), "MLHUB_HOSTNAMES")
    if kind.options is not None:
        facts["option_names"] = ([option.name for option in kind.options], "EXECUTION_MODE")
    facts |= kind.facts(settings)
    return [Fact(kind.spawner_name, trait, value, place) for trait, (value, place) in facts.items()]


def apply_facts(c: Config, settings: Settings, refusals: Refusals, spawner: type | None) -> None:
    """Set the facts on ``c``; what the user's file says otherwise is refused, both places named.

    ``spawner`` is the spawner's class, None where that is wrong itself.
    """
    with refusals.gather():
        proxy.check_class(c, settings)
    kind = find_kind(settings.execution_mode)
    sections = {
        "JupyterHub": HUB_SECTIONS,
        "ConfigurableHTTPProxy": PROXY_SECTIONS,
        kind.spawner_name: list_sections(spawner or object, kind.spawner_name),
    }
    if proxy.has_own(c):
        # What a proxy of the site's own understands by the traits of all proxies is its own affair.
        sections["ConfigurableHTTPProxy"] = ["ConfigurableHTTPProxy"]
    for fact in (*list_facts(settings), *list_spawner_facts(settings, kind)):
        with refusals.gather():
            set_fact(c, fact, sections[fact.owner])
    with refusals.gather():
        proxy.check_subdomains(c, settings)
    for trait in ("ip", "port", "bind_url"):
        with refusals.gather():
            check_public_side(c, trait)
    c.JupyterHub.hub_bind_url = (
        f"http://{proxy.choose_side(c, settings, refusals)}:{HUB_PROXY_PORT}"
    )
    c.JupyterHub.bind_url = f"http://127.0.0.1:8000{settings.mlhub_base_url}"


def check_public_side(c: Config, trait: str) -> None:
    """Check that the file says of the public side only what is so anyway.

    Raises ``RefusedLineError``.
    """
    for section, configured in list_configured(c, HUB_SECTIONS, trait):
        if (trait, configured) not in {("port", 8000), ("ip", "")}:
            raise RefusedLineError(
                section,
                trait,
                repr(configured),
                "nginx serves the one public port 8080. Remove the line and publish another port of"
                " the host: --publish 9090:8080",
            )


def wire(c: Config, settings: Settings, refusals: Refusals, spawner: type | None) -> None:
    """Join the product's own classes, pages and templates to what was configured."""
    proxy.wire(c, settings)
    resources = settings.mlhub_resources_dir
    allow_list = (
        resources / "users" / "dynamic_whitelist.txt"
        if settings.dynamic_whitelist_enabled
        else None
    )
    with refusals.gather():
        c.JupyterHub.authenticator_class = resolve_authenticator(
            c.JupyterHub.authenticator_class, allow_list
        )
        wire_native(c, settings)
    with refusals.gather():
        check_other_culler(c, settings)
    _append(c, "JupyterHub", "template_paths", str(resources / "html"))
    kind = find_kind(settings.execution_mode)
    # A hub does not start with rules that nobody can read; later the last good ones hold.
    options = ALL_OPTIONS if kind.options is None else kind.options
    with refusals.gather():
        PolicyFile(settings.policy_file, options=options).current()
    sections = list_sections(spawner or object, kind.spawner_name)
    preferences = {"default_port": settings.default_workspace_port, **kind.preferences(settings)}
    for trait, value in preferences.items():
        set_default(c, sections, kind.spawner_name, trait, value)


def wire_native(c: Config, settings: Settings) -> None:
    """Tell our own authenticator, where it is the one, what the deployment knows.

    Raises ``ConfigurationError`` for another password than ``MLHUB_ADMIN_PASSWORD``.
    """
    sections = list_sections(c.JupyterHub.authenticator_class, NATIVE)
    if settings.mlhub_admin_password:
        set_fact(
            c,
            Fact(NATIVE, "admin_password", settings.mlhub_admin_password, "MLHUB_ADMIN_PASSWORD"),
            sections,
        )
    set_default(c, sections, NATIVE, "setup_directory", str(settings.data_volume_container))
    set_default(c, sections, NATIVE, "public_service", settings.mlhub_public_service)
    set_default(
        c,
        sections,
        NATIVE,
        "public_address",
        settings.public_address.removesuffix(settings.mlhub_base_url),
    )


def _append(c: Config, owner: str, trait: str, value: Any) -> None:
    configured = get(c, owner, trait)
    known = [] if configured is MISSING else configured
    if isinstance(known, list | tuple):  # else its type is refused
        setattr(c[owner], trait, [*known, value])
