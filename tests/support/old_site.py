"""An installation of the original's: JupyterHub 1.4 as released, its database with people and
accounts, and on the engine what it left there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.hub_container import RUN, TEST_IMAGE, docker
from tests.support.old_single_user import ensure_old_jupyterhub
from tests.support.original import OldWorkspace

ACCOUNTS = ("jupyterhub-nativeauthenticator==0.0.7", "bcrypt==5.0.0", "onetimepass==1.0.1", "six")
DATABASE = "sqlite:////data/jupyterhub.sqlite"
# Of that time's hub alone: where its workspaces run, and no proxy. Workspaces ask it, no more.
CONFIG = f"""
from jupyterhub.proxy import Proxy
from jupyterhub.spawner import Spawner
class NoProxy(Proxy):
    should_start = False
    async def add_route(self, routespec, target, data): pass
    async def delete_route(self, routespec): pass
    async def get_all_routes(self): return {{}}
class Elsewhere(Spawner):
    async def poll(self): return None
    async def start(self): raise NotImplementedError
    async def stop(self, now=False): raise NotImplementedError
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.spawner_class = Elsewhere
c.JupyterHub.authenticator_class = "jupyterhub.auth.DummyAuthenticator"
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.db_url = {DATABASE!r}
c.JupyterHub.cookie_secret_file = "/data/jupyterhub_cookie_secret"
c.JupyterHub.cleanup_servers = False
c.JupyterHub.allow_named_servers = True
"""
WRITE = f"""
import json, sys
import bcrypt
from jupyterhub import orm
from jupyterhub.utils import hash_token
from nativeauthenticator.orm import UserInfo
people, workspaces = json.load(sys.stdin)
db = orm.new_session_factory({DATABASE!r})()
UserInfo.__table__.create(db.get_bind(), checkfirst=True)
for name, password in people.items():
    if orm.User.find(db, name) is None:
        db.add(orm.User(name=name, admin=name == "chief"))
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4))
        db.add(UserInfo(username=name, password=hashed, is_authorized=True))
db.commit()
for told in workspaces:
    user = orm.User.find(db, told["user"])
    row = user.orm_spawners.get(told["server"]) or orm.Spawner(name=told["server"], user=user)
    row.user_options = {{"image": "mltooling/ml-workspace:0.13.2", "is_mount_volume": "on"}}
    row.state = {{"object_id": told["id"], "object_name": told["name"],
                 "saved_user_options": row.user_options}}
    db.add(row)
    client = told["environment"]["JUPYTERHUB_CLIENT_ID"]
    place = told["environment"]["JUPYTERHUB_SERVICE_PREFIX"]
    if orm.APIToken.find(db, told["token"]) is None:
        user.new_api_token(told["token"], note="Server at " + place)
        db.add(orm.OAuthClient(identifier=client, secret=hash_token(told["token"]),
                               redirect_uri=place + "oauth_callback", description=place))
    if told["address"]:
        row.server = orm.Server(proto="http", ip=told["address"], port=8080, base_url=place)
    db.commit()
"""


def ask(url: str, token: str, method: str = "GET", body: object = None) -> tuple[int, Any]:
    """Ask by a token; return the status, 0 for no answer, and what was answered as JSON."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"token {token}"} if token else {}
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, None
    except OSError:
        return 0, None


def list_machine_mounts(*folders: Path) -> list[str]:
    """Return the mounts by which this machine's own Python runs in a container."""
    found = ["/usr", *map(str, folders)]
    if not sys.base_prefix.startswith("/usr"):
        found.append(sys.base_prefix)
    return [word for folder in found for word in ("--volume", f"{folder}:{folder}:ro")]


