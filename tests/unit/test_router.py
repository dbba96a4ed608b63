"""What boot tells nginx that looks up routes itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlhub.backends.registry import read_settings
from mlhub.boot.resolver import Resolver
from mlhub.boot.router import make_site, read_hosts
from mlhub.settings import HUB_PROXY_PORT

HUB = f"http://127.0.0.1:{HUB_PROXY_PORT}"


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, {"default_target": HUB, "host_routing": False, "base_url": "/"}),
        (
            {"START_JHUB": "false", "MLHUB_ROUTER": "true"},
            {"default_target": HUB.replace("127.0.0.1", "mlhub")},
        ),
        ({"MLHUB_BASE_URL": "/jupyter"}, {"base_url": "/jupyter/"}),
        ({"MLHUB_SUBDOMAIN_HOST": "https://hub.example.org"}, {"host_routing": True}),
    ],
)
def test_the_site_is_what_the_settings_say(environment, wanted, tmp_path):
    settings = read_settings(environment)
    site = make_site(settings, "secret", Resolver(), tmp_path / "hosts")
    assert site["token"] == "secret"
    assert {name: site[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("resolver", "search"),
    [
        (Resolver(), ""),
        (
            Resolver(search=("ns.svc.cluster.local", "svc.cluster.local"), ndots=5),
            "ns.svc.cluster.local",
        ),
        (Resolver(search=("example.org",), ndots=0), ""),
    ],
)
def test_a_name_without_dots_is_asked_for_as_the_container_does(resolver, search, tmp_path):
    settings = read_settings({})
    assert make_site(settings, "", resolver, tmp_path / "hosts")["search"] == search


def test_the_containers_own_names_are_known(tmp_path):
    file = tmp_path / "hosts"
    file.write_text(
        "# a comment\n127.0.0.1\tlocalhost\n::1 localhost ip6-localhost\n\n"
        "172.17.0.5 db Db.example.org # beside it\nfe80::1%eth0 linked\n10.0.0.1 db\n"
    )
    assert read_hosts(file) == {
        "localhost": "127.0.0.1",
        "ip6-localhost": "[::1]",
        "db": "172.17.0.5",
        "db.example.org": "172.17.0.5",
    }
    assert read_hosts(Path("/nonexistent")) == {"localhost": "127.0.0.1"}
