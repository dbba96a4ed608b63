"""What the doctor finds is true, and each trouble comes with its cure."""

from __future__ import annotations

import socket
import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from mlhub.admin import doctor
from mlhub.backends.docker import checkup
from mlhub.backends.finding import Level, judge_clock
from mlhub.boot.certificates import LIFETIME, make_self_signed
from mlhub.quantities import GIBIBYTE
from mlhub.settings import Settings

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def make_settings(tmp_path, **variables):
    return Settings.from_environment(
        {
            "DATA_VOLUME_CONTAINER": str(tmp_path),
            "POLICY_FILE": str(tmp_path / "policy.yaml"),
            "MLHUB_RUN_DIR": str(tmp_path / "run"),
            **variables,
        }
    )


def levels(findings):
    return [finding.level.value for finding in findings]


@pytest.mark.parametrize(
    ("after", "names", "expected"),
    [
        (timedelta(0), ("hub.example.org",), ["ok", "warning"]),
        (LIFETIME - timedelta(days=20), ("hub.example.org",), ["warning", "warning"]),
        (LIFETIME + timedelta(days=1), ("hub.example.org",), ["fails", "warning"]),
        (timedelta(0), ("HUB.example.org", "a.wild.example.org"), ["ok", "warning"]),
        (timedelta(0), ("hub.example.org", "other.org"), ["ok", "warning", "fails"]),
        (timedelta(0), ("b.a.wild.example.org",), ["ok", "warning", "fails"]),
        (timedelta(0), ("*.wild.example.org",), ["ok", "warning"]),
        (timedelta(0), ("*.hub.example.org",), ["ok", "warning", "fails"]),
    ],
)
def test_a_certificate_is_judged_by_its_end_its_issuer_and_its_names(after, names, expected):
    pem, _ = make_self_signed(["hub.example.org", "*.wild.example.org"], NOW)
    certificate = x509.load_pem_x509_certificate(pem)
    assert levels(doctor.judge_certificate(certificate, names, NOW + after)) == expected


def test_plain_http_is_a_warning_unless_a_trusted_proxy_stands_in_front(tmp_path):
    assert levels(doctor.check_tls(make_settings(tmp_path))) == ["warning"]
    behind = make_settings(tmp_path, MLHUB_TRUSTED_PROXIES="10.0.0.1")
    assert levels(doctor.check_tls(behind)) == ["ok"]


def make_database(tmp_path, people, accounts=None):
    with sqlite3.connect(tmp_path / "jupyterhub.sqlite") as database:
        database.execute("create table users (name text, admin boolean)")
        database.executemany("insert into users values (?, ?)", people)
        if accounts is not None:
            database.execute("create table users_info (username text, is_authorized boolean)")
            database.executemany("insert into users_info values (?, ?)", accounts)


@pytest.mark.parametrize(
    ("people", "accounts", "expected"),
    [
        ([("ann", True), ("bob", False)], None, "ok"),
        ([("ann", False)], None, "warning"),
        ([("ann", True)], [("ann", True)], "ok"),
        ([("ann", True)], [("ann", False)], "warning"),
        ([("ann", True)], [], "warning"),
    ],
)
def test_an_administrator_counts_who_can_sign_in(tmp_path, people, accounts, expected):
    make_database(tmp_path, people, accounts)
    assert levels(doctor.check_people(make_settings(tmp_path))) == [expected]


def test_a_damaged_database_is_found_and_the_other_checks_are_made_all_the_same(tmp_path):
    make_database(tmp_path, [("ann", True)] * 5000)
    file = tmp_path / "jupyterhub.sqlite"
    whole = file.read_bytes()
    file.write_bytes(whole[:8192] + b"\xff" * 4096 + whole[12288:])
    (tmp_path / "policy.yaml").write_text("limits: 7\n")
    settings = make_settings(tmp_path, START_SSH="false")
    found = {finding.subject: finding for finding in doctor.examine(settings)}
    assert found["database"].level is Level.FAILS
    assert found["policy"].level is Level.FAILS
    assert "policy.yaml" in found["policy"].text


def test_a_policy_that_can_be_read_is_fine(tmp_path):
    settings = make_settings(tmp_path)
    assert levels(doctor.check_policy(settings)) == ["ok"]
    (tmp_path / "policy.yaml").write_text("reserve: {cpu_limit: 1}\n")
    assert levels(doctor.check_policy(settings)) == ["ok"]


@pytest.mark.parametrize(("banner", "expected"), [(b"SSH-2.0-OpenSSH_10", "ok"), (b"", "fails")])
def test_ssh_is_asked_for_at_the_public_port(tmp_path, monkeypatch, banner, expected):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(doctor, "NGINX_PORT", server.getsockname()[1])

        def answer():
            connection, _ = server.accept()
            with connection:
                assert connection.recv(64).startswith(b"SSH-2.0-")
                connection.sendall(banner)

        thread = threading.Thread(target=answer)
        thread.start()
        assert levels(doctor.check_ssh(make_settings(tmp_path))) == [expected]
        thread.join()


def test_clocks_that_differ_are_told():
    assert judge_clock(1000.0, "the engine", 1002.0).level is Level.OK
    assert "by 90 seconds" in judge_clock(1000.0, "the engine", 1090.0).text


@pytest.mark.parametrize(
    ("api", "expected"), [("1.41", "ok"), ("1.51", "ok"), ("1.40", "fails"), ("", "fails")]
)
def test_an_engine_is_judged_by_its_api(api, expected):
    assert checkup.judge_version({"Version": "x", "ApiVersion": api}).level == expected


def test_room_for_images_is_judged_where_it_is_known():
    assert checkup.judge_disk(None) == []
    assert levels(checkup.judge_disk(GIBIBYTE)) == ["warning"]
    assert levels(checkup.judge_disk(50 * GIBIBYTE)) == ["ok"]


def test_the_default_image_is_there_and_runs_here():
    here = {"Os": "linux", "Arch": "amd64"}
    image = {"Os": "linux", "Architecture": "amd64", "Config": {"Cmd": ["x"]}, "Size": 1}
    assert checkup.judge_image(None, here, "my-image").level is Level.WARNING
    assert checkup.judge_image(image, here, "my-image").level is Level.OK
    other = {**image, "Architecture": "arm64"}
    assert "linux/arm64" in checkup.judge_image(other, here, "my-image").text
    assert checkup.judge_image(other, here, "my-image").level is Level.FAILS


@pytest.mark.parametrize(
    ("mounts", "policy", "expected"),
    [
        ([{"Destination": "/data", "Type": "volume", "Name": "mlhub_data"}], "always", "ok ok"),
        ([{"Destination": "/data", "Type": "bind", "Source": "/srv"}], "always", "ok ok"),
        ([{"Destination": "/data", "Type": "volume", "Name": "a" * 64}], "always", "warning ok"),
        ([], "no", "warning warning"),
    ],
)
def test_data_without_a_name_and_a_hub_that_stays_down_are_told(mounts, policy, expected):
    own = {"Mounts": mounts, "HostConfig": {"RestartPolicy": {"Name": policy}}}
    assert " ".join(levels(checkup.judge_container(own, "/data"))) == expected
    assert checkup.judge_container(None, "/data") == []
