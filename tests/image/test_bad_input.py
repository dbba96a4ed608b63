"""What is wrong is said in one readable sentence, the container ends with a non-zero code, and
nothing is lost.
"""

from __future__ import annotations

import re
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.certificates import make_pair
from tests.support.hub_container import CONFIG, IMAGE, RUN, Ended, Hub, docker, list_source_mounts
from tests.support.wire import is_answered, list_processes

AT_ONCE_SECONDS = 20  # a second or two on an idle machine
WITH_THE_HUB_SECONDS = 60  # what only the hub itself finds out, once, within its start


def assert_one_sentence(ended: Ended, sentence: str, seconds: float = AT_ONCE_SECONDS) -> None:
    """Check that a container ended soon, with a code, with this sentence, and without a wall of
    text.
    """
    assert ended.code != 0, ended.log
    assert re.search(sentence, ended.log), ended.log
    assert "Traceback" not in ended.log, ended.log
    assert len(ended.log.splitlines()) < 25, ended.log
    assert ended.seconds < seconds, f"{ended.seconds:.1f} s\n{ended.log}"


class Checker:
    """A container in which the start is rehearsed (``--check``): whatever it refuses, it refuses in
    the same words as a container that then ends.
    """

    def __init__(self, ssl: Path) -> None:
        self.name, self.ssl = f"mlhub-test-{secrets.token_hex(4)}", ssl
        words = ("--label", f"mlhub.test={RUN}", "--volume", f"{ssl}:/resources/ssl:ro")
        entry = ("--entrypoint", "sleep", IMAGE, "infinity")
        docker("run", "--detach", "--name", self.name, *words, *list_source_mounts(), *entry)

    def check(self, config: str = "", **environment: str) -> Ended:
        """Rehearse a start with these variables and this user config."""
        began = time.monotonic()
        words = [word for pair in environment.items() for word in ("--env", "=".join(pair))]
        script = "cat >/resources/jupyterhub_user_config.py; exec python -m mlhub.boot --check"
        result = subprocess.run(
            ["docker", "exec", "--interactive", *words, self.name, "sh", "-c", script],
            input=config,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Ended(result.returncode, result.stdout + result.stderr, time.monotonic() - began)


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checker]:
    one = Checker(tmp_path_factory.mktemp("ssl"))
    yield one
    docker("rm", "--force", "--volumes", one.name)


def test_wrong_variables_are_named_with_their_values_and_the_cure(make_brief_hub):
    wrong = {
        "EXECUTION_MODE": "swarm",
        "SSL_ENABLED": "perhaps",
        "CLEANUP_INTERVAL_SECONDS": "hourly",
        "MLHUB_NETWORK_POOL": "8.8.8.0/24",
        "MLHUB_TRUSTED_PROXIES": "10.0.0.0/8,proxy",
        "DOCKER_HOST": "/var/run/docker.sock",
        "ADDITIONAL_ARGS": "--ip='0.0.0.0",
        "MLHUB_HOSTNAMES": "hub.example,https://hub.example",
    }
    ended = make_brief_hub(start=False, **wrong).run_until_it_ends()
    for sentence in (
        r"EXECUTION_MODE='swarm' is not one of 'local' or 'k8s'",
        r"SSL_ENABLED='perhaps' is neither true nor false",
        r"CLEANUP_INTERVAL_SECONDS='hourly' is not a whole number",
        r"MLHUB_NETWORK_POOL='8.8.8.0/24' is not a private IPv4 range",
        r"MLHUB_TRUSTED_PROXIES.*'proxy'.*neither an address nor a CIDR range",
        r"DOCKER_HOST='/var/run/docker.sock' is not an engine address",
        r"ADDITIONAL_ARGS=.*cannot be split into words",
        (
            r"MLHUB_HOSTNAMES=.* has the entry 'https://hub.example', which is neither a host name"
            r" nor an address"
        ),
    ):
        assert_one_sentence(ended, sentence)


@pytest.mark.parametrize("name", ["much-too-long", "My_Hu"])
def test_a_hub_name_that_is_no_dns_label_is_refused(checker, name):
    assert_one_sentence(
        checker.check(HUB_NAME=name),
        rf"HUB_NAME='{name}' is not a DNS label .*1-5 characters.*--env HUB_NAME=mlhub",
    )


def test_a_secret_file_that_is_not_there_is_named(checker):
    ended = checker.check(MLHUB_ADMIN_PASSWORD_FILE="/nowhere")
    assert_one_sentence(ended, r"MLHUB_ADMIN_PASSWORD_FILE='/nowhere' cannot be read")


def test_a_misspelled_variable_is_a_warning_with_the_nearest_name(checker):
    ended = checker.check(SSL_ENABLE="true")
    assert ended.code == 0
    assert "SSL_ENABLE is not a variable of this image" in ended.log
    assert "Did you mean SSL_ENABLED?" in ended.log


def _swap_keys(folder: Path) -> None:
    make_pair(folder / "other")
    (folder / "cert.key").write_bytes((folder / "other" / "cert.key").read_bytes())


