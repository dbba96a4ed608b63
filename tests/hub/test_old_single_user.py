"""The single-user server of the images of 2021 runs under this hub: JupyterHub 1.4, as released."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.support.old_single_user import ensure_old_jupyterhub

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def program() -> Path:
    """Return `jupyterhub-singleuser` of that time."""
    return ensure_old_jupyterhub() / "bin" / "jupyterhub-singleuser"


@pytest.fixture(scope="module")
def hub(module_workspace_hub, program):
    return module_workspace_hub(f"""
from pathlib import Path
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = str(Path("{{username}}").absolute())
c.Spawner.cmd = [{str(program)!r}, "--allow-root"]
c.Spawner.env_keep = ["LANG"]
c.Spawner.environment = {{"PATH": "{program.parent}:/usr/bin:/bin"}}
""")


def ask(hub, person, method: str, path: str, **options) -> requests.Response:
    headers = {"Authorization": person.headers["Authorization"]}
    return requests.request(method, f"{hub.url}{path}", headers=headers, timeout=60, **options)


def test_its_owner_gets_in_and_runs_a_kernel_and_nobody_else_does(hub):
    admin = hub.service()
    ann, bob = admin.make_person("ann"), admin.make_person("bob")
    assert admin.start("ann").status_code in (201, 202)
    hub.wait_until(lambda: (admin.get_server("ann") or {}).get("ready"), "the server of 2021", 120)
    kernel = ask(hub, ann, "POST", "/user/ann/api/kernels", json={"name": "python3"})
    assert kernel.status_code == 201, kernel.text
    assert ask(hub, ann, "GET", "/user/ann/tree").status_code == 200
    assert ask(hub, bob, "GET", "/user/ann/api/kernels").status_code == 403
    assert admin.stop("ann").status_code in (202, 204)
    hub.wait_until(lambda: not (admin.get_server("ann") or {}).get("ready"), "it to be stopped")


def test_a_browser_is_sent_to_the_hub_to_sign_in(hub):
    admin = hub.service()
    admin.make_person("cleo")
    assert admin.start("cleo").status_code in (201, 202)
    hub.wait_until(lambda: (admin.get_server("cleo") or {}).get("ready"), "the server", 120)
    answer = requests.get(f"{hub.url}/user/cleo/tree", timeout=60, allow_redirects=False)
    assert answer.status_code == 302
    assert "/hub/api/oauth2/authorize" in answer.headers["Location"]
