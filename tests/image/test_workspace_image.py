"""The default workspace image on the real engine, without a hub, under limits that a hub sets."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import time
from collections.abc import Iterator

import aiohttp
import pytest

from tests.support.kernels import run_cell, start_kernel

IMAGE = "mltooling/mlhub-workspace:latest"
RUN = secrets.token_hex(6)
TOKEN = secrets.token_hex(16)
LIMITS = ("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "512")
SECONDS = 60


def docker(*words: str) -> str:
    """Run the docker client; return what it printed."""
    result = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=180)
    assert result.returncode == 0, f"docker {' '.join(words)}: {result.stdout}{result.stderr}"
    return result.stdout.strip()


def run_inside(*words: str) -> str:
    """Run a command in a new container of the image."""
    return docker("run", "--rm", "--label", f"mlhub.test={RUN}", *LIMITS, IMAGE, *words)


@pytest.fixture(scope="module", autouse=True)
def _image_exists() -> None:
    found = subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True)
    if found.returncode:
        pytest.fail(f"The image {IMAGE} is not on the engine. Build it with ./scripts/build.")


class Server:
    """A running container of the image whose JupyterLab answers."""

    def __init__(self, *options: str, command: tuple[str, ...] = ()) -> None:
        options = (
            "--detach",
            "--label",
            f"mlhub.test={RUN}",
            *LIMITS,
            "--publish",
            "127.0.0.1::8080",
            *options,
        )
        self.id = docker(
            "run",
            *options,
            IMAGE,
            *(command or ("jupyterhub-singleuser", f"--IdentityProvider.token={TOKEN}")),
        )
        self.url = (
            "http://127.0.0.1:" + docker("port", self.id, "8080").splitlines()[0].rpartition(":")[2]
        )

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            self.url,
            headers={"Authorization": f"token {TOKEN}"},
            timeout=aiohttp.ClientTimeout(total=SECONDS),
        )

    async def wait(self) -> str:
        """Poll until JupyterLab's page is there; return it."""
        deadline, answer = time.monotonic() + SECONDS, ""
        while time.monotonic() < deadline:
            try:
                async with self.session() as session, session.get("/lab") as response:
                    answer = await response.text()
                    if response.status == 200:
                        return answer
            except aiohttp.ClientError as error:
                answer = repr(error)
            await asyncio.sleep(0.05)
        logs = subprocess.run(["docker", "logs", self.id], capture_output=True, text=True)
        raise AssertionError(
            f"JupyterLab did not answer within {SECONDS} s: {answer}\n{logs.stdout}{logs.stderr}"
        )

    def execute(self, *words: str) -> str:
        return docker("exec", self.id, *words)

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.id)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A workspace on a fresh named volume."""
    volume = docker("volume", "create", "--label", f"mlhub.test={RUN}")
    server = Server("--volume", f"{volume}:/workspace")
    yield server
    server.remove()
    docker("volume", "rm", volume)


async def test_jupyterlab_answers_without_a_hub_and_without_any_capability(server: Server) -> None:
    assert "JupyterLab" in await server.wait()


async def test_nobody_gets_in_without_the_token(server: Server) -> None:
    await server.wait()
    async with (
        aiohttp.ClientSession(server.url) as session,
        session.get("/api/contents") as response,
    ):
        assert response.status == 403


async def test_headers_may_be_as_large_as_the_hubs_front_lets_them_be(server: Server) -> None:
    await server.wait()
    large = {f"X-Large-{number}": "x" * 30_000 for number in range(4)}
    async with (
        server.session() as session,
        session.get("/api/status", headers=large) as response,
    ):
        assert response.status == 200


async def test_what_the_hub_should_tell_is_nothing_without_a_hub_and_for_nobody_else(
    server: Server,
) -> None:
    page = await server.wait()
    assert '"mlhub-notices"' in page
    async with server.session() as session, session.get("/mlhub/notices") as response:
        assert (response.status, (await response.json())["notices"]) == (200, [])
    async with (
        aiohttp.ClientSession(server.url) as session,
        session.get("/mlhub/notices") as response,
    ):
        assert response.status == 403


async def test_what_the_workspace_takes_is_told_to_its_own_page_alone(server: Server) -> None:
    await server.wait()
    async with server.session() as session, session.get("/mlhub/use") as response:
        use = await response.json()
        assert response.status == 200
        assert set(use) == {"cpu", "cpu_limit", "memory", "memory_limit"}
        # A host with control groups of version 1 tells nothing.
        assert use["memory"] is None or 2**20 < use["memory"] < 2**40
    async with aiohttp.ClientSession(server.url) as session, session.get("/mlhub/use") as response:
        assert response.status == 403


async def test_the_server_is_not_root_and_owns_a_fresh_volume(server: Server) -> None:
    await server.wait()
    assert server.execute("id", "-u") == "1000"
    assert server.execute("stat", "--format", "%U", "/workspace") == "mlhub"
    async with server.session() as session:
        body = {"type": "file", "format": "text", "content": "kept"}
        async with session.put("/api/contents/note.txt", json=body) as response:
            assert response.status == 201, await response.text()
    assert server.execute("cat", "/workspace/note.txt") == "kept"


async def test_a_kernel_runs_a_cell_over_its_websocket(server: Server) -> None:
    await server.wait()
    async with server.session() as session:
        kernel = await start_kernel(session)
        assert await run_cell(session, kernel, "print(6 * 7)") == "42\n"
        async with session.delete(f"/api/kernels/{kernel}") as response:
            assert response.status == 204


async def test_a_terminal_is_a_login_shell_that_finds_python_and_git(server: Server) -> None:
    await server.wait()
    async with server.session() as session:
        async with session.post("/api/terminals") as response:
            name = (await response.json())["name"]
        async with session.ws_connect(f"/terminals/websocket/{name}") as socket:
            await socket.send_str(
                json.dumps(
                    [
                        "stdin",
                        "echo shell=$0; type -p python git; echo $LANG $HOME done-$((40 + 2))\r",
                    ]
                )
            )
            shown = ""
            async with asyncio.timeout(SECONDS):
                while "done-42" not in shown:
                    kind, *content = await socket.receive_json()
                    shown += content[0] if kind == "stdout" else ""
    assert "/opt/workspace/bin/python" in shown
    assert "/usr/bin/git" in shown
    assert "bash" in shown
    assert "C.UTF-8 /workspace" in shown


async def test_nobody_is_asked_about_news_and_nothing_calls_home(server: Server) -> None:
    await server.wait()
    async with server.session() as session:
        async with session.get(
            "/lab/api/settings/@jupyterlab/apputils-extension:notification"
        ) as response:
            settings = (await response.json())["schema"]["properties"]
        assert settings["fetchNews"]["default"] == "false"
        assert settings["checkForUpdates"]["default"] is False
        async with session.get("/lab/api/update") as response:
            assert (await response.json())["notification"] is None


async def test_a_web_service_inside_is_reached_through_the_server_and_only_with_the_token(
    server: Server,
) -> None:
    await server.wait()
    docker(
        "exec",
        "--detach",
        server.id,
        "python",
        "-m",
        "http.server",
        "7000",
        "--directory",
        "/usr/share/common-licenses",
    )
    deadline = time.monotonic() + SECONDS
    async with server.session() as session:
        while True:
            async with session.get("/proxy/7000/GPL-3") as response:
                if response.status == 200 or time.monotonic() > deadline:
                    break
            await asyncio.sleep(0.1)
        assert response.status == 200
    async with (
        aiohttp.ClientSession(server.url) as session,
        session.get("/proxy/7000/GPL-3", allow_redirects=False) as response,
    ):
        assert response.status in (302, 403)


async def test_the_bare_command_of_jupyterlab_works_on_a_read_only_root() -> None:
    command = (
        "jupyter",
        "lab",
        "--ip=0.0.0.0",
        "--port=8080",
        "--no-browser",
        f"--IdentityProvider.token={TOKEN}",
    )
    server = Server(
        "--read-only", "--tmpfs", "/tmp", "--tmpfs", "/workspace:uid=1000", command=command
    )
    try:
        assert "JupyterLab" in await server.wait()
    finally:
        server.remove()


def test_under_a_hub_the_database_layer_of_the_hub_is_not_loaded() -> None:
    command = (
        "--env",
        "JUPYTERHUB_API_TOKEN=x",
        IMAGE,
        "python",
        "-X",
        "importtime",
        "/opt/workspace/bin/jupyterhub-singleuser",
        "--version",
    )
    result = subprocess.run(
        ["docker", "run", "--rm", "--label", f"mlhub.test={RUN}", *command],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "jupyterhub.singleuser.extension" in result.stderr
    assert "sqlalchemy" not in result.stderr
    assert "alembic" not in result.stderr


def test_after_the_start_the_real_database_packages_can_be_imported() -> None:
    script = """
