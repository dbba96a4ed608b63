"""What a person may register as an SSH public key, read strictly.

Invariants: pure, and nothing of a refused text is ever repeated: it may be a private key. What is
accepted is kept as its binary form alone, written anew wherever it is needed, so that no text of a
person's reaches an OpenSSH file.

``cryptography`` reads the binary form, by RFC 4253, section 6.6 (RSA), RFC 5656, section 3.1
(ECDSA), RFC 8709, section 4 (Ed25519), and OpenSSH's PROTOCOL.u2f (the ``sk-`` keys of security
tokens). What it lets pass and OpenSSH never writes is refused here.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
    load_ssh_public_key,
)

from mlhub.errors import PublicKeyError
from mlhub.texts import Text

MAX_TEXT_BYTES = 16 * 1024
MAX_COMMENT_CHARACTERS = 100
MIN_RSA_BITS = 3072  # NIST SP 800-57 part 1, revision 5, table 2: 128 bits of strength
MAX_RSA_BITS = 16384  # OpenSSH's own limit

# Bits, and the curve that the binary form names as well; those of RSA differ.
_ELLIPTIC = {
    "ssh-ed25519": (256, ""),
    "sk-ssh-ed25519@openssh.com": (256, ""),
    "ecdsa-sha2-nistp256": (256, "nistp256"),
    "ecdsa-sha2-nistp384": (384, "nistp384"),
    "ecdsa-sha2-nistp521": (521, "nistp521"),
    "sk-ecdsa-sha2-nistp256@openssh.com": (256, "nistp256"),
}
KINDS = frozenset({"ssh-rsa", *_ELLIPTIC})
_ACCEPTED = "Register an Ed25519, ECDSA or RSA key (3072 bits or more), or one of a security token."
# What ssh-keygen has to be told: RFC 4716, PKCS #1 and PKCS #8.
_FORMATS = {"SSH2 ": "", "RSA ": " -m PEM", "": " -m PKCS8"}
_HINTS = ("ssh-", "ecdsa-", "sk-")


@dataclass(frozen=True)
class PublicKey:
    """One public key: its kind and bits, its binary form in base64, and SHA-256 over that as
    OpenSSH prints it.
    """

    kind: str
    bits: int
    body: str
    comment: str
    fingerprint: str

    @property
    def line(self) -> str:
        """The key as a line of OpenSSH, without options and comment."""
        return f"{self.kind} {self.body}"


def parse_public_key(text: str) -> PublicKey:
    """Read the one line of a ``.pub`` file.

    Raises ``PublicKeyError`` with one sentence for everything that is not exactly one plain public
    key.
    """
    words = _take_line(text).split(None, 2)
    kind = words[0]
    if kind not in KINDS:
        raise PublicKeyError(_explain_kind(words))
    if len(words) < 2:
        raise PublicKeyError(
            Text(
                "The text ends after %(kind)s. Copy the whole line of the .pub file.",
                kind=repr(kind),
            )
        )
    blob = _decode(words[1])
    comment = words[2].strip() if len(words) > 2 else ""
    return PublicKey(
        kind=kind,
        bits=_check_blob(kind, blob),
        body=base64.b64encode(blob).decode(),
        comment=comment[:MAX_COMMENT_CHARACTERS],
        fingerprint=make_fingerprint(blob),
    )


def make_fingerprint(blob: bytes) -> str:
    """Make the fingerprint of a key's binary form, as ``ssh-keygen -l`` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _take_line(text: str) -> str:
    if len(text) > MAX_TEXT_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        raise PublicKeyError(
            Text(
                "This is larger than %(max_text_bytes)s KiB, which no public key is."
                " Paste the one line of the .pub file.",
                max_text_bytes=MAX_TEXT_BYTES // 1024,
            )
        )
    if "PRIVATE KEY" in text or "PuTTY-User-Key-File" in text:
        raise PublicKeyError(
            Text(
                "This is a private key, which must never leave your computer. It was"
                " not kept; paste the one line of the file that ends in .pub."
            )
        )
    if match := re.search("BEGIN (SSH2 |RSA |)PUBLIC KEY", text):
        raise PublicKeyError(_explain_format(match[1], text))
    line = text.removesuffix("\n").removesuffix("\r").strip(" ")
    if not line:
        raise PublicKeyError(Text("There is no key. Paste the one line of the .pub file."))
    if len(line.splitlines()) > 1 or "\n" in line or "\r" in line:
        raise PublicKeyError(_explain_lines(line))
    if not line.isprintable():
        raise PublicKeyError(
            Text(
                "There are characters in the text that cannot be printed. Copy the"
                " line of the .pub file again."
            )
        )
    return line


