"""The programs of docs/howto/tool-examples.md, of the registry, in the default workspace: started
by the hub's button, behind the hub's check.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.hub_container import CONFIG, ROOT, RUN, Hub, HubMaker, docker
from tests.support.websockets import is_open, open_websocket

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]
PAGE = (ROOT / "docs" / "howto" / "tool-examples.md").read_text()
TAG = f"mlhub-test-examples:{RUN}"
CELL = {
    "cell_type": "code",
    "execution_count": None,
    "id": "a",
    "metadata": {},
    "outputs": [],
    "source": "print('hello ' + 'of voila')",
}
FILES = {
    "app.py": "import streamlit\nstreamlit.write('hello of streamlit')\n",
    "gradio_app.py": "import gradio\n"
    "gradio.Interface(lambda name: 'hello ' + name, 'text', 'text', api_name='greet').launch()\n",
    "dash_app.py": "import dash\napp = dash.Dash()\napp.layout = dash.html.Div('hello of dash')\n"
    "app.run()\n",
    "shiny_app.py": "from shiny import App, ui\napp = App(ui.page_fluid('hello of shiny'), None)\n",
    "report.ipynb": json.dumps(
        {
            "cells": [CELL],
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    ),
}
# An address of each, what its answer has in it, and where it opens WebSockets.
LOOKS = {
    "Streamlit": ("_stcore/health", "ok", "_stcore/stream"),
    "TensorBoard": ("data/environment", "data_location", ""),
    "Gradio": ("config", "hello|greet", ""),
    "Dash": ("_dash-layout", "hello of dash", ""),
    "Shiny for Python": ("", "hello of shiny", "websocket/"),
    "Voilà": ("", "hello of voila", "api/kernels/{kernel}/channels"),
    "marimo": ("", "<marimo-", "ws?session_id=s_abcdef&file=__new__s_abcdef"),
}


def read_block(kind: str) -> str:
    (found,) = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    return found


TOOLS = {each["name"]: each for each in yaml.safe_load(read_block("yaml"))["images"][0]["tools"]}


def build(folder: Path) -> None:
    """Build the page's image, with this machine's certificates for the time of the build."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from tools.images import WORKSPACE, ensure_build_image, ensure_image

    ensure_image(WORKSPACE)
    (folder / "apps").mkdir()
    for name, text in FILES.items():
        (folder / "apps" / name).write_text(text)
    first, *lines = (
        read_block("dockerfile").replace("RUN ", "RUN PIP_CERT=/tmp/ca.crt ").split("\n")
    )
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    words = [f"FROM {ensure_build_image()} AS build", f"{first}:latest", *lines[:1]]
    words += [f"COPY --from=build {bundle} /tmp/ca.crt", *lines[1:]]
    words += ["COPY --chown=1000:1000 apps /workspace/", ""]
    (folder / "Dockerfile").write_text("\n".join(words))
    docker("build", "--quiet", "--network=host", "--tag", TAG, str(folder), timeout=1200)
    sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture(scope="module")
def hub(tmp_path_factory, wait_for) -> Iterator[Hub]:
    """A hub whose workspaces are of that image; nora has one."""
    build(tmp_path_factory.mktemp("examples"))
    maker = HubMaker(tmp_path_factory.mktemp, wait_for)
    settings = {TAG: {"tools": list(TOOLS.values())}}
    made = maker(f"{CONFIG}c.Spawner.image = {TAG!r}\nc.Spawner.image_settings = {settings!r}\n")
    made.start_workspace("nora")
    made.request("POST", "/hub/api/users/nils", b"")
    yield made
    made.stop_workspace("nora")
    maker.remove_all()
    docker("image", "rm", "--force", TAG, check=False)


def make_token(hub: Hub, name: str) -> dict[str, str]:
    return {"Authorization": f"token {hub.api('POST', f'users/{name}/tokens', {})['token']}"}


def make_path(name: str) -> str:
    tool = TOOLS[name]
    return f"/user/nora/tools/{'absolute/' if tool.get('absolute') else ''}{tool['port']}/"


@pytest.mark.parametrize("name", TOOLS)
def test_a_program_of_the_page_works_for_who_may_enter_and_for_nobody_else(hub, name):
    address, wanted, socket = LOOKS[name]
    path, nora, nils = make_path(name), make_token(hub, "nora"), make_token(hub, "nils")
    heard = []

    def is_there() -> bool:
        status, _, body = hub.request("GET", path + address, headers=nora, timeout=60)
        heard.append((status, body[-2000:]))
        return status == 200 and re.search(wanted, body.decode()) is not None

    hub.wait_for(is_there, f"{name} says {wanted}", 60, every=0.5)
    assert hub.request("GET", path, headers=nora, timeout=60)[0] == 200, heard[-1]
    for headers in (nils, {}):
        assert hub.request("GET", path + address, headers=headers)[0] in (401, 403)
    if socket:
        page = hub.request("GET", path, headers=nora, timeout=60)[2].decode()
        kernel = re.search(r'"kernelId": *"([^"]+)"', page)
        socket = path + socket.format(kernel=kernel[1] if kernel else "")
        assert is_open(open_websocket(hub.url, socket, nora))
        with pytest.raises(ConnectionError):
            open_websocket(hub.url, socket, nils)


def test_an_answer_of_gradio_comes_as_a_stream_of_events(hub):
    path, nora = f"{make_path('Gradio')}gradio_api/call/greet", make_token(hub, "nora")
    sent = {**nora, "Content-Type": "application/json"}
    hub.wait_for(lambda: hub.request("GET", make_path("Gradio"), headers=nora)[0] == 200, "it", 60)
    number = json.loads(hub.request("POST", path, b'{"data": ["nora"]}', headers=sent)[2])
    told = hub.request("GET", f"{path}/{number['event_id']}", headers=nora, timeout=60)[2]
    assert b"hello nora" in told
