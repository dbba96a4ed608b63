"""What may be registered as a public key, and what is refused with which sentence."""

from __future__ import annotations

import base64
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_public_key,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlhub.errors import PublicKeyError
from mlhub.ssh.public_keys import KINDS, MAX_TEXT_BYTES, parse_public_key


def string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def number(value: int) -> bytes:
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def line(kind: str, *fields: bytes, comment: str = "ann@home") -> str:
    return (
        f"{kind} {base64.b64encode(string(kind.encode()) + b''.join(fields)).decode()} {comment}"
    ).rstrip()


def point(curve: ec.EllipticCurve) -> bytes:
    public = ec.generate_private_key(curve).public_key()
    return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


POINTS = {
    name: point(curve)
    for name, curve in {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "521": ec.SECP521R1()}.items()
}
ED25519 = ed25519.Ed25519PrivateKey.generate()
ED25519_POINT = ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
RSA_3072 = rsa.generate_private_key(65537, 3072).public_key().public_numbers()
RSA_2048 = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
GOOD = {
    "ssh-ed25519": line("ssh-ed25519", string(ED25519_POINT)),
    **{
        f"ecdsa-sha2-nistp{bits}": line(
            f"ecdsa-sha2-nistp{bits}", string(f"nistp{bits}".encode()), string(at)
        )
        for bits, at in POINTS.items()
    },
    "ssh-rsa": line("ssh-rsa", number(65537), number(RSA_3072.n)),
    "sk-ssh-ed25519@openssh.com": line(
        "sk-ssh-ed25519@openssh.com", string(ED25519_POINT), string(b"ssh:")
    ),
    "sk-ecdsa-sha2-nistp256@openssh.com": line(
        "sk-ecdsa-sha2-nistp256@openssh.com",
        string(b"nistp256"),
        string(POINTS["256"]),
        string(b"ssh:"),
    ),
}
BITS = {"ssh-ed25519": 256, "ecdsa-sha2-nistp384": 384, "ecdsa-sha2-nistp521": 521, "ssh-rsa": 3072}
PLAIN = GOOD["ssh-ed25519"]


def test_every_kind_of_the_list_is_covered():
    assert set(GOOD) == KINDS


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_a_key_of_each_accepted_kind_is_read_as_ssh_keygen_reads_it(kind, tmp_path):
    key = parse_public_key(GOOD[kind] + "\n")
    assert (key.kind, key.bits, key.comment) == (kind, BITS.get(kind, 256), "ann@home")
    assert key.line == GOOD[kind].removesuffix(" ann@home")
    assert shutil.which("ssh-keygen"), "ssh-keygen is not installed (Debian: openssh-client)"
    file = tmp_path / "key.pub"
    file.write_text(key.line + "\n")
    listed = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(file)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert listed[:2] == [str(key.bits), key.fingerprint]


def list_key(text: str, folder: Path) -> list[str]:
    """Return bits and fingerprint of a key as ssh-keygen reads it, nothing where it does not."""
    (folder / "listed.pub").write_text(f"{text}\n")
    command = ["ssh-keygen", "-l", "-f", str(folder / "listed.pub")]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()[:2]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, str]:
    """Return keys that ssh-keygen made, one of each kind that needs no token: kind → line."""
    folder, lines = tmp_path_factory.mktemp("keys"), {}
    kinds = ("ed25519", "rsa -b 3072", "ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521")
    for number, kind in enumerate(kinds):
        file = folder / str(number)
        command = ["ssh-keygen", "-q", "-N", "", "-C", "zoë's key", "-f", str(file), "-t"]
        subprocess.run([*command, *kind.split()], check=True)
        line = file.with_suffix(".pub").read_text()
        lines[line.split()[0]] = line
    return lines


def test_keys_that_ssh_keygen_made_are_read_as_it_reads_them(made, tmp_path):
    assert set(made) == {kind for kind in KINDS if not kind.startswith("sk-")}
    for kind, line in made.items():
        key = parse_public_key(line)
        assert (key.kind, key.comment) == (kind, "zoë's key")
        assert list_key(key.line, tmp_path) == [str(key.bits), key.fingerprint]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_key_that_is_read_is_one_that_ssh_keygen_reads_alike(made, tmp_path, data):
    kind, line = data.draw(st.sampled_from(sorted(made.items())))
    blob = bytearray(base64.b64decode(line.split()[1]))
    # Behind the kind: with another one there it is refused before anything else is read.
    blob[data.draw(st.integers(4 + len(kind), len(blob) - 1))] = data.draw(st.integers(0, 255))
    try:
        key = parse_public_key(f"{kind} {base64.b64encode(blob).decode()}")
    except PublicKeyError:
        return
    assert list_key(key.line, tmp_path) == [str(key.bits), key.fingerprint]


