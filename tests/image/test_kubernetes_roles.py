"""The image's roles as the chart starts them: hub, bastion and proxy in containers of their own
(tests.support.container_release).
"""

from __future__ import annotations

import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.support.certificates import make_pair, read_serial, serial_of, serves
from tests.support.container_release import ACCOUNTS, PROXY_TOKEN
from tests.support.hub_container import Hub, docker
from tests.support.wire import is_answered, list_own_processes


@pytest.mark.parametrize(
    ("role", "programs"),
    [
        ("hub", {"mlhub.hub"}),
        ("proxy", {"nginx: master", "nginx: worker"}),
        ("ssh", {"nginx", "sshd", "mlhub.ssh.hub_link"}),
    ],
)
def test_each_role_runs_without_root_capabilities_or_a_writable_disk(release, role, programs):
    container = release.containers[role]
    status = dict(
        line.split(":\t", 1)
        for line in container.exec("cat", "/proc/1/status", user=str(ACCOUNTS[role])).splitlines()
        if ":\t" in line
    )
    assert {
        status[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    } == {""}
    assert status["NoNewPrivs"] == "1"
    processes = list_own_processes(container)
    assert {entry["user"] for entry in processes} == {ACCOUNTS[role]}, processes
    assert all(any(program in entry["command"] for entry in processes) for program in programs), (
        processes
    )
    for folder in ("/", "/data", "/etc", "/resources", "/opt/mlhub", "/home"):
        writable = folder == "/data" and role in ("hub", "proxy")
        touched = subprocess.run(
            [
                "docker",
                "exec",
                "--user",
                str(ACCOUNTS[role]),
                container.name,
                "touch",
                f"{folder}/.test",
            ],
            capture_output=True,
        )
        assert (touched.returncode == 0) is writable, folder
    assert docker("exec", container.name, "python", "-I", "-m", "mlhub.boot.health") == ""


def test_people_sign_in_through_the_proxys_port(release):
    def open_page(path: str, **fields: str) -> tuple[int, str, str]:
        data = urllib.parse.urlencode(fields).encode() if fields else None
        try:
            with opener.open(release.proxy.url + path, data, timeout=60) as answer:
                return answer.status, answer.url, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.url, error.read().decode()

    opener = urllib.request.build_opener(
        urllib.request.HTTPCookieProcessor(), urllib.request.ProxyHandler({})
    )
    xsrf = re.search(r'name="_xsrf" value="([^"]*)"', open_page("/hub/login")[2])[1]
    assert open_page("/hub/login", username="eve", password="x", _xsrf="another")[0] == 403
    status, url, page = open_page("/hub/login", username="eve", password="x", _xsrf=xsrf)
    assert (status, url) == (200, f"{release.proxy.url}/hub/home")
    assert "eve" in page


def test_the_hubs_secrets_are_the_given_ones_and_stay_in_its_container(release):
    kept = release.hub.exec("sh", "-c", "ls /data; cat /data/ssh/ca.pub", user="61000")
    assert "jupyterhub_cookie_secret" not in kept
    assert release.authority in kept
    assert "BEGIN OPENSSH PRIVATE KEY" in release.hub.exec("cat", "/data/ssh/ca", user="61000")
    # The authority never leaves the hub, and the bastion's own key never the bastion.
    inside = release.containers["ssh"]
    public = inside.exec(
        "ssh-keygen", "-y", "-f", "/run/mlhub/ssh/ssh_host_ed25519_key", user="61003"
    )
    assert public.split()[:2] == (release.folder / "keys" / "host_key.pub").read_text().split()[:2]
    assert inside.exec(
        "sh",
        "-c",
        "grep -rl 'BEGIN.*PRIVATE KEY' /run /etc/mlhub /data /tmp 2>/dev/null || true",
        user="61003",
    ).split() == [
        "/run/mlhub/ssh/ssh_host_ed25519_key",
        "/etc/mlhub/ssh/host_key",
    ]
    assert "ssh_host" not in release.hub.exec("ls", "/data/ssh", "/run/mlhub/ssh", user="61000")


def test_the_hub_keeps_no_connection_to_a_proxy_that_may_be_replaced(release, wait_for):
    def list_ports() -> set[str]:
        rows = [
            row.split()
            for row in release.hub.exec("cat", "/proc/net/tcp", user="61000").splitlines()[1:]
        ]
        return {row[1] for row in rows if row[2].endswith(f":{8001:04X}") and row[3] == "01"}

    # A kept one would be the same whenever somebody looks.
    seen = list_ports()
    wait_for(lambda: not list_ports() & seen, "the next look is a new connection", 5)
    assert release.reaches_service()


def test_a_new_proxy_has_all_routes_within_two_seconds(release, wait_for):
    release.start("proxy", again=True)
    began = time.monotonic()
    wait_for(release.reaches_service, "the routes are back", 10)
    assert time.monotonic() - began < 2
    wait_for(release.reads_banner, "SSH goes through it", 5)
    assert "pushing all routes again" in release.hub.logs()


def ask_for_routes(proxy: Hub) -> subprocess.CompletedProcess[str]:
    """Run the chart's startup probe of the proxy."""
    command = ["docker", "exec", proxy.name, "python", "-I", "-m", "mlhub.boot.routes"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_a_new_proxy_of_which_the_hub_knows_nothing_has_all_routes_as_soon_as_it_has_asked(release):
    new = release.start("proxy", unknown=True)
    try:
        assert not is_answered(new.port, "/services/echo/")
        assert release.reaches_service()
        asked = ask_for_routes(new)
        assert is_answered(new.port, "/services/echo/")
        assert (asked.returncode, asked.stdout, asked.stderr) == (0, "", "")
        # It asks who it is itself, whatever others are there.
        address = docker(
            "inspect",
            "--format",
            "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
            new.name,
        )
        assert f"The proxy at http://{address}:8001 asks for all routes" in release.hub.logs()
    finally:
        docker("rm", "--force", new.name)


def test_a_new_proxy_with_another_token_gets_no_routes(release):
    release.token = "another-token"
    try:
        new = release.start("proxy", unknown=True)
        asked = ask_for_routes(new)
        assert asked.returncode == 1
        assert "answers with status 403" in asked.stdout
        assert not is_answered(new.port, "/services/echo/")
    finally:
        release.token = PROXY_TOKEN
        docker("rm", "--force", new.name)


def test_a_hub_starts_without_a_proxy_and_pushes_its_routes_to_one_that_comes(release, wait_for):
    docker("stop", "--time", "20", release.proxy.name)
    docker("restart", "--time", "20", release.hub.name)
    release.hub.wait_until_ready()
    assert (
        f"The proxy's API at http://{release.name}-proxy-api:8001 does not answer; the hub goes on"
        in release.hub.logs()
    )
    release.start("proxy", again=True)
    began = time.monotonic()
    wait_for(release.reaches_service, "the routes", 10)
    assert time.monotonic() - began < 2


def test_a_proxy_with_another_token_is_named_in_one_line_and_takes_orders_once_it_has_the_hubs(
    release, wait_for
):
    release.token, before = "another-token", release.hub.logs()
    try:
        release.start("proxy", again=True)
        wait_for(
            lambda: "refuses this hub's token" in release.hub.logs().removeprefix(before),
            "the hub says so",
            10,
        )
        assert not release.reaches_service()
    finally:
        release.token = PROXY_TOKEN
        release.start("proxy", again=True)
    wait_for(release.reaches_service, "the routes", 10)
    assert release.hub.logs().removeprefix(before).count("refuses this hub's token") == 1


@pytest.mark.parametrize("role", ["proxy", "ssh", "hub"])
def test_each_role_ends_politely_and_soon(release, role, wait_for):
    container = release.containers[role]
    began = time.monotonic()
    docker("stop", "--time", "30", container.name)
    assert time.monotonic() - began < 20
    assert (
        docker("inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", container.name)
        == "0 false"
    ), container.logs()[-2000:]
    assert "is killed" not in container.logs()
    docker("start", container.name)
    container.wait_until_ready()
    if role == "proxy":
        container.read_port()
        wait_for(release.reaches_service, "the routes", 10)


def make_secret(folder: Path, generation: str) -> None:
    """Write a pair as the kubelet lays out a Secret, and exchanges it: all at once, by the link in
    the middle.
    """
    make_pair(folder / generation)
    for file in ("cert.crt", "cert.key"):
        (folder / generation / file).chmod(0o644)
        if not (folder / file).is_symlink():
            (folder / file).symlink_to(f"..data/{file}")
    (folder / "..new").symlink_to(generation)
    (folder / "..new").rename(folder / "..data")


def test_a_renewed_certificate_of_a_secret_is_served_and_ssh_shares_its_port(
    release, tmp_path, wait_for
):
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o755)
    make_secret(secret, "..1")
    release.secret = secret
    try:
        proxy = release.start("proxy", again=True)
        proxy.scheme = "https"
        assert read_serial(proxy) == serial_of(secret)
        assert release.reads_banner()
        wait_for(
            lambda: proxy.request("GET", "/services/echo/")[0] == 200, "the service over TLS", 10
        )
        assert is_answered(proxy.port, "/.mlhub/health", b" 204 ")  # the kubelet asks without TLS
        make_secret(secret, "..2")
        wait_for(lambda: serves(proxy, secret), "the new certificate", 10)
    finally:
        release.secret = None
        release.start("proxy", again=True)


def read_running_seconds(container: Hub) -> float:
    """Return for how long a container runs, by its machine's clock."""
    pid = docker("inspect", "--format", "{{.State.Pid}}", container.name)
    return float(
        subprocess.run(
            ["ps", "-o", "etimes=", "-p", pid], capture_output=True, text=True, check=True
        ).stdout
    )


def test_a_new_proxy_whose_hub_does_not_answer_is_held_back_for_a_while_only(release):
    def ask(patience_seconds: int) -> subprocess.CompletedProcess[str]:
        script = (
            "import sys; from mlhub.boot import routes; "
            f"routes.PATIENCE_SECONDS = {patience_seconds}; sys.exit(routes.main())"
        )
        words = ["--env", "HUB_NAME=nowhere", release.proxy.name, "python", "-I", "-c", script]
        return subprocess.run(["docker", "exec", *words], capture_output=True, text=True)

    held, let_go = ask(3600), ask(0)
    assert (held.returncode, let_go.returncode) == (1, 0)
    assert "The hub nowhere does not answer (" in held.stdout


@pytest.mark.full
def test_a_new_proxy_waits_for_its_hub_for_twenty_seconds_and_no_longer(brief_release, wait_for):
    proxy = brief_release.start("proxy", ready=False)
    starting = ask_for_routes(proxy)
    proxy.wait_until_ready()
    asked = ask_for_routes(proxy)
    assert (starting.returncode, asked.returncode) == (1, 1)
    assert f"The hub {brief_release.name} does not answer (" in asked.stdout
    wait_for(
        lambda: ask_for_routes(proxy).returncode == 0, "it is not held back any more", 40, every=0.5
    )
    assert 20 <= read_running_seconds(proxy) <= 25
    brief_release.start("hub")
    brief_release.start_echo()
    wait_for(brief_release.reaches_service, "the hub's routes", 10)
    assert ask_for_routes(proxy).returncode == 0
