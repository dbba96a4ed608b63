"""Each scenario's files, rendered and read back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlhub.backends.registry import read_settings
from mlhub.boot.render import Renderer, make_addresses
from mlhub.boot.resolver import Resolver

RESOURCES = Path(__file__).parents[2] / "resources"
SCENARIOS = {
    "docker": {},
    "docker with tls": {"SSL_ENABLED": "true"},
    "docker with chp": {"START_CHP": "true"},
    "chart's hub": {"EXECUTION_MODE": "k8s", "START_NGINX": "false"},
    "chart's bastion": {
        "EXECUTION_MODE": "k8s",
        "START_NGINX": "false",
        "START_JHUB": "false",
        "MLHUB_BASTION_TOKEN": "the-token-of-both",
    },
    "chart's proxy": {
        "EXECUTION_MODE": "k8s",
        "START_SSH": "false",
        "START_JHUB": "false",
        "MLHUB_ROUTER": "true",
        "SSHD_TARGET": "hub:2223",
        "SSHD_TARGET_PROXY_PROTOCOL": "true",
    },
    "chart's proxy with chp": {
        "EXECUTION_MODE": "k8s",
        "START_SSH": "false",
        "START_JHUB": "false",
        "START_CHP": "true",
        "SSHD_TARGET": "hub:2223",
        "SSHD_TARGET_PROXY_PROTOCOL": "true",
        "ADDITIONAL_ARGS": "--ip=0.0.0.0 --api-ip=0.0.0.0",
    },
    "proxy as of old": {
        "EXECUTION_MODE": "k8s",
        "START_SSH": "false",
        "START_JHUB": "false",
        "START_CHP": "true",
        "SSHD_TARGET": "hub:22",
    },
    "without nginx": {"START_NGINX": "false"},
    "without ssh": {"START_SSH": "false"},
    "behind a load balancer": {
        "MLHUB_TRUSTED_PROXIES": "10.0.0.0/8,192.0.2.1",
        "MLHUB_BASE_URL": "/mlhub",
    },
}

RESOLVER = Resolver(("10.96.0.10",), ("lab.svc.cluster.local", "svc.cluster.local"), 5)


def render(environment: dict[str, str], template: str) -> str:
    settings = read_settings({**environment, "MLHUB_RESOURCES_DIR": str(RESOURCES)})
    return Renderer(settings, make_addresses(settings), resolver=RESOLVER).render(template)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("template", ["nginx.conf.j2", "nginx-ssh.conf.j2"])
def test_every_scenario_renders_balanced_blocks_without_left_over_templates(scenario, template):
    text = render(SCENARIOS[scenario], template)
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


def read_location(text: str, path: str) -> str:
    """Return what holds in a location."""
    return re.search(rf"^( +)location {path} \{{\n(.*?)^\1\}}", text, re.DOTALL | re.MULTILINE)[2]  # type: ignore[index]


@pytest.mark.parametrize(
    ("scenario", "base"),
    [("docker", "/"), ("docker with tls", "/"), ("behind a load balancer", "/mlhub/")],
)
def test_what_the_hub_is_sent_is_small_and_whole_and_what_a_workspace_is_sent_is_neither(
    scenario, base
):
    text = render(SCENARIOS[scenario], "nginx.conf.j2")
    hub, rest = read_location(text, f"{base}hub/"), read_location(text, "/")
    for line in (
        "client_max_body_size 1m;",
        "client_body_timeout 15s;",
        "proxy_request_buffering on;",
        "limit_conn hub_bodies 500;",
        "limit_conn all_hub_bodies 2000;",
    ):
        assert line in hub
        assert line not in rest
    assert f"location = {base}hub/login {{" in hub


@pytest.mark.parametrize(
    "scenario", ["docker", "docker with tls", "docker with chp", "chart's proxy"]
)
def test_the_sign_in_has_a_pace_for_each_client_unless_the_site_wants_none(scenario):
    text = render(SCENARIOS[scenario], "nginx.conf.j2")
    assert "limit_req_zone $sign_in_queue zone=sign_ins:5m rate=20r/s;" in text
    for page in ("login", "signup"):
        assert "limit_req zone=sign_ins burst=1000 delay=100;" in read_location(
            text, f"= /hub/{page}"
        )
    other = render({**SCENARIOS[scenario], "MLHUB_SIGN_INS_PER_SECOND": "3"}, "nginx.conf.j2")
    assert "rate=3r/s;" in other
    assert "burst=150 delay=15;" in other
    none = render({**SCENARIOS[scenario], "MLHUB_SIGN_INS_PER_SECOND": "0"}, "nginx.conf.j2")
    assert "limit_req" not in none
    assert "location = /hub/login {" in none


def test_nothing_behind_nginx_gives_it_orders():
    (line,) = re.findall(r"proxy_ignore_headers (.*);", render({}, "nginx.conf.j2"))
    assert {
        "X-Accel-Redirect",
        "X-Accel-Buffering",
        "X-Accel-Limit-Rate",
        "X-Accel-Charset",
        "X-Accel-Expires",
    } <= set(line.split())


def test_without_tls_nothing_terminates_tls():
    text = render({}, "nginx.conf.j2")
    assert " ssl" not in text.replace("no_ssl", "")
    assert 'js_var $mux_tls "";' in text


def test_with_tls_plain_http_is_redirected_to_the_same_port():
    text = render({"SSL_ENABLED": "on"}, "nginx.conf.j2")
    assert "return 308 https://$http_host$request_uri;" in text
    assert "TLSv1.1" not in text


def test_hub_nginx_and_proxy_in_one_container_meet_on_sockets():
    text = render({"START_CHP": "true"}, "nginx.conf.j2")
    assert "server unix:/run/mlhub/chp/public.sock" in text
    assert "chp-api" not in text


@pytest.mark.parametrize("tls", ["true", "false"])
def test_nginx_looks_up_routes_itself_where_nobody_asks_for_chp(tls):
    text = render({"SSL_ENABLED": tls}, "nginx.conf.j2")
    assert "chp/public.sock" not in text
    assert "http://chp" not in text
    assert "listen unix:/run/mlhub/chp-api/api.sock backlog" in text
    text = render({"MLHUB_ROUTER": "true", "START_JHUB": "false"}, "nginx.conf.j2")
    assert ("listen 8001 backlog" in text, "listen [::]:8001 backlog" in text) == (True, True)
    # Where something else does, nothing of it is loaded.
    for others in ("START_CHP", "MLHUB_OTHER_PROXY"):
        assert "router_" not in render({others: "true", "SSL_ENABLED": tls}, "nginx.conf.j2")


@pytest.mark.parametrize("chp", ["true", "false"])
def test_how_large_a_head_may_be_is_looked_at_whoever_looks_up_the_routes(chp):
    text = render({"START_CHP": chp, "SSL_ENABLED": "true"}, "nginx.conf.j2")
    word = "front.heads" if chp == "true" else "router.front"
    look = f'access_by_lua_block {{ require("{word}").'
    assert look in read_location(text, "/hub/")
    assert text.count(look) == 2  # there, and in all the rest
    # What does not fit is ended without a page, by HTTP/2.
    assert "large_client_header_buffers 12 64k;" in text


def test_addresses_in_additional_args_move_the_proxy_to_tcp():
    assert "server 127.0.0.1:8000" in render({"ADDITIONAL_ARGS": "--ip=0.0.0.0"}, "nginx.conf.j2")


def read_server(text: str, listen: str) -> str:
    """Return the stream server that listens there."""
    return next(
        server
        for server in re.findall(r"^    server \{\n(.*?)^    \}", text, re.DOTALL | re.MULTILINE)
        if f"listen {listen}" in server
    )


def test_the_charts_proxy_hands_ssh_to_the_hubs_service_and_tells_whose_it_is():
    text = render(SCENARIOS["chart's proxy"], "nginx.conf.j2")
    # The PROXY protocol cannot name a unix socket as its end.
    server = read_server(text, "127.0.0.1:2222")
    assert "ssh  127.0.0.1:2222;" in text
    assert "proxy_protocol on;" in server
    assert "proxy_bind" not in server
    # Not there yet when nginx starts, perhaps: looked up when somebody connects.
    assert 'js_var $mux_sshd "hub.lab.svc.cluster.local:2223";' in text
    assert "resolver 10.96.0.10 valid=10s;" in server
    assert "proxy_pass $mux_sshd;" in server


def test_another_sshd_than_the_charts_is_told_nothing_that_it_would_not_understand():
    server = read_server(
        render(SCENARIOS["proxy as of old"], "nginx.conf.j2"), "unix:/run/mlhub/nginx/ssh.sock"
    )
    assert "proxy_protocol" not in server
    assert "proxy_bind" not in server


@pytest.mark.parametrize("target", ["192.0.2.7:22", "[2001:db8::7]:22"])
def test_an_address_needs_no_resolver(target):
    text = render({**SCENARIOS["proxy as of old"], "SSHD_TARGET": target}, "nginx.conf.j2")
    assert f"proxy_pass {target};" in text
    assert "resolver" not in text


def test_the_charts_bastion_believes_the_proxys_word_on_the_proxys_port_alone():
    text = render(SCENARIOS["chart's bastion"], "nginx-ssh.conf.j2")
    plain, told = read_server(text, "2222"), read_server(text, "2223")
    assert "proxy_protocol" not in plain
    assert "set_real_ip_from" not in plain
    assert "listen 2223 proxy_protocol " in told
    assert "listen [::]:2223 proxy_protocol " in told
    for server in (plain, told):
        assert "proxy_bind $mux_source;" in server
        assert "proxy_pass 127.0.0.1:2220;" in server
    assert "listen unix:/run/mlhub/clients/real.sock;" in text
    assert "http {" not in text


def test_the_charts_bastion_asks_by_its_line_to_the_hub_and_listens_behind_nginx():
    text = render(SCENARIOS["chart's bastion"], "sshd_config.j2").splitlines()
    assert "Port 2220" in text
    assert "ListenAddress 127.0.0.1" in text
    assert (
        "AuthorizedKeysCommand /usr/local/lib/mlhub/lookup /run/mlhub/bastion/lookup.sock %f"
        in text
    )
    assert "HostKey /run/mlhub/ssh/ssh_host_ed25519_key" in text


def test_forwarded_headers_are_believed_only_from_named_proxies():
    text = render(SCENARIOS["behind a load balancer"], "nginx.conf.j2")
    geo = re.search(r"geo \$realip_remote_addr \$from_trusted_proxy \{(.*?)\}", text, re.DOTALL)
    assert geo
    assert [line.strip() for line in geo[1].splitlines() if line.strip()] == [
        "default 0;",
        "10.0.0.0/8 1;",
        "192.0.2.1 1;",
    ]
    assert re.findall(r"set_real_ip_from (.*);", text) == ["10.0.0.0/8", "192.0.2.1"]
    assert "location = /mlhub/hub/login" in text


@pytest.mark.parametrize(("environment", "port"), [({}, "2222"), ({"START_NGINX": "false"}, "22")])
def test_sshd_listens_where_it_is_documented(environment, port):
    text = render(environment, "sshd_config.j2")
    assert f"Port {port}" in text.splitlines()
    assert ("ListenAddress 127.0.0.1" in text) is (port == "2222")


def test_sshd_lets_in_by_key_only_and_grants_nothing_by_itself():
    options = dict(
        line.split(None, 1)
        for line in render({}, "sshd_config.j2").splitlines()
        if line.strip() and not line.startswith("#")
    )
    assert options["PasswordAuthentication"] == "no"
    assert options["AllowUsers"] == "limited-user"
    # What may be reached is in the line of the key, which only the hub writes; without one nobody
    # is in.
    assert options["AuthorizedKeysFile"] == "none"
    assert options["AuthorizedKeysCommand"].startswith("/usr/local/lib/mlhub/lookup ")
    assert options["PermitListen"] == "none"
    assert options["AllowTcpForwarding"] == "local"
    assert options["PermitUserEnvironment"] == "no"
