"""The environment becomes typed settings, or a sentence."""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlhub.backends.registry import read_settings
from mlhub.boot import certificates
from mlhub.boot.spelling import list_misspelled_variables
from mlhub.errors import SettingsError
from mlhub.settings import KNOWN_VARIABLES, SECRET_VARIABLES, Settings
from mlhub.ssh.alias import list_suffixes

TOKEN = "the-token-of-hub-and-bastion"


def test_an_empty_environment_gives_the_documented_defaults():
    settings = read_settings({})
    assert settings.hub_name == "mlhub"
    assert settings.execution_mode == "local"
    assert settings.ssl_enabled is False
    assert settings.dynamic_whitelist_enabled is False
    assert settings.cleanup_interval_seconds == 3600
    assert (settings.start_ssh, settings.start_nginx, settings.start_jhub) == (True, True, True)
    assert (settings.runs_router, settings.runs_chp) == (True, False)
    assert settings.default_workspace_port == 8080


@pytest.mark.parametrize("value", ["true", "on", "True", "1", "yes"])
def test_every_spelling_of_true_switches_tls_on(value):
    assert read_settings({"SSL_ENABLED": value}).ssl_enabled is True


@pytest.mark.parametrize(
    ("environment", "parts"),
    [
        ({"HUB_NAME": "my_hub"}, ["HUB_NAME='my_hub'", "not a DNS label", "--env HUB_NAME=mlhub"]),
        ({"HUB_NAME": "toolong"}, ["HUB_NAME='toolong'", "1-5 characters"]),
        ({"HUB_NAME": "Hub"}, ["HUB_NAME='Hub'"]),
        ({"HUB_NAME": "-a"}, ["HUB_NAME='-a'"]),
        ({"SSL_ENABLED": "maybe"}, ["SSL_ENABLED='maybe'", "true or false"]),
        ({"EXECUTION_MODE": "swarm"}, ["EXECUTION_MODE='swarm'", "'local' or 'k8s'"]),
        (
            {"CLEANUP_INTERVAL_SECONDS": "hourly"},
            ["CLEANUP_INTERVAL_SECONDS='hourly'", "whole number"],
        ),
        ({"CLEANUP_INTERVAL_SECONDS": "-2"}, ["CLEANUP_INTERVAL_SECONDS='-2'"]),
        ({"DEFAULT_WORKSPACE_PORT": "70000"}, ["DEFAULT_WORKSPACE_PORT='70000'"]),
        (
            {"MLHUB_NETWORK_POOL": "172.33.0.0/16"},
            ["MLHUB_NETWORK_POOL", "not a private IPv4 range"],
        ),
        (
            {"MLHUB_NETWORK_POOL": "10.0.0.0/24", "MLHUB_NETWORK_PREFIX": "20"},
            ["MLHUB_NETWORK_PREFIX=20", "10.0.0.0/24"],
        ),
        (
            {"MLHUB_TRUSTED_PROXIES": "10.0.0.0/8,loadbalancer"},
            ["MLHUB_TRUSTED_PROXIES", "'loadbalancer'"],
        ),
        ({"SSHD_TARGET": "hub"}, ["SSHD_TARGET='hub'", "hub:22"]),
        ({"DOCKER_HOST": "ssh://me@host"}, ["DOCKER_HOST='ssh://me@host'"]),
        ({"MLHUB_BASE_URL": "/a b"}, ["MLHUB_BASE_URL", "/mlhub"]),
        (
            {"MLHUB_SUBDOMAIN_HOST": "hub.example.org"},
            ["MLHUB_SUBDOMAIN_HOST='hub.example.org'", "https://hub.example.org"],
        ),
        ({"MLHUB_SUBDOMAIN_HOST": "https://hub.example.org/x"}, ["without a path"]),
        ({"MLHUB_SUBDOMAIN_HOST": "https://192.0.2.7:8080"}, ["addresses have no subdomains"]),
        ({"MLHUB_SUBDOMAIN_HOST": "http://[::1]"}, ["addresses have no subdomains"]),
        ({"START_SSH": "0", "START_NGINX": "0", "START_JHUB": "0"}, ["nothing would run"]),
        (
            {"ADDITIONAL_ARGS": "--ip=0.0.0.0 --port=9000 --api-port 9000"},
            ["ADDITIONAL_ARGS=", "both sides of the proxy", "port 9000"],
        ),
        (
            {"ADDITIONAL_ARGS": "--port 8001"},
            ["ADDITIONAL_ARGS='--port 8001'", "both sides of the proxy", "port 8001"],
        ),
        (
            {"MLHUB_HOSTNAMES": "good.example,a..b"},
            ["MLHUB_HOSTNAMES", "the entry 'a..b'", "neither a host name nor an address"],
        ),
        ({"MLHUB_HOSTNAMES": ".example.org"}, ["the entry '.example.org'"]),
        ({"MLHUB_HOSTNAMES": "x" * 70 + ".example"}, ["MLHUB_HOSTNAMES", "xxx.example'"]),
        ({"MLHUB_HOSTNAMES": ".".join(["long"] * 60)}, ["MLHUB_HOSTNAMES"]),
        ({"MLHUB_HOSTNAMES": "hub example"}, ["the entry 'hub example'"]),
        (
            {"MLHUB_HOSTNAMES": "https://hub.example"},
            ["the entry 'https://hub.example'", "without https://"],
        ),
        (
            {"MLHUB_HOSTNAMES": "hub.example:8443"},
            ["the entry 'hub.example:8443'", "without a port"],
        ),
        ({"MLHUB_HOSTNAMES": "192.0.2.300"}, ["the entry '192.0.2.300'"]),
        ({"MLHUB_HOSTNAMES": "[2001:db8::1]"}, ["the entry '[2001:db8::1]'"]),
        ({"MLHUB_HOSTNAMES": "fe80::1%eth0"}, ["the entry 'fe80::1%eth0'"]),
        ({"MLHUB_HOSTNAMES": "a.*.example"}, ["the entry 'a.*.example'"]),
        (
            {"JPY_COOKIE_SECRET": "short"},
            ["JPY_COOKIE_SECRET", "64 hexadecimal digits", "openssl rand -hex 32"],
        ),
        ({"MLHUB_BASTION_TOKEN": TOKEN}, ["MLHUB_BASTION_TOKEN", "START_NGINX=false"]),
        (
            {"MLHUB_BASTION_TOKEN": TOKEN, "START_NGINX": "0"},
            ["MLHUB_BASTION_TOKEN", "one of START_JHUB=false and START_SSH=false"],
        ),
        (
            {
                "MLHUB_BASTION_TOKEN": TOKEN,
                "START_NGINX": "0",
                "START_JHUB": "0",
                "START_SSH": "0",
                "START_CHP": "1",
            },
            ["MLHUB_BASTION_TOKEN", "one of START_JHUB=false and START_SSH=false"],
        ),
        *(
            (
                {"MLHUB_BASTION_TOKEN": token, "START_NGINX": "0", "START_SSH": "0"},
                [
                    "MLHUB_BASTION_TOKEN is no token",
                    "16 letters and digits",
                    "openssl rand -hex 32",
                ],
            )
            for token in (
                "fifteen-letters",
                "sixteen letters and more",
                "sixteen-letters-ä",
                "sixteen-letters\nand-more",
            )
        ),
        (
            {"EXECUTION_MODE": "k8s", "MLHUB_PROXY_API_URL": "proxy-api:8001"},
            ["MLHUB_PROXY_API_URL='proxy-api:8001'", "http://"],
        ),
        (
            {"EXECUTION_MODE": "k8s", "MLHUB_PROXY_API_URL": "http://proxy-api:8001/api"},
            ["MLHUB_PROXY_API_URL"],
        ),
        (
            {"EXECUTION_MODE": "k8s", "MLHUB_PROXY_API_URL": "http://proxy-api:8001"},
            ["CONFIGPROXY_AUTH_TOKEN"],
        ),
        (
            {"MLHUB_PROXY_API_URL": "http://proxy-api:8001"},
            ["MLHUB_PROXY_API_URL", "EXECUTION_MODE=k8s"],
        ),
        (
            {"EXECUTION_MODE": "k8s", "MLHUB_IMAGE_PULL_INTERVAL_SECONDS": "60"},
            ["MLHUB_IMAGE_PULL_INTERVAL_SECONDS=60", "pullPolicy=Always"],
        ),
    ],
)
def test_a_wrong_variable_is_refused_with_its_name_its_value_and_the_cure(environment, parts):
    with pytest.raises(SettingsError) as refusal:
        read_settings(environment)
    for part in parts:
        assert part in str(refusal.value)
    assert "pydantic" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("hub.example.org, 192.0.2.7", ("hub.example.org", "192.0.2.7")),
        ("Hub.Example.ORG.", ("hub.example.org",)),
        ("münchen.example,*.example.org", ("xn--mnchen-3ya.example", "*.example.org")),
        ("2001:DB8:0::1,2001:db8::1", ("2001:db8::1",)),
        ("localhost,my_hub,a-1", ("localhost", "my_hub", "a-1")),
    ],
)
def test_host_names_are_kept_in_one_spelling(text, names):
    assert read_settings({"MLHUB_HOSTNAMES": text}).mlhub_hostnames == names


