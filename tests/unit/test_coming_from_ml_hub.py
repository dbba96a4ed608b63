"""Whoever comes from ML Hub of 2021 finds here what the page about it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyterhub.apihandlers import default_handlers as api_handlers
from jupyterhub.handlers import default_handlers

from mlhub.boot import certificates
from mlhub.hub.layers.rulings import list_tables
from mlhub.hub.rooms import ROOMS
from mlhub.identity import LABEL_ORIGIN, LABEL_SERVER, LABEL_USER
from mlhub.policy.expiry import LABEL_EXPIRES
from mlhub.settings import KNOWN_VARIABLES
from mlhub.signin.native.admin_handlers import list_admin_handlers
from mlhub.signin.native.handlers import list_handlers
from mlhub.workspaces.holder import LABEL_PERSON
from tests.support.chart_files import ORIGINAL, SCHEMA

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/howto/coming-from-ml-hub.md").read_text()
# Variables of the original, as its documentation and its entry point have them.
VARIABLES = """
HUB_NAME SSL_ENABLED EXECUTION_MODE DYNAMIC_WHITELIST_ENABLED CLEANUP_INTERVAL_SECONDS
IS_CLEANUP_SERVICE_ENABLED START_SSH START_NGINX START_JHUB START_CHP ADDITIONAL_ARGS SSHD_TARGET
DEFAULT_WORKSPACE_PORT DATA_VOLUME_CONTAINER DOCKER_HOST DOCKER_TLS_VERIFY DOCKER_CERT_PATH
SSH_PERMIT_TARGET_HOST SSH_PERMIT_TARGET_PORT SSH_TARGET_LABELS SSH_TARGET_PUBLICKEY_API_PORT
SSH_TARGET_KEY_PATH MANUAL_AUTH_FILE
"""


def list_rows(heading: str) -> Iterator[tuple[str, str]]:
    """Yield the cells of the rows below a heading."""
    section = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    text = next(part for part in section if part.startswith(f"{heading}\n"))
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("|") and not line.startswith(("|---", "| Of the")):
            yield cells[0], cells[1]


def list_names(heading: str) -> list[str]:
    """List what the rows below a heading are about."""
    return [name for cell, _ in list_rows(heading) for name in re.findall(r"`([^`]+)`", cell)]


def test_every_variable_of_the_original_is_named_and_is_one():
    variables = {name for name in list_names("Variables") if name in KNOWN_VARIABLES}
    assert variables == set(VARIABLES.split())


def test_a_variable_that_workspaces_have_is_set_there():
    source = (ROOT / "mlhub/workspaces/spawner.py").read_text()
    others = [name for name in list_names("Variables") if name not in KNOWN_VARIABLES]
    assert others
    for name in others:
        assert f'"{name}"' in source, name


def list_addresses() -> list[str]:
    ours = [h[0] for room in ROOMS for h in (*room.handlers, *room.outer_handlers)]
    theirs = [handler[0] for handler in (*default_handlers, *api_handlers)]
    native = [handler[0] for handler in (*list_handlers(), *list_admin_handlers())]
    return [*ours, *theirs, *native]


@pytest.mark.parametrize("path", list_names("Addresses"))
def test_an_address_is_answered(path):
    path = path.replace("<user>", "ann").replace("<server>", "lab").removeprefix("/hub")
    assert any(re.fullmatch(address, path) for address in list_addresses()), path


def test_a_label_is_the_code_s():
    known = {LABEL_ORIGIN, LABEL_USER, LABEL_SERVER, LABEL_PERSON, LABEL_EXPIRES}
    assert set(list_names("Labels")) <= known
    assert known - {LABEL_PERSON} <= set(list_names("Labels"))


@pytest.mark.parametrize("path", list_names("Values of the chart"))
def test_a_value_is_one_of_the_original_s_and_of_the_chart_s(path):
    assert path in ORIGINAL.split()
    section = SCHEMA
    for name in path.split("."):
        section = section["properties"][name]


@pytest.mark.parametrize("name", list_names("Traits"))
def test_a_trait_is_one_that_the_hub_knows(name):
    section, trait = name.removeprefix("c.").split(".")
    known = {trait for table in list_tables() for trait in table.rulings}
    source = "".join(file.read_text() for file in (ROOT / "mlhub/workspaces").glob("*.py"))
    is_of_a_provider = section.endswith("OAuthenticator")
    assert trait in known or f"{trait} = " in source or is_of_a_provider, name


def test_a_file_of_the_image_is_where_the_page_says():
    sources = "".join(
        file.read_text()
        for pattern in ("mlhub/**/*.py", "helmchart/mlhub/templates/**/*", "Dockerfile")
        for file in ROOT.glob(pattern)
        if file.is_file()
    )
    for path in list_names("Files of the image"):
        if path != "/etc/ssh/access.log":  # the one that is gone, and says where it went
            assert Path(path).name in sources, path
    assert certificates.SECRETS


def test_no_row_is_empty():
    for heading in ("On Docker", "Features", "Variables", "Addresses", "Labels", "Traits"):
        rows = list(list_rows(heading))
        assert rows
        assert all(cell and here for cell, here in rows)
