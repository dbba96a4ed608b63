"""`./scripts/up` and its companions, as the README tells them."""

from __future__ import annotations

import html
import os
import re
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.ports import find_free_port

ROOT = Path(__file__).parents[2]
PASSWORD = "a long enough passphrase"
LIMIT = "users:\n  admin: {{cpu_limit: {{max: {}}}}}\n"


class Deployment:
    def __init__(self) -> None:
        self.name, self.port = "u" + secrets.token_hex(2), find_free_port()
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("HUB_NAME", "DOCKER_HOST") and not name.startswith("MLHUB_")
        }
        self.environment |= {"HUB_NAME": self.name, "MLHUB_PORT": str(self.port)}

    def run(self, script: str, *arguments: str, code: int | None = 0, **environment: str) -> str:
        result = subprocess.run(
            [f"./scripts/{script}", *arguments],
            cwd=ROOT,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=600,
        )
        output = result.stdout + result.stderr
        assert code is None or result.returncode == code, output
        return output

    def inspect(self, template: str) -> str:
        return subprocess.run(
            ["docker", "inspect", "--format", template, self.name], capture_output=True, text=True
        ).stdout.strip()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hub"


class Administrator(requests.Session):
    """Somebody who knows, or guesses, the administrator's password."""

    def __init__(self, url: str, password: str) -> None:
        super().__init__()
        self.trust_env, self.url = False, url
        self.post(
            f"{url}/login",
            data={"username": "admin", "password": password, "_xsrf": self.find_token("login")},
            timeout=30,
        )

    def find_token(self, page: str) -> str:
        found = re.search(
            r'name="_xsrf" value="([^"]*)"', self.get(f"{self.url}/{page}", timeout=30).text
        )
        assert found, page
        return html.unescape(found[1])

    def is_signed_in(self) -> bool:
        return self.get(f"{self.url}/token", allow_redirects=False, timeout=30).status_code == 200

    def is_granted(self, **options: object) -> bool:
        """Ask the hub what its policy says about the administrator's own workspace."""
        headers = {"X-XSRFToken": self.find_token("change-password")}
        answer = self.post(
            f"{self.url}/api/policy/explain",
            json={"user": "admin", "options": options},
            headers=headers,
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["granted"]


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    one = Deployment()
    yield one
    one.run("down", "--purge", code=None)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Return a folder with a site's files; the policy's own folder is open to the hub."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "password").write_text(PASSWORD)
    (folder / "config.py").write_text("c.JupyterHub.load_groups = {'first': []}\n")
    (folder / "policy").mkdir()
    (folder / "policy" / "policy.yaml").write_text(LIMIT.format(0.25))
    return folder


def make_site_environment(site: Path) -> dict[str, str]:
    return {
        "MLHUB_ADMIN_PASSWORD_FILE": str(site / "password"),
        "MLHUB_USER_CONFIG": str(site / "config.py"),
        "POLICY_FILE": str(site / "policy" / "policy.yaml"),
        "DATA_VOLUME_CONTAINER": "/srv/hub",
    }


def test_up_ends_with_the_address_and_the_one_time_link(deployment):
    output = deployment.run("up", MLHUB_HOSTNAMES="hub.example", SSL_ENABLED="false")
    assert f"MLHub answers at http://hub.example:{deployment.port}/" in output
    assert re.search(
        r"this link works once\): http://hub\.example:\d+/hub/signup\?setup=\S{20,}", output
    )
    assert re.search(rf"==> Starting the hub {deployment.name} \.\.\.\n    \d+\.\d s\n", output)


def test_up_again_changes_nothing_that_runs(deployment):
    before = deployment.inspect("{{.Id}} {{.State.StartedAt}}")
    output = deployment.run("up", MLHUB_HOSTNAMES="hub.example", SSL_ENABLED="false")
    assert "runs already" in output
    assert deployment.inspect("{{.Id}} {{.State.StartedAt}}") == before


def test_other_values_of_the_same_variables_reach_the_hub_and_the_data_stays(deployment):
    before = deployment.inspect("{{.Id}}")
    link = re.search(
        r"setup=(\S+)", deployment.run("up", MLHUB_HOSTNAMES="hub.example", SSL_ENABLED="false")
    )
    assert deployment.inspect("{{.Id}}") == before
    output = deployment.run("up", MLHUB_HOSTNAMES="other.example", SSL_ENABLED="true")
    assert f"https://other.example:{deployment.port}/" in output
    assert link
    assert link[1] in output
    shown = deployment.inspect("{{.Config.Env}}")
    assert "MLHUB_HOSTNAMES=other.example" in shown
    assert "SSL_ENABLED=true" in shown


def test_the_password_of_a_file_signs_in_and_appears_nowhere(deployment, site):
    deployment.run("up", **make_site_environment(site))
    assert Administrator(deployment.url, PASSWORD).is_signed_in()
    assert not Administrator(deployment.url, PASSWORD + "!").is_signed_in()
    shown = deployment.inspect("{{json .}}")
    assert PASSWORD not in shown
    assert "MLHUB_ADMIN_PASSWORD_FILE=/run/secrets/mlhub_admin_password" in shown


def test_the_site_s_policy_is_in_force_and_followed_when_it_is_replaced(deployment, site, wait_for):
    person = Administrator(deployment.url, PASSWORD)
    assert not person.is_granted(cpu_limit=0.5)
    assert person.is_granted(cpu_limit=0.25)
    fresh = site / "policy" / "policy.new"
    fresh.write_text(LIMIT.format(0.5))
    fresh.rename(site / "policy" / "policy.yaml")
    wait_for(lambda: person.is_granted(cpu_limit=0.5), "the new policy is in force", 20)


def test_a_changed_user_config_reaches_the_hub_and_the_data_elsewhere_stays(deployment, site):
    before = deployment.inspect("{{.Id}}")
    assert "runs already" in deployment.run("up", **make_site_environment(site))
    (site / "config.py").write_text("c.JupyterHub.load_groups = {'second': []}\n")
    deployment.run("up", **make_site_environment(site))
    assert deployment.inspect("{{.Id}}") != before
    person = Administrator(deployment.url, PASSWORD)
    assert person.is_signed_in()
    headers = {"X-XSRFToken": person.find_token("change-password")}
    groups = [
        group["name"]
        for group in person.get(f"{deployment.url}/api/groups", headers=headers, timeout=30).json()
    ]
    # The first is still in the database, which the container before this one wrote.
    assert sorted(groups) == ["first", "second"]


def test_the_log_is_shown(deployment):
    output = deployment.run("logs", "--tail", "all")
    assert "Ready at" in output
    assert f"as {deployment.name}" in output
    assert len(deployment.run("logs", "--tail", "1").splitlines()) == 1


def test_status_says_what_runs(deployment):
    output = deployment.run("status")
    for word in (
        "running",
        "hub: answers",
        "nginx: answers",
        "sshd: answers",
        "workspaces: none",
    ):
        assert word in output


def test_down_keeps_the_data_and_purge_does_not(deployment):
    volume = f"jupyterhub_data_{deployment.name}"
    deployment.run("down")
    assert deployment.inspect("{{.Id}}") == ""
    assert (
        subprocess.run(["docker", "volume", "inspect", volume], capture_output=True).returncode == 0
    )
    deployment.run("down", "--purge")
    assert (
        subprocess.run(["docker", "volume", "inspect", volume], capture_output=True).returncode != 0
    )


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"DOCKER_HOST": "tcp://127.0.0.1:2375"}, "not a local socket"),
        ({"DOCKER_TLS_VERIFY": "1"}, "DOCKER_TLS_VERIFY='1'"),
        ({"MLHUB_PORT": "http"}, "MLHUB_PORT='http' is not a port"),
        ({"HUB_NAME": "my_hub"}, "HUB_NAME='my_hub' is not a DNS label"),
        ({"MLHUB_USER_CONFIG": "/nowhere.py"}, "/nowhere.py' is not a file"),
    ],
)
def test_what_can_not_work_is_refused_with_a_sentence(deployment, environment, sentence):
    try:
        output = deployment.run("up", code=1, **environment)
    finally:
        if "HUB_NAME" in environment:
            deployment.run("down", "--purge", **environment)
    assert sentence in output
    assert "Traceback" not in output


def test_a_taken_port_is_named(deployment):
    name = "u" + secrets.token_hex(2)
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", 0))
        holder.listen()
        port = holder.getsockname()[1]
        try:
            output = deployment.run("up", code=1, MLHUB_PORT=str(port), HUB_NAME=name)
        finally:
            deployment.run("down", "--purge", HUB_NAME=name)
    assert f"MLHUB_PORT={port} is taken" in output
    assert (
        subprocess.run(
            ["docker", "volume", "inspect", f"jupyterhub_data_{name}"], capture_output=True
        ).returncode
        != 0
    )


def test_an_unknown_option_is_refused(deployment):
    assert "--all is not an option" in deployment.run("down", "--all", code=1)
