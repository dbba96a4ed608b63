"""The commands of README and how-to pages, word for word, on a machine that has nothing but an
engine and one registry on its loopback address.

One story: each test goes on where the former ended.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.empty_machine import EmptyMachine, make_empty_machine
from tests.support.first_day import sign_up_and_in, start_and_work
from tests.support.hub_container import Hub, docker
from tests.support.policy_examples import read_example
from tests.support.shell_blocks import find_block

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]
README = ("README.md", "docker run")
# What the pages abbreviate: the words of the README.
BEGIN = (
    "docker run --detach --name mlhub -p 8080:8080 -v /var/run/docker.sock:/var/run/docker.sock "
    "-v jupyterhub_data:/data"
)
# From the first command to a cell's answer, with all that is pulled.
FIVE_MINUTES = 300
FILE = "/workspace/answer.ipynb"
TOKEN = secrets.token_hex(16)
CONFIG = f"""
c.JupyterHub.services = [{{"name": "tests", "api_token": "{TOKEN}"}}]
c.JupyterHub.load_roles = [{{"name": "tests", "services": ["tests"], "scopes": [
    "admin:users", "admin:servers", "access:servers", "list:users", "delete:users",
    "delete:servers", "shares", "admin:groups", "tokens"]}}]
c.Spawner.port_sharing = True
"""


@pytest.fixture(scope="module")
def machine(
    tmp_path_factory: pytest.TempPathFactory, wait_for: Callable[..., Any]
) -> Iterator[EmptyMachine]:
    """Return the machine; the clients of the tests speak to its engine."""
    with (
        make_empty_machine(tmp_path_factory.mktemp("empty"), wait_for) as one,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("DOCKER_HOST", f"unix://{one.socket}")
        yield one


@pytest.fixture(scope="module")
def hub(machine: EmptyMachine, wait_for: Callable[..., Any]) -> Hub:
    """Return the hub that the README's command makes, under the name that the pages call it by."""
    assert not docker("images", "--quiet")
    start(machine, *README)
    wait_for(lambda: docker("ps", "--quiet"), "the image is pulled and runs", FIVE_MINUTES)
    docker("rename", docker("ps", "--quiet"), "mlhub")
    return await_hub(machine, wait_for)


