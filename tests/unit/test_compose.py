"""docker/compose.yaml says nothing that does not exist; each way runs in
tests/image/test_compose.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from mlhub.settings import KNOWN_VARIABLES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker/compose.yaml").read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
PAGE = (ROOT / "docs/howto/compose.md").read_text()
HUBS = [name for name in SERVICES if name.startswith("hub")]
# Of the images of others, and of the user config beside it.
OTHERS = {"DATABASE_URL", "POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}


def test_there_is_one_hub_for_each_way():
    ways = [SERVICES[name]["profiles"] for name in HUBS]
    assert ways == [["alone"], ["postgres"], ["proxy"], ["filter"]]
    for (way,) in ways:
        assert f"| `{way}` |" in PAGE


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_says_what_there_is(name):
    service = SERVICES[name]
    assert set(service.get("environment", {})) <= KNOWN_VARIABLES | OTHERS
    for mount in service["volumes"]:
        if "./compose/" in mount and "certificate" not in mount:
            file = re.search(r"\./(compose/[\w.]+)", mount)[1]
            assert (ROOT / "docker" / file).is_file()


def test_every_variable_is_told_of():
    for variable in set(re.findall(r"\$\{([A-Z_]+)", TEXT)):
        assert f"`{variable}`" in PAGE, variable


def test_only_one_service_has_the_socket_where_there_is_a_filter():
    socket = "/var/run/docker.sock:/var/run/docker.sock"
    holders = [name for name, service in SERVICES.items() if socket in service["volumes"]]
    assert holders == ["hub", "hub-postgres", "hub-behind", "filter"]


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        ("GET /_ping", True),
        ("GET /v1.44/info", True),
        ("POST /v1.44/containers/create", True),
        ("DELETE /v1.44/volumes/one", True),
        ("POST /v1.44/images/create", True),
        ("GET /v1.44/images/registry.example/a:1/json", True),
        ("POST /v1.44/build", False),
        ("POST /v1.44/images/x/push", False),
        ("DELETE /v1.44/images/x", False),
        ("GET /v1.44/secrets", False),
        ("POST /v1.44/swarm/init", False),
        ("POST /v1.44/auth", False),
        ("GET /v1.44/plugins", False),
        ("GET /containersx/json", False),
    ],
)
def test_the_filter_hands_on_what_a_hub_asks_and_nothing_else(request_line, expected):
    rules = re.findall(r'"~(.+)" 1;', (ROOT / "docker/compose/filter.conf").read_text())
    assert any(re.search(rule, request_line) for rule in rules) is expected