def _encrypt_key(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    encryption = serialization.BestAvailableEncryption(b"secret")
    (folder / "cert.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )


@pytest.mark.parametrize(
    ("days", "spoil", "sentence"),
    [
        (-1, None, r"certificate /resources/ssl/cert.crt expired on \d{4}-"),
        (30, _swap_keys, r"key /resources/ssl/cert.key does not belong to the certificate"),
        (
            30,
            lambda folder: (folder / "cert.crt").write_text("hello"),
            r"certificate /resources/ssl/cert.crt cannot be read",
        ),
        (
            30,
            lambda folder: (folder / "cert.key").unlink(),
            r"cert.crt is there but /resources/ssl/cert.key is not",
        ),
        (30, _encrypt_key, r"key /resources/ssl/cert.key has a passphrase\..*SSL_KEY_PASSPHRASE"),
    ],
    ids=["expired", "mismatched", "no PEM", "no key", "encrypted key"],
)
def test_a_certificate_that_can_not_be_served_is_refused(checker, days, spoil, sentence):
    make_pair(checker.ssl, days)
    if spoil:
        spoil(checker.ssl)
    assert_one_sentence(checker.check(SSL_ENABLED="true"), sentence)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            "# ok\nc.Spawner.image = nothing\n",
            r"jupyterhub_user_config.py, line 2: NameError: name 'nothing' is not defined",
        ),
        (
            "c.JupyterHub.spawner_class = 'nowhere.NoSpawner'\n",
            r"c.JupyterHub.spawner_class = 'nowhere.NoSpawner' cannot be imported",
        ),
        (
            "c.ConfigurableHTTPProxy.auth_token = 'hunter2'\nc.JupyterHub.ssl_key = '/k'\n",
            r"line 1, sets c.ConfigurableHTTPProxy.auth_token to another value.*\n.*line 2, sets"
            r" c.JupyterHub.ssl_key to '/k', but .*SSL_ENABLED=true",
        ),
    ],
)
def test_a_wrong_user_config_is_refused_with_a_sentence(make_brief_hub, config, sentence):
    """One of each place where the hub finds it out: the file itself, its classes, its facts. All
    sentences: tests/unit/test_hubconfig.py.
    """
    ended = make_brief_hub(config, start=False).run_until_it_ends(90)
    assert_one_sentence(ended, sentence, WITH_THE_HUB_SECONDS)
    assert "hunter2" not in ended.log
    # Once: the hub is not tried again and again.
    assert len(re.findall(sentence, ended.log)) == 1


def test_a_user_config_that_is_no_python_is_refused_before_anything_starts(checker):
    assert_one_sentence(
        checker.check("c.Spawner.image = = 1\n"),
        r"jupyterhub_user_config.py, line 1: invalid syntax.*nothing was changed",
    )


def test_a_value_of_the_wrong_type_is_named_by_the_hub_before_the_container_ends(make_brief_hub):
    ended = make_brief_hub(
        "c.JupyterHub.admin_access = 'of course'\n", start=False
    ).run_until_it_ends(90)
    assert_one_sentence(
        ended,
        r"'admin_access' trait of a \w+ instance expected a boolean, not the str 'of course'",
        WITH_THE_HUB_SECONDS,
    )


def test_a_read_only_data_directory_is_refused_and_kept_as_it_was(make_brief_hub, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "jupyterhub.sqlite").write_bytes(b"precious")
    hub = make_brief_hub(start=False, data=("--volume", f"{data}:/data:ro"))
    assert_one_sentence(
        hub.run_until_it_ends(),
        r"data directory /data cannot be written \(Read-only file system\).*--volume"
        r" jupyterhub_data:/data",
    )
    assert (data / "jupyterhub.sqlite").read_bytes() == b"precious"


def test_a_full_data_directory_is_refused(make_brief_hub):
    hub = make_brief_hub(
        start=False, data=("--mount", "type=tmpfs,destination=/data,tmpfs-size=64k")
    )
    assert_one_sentence(
        hub.run_until_it_ends(), r"data directory /data .*free space", WITH_THE_HUB_SECONDS
    )


def test_a_disk_that_fills_up_while_the_hub_runs_loses_nothing(make_brief_hub):
    hub = make_brief_hub(data=("--mount", "type=tmpfs,destination=/data,tmpfs-size=20m"))
    hub.api("POST", "users/early", b"")
    hub.exec("sh", "-c", "head -c 30000000 /dev/zero > /data/filler || true")
    statuses = [hub.request("POST", f"/hub/api/users/late{number}", b"")[0] for number in range(3)]
    assert all(status in (201, 500, 503) for status in statuses)
    assert hub.request("GET", "/hub/login", headers={})[0] == 200
    hub.exec("rm", "/data/filler")
    hub.wait_for(
        lambda: hub.request("POST", "/hub/api/users/after", b"")[0] in (201, 409),
        "the hub writes again",
        10,
    )
    names = {user["name"] for user in hub.api("GET", "users")}
    assert {"early", "after"} <= names
    assert names >= {f"late{number}" for number, status in enumerate(statuses) if status == 201}