def start(machine: EmptyMachine, page: str, begin: str) -> None:
    """Run a block whose command stays in the foreground."""
    subprocess.Popen(
        machine.make_command(find_block(page, begin)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def make_way() -> None:
    """Remove the containers of hubs; what is of value is in the volume."""
    names = docker("ps", "--all", "--filter", "name=mlhub", "--format", "{{.Names}}").split()
    docker("rm", "--force", *(name for name in names if not name.startswith("ws-")))


def await_hub(machine: EmptyMachine, wait_for: Callable[..., Any], scheme: str = "http") -> Hub:
    """Return the hub that was just started, when it answers."""
    wait_for(lambda: "mlhub" in docker("ps", "--format", "{{.Names}}"), "the hub's container", 60)
    hub = Hub("mlhub", [], wait_for, scheme=scheme, port=8080, host=machine.host)
    hub.headers = {"Authorization": f"token {TOKEN}"}
    hub.wait_until_ready()
    return hub


def find_workspace() -> str:
    """Return the container of the one workspace that there is."""
    (name,) = docker(
        "ps", "--all", "--filter", "label=mlhub.user", "--format", "{{.Names}}"
    ).split()
    return name


def test_the_command_of_the_readme_leads_to_a_cell_within_five_minutes(
    machine, wait_for, request, open_window
):
    began = time.monotonic()
    hub = request.getfixturevalue("hub")
    code = str(hub.exec("cat", "/data/setup-code")).strip()
    me = open_window(hub)
    sign_up_and_in(hub, me, code)
    start_and_work(hub, me, code)
    assert time.monotonic() - began < FIVE_MINUTES
    assert "42" in docker("exec", find_workspace(), "cat", FILE)


@pytest.mark.parametrize(
    ("page", "begin", "said"),
    [
        ("docs/howto/doctor.md", "docker exec", "ok       programs"),
        ("docs/howto/images.md", "docker exec", "mltooling/mlhub-workspace"),
        ("docs/howto/cleanup.md", "docker exec", ""),
        ("docs/howto/record.md", "docker exec", ""),
        ("docs/howto/networks.md", "docker exec", ""),
    ],
    ids=lambda value: value.removeprefix("docs/howto/").removesuffix(".md"),
)
def test_a_command_inside_the_hub_s_container_does_its_work(machine, hub, page, begin, said):
    assert hub
    assert said in machine.run(find_block(page, begin))


def test_people_are_invited_and_one_is_told_what_would_go(machine, hub):
    assert hub
    said = machine.run(
        find_block("docs/howto/people.md", "docker exec mlhub mlhub users list"), code=1
    )
    assert said.count("/hub/") == 2
    assert "'ana' would be deleted" in said


def test_a_backup_brings_everything_to_an_empty_engine(machine, hub, wait_for):
    assert hub
    machine.run(find_block("docs/howto/backup.md", "docker exec"))
    docker("rm", "--force", "mlhub", find_workspace())
    docker("volume", "rm", *docker("volume", "ls", "--quiet").split())
    # Who the hub is has to be as it was: it had its name from its container.
    block = find_block("docs/howto/backup.md", "docker run")
    machine.run(block)
    machine.run(f"{BEGIN} mltooling/ml-hub")
    again = await_hub(machine, wait_for)
    assert "admin" in machine.run("docker exec mlhub mlhub users list")
    assert again.containers() == []
    (volume,) = [name for name in docker("volume", "ls", "--quiet").split() if "admin" in name]
    image = "mltooling/mlhub-workspace"
    read = f"docker run --rm --entrypoint cat --volume {volume}:/workspace {image} {FILE}"
    assert "42" in machine.run(read)


def test_a_hub_takes_the_place_of_the_one_before(machine, hub, wait_for):
    assert hub
    machine.run(find_block("docs/howto/coming-from-ml-hub.md", "docker stop"))
    await_hub(machine, wait_for)
    assert "mlhub-2021" in docker("ps", "--all", "--format", "{{.Names}}")
    assert "admin" in machine.run("docker exec mlhub mlhub users list")


def test_the_site_s_own_file_is_mounted(machine, hub, wait_for):
    assert hub
    make_way()
    (machine.work / "jupyterhub_user_config.py").write_text(CONFIG)
    start(machine, "docs/howto/configure.md", "docker run")
    wait_for(lambda: docker("ps", "--quiet"), "the hub with the site's file", 60)
    docker("rename", docker("ps", "--quiet"), "mlhub")
    site = await_hub(machine, wait_for)
    assert site.request("GET", "/hub/api/users")[0] == 200


def test_https_answers_by_name_and_so_do_the_addresses_for_programs(machine, hub, wait_for):
    assert hub
    make_way()
    config = '-v "$PWD/jupyterhub_user_config.py":/resources/jupyterhub_user_config.py'
    block = find_block("docs/howto/https.md", "docker run … --env SSL_ENABLED=true --env MLHUB")
    machine.run(block.replace("docker run …", f"{BEGIN} {config}"))
    site = await_hub(machine, wait_for, "https")
    machine.run("docker exec mlhub mlhub users invite ann ben mia")
    site.start_workspace("ann", "workspace")
    # Usage is somebody's own: an administrator's token, as the pages say.
    token = site.api("POST", "users/admin/tokens", {})["token"]
    for page, begin in (
        ("docs/howto/options.md", "curl"),
        ("docs/howto/schedules.md", "curl"),
        ("docs/howto/cleanup.md", "curl"),
        ("docs/howto/usage.md", "curl"),
    ):
        machine.run(find_block(page, begin), TOKEN=token)
    wait_for(lambda: site.is_workspace_ready("mia", "training"), "the workspace that was asked", 60)


def test_what_somebody_may_have_is_explained_where_the_policy_is_mounted(machine, hub, wait_for):
    assert hub
    make_way()
    (machine.work / "policy.yaml").write_text(read_example("policy-hand-out"))
    machine.run(f'{BEGIN} -v "$PWD/policy.yaml":/resources/policy.yaml mltooling/ml-hub')
    await_hub(machine, wait_for)
    block = find_block("docs/howto/policy-hand-out.md", "docker exec")
    # The first asks what somebody may have who may have nothing, which its code says.
    said = machine.run(f"set +e\n{block}")
    assert "You may run no workspace here" in said
    assert "days_to_live     90" in said


@pytest.mark.parametrize("page", ["policy-classroom", "policy-research"])
def test_an_example_of_a_policy_is_checked_and_explained(machine, hub, page):
    assert hub
    (machine.work / "policy.yaml").write_text(read_example(page))
    assert "cpu_limit" in machine.run(find_block(f"docs/howto/{page}.md", "mlhub"))


def test_another_hub_s_values_are_read(machine, hub):
    assert hub
    (machine.work / "values.yaml").write_text("singleuser: {memory: {limit: 2G}}\n")
    machine.run(find_block("docs/howto/import.md", "docker run"))
    assert "memory" in (machine.work / "mlhub-import/report.md").read_text()
    assert os.stat(machine.work / "mlhub-import/report.md").st_uid == os.getuid()