@given(
    st.text(max_size=80)
    | st.text("aZ1fü-_.*:%, \u200b\ufb00", max_size=20)
    | st.ip_addresses().map(str)
)
def test_whatever_is_given_as_a_host_name_is_refused_with_a_sentence_or_stays_what_it_became(text):
    try:
        settings = read_settings({"MLHUB_HOSTNAMES": text})
    except SettingsError:
        return
    assert (
        Settings.model_validate_json(settings.model_dump_json()).mlhub_hostnames
        == settings.mlhub_hostnames
    )
    certificates.make_self_signed(
        certificates.list_names(settings), datetime.datetime.now(datetime.UTC)
    )


def test_several_wrong_variables_are_named_at_once():
    with pytest.raises(SettingsError) as refusal:
        read_settings({"SSL_ENABLED": "x", "START_SSH": "perhaps", "EXECUTION_MODE": "swarm"})
    assert "EXECUTION_MODE='swarm' is not one of 'local' or 'k8s'." in str(refusal.value)
    assert "SSL_ENABLED" in str(refusal.value)
    assert "START_SSH" in str(refusal.value)


@pytest.mark.parametrize("variable", ["MLHUB_ADMIN_PASSWORD", "SSL_KEY_PASSPHRASE"])
def test_a_secret_is_read_from_its_file(tmp_path: Path, variable):
    file = tmp_path / "secret"
    file.write_text("correct horse battery\n")
    secret = getattr(read_settings({f"{variable}_FILE": str(file)}), variable.lower())
    assert secret is not None
    assert secret.get_secret_value() == "correct horse battery"