class OldSite:
    """An installation named ``hub``, its data in ``data``."""

    def __init__(self, hub: str, folder: Path, wait_for: Callable[..., Any]) -> None:
        self.hub, self.data, self.wait_for = hub, folder / "data", wait_for
        self.program, self.packages = ensure_old_jupyterhub(), folder / "packages"
        self.python = self.program / "bin" / "python"
        self.workspaces: dict[str, OldWorkspace] = {}  # by the names of their containers
        self.people: dict[str, str] = {}
        self.data.mkdir()
        (self.data.parent / "config.py").write_text(CONFIG)
        install = [self.python, "-m", "pip", "install", "--quiet", "--no-deps", *ACCOUNTS]
        subprocess.run([*install, "--target", self.packages], check=True, timeout=300)

    @property
    def name(self) -> str:
        """Name of its hub's container, which the page has renamed."""
        return f"{self.hub}-2021"

    def run_python(self, *words: str, given: str = "") -> str:
        """Run its Python beside its data, as its hub did."""
        mounts = [*list_machine_mounts(self.program), "--volume", f"{self.data}:/data"]
        mounts += ["--volume", f"{self.packages}:/packages:ro", "--env", "PYTHONPATH=/packages"]
        command = ["docker", "run", "--rm", "--interactive", "--user", "0", *mounts]
        command += ["--entrypoint", str(self.python), TEST_IMAGE, *words]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write_database(self) -> None:
        """Write down who there is, what they have, and what runs."""
        told = [
            {
                "user": each.user,
                "server": each.server,
                "token": each.token,
                "environment": dict(each.make_environment()),
                "name": name,
                **self.describe_place(name),
            }
            for name, each in self.workspaces.items()
        ]
        self.run_python("-c", WRITE, given=json.dumps([self.people, told]))

    def describe_place(self, name: str) -> dict[str, str]:
        """Tell a container's id, and its address where it runs."""
        found = docker(
            "container",
            "ls",
            *(
                "--all",
                "--no-trunc",
                "--filter",
                f"name=^{name}$",
                "--format",
                "{{.ID}} {{.State}}",
            ),
        ).split()
        if not found or found[1] != "running":
            return {"id": found[0] if found else "", "address": ""}
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return {"id": found[0], "address": docker("inspect", "--format", form, name)}

    def start_hub(self) -> None:
        """Start its hub, under its name in the networks of those who have one."""
        mounts = [*list_machine_mounts(self.program), "--volume", f"{self.data}:/data"]
        mounts += ["--volume", f"{self.data.parent / 'config.py'}:/config.py:ro"]
        command = [str(self.python), "-m", "jupyterhub", "-f", "/config.py"]
        docker(
            *("create", "--name", self.name, "--label", f"mlhub.test={RUN}", "--user", "0"),
            *(*mounts, "--entrypoint", command[0], TEST_IMAGE, *command[1:]),
        )
        for network in {each.network for each in self.workspaces.values()}:
            docker("network", "connect", "--alias", self.hub, network, self.name)
        docker("start", self.name)
        self.wait_for(self.answers, f"the original's hub answers: {self.name}", 60)

    def answers(self) -> bool:
        """Return True if its hub answers; one that has ended is an error."""
        state = docker("inspect", "--format", "{{.State.Status}}", self.name)
        assert state == "running", docker("logs", self.name, check=False)
        return self.ask_hub("")[0] == 200

    def ask_hub(self, path: str, token: str = "") -> tuple[int, Any]:
        """Ask its hub at an address of the API; return the status and what was answered."""
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        address = docker("inspect", "--format", form, self.name).split()[0]
        return ask(f"http://{address}:8081/hub/api/{path}", token)

    def make(self, index: int, workspace: OldWorkspace) -> OldWorkspace:
        """Make a workspace's network and volume, with a file in it."""
        words = [f"{key}={text}" for key, text in workspace.labels.items()]
        labels = [word for each in (*words, f"mlhub.test={RUN}") for word in ("--label", each)]
        subnet = f"172.33.{index}.0/24"
        docker("network", "create", "--subnet", subnet, *labels, workspace.network)
        docker("volume", "create", *labels, workspace.name)
        self.workspaces[workspace.name] = workspace
        return workspace

    def run(self, workspace: OldWorkspace, *command: str, mounts: tuple[str, ...] = ()) -> None:
        """Run a workspace's container."""
        words = [f"{key}={text}" for key, text in workspace.container_labels.items()]
        labels = [word for each in (*words, f"mlhub.test={RUN}") for word in ("--label", each)]
        told = workspace.make_environment().items()
        environment = [word for key, text in told for word in ("--env", f"{key}={text}")]
        place = ["--network", workspace.network, "--volume", f"{workspace.name}:/workspace"]
        docker(
            *("run", "--detach", "--name", workspace.name, *labels, *environment, *place, *mounts),
            *("--user", "0", "--entrypoint", command[0], TEST_IMAGE, *command[1:]),
        )

    def run_single_user(self, workspace: OldWorkspace) -> None:
        """Run a workspace with the single-user server of that time."""
        program = str(self.program / "bin" / "jupyterhub-singleuser")
        options = ("--allow-root", "--ip=0.0.0.0", "--port=8080", "--notebook-dir=/workspace")
        mounts = (*list_machine_mounts(self.program), "--env", f"PATH={self.program}/bin:/usr/bin")
        self.run(workspace, str(self.python), program, *options, mounts=tuple(mounts))

    def hash_volumes(self) -> list[str]:
        """Hash all that is in its volumes: content, owners, modes and times."""
        mounts = [word for name in self.workspaces for word in ("--volume", f"{name}:/v/{name}:ro")]
        script = (
            "cd /v && find . -type f -exec sha256sum {} + | sort"
            " && find . -mindepth 1 -printf '%p %y %m %U:%G %s %T@\\n' | sort"
        )
        return docker(
            *("run", "--rm", "--user", "0", *mounts, "--entrypoint", "sh", TEST_IMAGE),
            *("-c", script),
        ).splitlines()

    def dump_database(self) -> list[str]:
        """Read all of the database."""
        script = (
            "import sqlite3\n"
            "print('\\n'.join(sqlite3.connect('/data/jupyterhub.sqlite').iterdump()))"
        )
        return self.run_python("-c", script).splitlines()

    def remove(self) -> None:
        """Remove all that it had."""
        docker("rm", "--force", "--volumes", self.name, *self.workspaces, check=False)
        networks = {each.network for each in self.workspaces.values()}
        docker("network", "rm", *networks, check=False)
        docker("volume", "rm", "--force", *self.workspaces, check=False)