def _explain_format(kind: str, text: str) -> str:
    # OpenSSH before 9.9 reads no Ed25519 key in PKCS #8, neither half of it.
    with contextlib.suppress(ValueError, UnsupportedAlgorithm):
        key = load_pem_public_key(text.strip().encode())
        if isinstance(key, Ed25519PublicKey):
            line = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
            return (
                "This is a public key, but not in OpenSSH's format. Register it in that format:"
                f" {line}"
            )
    return (
        "This is a public key, but not in OpenSSH's format. Convert it: ssh-keygen -i"
        f"{_FORMATS[kind]} -f <file>"
    )


def _explain_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    if not _is_key(lines[0]):  # else what follows it is something else
        for joint, command in (("", r"tr -d '\r\n'"), (" ", r"tr -s '\r\n' ' '")):
            if _is_key(joint.join(lines)):
                return (
                    f"The one line of this key was broken into {len(lines)}, as mail programs do."
                    f" Join them: {command} < key.pub"
                )
    return "This is more than one line. Register one key at a time, and paste its one line."


def _is_key(line: str) -> bool:
    with contextlib.suppress(PublicKeyError):
        return bool(parse_public_key(line))
    return False


def _explain_kind(words: list[str]) -> str:
    kind = words[0]
    if "-cert-v0" in kind:
        return (
            "This is a certificate. Register the public key itself, from the file without '-cert'."
        )
    if kind == "ssh-dss":
        return f"DSA keys are no longer safe, and OpenSSH has dropped them. {_ACCEPTED}"
    if any(word.startswith(_HINTS) for part in words[1:] for word in part.split()):
        return (
            "There are options in front of the key, which are not allowed here. Paste the line from"
            " the key's type on."
        )
    return (
        "This is not a public key in OpenSSH's format, or of a type that is not accepted."
        f" {_ACCEPTED}"
    )


def _decode(text: str) -> bytes:
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    # A text that is not what its bytes would be written as hides bits; ssh-keygen never writes one.
    if not blob or base64.b64encode(blob).decode() != text:
        raise PublicKeyError(
            Text(
                "The key's second word is not base64, or a part of it is missing. Copy"
                " the whole line of the .pub file."
            )
        )
    return blob


def _check_blob(kind: str, blob: bytes) -> int:
    """Return the key's bits; raise unless the binary form is exactly a key of this kind."""
    bits, curve = _ELLIPTIC.get(kind, (0, ""))
    begin = _write_string(kind)
    if not blob.startswith(begin):
        raise PublicKeyError(
            Text(
                "The key's type is not the one that its first word names. Copy the"
                " whole line of the .pub file."
            )
        )
    if curve and not blob.startswith(begin + _write_string(curve)):
        raise PublicKeyError(
            Text(
                "The key's curve is not the one that its type names. Copy the whole"
                " line of the .pub file."
            )
        )
    line = f"{kind} {base64.b64encode(blob).decode()}".encode()
    try:
        key = load_ssh_public_key(line)
    except (ValueError, NotImplementedError, UnsupportedAlgorithm) as error:
        raise _explain_blob(error) from None
    if isinstance(key, RSAPublicKey):
        # Its numbers have longer forms, which cryptography reads as well.
        if key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) != line:
            raise _explain_blob()
        return _check_rsa(key)
    return bits


def _check_rsa(key: RSAPublicKey) -> int:
    if key.public_numbers().n % 2 == 0:
        raise _explain_blob()
    if key.key_size < MIN_RSA_BITS:
        raise PublicKeyError(
            Text(
                "This RSA key has %(key_size)s bits, fewer than %(min_rsa_bits)s. Make"
                " a new one: ssh-keygen -t ed25519",
                key_size=key.key_size,
                min_rsa_bits=MIN_RSA_BITS,
            )
        )
    if key.key_size > MAX_RSA_BITS:
        raise PublicKeyError(
            Text(
                "This RSA key has %(key_size)s bits, more than OpenSSH takes"
                " (%(max_rsa_bits)s). Make a new one: ssh-keygen -t ed25519",
                key_size=key.key_size,
                max_rsa_bits=MAX_RSA_BITS,
            )
        )
    return key.key_size


def _explain_blob(error: Exception | None = None) -> PublicKeyError:
    if "unparsed data" in str(error):
        return PublicKeyError(
            Text(
                "There is something behind the key in its second word. Copy the line"
                " of the .pub file again."
            )
        )
    if "application" in str(error):
        return PublicKeyError(
            Text(
                "This key of a security key is for another application than SSH: its"
                " application does not begin with 'ssh:'. Make a new one: ssh-keygen -t"
                " ed25519-sk"
            )
        )
    return PublicKeyError(
        Text(
            "The key is damaged: its numbers are not those of a key of its type."
            " Copy the whole line of the .pub file."
        )
    )


def _write_string(text: str) -> bytes:
    """Write a string of the binary form (RFC 4251, section 5)."""
    return len(text).to_bytes(4, "big") + text.encode()
