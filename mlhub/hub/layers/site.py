"""Put the hub's configuration together, layer upon layer, and say all at once what is wrong with
the site's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from traitlets.config import Config

from mlhub.backends.registry import find_kind
from mlhub.errors import ConfigurationError
from mlhub.hub.layers import chart, defaults, facts, plain, traits, userconfig
from mlhub.hub.layers.classes import Classes, find_classes, find_spawner_class
from mlhub.hub.layers.fact import HUB_SECTIONS
from mlhub.hub.layers.refusals import Refusals
from mlhub.hub.layers.sections import MISSING, list_configured, list_sections
from mlhub.hub.layers.services import check_services
from mlhub.settings import Settings, read_environment
from mlhub.signin.rulings import check_self_approval
from mlhub.traits import RefusedLineError

CRYPT_KEY = "JUPYTERHUB_CRYPT_KEY"
Values = Mapping[tuple[str, str], Any]


def configure(c: Config, settings: Settings, hub: type) -> list[str]:
    """Fill ``c``, for a hub of the class ``hub``; return warnings to the site.

    Raises ``ConfigurationError``, one line for each thing that is wrong.
    """
    defaults.apply_defaults(c, settings)
    chart.apply_preferences(c, settings)
    before = {key: (value, deepcopy(value)) for key, value in list_values(c).items()}
    file = userconfig.find_user_config(settings)
    lines: userconfig.Lines = {}
    if file is not None:
        shown = settings.mlhub_resources_dir / userconfig.NAME
        lines = userconfig.run_user_config(c, file, shown_as=shown)
    written = list_written(c, before)
    name_drivers(c)
    refusals = Refusals(lines)
    spawner: type | None = None
    with refusals.gather():
        spawner = find_spawner_class(c)
    with refusals.gather():
        chart.apply_facts(c, settings)
    with refusals.gather():
        facts.apply_facts(c, settings, refusals, spawner)
    with refusals.gather():
        facts.wire(c, settings, refusals, spawner)
    classes = find_classes(c, refusals, hub, spawner)
    traits.check(c, written, classes, settings, refusals)
    with refusals.gather():
        check_services(c)
    check_sign_in(c, classes, refusals)
    check_cookies(c, refusals)
    kind = find_kind(settings.execution_mode)
    if spawner is not None and plain.is_plain(spawner, kind):
        plain.prepare(c, settings, kind, spawner, refusals)
    else:
        warn_of_own_form(written, refusals)
    refusals.raise_all()
    return refusals.warnings


def list_written(
    c: Config, before: Mapping[tuple[str, str], tuple[Any, Any]]
) -> dict[tuple[str, str], Any]:
    """List what a configuration says by now that it did not say before; ``before`` has each value,
    and a copy of it, for values are changed in place as well.
    """
    written = {}
    for key, value in list_values(c).items():
        former, copy = before.get(key, (MISSING, MISSING))
        if former is not value or copy != value:
            written[key] = value
    return written


def name_drivers(c: Config) -> None:
    """Have a URL of a database server without a driver mean the one that the image has."""
    for section, url in list_configured(c, HUB_SECTIONS, "db_url"):
        if isinstance(url, str):
            c[section].db_url = chart.with_driver(url)


def check_sign_in(c: Config, classes: Classes, refusals: Refusals) -> None:
    """Check what two lines about accounts of the hub's own say together."""
    if classes.authenticator is None:
        return
    sections = list_sections(classes.authenticator, "Authenticator")
    said = {
        trait: next(reversed([value for _, value in list_configured(c, sections, trait)]), "")
        for trait in ("allow_self_approval_for", "secret_key")
    }
    states = [value for _, value in list_configured(c, sections, "enable_auth_state")]
    has_key = read_environment().get(CRYPT_KEY) or "keys" in c.get("CryptKeeper", {})
    with refusals.gather():
        if states and states[-1] is True and not has_key:
            raise ConfigurationError(
                "c.Authenticator.enable_auth_state keeps what it has encrypted, and there is no key"
                f" for that. Pass --env {CRYPT_KEY}=… with the output of `openssl rand -hex 32`,"
                " the same at each start, or remove the line."
            )
    with refusals.gather():
        check_self_approval(said["allow_self_approval_for"], said["secret_key"])


def check_cookies(c: Config, refusals: Refusals) -> None:
    """Check that the hub's cookies are not for the addresses of workspaces as well."""
    if any(host for _, host in list_configured(c, HUB_SECTIONS, "subdomain_host")):
        return
    trait = "cookie_host_prefix_enabled"
    for section, is_on in list_configured(c, HUB_SECTIONS, trait):
        if is_on is True:
            reason = (
                "such cookies are sent to every address of the host name, so each workspace that"
                " somebody visits would have them and act for its visitor. Remove the line, or give"
                " people host names of their own (MLHUB_SUBDOMAIN_HOST)."
            )
            refusals.add(RefusedLineError(section, trait, "True", reason))


def warn_of_own_form(written: Values, refusals: Refusals) -> None:
    """Warn of a form of the site's own, none of whose fields would be taken."""
    traits = {trait for _, trait in written}
    for section, trait in written:
        if trait == "options_form" and "extra_options" not in traits:
            refusals.warn(
                section,
                trait,
                "is the site's own, and c.Spawner.extra_options names none of its fields: what it"
                " asks for beyond the product's options is refused. Name them there.",
            )


def list_values(c: Config) -> dict[tuple[str, str], Any]:
    """List what a configuration says now, by section and trait."""
    return {
        (section, trait): value
        for section, values in c.items()
        if isinstance(values, Config)
        for trait, value in values.items()
    }