@pytest.fixture
def serve_engine(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that listens on a socket like an engine with this API version does."""
    listeners: list[socket.socket] = []

    def serve(version: str) -> Path:
        path = tmp_path / "engine.sock"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        listeners.append(listener)
        body = (
            f'{{"ApiVersion": "{version}", "Version": "1.8.0", "MinAPIVersion": "1.12"}}'.encode()
        )
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection:"
            b" close\r\nContent-Length: %d\r\n\r\n" % len(body)
        )

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(head + body)

        threading.Thread(target=answer, daemon=True).start()
        return path

    yield serve
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def refused_start(hub: Hub) -> str:
    """Try to start a workspace; return the sentence that is shown for it."""
    hub.request("POST", "/hub/api/users/eve", b"")
    status, _, body = hub.request("POST", "/hub/api/users/eve/server", {})
    assert status in (400, 500, 503), body
    assert "Traceback" not in body.decode()
    return body.decode()


def test_an_engine_that_is_not_there_shut_or_too_old_is_named_at_each_start(
    make_brief_hub, serve_engine, tmp_path
):
    tmp_path.chmod(0o755)  # the hub's account comes as far as the socket
    hub = make_brief_hub(socket=False, mounts=(f"{tmp_path}:/engine",))
    assert "--volume /var/run/docker.sock:/var/run/docker.sock" in hub.logs()
    assert "--volume /var/run/docker.sock:/var/run/docker.sock" in refused_start(hub)
    hub.exec("ln", "-s", "/engine/engine.sock", "/var/run/docker.sock")
    path = serve_engine("1.20")
    path.chmod(0)
    assert "The hub may not open it" in refused_start(hub)
    path.chmod(0o666)
    assert "is too old" in refused_start(hub)


@pytest.mark.parametrize(
    ("program", "place", "environment"),
    [
        ("nginx", "/usr/sbin/nginx", {}),
        ("sshd", "/usr/sbin/sshd", {}),
        pytest.param(
            "chp",
            "/opt/chp/node_modules/.bin/configurable-http-proxy",
            {"START_CHP": "true"},
            marks=pytest.mark.full,
        ),
    ],
)
def test_a_program_that_can_not_start_ends_the_container_with_a_sentence(
    make_brief_hub, program, place, environment
):
    mounts = (f"/bin/false:{place}:ro",)
    ended = make_brief_hub(start=False, mounts=mounts, **environment).run_until_it_ends(90)
    assert ended.code != 0
    assert re.search(rf"Error: {program} refuses|{program} cannot be started", ended.log), ended.log
    assert "Traceback" not in ended.log


def test_a_proxy_on_a_port_that_another_program_has_is_refused(checker):
    ended = checker.check(ADDITIONAL_ARGS="--ip=0.0.0.0 --port=8080")
    assert_one_sentence(ended, r"ADDITIONAL_ARGS=.* puts the proxy on port 8080, which is nginx's")


def test_a_proxy_with_one_port_for_both_its_sides_is_refused(checker):
    ended = checker.check(ADDITIONAL_ARGS="--ip=0.0.0.0 --port=9000 --api-port=9000")
    assert_one_sentence(
        ended,
        r"ADDITIONAL_ARGS=.* puts both sides of the proxy, the public one and its API, on port"
        r" 9000",
    )


@pytest.mark.full
def test_a_proxy_that_can_not_listen_ends_the_container_with_a_sentence(make_brief_hub):
    # TEST-NET-3 (RFC 5737): nothing is sent there, it can only not be bound.
    ended = make_brief_hub(
        start=False, ADDITIONAL_ARGS="--ip=203.0.113.1 --port=9000"
    ).run_until_it_ends()
    assert_one_sentence(
        ended,
        r"proxy cannot listen \(.*EADDRNOTAVAIL.* 203\.0\.113\.1:9000\)\. .* ADDITIONAL_ARGS",
        WITH_THE_HUB_SECONDS,
    )
    assert (
        "chp refuses its configuration; the lines above say why. This container ends now."
        in ended.log
    )


def test_a_proxy_on_another_port_is_followed(make_brief_hub):
    hub = make_brief_hub(ADDITIONAL_ARGS="--ip=0.0.0.0 --port=9000 --api-port 9001")
    assert [one for one in list_processes(hub) if "configurable-http-proxy" in one["command"]]
    hub.start_workspace("ann")
    assert is_answered(hub.port, "/user/ann/api")


def test_check_renders_and_ends():
    result = subprocess.run(
        ["docker", "run", "--rm", *list_source_mounts(), IMAGE, "--check"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "The configuration is fine: hub, sshd, nginx" in result.stdout


def test_a_default_hub_says_nothing_alarming(make_brief_hub):
    hub = make_brief_hub(CONFIG.replace("dummy", "native"))
    assert not re.search(r"Error|Traceback|CRITICAL", hub.logs()), hub.logs()
