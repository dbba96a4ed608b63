"""What the hub's image says of itself, and what is not in it."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import sys

from mlhub import __version__
from mlhub.options.images import KNOWN_IMAGES
from tests.support.hub_container import IMAGE, ROOT, RUN, docker


def run_inside(*command: str) -> str:
    """Run one program in a fresh container of the image, as root and without its entry point."""
    program, *words = command
    return docker(
        "run",
        "--rm",
        "--label",
        f"mlhub.test={RUN}",
        "--network",
        "none",
        "--entrypoint",
        program,
        IMAGE,
        *words,
    )


def test_the_image_says_which_version_it_is_of_which_revision_and_when_it_was_built() -> None:
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", IMAGE))
    said = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert said["title"] == "MLHub"
    assert said["version"] == __version__
    assert re.fullmatch(r"[0-9a-f]{12}", said["revision"]) or not (ROOT / ".git").exists(), said
    built = datetime.datetime.fromisoformat(said["created"])
    assert (
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        < built
        <= datetime.datetime.now(datetime.UTC)
    )


def test_no_compiler_no_package_manager_no_cache_and_nothing_of_the_build_machine_is_inside() -> (
    None
):
    script = """
for tool in gcc cc g++ c++ cpp ld make cargo go npm npx pip pip3 git curl wget sudo; \
do command -v $tool && echo "found $tool"; done
ls /opt/mlhub/bin | grep -E '^(pip|uv|poetry)' && echo "found a package manager"
find / -xdev \\( -path '*/.cache/*' -o -path '*/.npm/*' -o -path '*/_cacache' \
-o -name '*.deb' -o -path '/tmp/*' \
    -o -path '/var/cache/apt/*.bin' -o -path '/var/lib/apt/lists/*_*' \
-o -path '/root/*.crt' \\) 2>/dev/null
env | grep -E '^(PIP_[A-Z_]*|npm_config_[a-z_]*|SSL_CERT_FILE|\
REQUESTS_CA_BUNDLE|NODE_EXTRA_CA_CERTS|https?_proxy)=' || true
cat /etc/pip.conf /etc/xdg/pip/pip.conf /root/.npmrc /etc/npmrc 2>/dev/null || true
"""
    assert run_inside("sh", "-c", script) == ""
    # The twin: the same look finds what is there.
    assert run_inside("sh", "-c", "command -v nginx && ls /opt/mlhub/bin | grep -c python") != ""


def test_there_is_one_python_and_one_node() -> None:
    script = (
        "find / -xdev -type f -perm /111 \\( -name 'python[0-9]*' -o -name 'pypy*' -o "
        "-name 'node*' \\) -path '*/bin/*' 2>/dev/null"
    )
    assert sorted(run_inside("sh", "-c", script).split()) == [
        "/usr/bin/node",
        "/usr/bin/python3.13",
    ]
    places = "find / -xdev -type d -name site-packages -not -path '*/node_modules/*' 2>/dev/null"
    assert run_inside("sh", "-c", places).split() == ["/opt/mlhub/lib/python3.13/site-packages"]


def test_every_layer_is_printed_with_its_size_and_they_add_up() -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from tools.images import print_layers; print_layers(sys.argv[1])",
        IMAGE,
    ]
    result = subprocess.run(
        command, cwd=ROOT / "scripts", capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    total, *layers = result.stdout.splitlines()
    whole = int(re.fullmatch(rf"{IMAGE}: (\d+) MB", total)[1])
    sizes = [float(re.match(r" +([\d.]+) MB  \S", line)[1]) for line in layers]
    assert len(sizes) > 5
    assert abs(sum(sizes) - whole) < 1 + 0.05 * len(sizes)
    assert re.search(r"COPY .* in /resources\n", result.stdout)


def test_no_account_and_no_file_of_the_image_has_a_number_that_workspaces_have() -> None:
    """Those of KNOWN_IMAGES and of the default workspace image: what the kernel counts for them
    must not count for the hub.
    """
    configured = docker(
        "image", "inspect", "--format", "{{.Config.User}}", "mltooling/mlhub-workspace:latest"
    )
    workspaces = {known.uid for known in KNOWN_IMAGES.values() if known.uid} | {int(configured)}
    assert workspaces == {1000}
    accounts = {
        name: int(number)
        for name, _, number, *_ in (
            line.split(":") for line in run_inside("getent", "passwd").splitlines()
        )
    }
    assert {"hub", "chp", "edge", "limited-user"} <= accounts.keys()
    assert not workspaces & {*accounts.values()}
    assert run_inside("find", "/", "-xdev", "-uid", "1000") == ""
    # The twin: the same look finds what is the hub's.
    assert "/data" in run_inside("find", "/", "-xdev", "-uid", str(accounts["hub"])).splitlines()
