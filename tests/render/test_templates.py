"""Each scenario's files, rendered and read back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlhub.boot.render import Renderer, make_addresses
from mlhub.settings import Settings

RESOURCES = Path(__file__).parents[2] / "resources"
SCENARIOS = {
    "docker": {},
    "docker with tls": {"SSL_ENABLED": "true"},
    "chart's hub": {"EXECUTION_MODE": "k8s", "START_NGINX": "false"},
    "chart's proxy": {
        "EXECUTION_MODE": "k8s",
        "START_SSH": "false",
        "START_JHUB": "false",
        "START_CHP": "true",
        "SSHD_TARGET": "hub:22",
        "ADDITIONAL_ARGS": "--ip=0.0.0.0 --api-ip=0.0.0.0",
    },
    "without nginx": {"START_NGINX": "false"},
    "without ssh": {"START_SSH": "false"},
    "behind a load balancer": {"MLHUB_TRUSTED_PROXIES": "10.0.0.0/8,192.0.2.1", "MLHUB_BASE_URL": "/mlhub"},
}


def render(environment: dict[str, str], template: str) -> str:
    settings = Settings.from_environment({**environment, "MLHUB_RESOURCES_DIR": str(RESOURCES)})
    return Renderer(settings, make_addresses(settings)).render(template)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_renders_balanced_blocks_without_left_over_templates(scenario):
    text = render(SCENARIOS[scenario], "nginx.conf.j2")
    assert text.count("{") == text.count("}")
    assert "{{" not in text
    assert "{%" not in text


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nginx_is_given_no_rewrites_no_captures_and_no_cors(scenario):
    text = render(SCENARIOS[scenario], "nginx.conf.j2")
    assert not re.search(r"^\s*(if|rewrite|set)\s", text, re.MULTILINE)
    assert "Access-Control" not in text
    assert not re.search(r"\$[1-9]", text)
    assert "Origin" not in text
    assert "Referer" not in text


def test_without_tls_nothing_terminates_tls():
    text = render({}, "nginx.conf.j2")
    assert " ssl" not in text.replace("no_ssl", "")
    assert 'js_var $mux_tls "";' in text


def test_with_tls_plain_http_is_redirected_to_the_same_port():
    text = render({"SSL_ENABLED": "on"}, "nginx.conf.j2")
    assert "return 308 https://$http_host$request_uri;" in text
    assert "TLSv1.1" not in text


def test_hub_nginx_and_proxy_in_one_container_meet_on_sockets():
    assert "server unix:/run/mlhub/chp/public.sock" in render({}, "nginx.conf.j2")


def test_addresses_in_additional_args_move_the_proxy_to_tcp():
    assert "server 127.0.0.1:8000" in render({"ADDITIONAL_ARGS": "--ip=0.0.0.0"}, "nginx.conf.j2")


def test_the_charts_proxy_hands_ssh_to_the_hubs_service_without_a_loopback_source():
    text = render(SCENARIOS["chart's proxy"], "nginx.conf.j2")
    assert "proxy_pass hub:22;" in text
    assert "proxy_bind" not in text


def test_forwarded_headers_are_believed_only_from_named_proxies():
    text = render(SCENARIOS["behind a load balancer"], "nginx.conf.j2")
    geo = re.search(r"geo \$from_trusted_proxy \{(.*?)\}", text, re.DOTALL)
    assert geo
    assert [line.strip() for line in geo[1].splitlines() if line.strip()] == ["default 0;", "10.0.0.0/8 1;", "192.0.2.1 1;"]
    assert "location = /mlhub/hub/login" in text


@pytest.mark.parametrize(("environment", "port"), [({}, "2222"), ({"START_NGINX": "false"}, "22")])
def test_sshd_listens_where_it_is_documented(environment, port):
    text = render(environment, "sshd_config.j2")
    assert f"Port {port}" in text.splitlines()
    assert ("ListenAddress 127.0.0.1" in text) is (port == "2222")


def test_sshd_lets_in_by_key_only_and_grants_nothing_by_itself():
    options = dict(line.split(None, 1) for line in render({}, "sshd_config.j2").splitlines() if line.strip() and not line.startswith("#"))
    assert options["PasswordAuthentication"] == "no"
    assert options["AllowUsers"] == "limited-user"
    # What may be reached is in the line of the key, which only the hub writes; without one nobody is in.
    assert options["AuthorizedKeysFile"] == "none"
    assert options["AuthorizedKeysCommand"].startswith("/usr/local/lib/mlhub/lookup ")
    assert options["PermitListen"] == "none"
    assert options["AllowTcpForwarding"] == "local"
    assert options["PermitUserEnvironment"] == "no"


def test_a_sentence_with_markup_does_not_become_markup():
    settings = Settings.from_environment({"MLHUB_RESOURCES_DIR": str(RESOURCES)})
    text = Renderer(settings, make_addresses(settings)).render("proxy-error.html", title="<script>x</script>", sentence="a", retries=True)
    assert "<script>" not in text