def test_a_wrong_secret_is_not_shown():
    with pytest.raises(SettingsError) as refusal:
        read_settings({"JPY_COOKIE_SECRET": "hunter2hunter2"})
    assert "hunter2" not in str(refusal.value)


def test_the_address_that_kubernetes_puts_beside_a_service_of_our_name_is_not_the_port():
    assert read_settings({"MLHUB_PORT": "tcp://10.96.0.7:8081"}).mlhub_port == 8080


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, "http://localhost:8080/"),
        ({"MLHUB_PORT": "80", "MLHUB_HOSTNAMES": "hub.example"}, "http://hub.example/"),
        (
            {"MLHUB_PORT": "443", "SSL_ENABLED": "true", "MLHUB_BASE_URL": "lab"},
            "https://localhost/lab/",
        ),
        ({"MLHUB_PORT": "443"}, "http://localhost:443/"),
    ],
)
def test_the_printed_address_names_its_port_where_browsers_need_it(environment, address):
    assert read_settings(environment).public_address == address


@pytest.mark.parametrize(
    ("environment", "has_bastion", "is_alone"),
    [
        ({}, True, False),
        ({"START_SSH": "false"}, False, False),
        ({"START_SSH": "false", "START_NGINX": "false", "MLHUB_BASTION_TOKEN": TOKEN}, True, False),
        ({"START_JHUB": "false", "START_NGINX": "false", "MLHUB_BASTION_TOKEN": TOKEN}, True, True),
    ],
)
def test_a_hub_has_a_bastion_beside_it_or_in_a_container_of_its_own(
    environment, has_bastion, is_alone
):
    settings = read_settings(environment)
    assert (settings.has_bastion, settings.is_bastion_alone, settings.has_data) == (
        has_bastion,
        is_alone,
        not is_alone,
    )