def test_a_key_without_comment_with_blanks_and_with_one_line_end_of_any_system_is_read():
    bare = PLAIN.removesuffix(" ann@home")
    assert {
        parse_public_key(text).line
        for text in (bare, f"  {bare}  ", f"{bare}\n", f"{bare}\r\n", bare.replace(" ", "   "))
    } == {bare}
    assert parse_public_key(bare).comment == ""


def certificate(kind: str) -> str:
    return PLAIN.replace("ssh-ed25519", f"{kind}-cert-v01@openssh.com", 1)


DSA = line("ssh-dss", *(number(2**1023 + part) for part in range(4)))
PRIVATE = ED25519.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
OFF_CURVE = bytes([4]) + b"\1" * 64
ED_BLOB = PLAIN.split()[1]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "There is no key"),
        (" \n", "There is no key"),
        ("hello world", "not a public key"),
        ("ssh-ed25519", "ends after"),
        ("ssh-ed25519 ", "ends after"),
        (f'command="id" {PLAIN}', "options in front"),
        (f'no-pty,permitopen="*:*" {PLAIN}', "options in front"),
        (f"@cert-authority * {PLAIN}", "options in front"),
        (PRIVATE, "private key"),
        (PRIVATE.replace("\n", " "), "private key"),
        (f"{PLAIN}\n{PRIVATE}", "private key"),
        ("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none", "private key"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----", "ssh-keygen -i"),
        (certificate("ssh-ed25519"), "certificate"),
        (certificate("ssh-rsa"), "certificate"),
        (DSA, "DSA"),
        (f"{PLAIN}\n{GOOD['ssh-rsa']}", "more than one line"),
        (f"{PLAIN}\n\n", "more than one line"),
        (f"{PLAIN}\rcommand=id {PLAIN}", "more than one line"),
        (f"{PLAIN}\r\nx", "more than one line"),
        (f"{PLAIN}\x0bx", "more than one line"),
        (f"{PLAIN}\u2028x", "more than one line"),
        (f"{PLAIN}\0", "cannot be printed"),
        (f"{PLAIN}\x1b[2J", "cannot be printed"),
        (f"{PLAIN}\u202ex", "cannot be printed"),
        (PLAIN.replace(" ", "\t"), "cannot be printed"),
        (PLAIN + "\udcff", "cannot be printed"),
        (f"{PLAIN} {'x' * MAX_TEXT_BYTES}", "larger than 16 KiB"),
        ("é" * (MAX_TEXT_BYTES // 2 + 1), "larger than 16 KiB"),
        ("ssh-ed25519 !!!!", "not base64"),
        (f"ssh-ed25519 {ED_BLOB}=", "not base64"),
        (f"ssh-ed25519 {ED_BLOB[:-1]}", "not base64"),
        (f"ssh-ed25519 {ED_BLOB[:-4]}", "damaged"),
        (f"ssh-ed25519 {ED_BLOB.replace('+', '-').replace('/', '_')}-_", "not base64"),
        (f"ssh-rsa {ED_BLOB}", "not the one that its first word names"),
        (
            f"ecdsa-sha2-nistp256 {GOOD['ecdsa-sha2-nistp384'].split()[1]}",
            "not the one that its first word names",
        ),
        (line("ssh-ed25519", string(ED25519_POINT), b"x"), "something behind the key"),
        (line("ssh-ed25519", string(ED25519_POINT), string(b"")), "something behind the key"),
        (
            line("ssh-rsa", number(65537), number(RSA_3072.n), string(b"more")),
            "something behind the key",
        ),
        (line("ssh-ed25519", string(ED25519_POINT + b"x")), "damaged"),
        (line("ssh-ed25519", string(ED25519_POINT[:-1])), "damaged"),
        (line("ssh-ed25519", struct.pack(">I", 2**32 - 1) + ED25519_POINT), "damaged"),
        (line("ecdsa-sha2-nistp256", string(b"nistp384"), string(POINTS["384"])), "curve"),
        (line("ecdsa-sha2-nistp256", string(b"nistp256"), string(POINTS["384"])), "damaged"),
        (
            line("ecdsa-sha2-nistp256", string(b"nistp256"), string(b"\2" + POINTS["256"][1:33])),
            "damaged",
        ),
        (line("ecdsa-sha2-nistp256", string(b"nistp256"), string(b"\0")), "damaged"),
        (line("ecdsa-sha2-nistp256", string(b"nistp256"), string(OFF_CURVE)), "damaged"),
        (line("ssh-rsa", number(65537), number(RSA_2048.n)), "2048 bits, fewer than 3072"),
        (line("ssh-rsa", number(65537), number(2**16400 + 1)), "more than OpenSSH takes"),
        (line("ssh-rsa", number(1), number(RSA_3072.n)), "damaged"),
        (line("ssh-rsa", number(65536), number(RSA_3072.n)), "damaged"),
        (line("ssh-rsa", number(65537), number(RSA_3072.n + 1)), "damaged"),
        # a negative number
        (line("ssh-rsa", number(65537), string(RSA_3072.n.to_bytes(384, "big"))), "damaged"),
        (
            line("ssh-rsa", number(65537), string(b"\0\0" + RSA_3072.n.to_bytes(384, "big"))),
            "damaged",
        ),
        (line("sk-ssh-ed25519@openssh.com", string(ED25519_POINT)), "damaged"),
        (
            line("sk-ssh-ed25519@openssh.com", string(ED25519_POINT), string(b"web:example")),
            "for another application than SSH",
        ),
        (line("sk-ssh-ed25519@openssh.com", string(ED25519_POINT), string(b"")), "application"),
        (
            "ssh-xmss@openssh.com AAAA",
            "not a public key in OpenSSH's format, or of a type that is not accepted",
        ),
        ("webauthn-sk-ecdsa-sha2-nistp256@openssh.com AAAA", "not accepted"),
    ],
)
def test_anything_else_is_refused_with_one_sentence_that_repeats_nothing_of_it(text, sentence):
    with pytest.raises(PublicKeyError) as refused:
        parse_public_key(text)
    message = str(refused.value)
    assert sentence in message
    assert refused.value.status_code == 400
    assert "\n" not in message
    assert not any(len(word) > 40 and word in message for word in text.split())


def export(kind, encoding, key_format):
    return load_ssh_public_key(GOOD[kind].encode()).public_bytes(encoding, key_format).decode()


def break_lines(text, width):
    return "\r\n".join(text[at : at + width] for at in range(0, len(text), width))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("ssh-rsa", export("ssh-rsa", Encoding.PEM, PublicFormat.PKCS1)),
        ("ssh-rsa", export("ssh-rsa", Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
        (
            "ecdsa-sha2-nistp384",
            export("ecdsa-sha2-nistp384", Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ),
        ("ssh-rsa", break_lines(GOOD["ssh-rsa"], 76)),  # as mail programs do
        ("ssh-ed25519", break_lines(GOOD["ssh-ed25519"], 60)),
        ("ssh-rsa", GOOD["ssh-rsa"].replace(" ", "\n", 1)),
    ],
)
def test_a_key_in_another_form_is_refused_with_the_command_that_makes_it_one_line(
    kind, text, tmp_path
):
    with pytest.raises(PublicKeyError) as refused:
        parse_public_key(text)
    (tmp_path / "key.pub").write_text(text, newline="")
    command = str(refused.value).partition(": ")[2].replace("<file>", "key.pub")
    made = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert parse_public_key(made.stdout).line == parse_public_key(GOOD[kind]).line


def test_an_ed25519_key_that_no_common_ssh_keygen_reads_is_told_as_the_line_to_register():
    text = export("ssh-ed25519", Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(PublicKeyError, match="Register it in that format") as refused:
        parse_public_key(text)
    told = str(refused.value).partition("format: ")[2]
    assert parse_public_key(told).line == parse_public_key(GOOD["ssh-ed25519"]).line


def test_the_second_key_of_two_is_nothing_that_a_mail_program_broke():
    for text in (f"{PLAIN}\n{GOOD['ssh-rsa']}", f"{PLAIN}\nssh-ed25519", "ssh-rsa\nAAAA"):
        with pytest.raises(PublicKeyError, match="more than one line"):
            parse_public_key(text)


@given(st.text(max_size=200))
def test_any_text_is_a_key_or_is_refused(text):
    with pytest.raises(PublicKeyError):
        parse_public_key(text)


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_a_key_with_any_bytes_changed_is_refused_or_is_exactly_the_key_that_it_says(kind, data):
    blob = bytearray(base64.b64decode(GOOD[kind].split()[1]))
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    text = f"{kind} {base64.b64encode(blob).decode()}"
    try:
        key = parse_public_key(text)
    except PublicKeyError:
        return
    assert key.line == text


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_a_key_that_was_cut_off_anywhere_is_refused(kind, data):
    bare = GOOD[kind].removesuffix(" ann@home")
    with pytest.raises(PublicKeyError):
        parse_public_key(bare[: data.draw(st.integers(0, len(bare) - 1))])


@given(
    st.text(st.characters(exclude_categories=["C", "Z"]), max_size=300).filter(
        lambda text: "PuTTY" not in text
    )
)
def test_what_stands_behind_the_key_changes_neither_key_nor_fingerprint(comment):
    key = parse_public_key(f"{PLAIN.removesuffix(' ann@home')} {comment}")
    assert (key.line, key.fingerprint) == (
        parse_public_key(PLAIN).line,
        parse_public_key(PLAIN).fingerprint,
    )
    assert len(key.comment) <= 100
