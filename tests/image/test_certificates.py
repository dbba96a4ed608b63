"""A site's own certificate: served as it is, exchanged while the hub runs, and never for a broken
one.
"""

from __future__ import annotations

import shutil
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from tests.support.certificates import HalfHello, make_pair, read_serial, serial_of, serves
from tests.support.hub_container import IMAGE, Hub, docker, list_source_mounts
from tests.support.wire import Echo, list_processes

WATCH_SECONDS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_pair(tmp_path_factory.mktemp("own") / "ssl")


@pytest.fixture(scope="module")
def own_hub(make_hub, folder) -> Hub:
    return make_hub(SSL_ENABLED="true", mounts=(f"{folder}:/resources/ssl:ro",))


@pytest.fixture(scope="module")
def generated_hub(make_hub) -> Hub:
    return make_hub(SSL_ENABLED="true", MLHUB_HOSTNAMES="localhost,127.0.0.1")


def replace(folder: Path, fresh: Path) -> None:
    """Exchange both files in place, as a renewal does."""
    for name in ("cert.key", "cert.crt"):
        shutil.copyfile(fresh / name, folder / name)


def make_client() -> ssl.SSLContext:
    """Return a client that resumes sessions and believes every certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connect(
    client: ssl.SSLContext, hub: Hub, session: ssl.SSLSession | None = None
) -> ssl.SSLSocket:
    plain = socket.create_connection((hub.host, hub.port), timeout=10)
    return client.wrap_socket(plain, server_hostname="mlhub.test", session=session)


def talk(connection: ssl.SSLSocket) -> ssl.SSLSession | None:
    """Ask something; return the session, which comes with the answer."""
    connection.sendall(b"GET /.mlhub/health HTTP/1.1\r\nHost: mlhub.test\r\n\r\n")
    assert b" 204 " in connection.recv(65536)
    return connection.session


def list_workers(hub: Hub) -> list[int]:
    """Return the processes of nginx."""
    return sorted(
        entry["pid"] for entry in list_processes(hub) if entry["command"].startswith("nginx")
    )


def test_a_mounted_pair_is_served_and_its_root_only_key_stays_private(own_hub, folder):
    assert read_serial(own_hub) == serial_of(folder)
    installed = "stat --format '%U %a' /run/mlhub/nginx/tls/*"
    assert set(own_hub.exec("sh", "-c", installed).splitlines()) == {"edge 600"}
    assert not own_hub.exec("sh", "-c", "ls /data/ssl 2>/dev/null || true")


def test_a_pair_that_comes_as_docker_secrets_is_what_nginx_serves(folder):
    script = "python -m mlhub.boot --check >&2 && sed '/PRIVATE/,$d' /run/mlhub/nginx/tls/first.pem"
    words = ("--rm", "--env", "SSL_ENABLED=true", "--volume", f"{folder}:/run/secrets:ro")
    entry = ("--entrypoint", "sh", IMAGE, "-c", script)
    assert docker("run", *words, *list_source_mounts(), *entry) == (
        (folder / "cert.crt").read_text().strip()
    )


def test_a_site_with_its_own_certificate_pins_browsers_to_https(own_hub, tls_hub):
    _, headers, _ = own_hub.request("GET", "/hub/login", headers={})
    assert "max-age" in headers["strict-transport-security"]
    _, headers, _ = tls_hub.request("GET", "/hub/login", headers={})
    assert (
        "strict-transport-security" not in headers
    )  # browsers would lock people out of a self-signed one


def test_a_changed_pair_is_served_without_a_restart_and_open_connections_stay(
    own_hub, folder, tmp_path
):
    own_hub.start_workspace("ann")
    echo = Echo(own_hub.port, "/user/ann/echo", tls=True)
    # One who has sent half of a first packet, one who has sent nothing, one who left a while ago.
    half = HalfHello(own_hub)
    silent = socket.create_connection((own_hub.host, own_hub.port), timeout=10)
    client = make_client()
    with connect(client, own_hub) as first:
        session = talk(first)
    with connect(client, own_hub, session) as again:
        assert again.session_reused
    workers = list_workers(own_hub)
    fresh = make_pair(tmp_path / "fresh")
    assert serial_of(fresh) != read_serial(own_hub)
    replace(folder, fresh)
    own_hub.wait_for(
        lambda: serves(own_hub, fresh), "the new certificate is on the wire", WATCH_SECONDS
    )
    assert echo.is_alive()
    echo.close()
    assert "is in use now" in own_hub.logs()
    # Each worker has taken it by now: the second is not later than a look after the first.
    own_hub.wait_for(
        lambda: all(serves(own_hub, fresh) for _ in range(20)), "by every worker", WATCH_SECONDS
    )
    assert half.finish() == serial_of(fresh)
    with client.wrap_socket(silent, server_hostname="mlhub.test") as late:
        talk(late)
    # A session that began with the former certificate is none of this one's.
    with connect(client, own_hub, session) as resumed:
        assert not resumed.session_reused
    assert list_workers(own_hub) == workers


def test_a_broken_new_pair_keeps_the_former_in_force_and_says_so(own_hub, folder, tmp_path):
    before = serial_of(folder)
    said = own_hub.logs().count("stays in force")
    (folder / "cert.crt").write_text(
        "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"
    )
    own_hub.wait_for(
        lambda: own_hub.logs().count("stays in force") > said, "it is said", WATCH_SECONDS
    )
    assert read_serial(own_hub) == before
    own_hub.wait_until_ready(5)
    fresh = make_pair(tmp_path / "mended")
    replace(folder, fresh)
    own_hub.wait_for(
        lambda: serves(own_hub, fresh), "the mended certificate is on the wire", WATCH_SECONDS
    )


def test_a_key_of_another_certificate_keeps_the_former_in_force(own_hub, folder, tmp_path):
    before = serial_of(folder)
    said = own_hub.logs().count("stays in force")
    kept = (folder / "cert.key").read_bytes()
    (folder / "cert.key").write_bytes((make_pair(tmp_path / "other") / "cert.key").read_bytes())
    own_hub.wait_for(
        lambda: own_hub.logs().count("stays in force") > said, "it is said", WATCH_SECONDS
    )
    assert "does not belong to the certificate" in own_hub.logs()
    assert read_serial(own_hub) == before
    (folder / "cert.key").write_bytes(kept)
    assert read_serial(own_hub) == before


def test_a_generated_certificate_survives_a_new_container_with_the_same_data(generated_hub):
    before = read_serial(generated_hub)
    generated_hub.recreate()
    assert read_serial(generated_hub) == before


def test_another_host_name_makes_another_generated_certificate(generated_hub):
    before = read_serial(generated_hub)
    generated_hub.recreate(MLHUB_HOSTNAMES="localhost,hub.example")
    assert read_serial(generated_hub) != before


@pytest.mark.full
def test_bundles_with_a_passphrase_are_served_each_for_its_names_and_exchanged(
    make_brief_hub, tmp_path
):
    folder = tmp_path / "ssl"
    folder.mkdir()
    first = make_pair(tmp_path / "first", name="hub.test")
    lab = make_pair(tmp_path / "lab", name="*.lab.test")
    write_bundle(folder / "cert.p12", first, b"open sesame")
    (folder / "lab.pem").write_bytes((lab / "cert.crt").read_bytes() + lock(lab, b"open sesame"))
    mounts = (f"{folder}:/resources/ssl:ro",)
    hub = make_brief_hub(SSL_ENABLED="true", SSL_KEY_PASSPHRASE="open sesame", mounts=mounts)
    assert read_serial(hub, "hub.test") == serial_of(first)
    assert read_serial(hub, "ann.lab.test") == serial_of(lab)
    assert read_serial(hub, "stranger.test") == serial_of(first)
    assert "open sesame" not in hub.logs()
    (hub_process,) = [
        entry["pid"] for entry in list_processes(hub) if "-m mlhub.hub" in entry["command"]
    ]
    read = hub.exec("cat", "/run/mlhub/settings.json", f"/proc/{hub_process}/environ", user="hub")
    assert "MLHUB_RUN_DIR" in read
    assert "sesame" not in read
    renewed = make_pair(tmp_path / "renewed", name="*.lab.test")
    (folder / "lab.pem").write_bytes(
        (renewed / "cert.crt").read_bytes() + lock(renewed, b"open sesame")
    )
    hub.wait_for(lambda: read_serial(hub, "ann.lab.test") == serial_of(renewed), "it is served", 10)
    assert read_serial(hub, "hub.test") == serial_of(first)


def write_bundle(file: Path, pair: Path, passphrase: bytes) -> None:
    """Write a pair as PKCS#12."""
    certificate = x509.load_pem_x509_certificate((pair / "cert.crt").read_bytes())
    key = load_pem_private_key((pair / "cert.key").read_bytes(), None)
    locked = BestAvailableEncryption(passphrase)
    file.write_bytes(pkcs12.serialize_key_and_certificates(b"hub", key, certificate, None, locked))


def lock(pair: Path, passphrase: bytes) -> bytes:
    """Return a pair's key in PEM, with a passphrase."""
    key = load_pem_private_key((pair / "cert.key").read_bytes(), None)
    locked = BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)