def test_the_bastions_token_is_shown_to_nobody_but_the_hub():
    """Which reads it from the file in the run directory, as its other secrets."""
    settings = read_settings(
        {"START_SSH": "false", "START_NGINX": "false", "MLHUB_BASTION_TOKEN": TOKEN}
    )
    assert TOKEN not in repr(settings)
    assert TOKEN not in str(settings.model_dump())
    assert TOKEN in settings.model_dump_json()
    assert "MLHUB_BASTION_TOKEN" in SECRET_VARIABLES


def test_a_secret_given_twice_is_refused(tmp_path: Path):
    file = tmp_path / "password"
    file.write_text("one")
    with pytest.raises(SettingsError, match="both set"):
        read_settings({"MLHUB_ADMIN_PASSWORD": "two", "MLHUB_ADMIN_PASSWORD_FILE": str(file)})


def test_a_secret_appears_in_no_message_and_no_representation():
    settings = read_settings({"MLHUB_ADMIN_PASSWORD": "hunter2hunter2"})
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)


def test_settings_survive_the_file_that_boot_hands_over(tmp_path: Path):
    settings = read_settings(
        {"MLHUB_HOSTNAMES": "a.example, 10.1.2.3", "CONFIGPROXY_AUTH_TOKEN": "secret-token"}
    )
    file = tmp_path / "settings.json"
    file.write_text(settings.model_dump_json())
    again = Settings.load(file)
    assert again == settings
    assert again.mlhub_hostnames == ("a.example", "10.1.2.3")


def test_settings_can_not_be_changed_after_they_were_read():
    settings = read_settings({})
    with pytest.raises(ValueError, match="frozen"):
        settings.hub_name = "other"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("HUB_NAM", "HUB_NAME"),
        ("START_NGNIX", "START_NGINX"),
        ("SSL_ENABLE", "SSL_ENABLED"),
        ("MLHUB_HOSTNAME", "MLHUB_HOSTNAMES"),
    ],
)
def test_a_misspelled_variable_is_a_warning_with_the_nearest_name(name, meant):
    (warning,) = list_misspelled_variables({name: "x"})
    assert name in warning
    assert meant in warning


def test_variables_of_others_are_no_misspellings():
    others = {
        "SSH_AUTH_SOCK": "",
        "SSH_CONNECTION": "",
        "HUB_SERVICE_HOST": "",
        "HUB_PORT_8081_TCP": "",
        "PATH": "",
        "SSL_CERT_FILE": "",
        "DOCKER_CONFIG": "",
    }
    assert list_misspelled_variables(others) == []