import runpy
launcher = runpy.run_path("/opt/workspace/bin/jupyterhub-singleuser", run_name="launcher")
launcher["import_without_database"]()
import sqlalchemy, jupyterhub.orm
print(sqlalchemy.__version__, jupyterhub.orm.User.__tablename__)
"""
    assert run_inside("python", "-c", script).endswith(" users")


def test_what_a_person_installs_lands_on_the_volume() -> None:
    script = "import site, sys; print(site.ENABLE_USER_SITE, site.getusersitepackages())"
    assert (
        run_inside("python", "-c", script) == "True /workspace/.local/lib/python3.13/site-packages"
    )
    assert run_inside("pip", "--version").startswith("pip ")


def test_no_compiler_no_cache_and_nothing_of_the_build_machine_is_inside() -> None:
    script = """
for tool in gcc cc g++ make npm node sudo; do command -v $tool && echo "found $tool"; done
find / -xdev \\( -path '*/.cache/pip' -o -path '*/pip/http*' -o -name '*.deb' \
-o -path '/tmp/*' \\) -not -path '/proc/*' 2>/dev/null
find / -xdev -perm /6000 -user root -name 'sudo*' 2>/dev/null
env | grep -E '^(PIP_CERT|PIP_INDEX_URL|PIP_FIND_LINKS|SSL_CERT_FILE|\
REQUESTS_CA_BUNDLE|NODE_EXTRA_CA_CERTS|https?_proxy)=' || true
cat /etc/pip.conf /etc/xdg/pip/pip.conf 2>/dev/null || true
"""
    assert run_inside("sh", "-c", script) == ""


def test_git_and_ssh_are_inside() -> None:
    assert run_inside("git", "--version").startswith("git version")
    assert "OpenSSH" in run_inside("sh", "-c", "ssh -V 2>&1")


def test_every_python_file_is_compiled_and_stays_so_whatever_its_date() -> None:
    script = """
import pathlib
root = pathlib.Path("/opt/workspace/lib/python3.13/site-packages")
missing = [p for p in (root / "jupyter_server").rglob("*.py") \
if not list((p.parent / "__pycache__").glob(p.stem + ".cpython-313.pyc"))]
flags = {int.from_bytes(p.read_bytes()[4:8], "little") \
for p in (root / "jupyter_server").rglob("*.pyc")}
print(missing, flags)
"""
    # Flag 1: the compiled file names its source by content and is not checked against it (PEP 552).
    assert run_inside("python", "-c", script) == "[] {1}"
