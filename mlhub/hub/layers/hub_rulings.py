"""What becomes of the traits of JupyterHub and of configurable-http-proxy's client in it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from mlhub.errors import ConfigurationError
from mlhub.traits import REFUSAL_TEST, Rulings, decided, honored, refused, without_effect

_RULINGS = "tests/unit/test_trait_rulings.py::"
REACHES = f"{_RULINGS}test_what_a_site_writes_of_the_hub_reaches_it"
REACHES_PROXY = f"{_RULINGS}test_what_a_site_writes_of_the_proxy_reaches_it"
CHECKED = f"{_RULINGS}test_a_value_that_cannot_be_had_is_refused_with_its_line"
FACTS = "tests/unit/test_hubconfig.py::"
FACT = f"{FACTS}test_a_line_that_contradicts_a_fact_is_refused_with_both_places"
SECRET = f"{FACTS}test_a_contradicted_secret_is_not_shown"
PUBLISH = "The one public port is 8080; publish another one of the host: `--publish 9090:8080`."
INSIDE = (
    "Workspaces reach the hub at port 8081 under `HUB_NAME`, or as `c.Spawner.hub_connect_url`"
    " says."
)
PROXY_SIDE = "`ADDITIONAL_ARGS` says it; in the chart `MLHUB_PROXY_API_URL`."
CERTIFICATE = (
    "nginx has the public side here. Remove the line, mount certificate and key as"
    " /resources/ssl/cert.crt and cert.key, and set SSL_ENABLED=true."
)
INTERNAL = "c.JupyterHub.internal_ssl is refused, and nothing else uses it."
COMMAND_LINE = "it ends the hub at once, so it is for a command line. Remove the line."
PROXY_STARTS = "the hub does not start the proxy, which runs beside it."
PROXY_ARGUMENTS = (
    "the hub does not start the proxy. Remove the line; what configurable-http-proxy is started"
    " with is ADDITIONAL_ARGS (--log-level=debug and the like)."
)


def check_addresses(value: Any) -> None:
    """Check that proxies are named as the hub compares them: by their addresses."""
    for each in value or ():
        try:
            ip_address(each)
        except ValueError:
            raise ConfigurationError(
                f"{each!r} is no address. Networks of proxies in front of nginx are named by"
                " MLHUB_TRUSTED_PROXIES; remove the line."
            ) from None


JUPYTERHUB: Rulings = {
    **honored(
        REACHES,
        "active_server_limit active_user_window activity_resolution"
        " allow_existing_invalid_named_servers allow_named_servers api_page_default_limit"
        " api_page_max_limit api_tokens authenticate_prometheus cleanup_servers"
        " concurrent_spawn_limit cookie_max_age_days cookie_secret"
        " cookie_secret_file custom_scopes data_files_path db_kwargs db_url debug_db"
        " default_server_name default_url extra_handlers extra_log_file extra_log_handlers"
        " extra_user_scopes hub_routespec implicit_spawn_seconds"
        " init_spawners_timeout jinja_environment_options last_activity_interval load_groups"
        " load_roles log_datefmt log_format logging_config logo_file named_server_limit_per_user"
        " oauth_require_pkce oauth_token_expires_in pid_file public_url redirect_to_server reset_db"
        " service_check_interval service_tokens shutdown_on_logout subdomain_hook template_vars"
        " token_expires_in_max_seconds tornado_settings trust_user_provided_tokens upgrade_db"
        " use_legacy_stopped_server_status_code user_redirect_hook",
    ),
    **honored(
        f"{_RULINGS}test_cookies_that_every_workspace_would_be_sent_are_refused",
        "cookie_host_prefix_enabled",
        "Where people have host names of their own (`MLHUB_SUBDOMAIN_HOST`); else refused.",
    ),
    **honored(
        REACHES,
        "trusted_downstream_ips",
        "Addresses alone; networks are named by `MLHUB_TRUSTED_PROXIES`.",
        check_addresses,
    ),
    **honored(
        f"{FACTS}test_wiring_appends_to_what_the_site_has",
        "template_paths",
        "Searched before ours.",
    ),
    **honored(
        "tests/unit/test_services.py::test_a_service_that_can_be_started_is_none_of_our_business",
        "services",
        "A service whose program or module is missing is refused.",
    ),
    **honored(
        f"{FACTS}test_a_hub_that_is_told_to_log_more_does",
        "log_level",
        "With `MLHUB_DEBUG=true` only `DEBUG`.",
    ),
    **honored(
        f"{FACTS}test_a_class_that_is_not_there_or_something_else_is_refused",
        "authenticator_class spawner_class",
    ),
    **honored(
        f"{FACTS}test_another_proxy_class_is_kept_where_the_container_starts_none",
        "proxy_class",
        "With `MLHUB_OTHER_PROXY=true`.",
    ),
    **honored(
        f"{FACTS}test_host_names_per_person_are_known_to_hub_and_proxy_alike_or_not_at_all",
        "subdomain_host",
        "As `MLHUB_SUBDOMAIN_HOST` says it, or where the proxy knows it otherwise.",
    ),
    **decided(FACT, "base_url", "`MLHUB_BASE_URL` says it."),
    **decided(FACT, "bind_url ip port", PUBLISH),
    **decided(FACT, "hub_bind_url hub_connect_ip hub_connect_url hub_ip hub_port", INSIDE),
    **decided(FACT, "proxy_api_ip proxy_api_port", PROXY_SIDE),
    **decided(SECRET, "proxy_auth_token", "`CONFIGPROXY_AUTH_TOKEN` says it."),
    **refused(REFUSAL_TEST, "ssl_cert ssl_key", CERTIFICATE, [""]),
    **refused(
        REFUSAL_TEST,
        "internal_ssl",
        "the proxy of this deployment takes no part in it. Remove the line: beside the hub nothing"
        " of that traffic leaves the container; in a cluster its network encrypts it.",
        [False],
    ),
    **refused(
        REFUSAL_TEST,
        "hub_connect_port",
        "JupyterHub has no such setting any more, and workspaces reach the hub at port 8081. Remove"
        " the line.",
        [0],
    ),
    **refused(REFUSAL_TEST, "proxy_cmd", PROXY_ARGUMENTS),
    **refused(REFUSAL_TEST, "debug_proxy", PROXY_ARGUMENTS, [False]),
    **refused(
        REFUSAL_TEST,
        "generate_certs generate_config show_config show_config_json",
        COMMAND_LINE,
        [False],
    ),
    **refused(
        REFUSAL_TEST,
        "admin_users",
        "JupyterHub has it elsewhere. Write c.Authenticator.admin_users.",
    ),
    **without_effect("admin_access", "JupyterHub 2 and later have roles in its place."),
    **without_effect(
        "forwarded_host_header",
        "JupyterHub itself does nothing with it; MLHUB_TRUSTED_PROXIES says whose word on the host"
        " is taken.",
    ),
    **without_effect("confirm_no_ssl", "JupyterHub asks no more."),
    **without_effect("answer_yes", "only a command line is asked anything."),
    **without_effect("config_file", "it names the file that is read already; use load_subconfig."),
    **without_effect("hub_socket_mode", "the hub listens at no socket file."),
    **without_effect("cleanup_proxy proxy_check_interval", PROXY_STARTS),
    **without_effect(
        "external_ssl_authorities internal_certs_location recreate_internal_certs"
        " trusted_alt_names",
        INTERNAL,
    ),
}

PROXY: Rulings = {
    **honored(REACHES_PROXY, "concurrency extra_routes"),
    **decided(FACT, "api_url", PROXY_SIDE),
    **decided(FACT, "should_start", "The proxy runs beside the hub."),
    **decided(SECRET, "auth_token", "`CONFIGPROXY_AUTH_TOKEN` says it."),
    **refused(REFUSAL_TEST, "command", PROXY_ARGUMENTS),
    **refused(REFUSAL_TEST, "debug", PROXY_ARGUMENTS, [False]),
    **refused(REFUSAL_TEST, "log_level", PROXY_ARGUMENTS, ["info"]),
    **without_effect("check_running_interval command_umask pid_file", PROXY_STARTS),
}
