"""A site's own backend, in an image made as the how-to says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import own_backend
from tests.support.hub_container import CONFIG, IMAGE, PACKAGES, RUN, Hub, docker

TAG = f"mlhub-test-own-backend:{RUN}"


@pytest.fixture(scope="module")
def own_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The hub's image with a backend that pip has installed beside it."""
    folder: Path = tmp_path_factory.mktemp("own-image")
    own_backend.install(folder)
    (folder / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY packages {PACKAGES}\n")
    docker("build", "--quiet", "--tag", TAG, str(folder))
    yield TAG
    docker("image", "rm", "--force", TAG, check=False)


def test_a_hub_starts_workspaces_by_a_backend_that_the_site_has_installed(
    own_image: str, make_hub: Callable[..., Hub]
) -> None:
    hub = make_hub(CONFIG, start=False, EXECUTION_MODE=own_backend.MODE, HUB_NAME="longer-than-5")
    hub.image = own_image
    hub.start()
    hub.wait_until_ready()
    assert f"execution mode {own_backend.MODE}" in hub.logs()
    hub.start_workspace("ann")
    status, _, body = hub.request("GET", "/user/ann/")
    assert (status, body) == (200, b"{}")
    assert hub.containers() == []


def test_a_broken_package_is_a_sentence_where_it_is_chosen_and_nothing_elsewhere(
    own_image: str, make_hub: Callable[..., Hub], tmp_path: Path
) -> None:
    broken = tmp_path / "site_processes.py"
    broken.write_text("import a_module_that_nobody_has\n")
    mount = f"{broken}:{PACKAGES}/site_processes.py:ro"
    hub = make_hub(CONFIG, start=False, mounts=(mount,), EXECUTION_MODE=own_backend.MODE)
    hub.image = own_image
    ended = hub.run_until_it_ends()
    assert ended.code == 1
    assert "The backend 'processes' (site_processes:KIND) cannot be loaded" in ended.log
    assert "a_module_that_nobody_has" in ended.log
    assert "Traceback" not in ended.log
    other = make_hub(CONFIG, start=False, mounts=(mount,))
    other.image = own_image
    other.start()
    other.wait_until_ready()
    assert "site_processes" not in other.logs()
