"""A spawner class that is none of ours: it gets sign-in, the proxy and the removal of people."""

from __future__ import annotations

import pytest

CONFIG = '''
import sys
program = Path("workspace.py").absolute()
program.write_text("""
import http.server, os
from urllib.parse import urlsplit

class Workspace(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"a plain workspace")

url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
http.server.ThreadingHTTPServer((url.hostname, url.port), Workspace).serve_forever()
""")
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = str(Path("{username}").absolute())
c.Spawner.cmd = [sys.executable, str(program)]
'''


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub(CONFIG)


@pytest.fixture(scope="module")
def admin(hub):
    return hub.service()


def start(hub, admin, name):
    admin.make_person(name)
    assert admin.start(name).status_code in (201, 202)
    hub.wait_until(lambda: (admin.get_server(name) or {}).get("ready"), "the workspace to run")


def test_it_runs_and_has_no_options_and_no_limits(hub, admin):
    start(hub, admin, "ann")
    assert hub.browser().get("/user/ann/").text == "a plain workspace"
    answer = admin.get("users/ann/options-schema")
    assert answer.status_code == 404
    assert "SimpleLocalProcessSpawner knows no workspace options" in answer.json()["message"]


def test_what_a_token_has_opened_ends_with_the_token(hub, admin):
    start(hub, admin, "bea")
    token = admin.post("users/bea/tokens", json={}).json()["id"]
    assert admin.delete(f"users/bea/tokens/{token}").status_code == 204
    hub.wait_until(lambda: "Somebody may not enter bea" in hub.log, "the WebSockets to be ended")
    assert "Traceback" not in hub.log


def test_a_person_is_deleted_with_what_runs_of_theirs(hub, admin):
    start(hub, admin, "cid")
    assert admin.delete("users/cid").status_code == 204
    assert admin.get("users/cid").status_code == 404
    assert hub.browser().get("/user/cid/").text != "a plain workspace"
