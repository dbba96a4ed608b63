"""Real `jupyterhub` processes behind a real proxy, made by factory fixtures.

def test_x(hub):
    server = hub("c.Authenticator.admin_users = {'boss'}")
    browser = server.browser()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.hub_process import (
    REPOSITORY,
    Hub,
    WorkspaceHub,
    install_node_packages,
    running_hubs,
)
from tests.support.ports import find_free_port


@pytest.fixture(scope="session")
def install_packages() -> Callable[[Path], Path]:
    """Return the function that installs the packages of a lock file."""
    return install_node_packages


@pytest.fixture(scope="session")
def pick_port() -> Callable[[], int]:
    """Return the function that finds a free port."""
    return find_free_port


@pytest.fixture(scope="session")
def proxy_program() -> Path:
    """Return the configurable-http-proxy of the product's own lock file."""
    return (
        install_node_packages(REPOSITORY / "docker" / "proxy")
        / "configurable-http-proxy"
        / "bin"
        / "configurable-http-proxy"
    )


@pytest.fixture
def hub(
    tmp_path: Path, proxy_program: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Hub]]:
    """Start hubs with a piece of user config; they end with the test."""
    with running_hubs(tmp_path, proxy_program, request) as start:
        yield start


@pytest.fixture(scope="module")
def module_hub(
    tmp_path_factory: pytest.TempPathFactory, proxy_program: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Hub]]:
    """Start hubs that end with the module."""
    with running_hubs(tmp_path_factory.mktemp("hub"), proxy_program, request) as start:
        yield start


@pytest.fixture
def workspace_hub(
    tmp_path: Path, proxy_program: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., WorkspaceHub]]:
    """Start hubs of the product's own application with workspaces of the fake backend; they end
    with the test.
    """
    with running_hubs(tmp_path, proxy_program, request, WorkspaceHub) as start:
        yield start


@pytest.fixture(scope="module")
def module_workspace_hub(
    tmp_path_factory: pytest.TempPathFactory, proxy_program: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., WorkspaceHub]]:
    """Start hubs of the product's own application that end with the module."""
    with running_hubs(
        tmp_path_factory.mktemp("hub"), proxy_program, request, WorkspaceHub
    ) as start:
        yield start
