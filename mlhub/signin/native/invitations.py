"""Links by which somebody chooses a password themselves: whom an administrator has added, or who
has forgotten theirs. So no password is ever told from one person to another.

Invariants: a link is for one person, works until it expires, and once: it is signed over the
password in force, so any change of that ends it. Nothing is stored.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jupyterhub import orm
from nativeauthenticator.orm import UserInfo

DAYS = 3
SECONDS = DAYS * 86_400
MAX_CODE_CHARACTERS = 1000


@dataclass(frozen=True)
class Claim:
    """Whom a link says it is for, and until when (seconds since the epoch); not yet believed."""

    name: str
    expires_at: int


class Invitations:
    """Make and check the codes of links; ``secret`` is the hub's own."""

    def __init__(self, secret: bytes) -> None:
        kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"mlhub invitation")
        self._key = kdf.derive(secret)

    def make(self, person: orm.User, account: UserInfo | None, expires_at: int) -> str:
        """Return the code for a person as they are now."""
        claim = Claim(person.name, expires_at)
        content = json.dumps([claim.name, claim.expires_at]).encode()
        return f"{_encode(content)}.{_encode(self._sign(claim, person, account))}"

    def check(
        self, code: str, claim: Claim, person: orm.User, account: UserInfo | None, now: float
    ) -> bool:
        """Return True if a code is good for a person as they are now."""
        given = _decode(code.partition(".")[2])
        return hmac.compare_digest(given, self._sign(claim, person, account)) and (
            now < claim.expires_at
        )

    def _sign(self, claim: Claim, person: orm.User, account: UserInfo | None) -> bytes:
        password = account.password if account is not None else None
        # Not the name alone: whoever has it later is somebody else.
        state = [claim.name, claim.expires_at, person.id, person.created.isoformat()]
        text = json.dumps([*state, bytes(password).hex() if password else None])
        return hmac.digest(self._key, text.encode(), "sha256")


def read_claim(code: str) -> Claim | None:
    """Return what a code claims; None where it is none."""
    if len(code) > MAX_CODE_CHARACTERS:
        return None
    try:
        name, expires_at = json.loads(_decode(code.partition(".")[0]))
    except (ValueError, TypeError):
        return None
    is_claim = isinstance(name, str) and type(expires_at) is int
    return Claim(name, expires_at) if is_claim else None


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decode(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""
