"""A site's own certificate: served as it is, exchanged while the hub runs, and never for a broken one."""

from __future__ import annotations

import shutil
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from tests.image.certificates import make_pair
from tests.image.conftest import Hub
from tests.image.wire import Echo

WATCH_SECONDS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_pair(tmp_path_factory.mktemp("own") / "ssl")


@pytest.fixture(scope="module")
def own_hub(make_hub, folder) -> Hub:
    return make_hub(SSL_ENABLED="true", mounts=(f"{folder}:/resources/ssl:ro",))


def read_serial(hub: Hub) -> int:
    """Return the serial number of the certificate on the wire."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", hub.port), timeout=10) as plain, context.wrap_socket(plain) as connection:
        return x509.load_der_x509_certificate(connection.getpeercert(True)).serial_number


def serves(hub: Hub, folder: Path) -> bool:
    """Tell whether a pair is on the wire. A connection made in the moment in which nginx takes a new one may be dropped."""
    try:
        return read_serial(hub) == serial_of(folder)
    except ssl.SSLEOFError:
        return False


def serial_of(folder: Path) -> int:
    return x509.load_pem_x509_certificate((folder / "cert.crt").read_bytes()).serial_number


def replace(folder: Path, fresh: Path) -> None:
    """Exchange both files in place, as a renewal does."""
    for name in ("cert.key", "cert.crt"):
        shutil.copyfile(fresh / name, folder / name)


def test_a_mounted_pair_is_served_and_its_root_only_key_stays_private(own_hub, folder):
    assert read_serial(own_hub) == serial_of(folder)
    assert own_hub.exec("stat", "--format", "%U %a", "/run/mlhub/nginx/tls/cert.key") == "edge 600"
    assert not own_hub.exec("sh", "-c", "ls /data/ssl 2>/dev/null || true")


def test_a_pair_that_comes_as_docker_secrets_is_served(make_brief_hub, folder):
    hub = make_brief_hub(SSL_ENABLED="true", mounts=(f"{folder}:/run/secrets:ro",))
    assert read_serial(hub) == serial_of(folder)


def test_a_site_with_its_own_certificate_pins_browsers_to_https(own_hub, tls_hub):
    _, headers, _ = own_hub.request("GET", "/hub/login", headers={})
    assert "max-age" in headers["strict-transport-security"]
    _, headers, _ = tls_hub.request("GET", "/hub/login", headers={})
    assert "strict-transport-security" not in headers  # browsers would lock people out of a self-signed one


def test_a_changed_pair_is_served_without_a_restart_and_open_connections_stay(own_hub, folder, tmp_path):
    own_hub.start_workspace("ann")
    echo = Echo(own_hub.port, "/user/ann/echo", tls=True)
    before = read_serial(own_hub)
    fresh = make_pair(tmp_path / "fresh")
    assert serial_of(fresh) != before
    replace(folder, fresh)
    own_hub.wait_for(lambda: serves(own_hub, fresh), "the new certificate is on the wire", WATCH_SECONDS)
    assert echo.is_alive()
    echo.close()
    assert "is in use now" in own_hub.logs()


def test_a_broken_new_pair_keeps_the_former_in_force_and_says_so(own_hub, folder, tmp_path):
    before = serial_of(folder)
    said = own_hub.logs().count("stays in force")
    (folder / "cert.crt").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    own_hub.wait_for(lambda: own_hub.logs().count("stays in force") > said, "it is said", WATCH_SECONDS)
    assert read_serial(own_hub) == before
    own_hub.wait_until_ready(5)
    fresh = make_pair(tmp_path / "mended")
    replace(folder, fresh)
    own_hub.wait_for(lambda: serves(own_hub, fresh), "the mended certificate is on the wire", WATCH_SECONDS)


def test_a_key_of_another_certificate_keeps_the_former_in_force(own_hub, folder, tmp_path):
    before = serial_of(folder)  # not from the wire: for a moment after a reload, the former workers still answer
    said = own_hub.logs().count("stays in force")
    kept = (folder / "cert.key").read_bytes()
    (folder / "cert.key").write_bytes((make_pair(tmp_path / "other") / "cert.key").read_bytes())
    own_hub.wait_for(lambda: own_hub.logs().count("stays in force") > said, "it is said", WATCH_SECONDS)
    assert "does not belong to the certificate" in own_hub.logs()
    assert read_serial(own_hub) == before
    (folder / "cert.key").write_bytes(kept)
    assert read_serial(own_hub) == before


def test_a_generated_certificate_survives_a_new_container_with_the_same_data(tls_hub):
    before = read_serial(tls_hub)
    tls_hub.recreate()
    assert read_serial(tls_hub) == before


def test_another_host_name_makes_another_generated_certificate(tls_hub):
    before = read_serial(tls_hub)
    tls_hub.recreate(MLHUB_HOSTNAMES="localhost,hub.example")
    assert read_serial(tls_hub) != before
