"""Certificates and keys as sites have them: PEM in one file or two, PKCS#12, with a passphrase or
without.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from mlhub.errors import ConfigurationError

# PKCS#12 holds certificate and key.
BUNDLES = (".p12", ".pfx")
SUFFIXES = (".crt", ".pem", *BUNDLES)
CURE = "Mount a valid PEM pair as cert.crt and cert.key, or neither to have one generated."
OPENED_BY = "Pass it as SSL_KEY_PASSPHRASE, or a file with it as SSL_KEY_PASSPHRASE_FILE."
KEY = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)


@dataclass(frozen=True)
class Pair:
    """Name a certificate's file and its key's; one file may be both."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Loaded:
    """Hold what a pair's files say: the certificate, all of its chain and its key in PEM."""

    source: Path
    leaf: x509.Certificate
    chain: bytes
    key: bytes


def holds_key(file: Path) -> bool:
    """Return True if a file has a private key in PEM; one that cannot be read has none."""
    try:
        return KEY.search(file.read_bytes()) is not None
    except OSError:
        return False


def read_pair(pair: Pair, passphrase: str | None) -> Loaded:
    """Return what the files hold, with the key's own certificate first.

    Raises ``ConfigurationError`` where they cannot be read or do not belong together.
    """
    password = passphrase.encode() if passphrase else None
    read = _read_bundle if pair.certificate.suffix in BUNDLES else _read_pem
    key, certificates = read(pair, password)
    public = key.public_key()
    leaf = next((one for one in certificates if one.public_key() == public), None)
    if leaf is None:
        raise ConfigurationError(
            f"The key {pair.key} does not belong to the certificate {pair.certificate}. {CURE}"
        )
    chain = [leaf, *(one for one in certificates if one is not leaf)]
    return Loaded(
        pair.certificate,
        leaf,
        b"".join(one.public_bytes(Encoding.PEM) for one in chain),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _read_pem(pair: Pair, password: bytes | None) -> tuple[PrivateKeyTypes, list[x509.Certificate]]:
    try:
        certificates = x509.load_pem_x509_certificates(pair.certificate.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"The certificate {pair.certificate} cannot be read ({error}). {CURE}"
        ) from error
    try:
        found = KEY.search(pair.key.read_bytes())
        if found is None:
            raise ValueError("it holds no private key in PEM")
        return _load_key(found[0], password, pair.key), certificates
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise ConfigurationError(f"The key {pair.key} cannot be read ({error}). {CURE}") from error


def _load_key(text: bytes, password: bytes | None, file: Path) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(text, None)
    except TypeError as error:  # it is encrypted
        if password is None:
            raise ConfigurationError(f"The key {file} has a passphrase. {OPENED_BY}") from error
    try:
        return load_pem_private_key(text, password)
    except ValueError as error:
        raise ConfigurationError(
            f"The passphrase does not open the key {file} ({error}). {OPENED_BY}"
        ) from error


def _read_bundle(
    pair: Pair, password: bytes | None
) -> tuple[PrivateKeyTypes, list[x509.Certificate]]:
    try:
        data = pair.certificate.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{pair.certificate} cannot be read ({error}). {CURE}") from error
    reason: Exception | None = None
    for attempt in (password, None, b"") if password else (None, b""):
        try:
            key, leaf, others = pkcs12.load_key_and_certificates(data, attempt)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            reason = reason or error
            continue
        if key is None or leaf is None:
            raise ConfigurationError(
                f"{pair.certificate} has to hold a certificate and its key. Export both into it."
            )
        return key, [leaf, *others]
    raise ConfigurationError(
        f"{pair.certificate} cannot be read as PKCS#12 ({reason}). If it has a passphrase:"
        f" {OPENED_BY}"
    )
