"""The hub's port for bastions in containers of their own: nothing for those who do not know the
token, and little work with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mlhub.ssh import lookup_server
from mlhub.ssh.authority import make_public_line
from mlhub.ssh.host import certify
from tests.support.bastion_site import HOST, SECONDS, TOKEN, Site, open_site, wait_until


@pytest.fixture
async def site(tmp_path):
    async with open_site(tmp_path) as one:
        yield one


async def test_who_knows_the_token_learns_what_a_key_opens(site):
    fingerprint = site.register("ann")
    answer = (await site.ask(f"bastion {TOKEN} b1\nkeys {fingerprint}\n")).decode()
    assert answer.startswith(
        f'restrict,command="/run/mlhub/bastion/lookup.sock {fingerprint}" ssh-ed25519 '
    )
    assert await site.ask(f"bastion {TOKEN} b1\nkeys SHA256:{'A' * 43}\n") == b""
    for name in ("rel-ssh-6d5f9c7b8-x2x4z", "0a1b2c3d4e5f", "my_host.example.org", "x" * 253):
        assert await site.ask(f"bastion {TOKEN} {name}\nkeys {fingerprint}\n"), name


@pytest.mark.parametrize(
    "greeting",
    [
        "", "\n", f"bastion {TOKEN[:-1]} b1\n", f"bastion {TOKEN}x b1\n", "bastion b1\n",
        f"bastion {TOKEN}\n", f"hello {TOKEN} b1\n", f"bastion {TOKEN} b1 more\n",
        f"bastion {TOKEN.upper()} b1\n", f"bastion {TOKEN}é b1\n", "bastion \ufffd b1\n",
        b"bastion \xff\xfe\x00 b1\n", b"\x16\x03\x01\x02\x00\x01\x00\n",
        f"bastion {TOKEN} ../b1\n", f"bastion {TOKEN} -b1\n", f"bastion {TOKEN} b1;x\n",
        f"bastion {TOKEN} b:1\n", f"bastion {TOKEN} \x1b[2J\n", f"bastion {TOKEN} bä\n",
        f"bastion {TOKEN} {'x' * 254}\n", f"bastion {TOKEN} b1",
    ],
)  # fmt: skip
async def test_who_does_not_know_it_or_has_no_name_learns_nothing(site, greeting):
    fingerprint = site.register("ann")
    first = greeting.encode() if isinstance(greeting, str) else greeting
    question = f"keys {fingerprint}\n".encode()
    assert await site.ask(first + question) == b""
    assert await site.ask(f"bastion {TOKEN} b1\n".encode() + question)


async def test_a_first_line_that_does_not_end_is_not_read_to_its_end(site):
    began = time.monotonic()
    assert await site.ask(b"x" * 2**20) == b""
    assert await site.ask(f"bastion {TOKEN} b1\n".encode() + b"x" * 2**20) == b""
    assert time.monotonic() - began < lookup_server.FIRST_LINE_SECONDS


@pytest.mark.parametrize(
    "beginning", ["", "bast", f"bastion {TOKEN} b1\n", f"bastion {TOKEN} b1\nkeys "]
)
async def test_a_line_that_does_not_come_is_not_waited_for(site, monkeypatch, beginning):
    monkeypatch.setattr(lookup_server, "FIRST_LINE_SECONDS", 0.3)
    began = time.monotonic()
    assert await site.ask(beginning) == b""
    assert 0.3 <= time.monotonic() - began < 3


async def test_strangers_get_three_lines_a_minute_in_the_hubs_log_without_what_they_said(
    site, caplog
):
    for _ in range(20):
        await site.ask("bastion what-somebody-made-up b1\n")
        await site.ask("\n")
    said = [record.getMessage() for record in caplog.records]
    assert (
        said
        == [
            f"{HOST} does not know the token of this hub's bastions (MLHUB_BASTION_TOKEN must be "
            "the same for both)"
        ]
        * 3
    )
    site.now[0] += 60
    for _ in range(20):
        await site.ask("GET / HTTP/1.1\r\n\r\n")
    assert len(caplog.records) == 6
    await site.ask(f"bastion {TOKEN} b1\nkeys x\n")
    assert len(caplog.records) == 6


async def test_one_address_can_not_keep_the_hub_waiting_with_any_number_of_connections(site):
    fingerprint = site.register("ann")
    question = f"bastion {TOKEN} b1\nkeys {fingerprint}\n"
    held = [
        await asyncio.open_connection(HOST, site.port)
        for _ in range(lookup_server.UNNAMED_PER_ADDRESS)
    ]
    await wait_until(
        lambda: site.server._unnamed[HOST] == len(held), "the hub waits for all of them"
    )
    began = time.monotonic()
    assert await site.ask("") == b""
    assert time.monotonic() - began < lookup_server.FIRST_LINE_SECONDS / 2
    # Nobody else is kept out, and neither is this address for longer than that.
    assert await site.ask(question, source="127.0.0.2")
    for _, writer in held:
        writer.close()
    await wait_until(lambda: not site.server._unnamed, "the hub waits for nobody")
    assert await site.ask(question)


async def test_bastions_with_the_token_are_not_counted_as_waiting(site):
    lines = [
        await site.connect(f"b{number}") for number in range(lookup_server.UNNAMED_PER_ADDRESS + 10)
    ]
    await wait_until(lambda: len(site.journal._writers) == len(lines), "all of them are followed")
    for bastion in lines:
        bastion.hang_up()


def read_certificate(text: str, folder) -> str:
    file = folder / "id-cert.pub"
    file.write_text(text)
    return subprocess.run(
        ["ssh-keygen", "-L", "-f", str(file)], capture_output=True, text=True, check=True
    ).stdout


async def test_a_bastions_own_key_is_certified_as_a_hosts_under_the_names_of_this_hub_alone(
    site, tmp_path
):
    public = make_public_line(Ed25519PrivateKey.generate())
    certificate = (await site.ask(f"bastion {TOKEN} b1\ncertify {public}\n")).decode()
    told = read_certificate(certificate, tmp_path)
    assert "Type: ssh-ed25519-cert-v01@openssh.com host certificate" in told
    names = told.partition("Principals:")[2].partition("Critical Options:")[0].split()
    assert names == ["mlhub-bastion", "localhost", "hub.example", "127.0.0.1", "::1"]
    # Whatever else a certificate says, of another authority or of this one: the key in it gets the
    # same names.
    again = (
        await site.ask(f"bastion {TOKEN} b1\ncertify {' '.join(certificate.split()[:2])}\n")
    ).decode()
    assert (
        read_certificate(again, tmp_path)
        .partition("Principals:")[2]
        .partition("Critical Options:")[0]
        .split()
        == names
    )


@pytest.mark.parametrize(
    "key", ["x", "ssh-ed25519 AAAA", "ssh-ed25519 ****", "rsa", f"ssh-ed25519 {'A' * 4000}"]
)
async def test_what_is_no_ed25519_key_is_not_certified(site, key):
    if key == "rsa":
        key = (
            generate_private_key(65537, 2048)
            .public_key()
            .public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
            .decode()
        )
    assert await site.ask(f"bastion {TOKEN} b1\ncertify {key}\n") == b""


async def test_nothing_else_is_answered(site):
    public = make_public_line(Ed25519PrivateKey.generate())
    for question in (
        f"certify {public} root",
        f"certify {public} -n root",
        "keys",
        "keys *",
        "keys SHA256:%",
        "help",
        f"sign {public}",
    ):
        assert await site.ask(f"bastion {TOKEN} b1\n{question}\n") == b"", question
    assert (
        await site.ask(f"bastion {TOKEN} b1\nconnect x\n")
        == b"refuse Write: connect <server>.<user>.<hub> <hub>.\n"
    )


async def test_beside_the_hub_there_is_a_socket_and_no_port_and_nothing_is_certified(
    site: Site, tmp_path
):
    """There the hub's own boot has signed the key."""
    beside = lookup_server.LookupServer(
        site.grants, site.journal, "", lambda line: certify(site.settings, line)
    )
    path = tmp_path / "lookup.sock"
    await beside.open(path)

    async def ask(question: str) -> bytes:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_unix_connection(path)
            with contextlib.closing(writer):
                writer.write(f"{question}\n".encode())
                return await reader.read()

    try:
        assert await ask(f"keys {site.register('ann')}")
        assert await ask(f"certify {make_public_line(Ed25519PrivateKey.generate())}") == b""
    finally:
        beside.close()
