"""A hub container of the built image for each test that asks for one."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.container_release import Client, Release
from tests.support.hub_container import Hub, HubMaker

# The release that the original product was built with, else the oldest that this Python can run.
OLD_RELEASES = (
    ("jupyterhub==1.1.0", "sqlalchemy<1.4"),
    ("jupyterhub==1.5.1", "sqlalchemy<2"),
    ("jupyterhub==4.1.6", "sqlalchemy<3"),
)


@pytest.fixture(scope="session")
def make_shared_hub(
    tmp_path_factory: pytest.TempPathFactory, wait_for: Callable[..., Any]
) -> Iterator[HubMaker]:
    """Return a function that starts hub containers, which live as long as all tests."""
    maker = HubMaker(tmp_path_factory.mktemp, wait_for)
    yield maker
    maker.remove_all()


@pytest.fixture(scope="module")
def make_hub(
    tmp_path_factory: pytest.TempPathFactory, wait_for: Callable[..., Any]
) -> Iterator[HubMaker]:
    """Return a function that starts hub containers, which live as long as the module's tests."""
    maker = HubMaker(tmp_path_factory.mktemp, wait_for)
    yield maker
    maker.remove_all()


@pytest.fixture
def make_brief_hub(
    tmp_path_factory: pytest.TempPathFactory, wait_for: Callable[..., Any]
) -> Iterator[HubMaker]:
    """Return a function that starts hub containers, which are gone after the test."""
    maker = HubMaker(tmp_path_factory.mktemp, wait_for)
    yield maker
    maker.remove_all()


@pytest.fixture(scope="session")
def hub(make_shared_hub: HubMaker) -> Hub:
    """Return the hub over plain HTTP that all tests share.

    A test comes to it with people of its own, and leaves it as it was. One that restarts its hub,
    or wants other settings, makes a hub for itself or its module.
    """
    return make_shared_hub()


@pytest.fixture(scope="session")
def tls_hub(make_shared_hub: HubMaker) -> Hub:
    """Return the hub over HTTPS that all tests share, in the same way."""
    return make_shared_hub(SSL_ENABLED="true", MLHUB_HOSTNAMES="localhost,127.0.0.1")


@pytest.fixture
def name() -> str:
    """Return the name of somebody whom no hub knows yet."""
    return f"p{secrets.token_hex(3)}"


@pytest.fixture(scope="session")
def release(
    tmp_path_factory: pytest.TempPathFactory, wait_for: Callable[..., Any]
) -> Iterator[Release]:
    """Return a release of the chart that runs; the proxy came first, when no name of the others
    meant anything yet.
    """
    one = Release(tmp_path_factory.mktemp("release"), wait_for)
    try:
        one.start("proxy")
        one.start_echo()
        one.start("ssh", ready=False)
        one.start("hub")
        one.containers["ssh"].wait_until_ready()
        wait_for(one.reaches_service, "the hub's routes", 10)
        yield one
    finally:
        one.remove()


@pytest.fixture
def brief_release(tmp_path: Path, wait_for: Callable[..., Any]) -> Iterator[Release]:
    """Return a release of the chart of which nothing runs yet."""
    one = Release(tmp_path, wait_for)
    yield one
    one.remove()


@pytest.fixture(scope="module")
def ann(release: Release) -> Client:
    """Return somebody whose key is registered."""
    client = Client(release, "ann")
    client.register()
    return client


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """Show the hub containers' logs when a test fails."""
    report = yield
    if report.when == "call" and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Hub):
                report.sections.append((f"log of {value.name}", value.logs()[-6000:]))
    return report


@pytest.fixture(scope="session")
def old_python() -> Path:
    """Return a Python with an old JupyterHub, kept between runs."""
    cache = Path(os.environ.get("MLHUB_CACHE") or Path.home() / ".cache" / "mlhub")
    for release in OLD_RELEASES:
        folder = cache / f"{release[0].replace('==', '-')}-python{sys.version_info[1]}"
        python = folder / "bin" / "python"
        if (folder / ".complete").exists():
            return python
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", *release, "setuptools<80"],
            capture_output=True,
            timeout=600,
        )
        if (
            subprocess.run(
                [python, "-c", "import jupyterhub.dbutil, jupyterhub.orm"], capture_output=True
            ).returncode
            == 0
        ):
            (folder / ".complete").touch()
            return python
    raise AssertionError(f"none of {OLD_RELEASES} can be installed for Python {sys.version}")
