"""What a person may register as an SSH public key, read strictly.

Promise: pure, and nothing of a refused text is ever repeated: it may be a private key. What is accepted is kept as
its binary form alone, written anew wherever it is needed, so that no text of a person's reaches an OpenSSH file.

The wire format is that of RFC 4253, section 6.6 (RSA), RFC 5656, section 3.1 (ECDSA), RFC 8709, section 4 (Ed25519), and
OpenSSH's PROTOCOL.u2f (the ``sk-`` keys of security tokens).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from mlhub.errors import PublicKeyError

MAX_TEXT_BYTES = 16 * 1024
MAX_COMMENT_CHARACTERS = 100
MIN_RSA_BITS = 3072  # NIST SP 800-57 part 1, revision 5, table 2: 128 bits of strength
MAX_RSA_BITS = 16384  # OpenSSH's own limit

_CURVES: dict[str, ec.EllipticCurve] = {"nistp256": ec.SECP256R1(), "nistp384": ec.SECP384R1(), "nistp521": ec.SECP521R1()}
_ECDSA = {f"ecdsa-sha2-{curve}": curve for curve in _CURVES} | {"sk-ecdsa-sha2-nistp256@openssh.com": "nistp256"}
_ED25519 = {"ssh-ed25519", "sk-ssh-ed25519@openssh.com"}
KINDS = frozenset({"ssh-rsa", *_ECDSA, *_ED25519})
_ACCEPTED = "Register an Ed25519, ECDSA or RSA key (3072 bits or more), or one of a security token."
_HINTS = ("ssh-", "ecdsa-", "sk-")


@dataclass(frozen=True)
class PublicKey:
    """One public key: its kind and bits, its binary form in base64, and SHA-256 over that as OpenSSH prints it."""

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

    Raises ``PublicKeyError`` with one sentence for everything that is not exactly one plain public key.
    """
    words = _take_line(text).split(None, 2)
    kind = words[0]
    if kind not in KINDS:
        raise PublicKeyError(_explain_kind(words))
    if len(words) < 2:
        raise PublicKeyError(f"The text ends after {kind!r}. Copy the whole line of the .pub file.")
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
            f"This is larger than {MAX_TEXT_BYTES // 1024} KiB, which no public key is. Paste the one line of the .pub file."
        )
    if "PRIVATE KEY" in text or "PuTTY-User-Key-File" in text:
        raise PublicKeyError(
            "This is a private key, which must never leave your computer. It was not kept; paste the one line of the file that ends in .pub."
        )
    if "BEGIN SSH2 PUBLIC KEY" in text or "BEGIN PUBLIC KEY" in text:
        raise PublicKeyError("This is a public key, but not in OpenSSH's format. Convert it: ssh-keygen -i -f <file>")
    line = text.removesuffix("\n").removesuffix("\r").strip(" ")
    if not line:
        raise PublicKeyError("There is no key. Paste the one line of the .pub file.")
    if len(line.splitlines()) > 1 or "\n" in line or "\r" in line:
        raise PublicKeyError("This is more than one line. Register one key at a time, and paste its one line.")
    if not line.isprintable():
        raise PublicKeyError("There are characters in the text that can not be printed. Copy the line of the .pub file again.")
    return line


def _explain_kind(words: list[str]) -> str:
    kind = words[0]
    if "-cert-v0" in kind:
        return "This is a certificate. Register the public key itself, from the file without '-cert'."
    if kind == "ssh-dss":
        return f"DSA keys are no longer safe, and OpenSSH has dropped them. {_ACCEPTED}"
    if any(word.startswith(_HINTS) for part in words[1:] for word in part.split()):
        return "There are options in front of the key, which are not allowed here. Paste the line from the key's type on."
    return f"This is not a public key in OpenSSH's format, or of a type that is not accepted. {_ACCEPTED}"


def _decode(text: str) -> bytes:
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    # A text that is not what its bytes would be written as hides bits; ssh-keygen never writes one.
    if not blob or base64.b64encode(blob).decode() != text:
        raise PublicKeyError("The key's second word is not base64, or a part of it is missing. Copy the whole line of the .pub file.")
    return blob


def _check_blob(kind: str, blob: bytes) -> int:
    """Return the key's bits; raise unless the binary form is exactly a key of this kind."""
    reader = _Reader(blob)
    if reader.take() != kind.encode():
        raise PublicKeyError("The key's type is not the one that its first word names. Copy the whole line of the .pub file.")
    if kind == "ssh-rsa":
        bits = _check_rsa(reader)
    elif kind in _ED25519:
        bits = _check_ed25519(reader)
    else:
        bits = _check_ecdsa(reader, _ECDSA[kind])
    if kind.startswith("sk-") and not reader.take():
        raise _damaged()
    if reader.rest:
        raise PublicKeyError("There is something behind the key in its second word. Copy the line of the .pub file again.")
    return bits


def _check_rsa(reader: _Reader) -> int:
    exponent, modulus = reader.take_number(), reader.take_number()
    bits = modulus.bit_length()
    if exponent < 3 or exponent % 2 == 0 or modulus % 2 == 0 or exponent >= modulus:
        raise _damaged()
    if bits < MIN_RSA_BITS:
        raise PublicKeyError(f"This RSA key has {bits} bits, fewer than {MIN_RSA_BITS}. Make a new one: ssh-keygen -t ed25519")
    if bits > MAX_RSA_BITS:
        raise PublicKeyError(
            f"This RSA key has {bits} bits, more than OpenSSH takes ({MAX_RSA_BITS}). Make a new one: ssh-keygen -t ed25519"
        )
    return bits


def _check_ed25519(reader: _Reader) -> int:
    if len(reader.take()) != 32:
        raise _damaged()
    return 256


def _check_ecdsa(reader: _Reader, name: str) -> int:
    curve = _CURVES[name]
    if reader.take() != name.encode():
        raise PublicKeyError("The key's curve is not the one that its type names. Copy the whole line of the .pub file.")
    point = reader.take()
    # Uncompressed only (SEC 1, section 2.3.3), as OpenSSH writes and reads it.
    if len(point) != 1 + 2 * ((curve.key_size + 7) // 8) or point[0] != 4:
        raise _damaged()
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
    except ValueError:
        raise _damaged() from None
    return curve.key_size


def _damaged() -> PublicKeyError:
    return PublicKeyError("The key is damaged: its numbers are not those of a key of its type. Copy the whole line of the .pub file.")


class _Reader:
    """Take strings and numbers off a binary form (RFC 4251, section 5)."""

    def __init__(self, blob: bytes) -> None:
        self.rest = blob

    def take(self) -> bytes:
        length = int.from_bytes(self.rest[:4], "big")
        if len(self.rest) < 4 + length or len(self.rest) < 4:
            raise _damaged()
        value, self.rest = self.rest[4 : 4 + length], self.rest[4 + length :]
        return value

    def take_number(self) -> int:
        """Take a positive number in its only form: no sign bit, no zero byte in front that is not needed for that."""
        value = self.take()
        if not value or value[0] & 0x80 or (value[0] == 0 and (len(value) == 1 or not value[1] & 0x80)):
            raise _damaged()
        return int.from_bytes(value, "big")