def test_every_documented_variable_is_known_and_described():
    for variable in (
        "HUB_NAME", "SSL_ENABLED", "EXECUTION_MODE", "DYNAMIC_WHITELIST_ENABLED",
        "CLEANUP_INTERVAL_SECONDS", "START_SSH", "START_NGINX", "START_JHUB", "START_CHP",
        "ADDITIONAL_ARGS", "SSHD_TARGET", "DEFAULT_WORKSPACE_PORT", "SSH_PERMIT_TARGET_HOST",
        "SSH_PERMIT_TARGET_PORT", "SSH_TARGET_LABELS", "SSH_TARGET_PUBLICKEY_API_PORT",
        "SSH_TARGET_KEY_PATH", "MANUAL_AUTH_FILE", "DATA_VOLUME_CONTAINER", "DOCKER_HOST",
        "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH",
    ):  # fmt: skip
        assert variable in KNOWN_VARIABLES
    for name, field in Settings.model_fields.items():
        assert field.description, f"{name} has no description for the reference page"


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, "router"),
        # The documented default of the original is "false", and means the same as nothing.
        ({"START_CHP": "false"}, "router"),
        ({"START_CHP": "true"}, "chp"),
        ({"START_CHP": "true", "ADDITIONAL_ARGS": "--timeout=1"}, "chp"),
        ({"ADDITIONAL_ARGS": "--timeout=1"}, "chp"),
        ({"START_CHP": "false", "ADDITIONAL_ARGS": "--timeout=1"}, "chp"),
        ({"START_NGINX": "false"}, "chp"),
        ({"START_NGINX": "false", "START_CHP": "false"}, "chp"),
        ({"MLHUB_OTHER_PROXY": "true"}, ""),
        ({"MLHUB_OTHER_PROXY": "true", "START_NGINX": "false"}, ""),
        ({"MLHUB_ROUTER": "true"}, "router"),
        ({"EXECUTION_MODE": "k8s"}, ""),
        ({"EXECUTION_MODE": "k8s", "START_CHP": "false"}, ""),
        ({"EXECUTION_MODE": "k8s", "START_NGINX": "false", "ADDITIONAL_ARGS": "--x"}, ""),
        ({"EXECUTION_MODE": "k8s", "MLHUB_ROUTER": "true"}, ""),
        ({"START_JHUB": "false"}, ""),
        ({"START_JHUB": "false", "ADDITIONAL_ARGS": "--timeout=1"}, ""),
        ({"START_JHUB": "false", "START_CHP": "true"}, "chp"),
        ({"START_JHUB": "false", "MLHUB_ROUTER": "true"}, "router"),
        ({"EXECUTION_MODE": "k8s", "START_JHUB": "false", "START_CHP": "true"}, "chp"),
        ({"EXECUTION_MODE": "k8s", "START_JHUB": "false", "MLHUB_ROUTER": "true"}, "router"),
    ],
)
def test_a_container_has_the_proxy_that_its_switches_say(environment, proxy):
    settings = read_settings(environment)
    assert (settings.runs_router, settings.runs_chp) == (proxy == "router", proxy == "chp")
    assert settings.runs_proxy is bool(proxy)
    # As the hub reads them in a process of its own.
    read_again = Settings.model_validate_json(settings.model_dump_json())
    assert (read_again.runs_router, read_again.runs_chp) == (proxy == "router", proxy == "chp")


@pytest.mark.parametrize(
    ("other", "value"),
    [
        ("START_CHP", "true"),
        ("ADDITIONAL_ARGS", "--log-level debug"),
        ("MLHUB_OTHER_PROXY", "true"),
        ("START_NGINX", "false"),
    ],
)
def test_one_container_has_one_proxy(other, value):
    with pytest.raises(SettingsError, match=f"^MLHUB_ROUTER=true .*{other}='?{value}"):
        read_settings({"MLHUB_ROUTER": "true", other: value})
    assert not read_settings({other: value}).runs_router


@given(
    st.dictionaries(
        st.sampled_from(sorted(KNOWN_VARIABLES - {f"{name}_FILE" for name in SECRET_VARIABLES})),
        st.text(max_size=40),
    )
)
def test_no_environment_at_all_ends_in_anything_but_settings_or_a_sentence(environment):
    with contextlib.suppress(SettingsError):
        read_settings(environment)


def test_host_names_per_person_are_in_the_certificate_and_in_the_printed_address():
    settings = read_settings(
        {"MLHUB_SUBDOMAIN_HOST": "https://hub.example.org:8443/", "MLHUB_BASE_URL": "/jupyter"}
    )
    assert settings.public_address == "https://hub.example.org:8443/jupyter/"
    assert {"hub.example.org", "*.hub.example.org"} <= set(certificates.list_names(settings))


@pytest.mark.parametrize(
    ("hostnames", "suffixes"),
    [
        ("", ["hub.example.org", "mlhub"]),
        ("*.hub.example.org", ["hub.example.org", "mlhub"]),
        ("other.example,192.0.2.7", ["other.example", "192.0.2.7", "hub.example.org", "mlhub"]),
    ],
)
def test_where_people_have_host_names_ssh_knows_the_hub_by_its_own(hostnames, suffixes):
    settings = read_settings(
        {"MLHUB_SUBDOMAIN_HOST": "https://hub.example.org", "MLHUB_HOSTNAMES": hostnames}
    )
    assert list_suffixes(settings.hub_name, settings.host_names) == suffixes
