"""The parts of the bastion that need neither sshd nor a hub."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as make_ecdsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mlhub.audit import Allowance, AuditLog
from mlhub.backends.docker.ssh_bundle import admit_ssh, make_start_environment, runs_as_root
from mlhub.errors import ConfigurationError
from mlhub.identity import HostIdentity
from mlhub.ssh.authority import (
    Authority,
    make_private_text,
    make_public_line,
    make_session_environment,
)
from mlhub.ssh.grants import Filter
from mlhub.ssh.other_keys import KeyFile, find_key_file, parse_labels
from mlhub.ssh.public_keys import make_fingerprint
from mlhub.ssh.sshd_log import name_client, parse_event
from mlhub.workspaces.port import Address

NOW = datetime(2030, 1, 2, tzinfo=UTC)
FINGERPRINT = "SHA256:" + "aB3/+" * 8 + "xyz"
ACCEPTED = (
    "auth.c:auth_log():338 (bin=/usr/lib/openssh/sshd-session, pid=123): Accepted publickey for "
    f"limited-user from 127.1.2.3 port 40 ssh2: ED25519 {FINGERPRINT}"
)


def test_a_sign_in_is_read_from_sshds_log_and_shown_without_its_tag():
    event, shown = parse_event(ACCEPTED)
    assert event == {
        "event": "opened",
        "pid": 123,
        "source": "127.1.2.3",
        "port": 40,
        "fingerprint": FINGERPRINT,
    }
    assert shown.startswith("Accepted publickey for limited-user from 127.1.2.3")


def test_a_tunnels_target_and_a_refused_key_are_events_and_no_lines():
    line = (
        "debug1: serverloop.c:server_request_direct_tcpip():487 (bin=sshd-session, pid=7): "
        "originator 127.0.0.1 port 65535, target ws-mlhub--ann port 2222"
    )
    assert parse_event(line) == (
        {"event": "target", "pid": 7, "host": "ws-mlhub--ann", "to": 2222},
        None,
    )
    failed, shown = parse_event(ACCEPTED.replace("Accepted", "Failed"))
    assert (failed["event"], failed["fingerprint"], shown) == ("refused", FINGERPRINT, None)


@pytest.mark.parametrize(
    "line",
    [
        (
            "User Accepted publickey for limited-user from 1.1.1.1 port 1 ssh2: ED25519 SHA256:x "
            "from 127.1.2.3 not allowed"
        ),
        "Invalid user auth.c:auth_log():1 from 127.1.2.3 port 4",
        ACCEPTED.replace(FINGERPRINT, FINGERPRINT + " more"),
        ACCEPTED.replace("port 40", "port"),
        "Invalid user " + ACCEPTED,
        ACCEPTED.replace(
            "Accepted publickey for limited-user",
            "Failed none for invalid user Accepted publickey for x",
        ),
    ],
)
def test_a_name_that_reads_like_a_sign_in_is_none(line):
    event, _ = parse_event(line)
    assert event is None


def test_what_sshd_says_twice_is_left_out_of_the_log():
    assert parse_event("Received disconnect from 127.1.2.3 port 40:11: disconnected by user") == (
        None,
        None,
    )
    assert parse_event("Disconnected from user limited-user 127.1.2.3 port 40") == (None, None)
    refused = "Connection closed by authenticating user limited-user 127.1.2.3 port 40 [preauth]"
    assert parse_event(refused) == (None, refused)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "Accepted publickey for x from 127.1.2.3 port 40 ssh2: ED25519 SHA256:x",
            "Accepted publickey for x from 192.0.2.7 port 40 ssh2: ED25519 SHA256:x",
        ),
        (
            "Connection closed by authenticating user root 127.1.2.3 port 40 [preauth]",
            "Connection closed by authenticating user root 192.0.2.7 port 40 [preauth]",
        ),
        # The name is the stranger's, and the last address sshd's.
        (
            "Invalid user a from 127.9.9.9 port 1 from 127.1.2.3 port 40",
            "Invalid user a from 127.9.9.9 port 1 from 192.0.2.7 port 40",
        ),
        (
            "User a from 127.9.9.9 not allowed because from 127.1.2.3 not allowed "
            "because not listed in AllowUsers",
            "User a from 127.9.9.9 not allowed because from 192.0.2.7 not allowed "
            "because not listed in AllowUsers",
        ),
        ("Connection closed by 127.9.9.9 port 1", "Connection closed by 127.9.9.9 port 1"),
        ("Server listening on 127.0.0.1 port 2220.", "Server listening on 127.0.0.1 port 2220."),
        ("Connection closed by 2001:db8::1 port 1", "Connection closed by 2001:db8::1 port 1"),
    ],
)
def test_a_line_of_the_log_names_the_client_as_it_is(line, shown):
    assert name_client(line, lambda source: {"127.1.2.3": "192.0.2.7"}.get(source, source)) == shown


def test_a_host_certificate_names_what_it_is_for_and_ends(tmp_path):
    authority = Authority(make_private_text(Ed25519PrivateKey.generate()).encode())
    host = authority.make_host(["ws-mlhub--ann", "ann.mlhub", "ann.mlhub"], NOW)
    (tmp_path / "cert.pub").write_text(host.certificate)
    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", str(tmp_path / "cert.pub")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    principals = shown.partition("Principals:")[2].partition("Critical Options:")[0].split()
    assert principals == ["ws-mlhub--ann", "ann.mlhub"]
    assert "host certificate" in shown
    assert "Valid: from 2030-01-01T" in shown
    assert "to 2033-01-" in shown


def test_the_private_key_is_one_that_openssh_reads(tmp_path):
    host = Authority(make_private_text(Ed25519PrivateKey.generate()).encode()).make_host(["x"], NOW)
    file = tmp_path / "key"
    file.write_text(host.key + "\n")
    file.chmod(0o600)
    assert subprocess.run(
        ["ssh-keygen", "-y", "-f", str(file)], capture_output=True, text=True, check=True
    ).stdout.startswith("ssh-ed25519 ")


def test_a_damaged_or_foreign_authority_is_a_sentence():
    with pytest.raises(ConfigurationError, match="is damaged"):
        Authority(b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n")
    other = make_ecdsa(SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
    )
    with pytest.raises(ConfigurationError, match="no ed25519 key"):
        Authority(other)


def test_a_sessions_environment_is_quoted_and_holds_nothing_of_its_own():
    text = make_session_environment(
        {
            "A": 'say "hi" \\ #x',
            "B": "two\nlines",
            "USER": "x",
            "bad-name": "x",
            "PATH": "/bin",
            "LIST": '["a", "b"]',
        }
    )
    assert text == 'A="say \\"hi\\" \\\\ #x" LIST="[\\"a\\", \\"b\\"]" PATH="/bin:/.mlhub/bin"'


def test_the_start_of_a_workspaces_sshd_gets_the_hubs_address_and_token_by_environment():
    environment = make_start_environment(
        HostIdentity("key", "cert", "relay's"),
        {"JUPYTERHUB_API_URL": "http://mlhub:8081/base/hub/api", "JUPYTERHUB_API_TOKEN": "secret"},
    )
    assert environment["MLHUB_SSH_HUB"] == "mlhub 8081 /base/hub/api secret"
    assert environment["MLHUB_SSH_RELAY"] == "relay's"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", True),
        (None, True),
        ("0", True),
        ("root:root", True),
        ("0:100", True),
        ("1000", False),
        ("jovyan", False),
    ],
)
def test_root_is_told_from_others(user, expected):
    assert runs_as_root(user) is expected


def test_only_root_gets_more_for_its_sshd_and_what_the_site_says_stays():
    host = {
        "cap_add": ["CHOWN"],
        "tmpfs": {"/scratch": ""},
        "binds": {"data": {"bind": "/workspace", "mode": "rw"}},
    }
    admit_ssh(host, "mlhub-ssh-1", as_root=False)
    assert host["cap_add"] == ["CHOWN"]
    assert host["binds"] == {
        "data": {"bind": "/workspace", "mode": "rw"},
        "mlhub-ssh-1": {"bind": "/.mlhub", "mode": "ro"},
    }
    admit_ssh(host, "mlhub-ssh-1", as_root=True)
    assert host["cap_add"] == ["CHOWN", "AUDIT_WRITE", "SYS_CHROOT"]
    assert set(host["tmpfs"]) == {"/scratch", "/run/sshd"}
    own = {"cap_add": []}
    admit_ssh(own, None, as_root=True)
    assert own == {"cap_add": ["AUDIT_WRITE", "SYS_CHROOT"]}


def test_the_documented_filter_narrows_by_pattern_and_port():
    assert Filter().allows(Address("ws-mlhub--ann", 2222))
    assert Filter("ws-mlhub--*", "2222").allows(Address("ws-mlhub--ann", 2222))
    assert not Filter("ws-other-*", "*").allows(Address("ws-mlhub--ann", 2222))
    assert not Filter("*", "8080").allows(Address("ws-mlhub--ann", 2222))


def test_records_are_lines_of_json_in_a_private_file_that_does_not_grow(tmp_path):
    moments = iter(range(100_000))
    audit = AuditLog(
        tmp_path / "audit" / "ssh.jsonl", lambda: next(moments), file_bytes=2000, old_files=2
    )
    for number in range(200):
        audit.write("opened", user='a"b\n%s', number=number, missing=None)
    audit.close()
    files = sorted((tmp_path / "audit").iterdir())
    assert [file.name for file in files] == ["ssh.jsonl", "ssh.jsonl.1", "ssh.jsonl.2"]
    assert all(
        file.stat().st_size <= 2000 and stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files
    )
    last = json.loads(files[0].read_text().splitlines()[-1])
    assert last == {
        "at": "1970-01-01T00:03:19.000+00:00",
        "event": "opened",
        "user": 'a"b\n%s',
        "number": 199,
    }


def test_strangers_cannot_fill_the_record():
    now = [0.0]
    allowance = Allowance(10, lambda: now[0])
    assert sum(allowance.take() for _ in range(1000)) == 10
    assert allowance.take_suppressed() == 990
    assert allowance.take_suppressed() is None
    now[0] += timedelta(minutes=1).total_seconds()
    assert allowance.take()


def test_the_documented_variables_for_other_keys_are_read():
    assert parse_labels("") == {}
    assert parse_labels("mlhub.origin=mlhub, kind = old ") == {
        "mlhub.origin": "mlhub",
        "kind": "old",
    }
    assert [find_key_file(value) for value in ("false", "", "true", "/keys")] == [
        None,
        None,
        Path("/etc/ssh/authorized_keys_cache"),
        Path("/keys"),
    ]


def test_a_hand_kept_file_is_read_again_when_it_changes_and_bad_lines_count_for_nothing(tmp_path):
    lines = [make_public_line(Ed25519PrivateKey.generate()) for _ in range(2)]
    prints = [make_fingerprint(base64.b64decode(line.split()[1])) for line in lines]
    kept = KeyFile(tmp_path / "keys")
    assert kept.find(prints[0]) is None
    (tmp_path / "keys").write_text(f'# ours\n\ncommand="id" {lines[1]}\n{lines[0]} ann@laptop\n')
    assert kept.find(prints[0]).line == lines[0]
    assert kept.find(prints[1]) is None
    (tmp_path / "keys").write_text(f"{lines[1]}\n")
    assert kept.find(prints[0]) is None
    assert kept.find(prints[1]).line == lines[1]
