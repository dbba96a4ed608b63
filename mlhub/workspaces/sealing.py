"""Secret options as they are kept: sealed, and opened for one workspace alone.

Invariants: the hub's database, its REST API and its log never hold the value of a secret option,
from the request on. A sealed value is bound to its option and to the workspace it was given to, so
a copy opens nothing elsewhere. The same value is sealed the same way, so options can be compared.

The key is derived from the secret with which the hub signs cookies (``JPY_COOKIE_SECRET``): where
that is lost, so are the values, and a start tells so.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mlhub.options.model import OPTIONS, FieldsError, is_nothing
from mlhub.texts import Text

PREFIX = "sealed:"
SECRETS = tuple(name for name, option in OPTIONS.items() if option.is_secret)


class Seal:
    """Seal and open the secret options of one workspace."""

    def __init__(self, secret: bytes, user: str, server: str) -> None:
        """Derive the key; ``secret`` is the hub's own."""
        kdf = HKDF(algorithm=SHA256(), length=64, salt=None, info=b"mlhub secret options")
        self._cipher = AESSIV(kdf.derive(secret))
        self._workspace = [user.encode(), server.encode()]

    def seal(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return options whose secrets are sealed, whatever they are; those that are sealed stay as
        they are.
        """
        return {
            name: self._seal(name, value)
            if name in SECRETS and not is_nothing(value) and not is_sealed(value)
            else value
            for name, value in options.items()
        }

    def open(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return options with their secrets; raise ``FieldsError`` where one was sealed for another
        workspace, or by a hub with another key.
        """
        return {
            name: self._open(name, value) if name in SECRETS and is_sealed(value) else value
            for name, value in options.items()
        }

    def _seal(self, name: str, value: Any) -> str:
        data = json.dumps(value).encode()
        sealed = self._cipher.encrypt(data, [*self._workspace, name.encode()])
        return PREFIX + base64.urlsafe_b64encode(sealed).decode()

    def _open(self, name: str, value: str) -> Any:
        try:
            sealed = base64.urlsafe_b64decode(value.removeprefix(PREFIX))
            data = self._cipher.decrypt(sealed, [*self._workspace, name.encode()])
        except (InvalidTag, ValueError, binascii.Error):
            sentence = Text(
                "%(name)s was kept for another workspace, or by a hub with another key. Type it"
                " again.",
                name=name,
            )
            raise FieldsError({name: sentence}) from None
        return json.loads(data)


def is_sealed(value: Any) -> bool:
    """Return True if a value is one that ``Seal.seal`` made, or pretends to be."""
    return isinstance(value, str) and value.startswith(PREFIX)
