"""The TLS pair that nginx serves: the site's own, or one generated once and kept under the data directory.

Own pairs are looked for as /resources/ssl/cert.{crt,key}, then /run/secrets/cert.{crt,key} (a Docker secret).
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mlhub.boot.accounts import Account
from mlhub.boot.data import write_private
from mlhub.errors import ConfigurationError
from mlhub.settings import Settings

LIFETIME = datetime.timedelta(days=825)
RENEW_BEFORE = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Pair:
    """Name a certificate file and its key file."""

    certificate: Path
    key: Path


def find_own_pair(settings: Settings) -> Pair | None:
    """Return the site's own pair, or None when neither of its files is mounted."""
    for folder in (settings.mlhub_resources_dir / "ssl", Path("/run/secrets")):
        pair = Pair(folder / "cert.crt", folder / "cert.key")
        present = [file for file in (pair.certificate, pair.key) if file.exists()]
        if len(present) == 1:
            missing = pair.key if present[0] == pair.certificate else pair.certificate
            raise ConfigurationError(f"{present[0]} is there but {missing} is not. Mount both, or neither to have a certificate generated.")
        if present:
            return pair
    return None


def ensure_generated_pair(settings: Settings, owner: Account, now: datetime.datetime) -> Pair:
    """Return the generated pair, made anew when missing, about to expire, or made for other names."""
    folder = settings.data_volume_container / "ssl"
    folder.mkdir(mode=0o700, exist_ok=True)
    owner.own(folder, 0o700)
    pair = Pair(folder / "cert.crt", folder / "cert.key")
    names = list_names(settings)
    if pair.certificate.exists() and pair.key.exists():
        try:
            certificate = load_pair(pair, now)
            if certificate.not_valid_after_utc - now > RENEW_BEFORE and _read_names(certificate) == set(names):
                return pair
        except ConfigurationError:
            pass  # expired or damaged: it was ours, so it is made anew
    certificate_pem, key_pem = make_self_signed(names, now)
    write_private(pair.key, key_pem, owner)
    write_private(pair.certificate, certificate_pem, owner, 0o644)
    return pair


def list_names(settings: Settings) -> list[str]:
    """Return the names and addresses that the generated certificate is for."""
    return list(dict.fromkeys(["localhost", "127.0.0.1", "::1", settings.hub_name, *settings.mlhub_hostnames]))


def make_self_signed(names: list[str], now: datetime.datetime) -> tuple[bytes, bytes]:
    """Return (certificate, key) in PEM for these names; addresses become IP entries (RFC 5280 §4.2.1.6)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[-1][:64])])
    public = key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), key_pem


def load_pair(pair: Pair, now: datetime.datetime) -> x509.Certificate:
    """Return the leaf certificate after checking that the pair is readable, valid now, and belongs together.

    Raises ``ConfigurationError`` with one sentence otherwise.
    """
    cure = "Mount a valid PEM pair as cert.crt and cert.key, or neither to have one generated."
    try:
        certificate = x509.load_pem_x509_certificates(pair.certificate.read_bytes())[0]
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The certificate {pair.certificate} can not be read ({error}). {cure}") from error
    try:
        key = serialization.load_pem_private_key(pair.key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise ConfigurationError(f"The key {pair.key} can not be read ({error}). {cure}") from error
    if key.public_key() != certificate.public_key():
        raise ConfigurationError(f"The key {pair.key} does not belong to the certificate {pair.certificate}. {cure}")
    if now > certificate.not_valid_after_utc:
        raise ConfigurationError(f"The certificate {pair.certificate} expired on {certificate.not_valid_after_utc:%Y-%m-%d}. {cure}")
    if now < certificate.not_valid_before_utc:
        raise ConfigurationError(
            f"The certificate {pair.certificate} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d}. Check this machine's clock, or the certificate."
        )
    return certificate


def install_pair(pair: Pair, folder: Path, owner: Account) -> Pair:
    """Copy the pair to where nginx, which is not root, can read it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    owner.own(folder, 0o700)
    installed = Pair(folder / "cert.crt", folder / "cert.key")
    write_private(installed.key, pair.key.read_bytes(), owner)
    write_private(installed.certificate, pair.certificate.read_bytes(), owner, 0o644)
    return installed


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _read_names(certificate: x509.Certificate) -> set[str]:
    entries = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(entry.value) for entry in entries}
