"""The TLS pairs that nginx serves: the site's own, or one generated once and kept under the data
directory.

Own pairs are looked for in /resources/ssl, then in /run/secrets (Docker secrets), as cert.crt with
cert.key, or as one file with both: cert.pem, cert.crt, cert.p12 or cert.pfx.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import json
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mlhub.boot.accounts import Account
from mlhub.boot.certificate_files import (
    BUNDLES,
    CURE,
    SUFFIXES,
    Loaded,
    Pair,
    holds_key,
    read_pair,
)
from mlhub.boot.data import write_private
from mlhub.errors import ConfigurationError
from mlhub.settings import Settings

LIFETIME = datetime.timedelta(days=825)
RENEW_BEFORE = datetime.timedelta(days=30)
SECRETS = Path("/run/secrets")
# What nginx starts with, and what it serves (resources/front/certificates.lua).
FIRST, SERVED = "first.pem", "served.json"


def find_own_pairs(settings: Settings) -> list[Pair]:
    """Return the site's own pairs, that of the name ``cert`` first; none where there is none.

    Others beside it are for other names; Docker's secrets are no folder of certificates.
    """
    folder = settings.mlhub_resources_dir / "ssl"
    for place in (folder, SECRETS):
        if pair := _find_pair(place, "cert"):
            stems = sorted({file.stem for file in folder.glob("[!.]*") if file.suffix in SUFFIXES})
            others = [_find_pair(folder, stem) for stem in stems if stem != "cert"]
            return [pair, *filter(None, others)] if place == folder else [pair]
    return []


def _find_pair(folder: Path, stem: str) -> Pair | None:
    key = folder / f"{stem}.key"
    found = [file for suffix in SUFFIXES if (file := folder / f"{stem}{suffix}").is_file()]
    for file in found:
        if key.is_file() and file.suffix not in BUNDLES:
            return Pair(file, key)
        if file.suffix in BUNDLES or holds_key(file):
            return Pair(file, file)
    if stem != "cert" or not (found or key.exists()):
        return None  # such as an authority's certificate beside the pair
    there, missing = (found[0], key) if found else (key, folder / "cert.crt")
    raise ConfigurationError(
        f"{there} is there but {missing} is not. Mount both, or neither to have a certificate"
        " generated."
    )


def ensure_generated_pair(settings: Settings, owner: Account, now: datetime.datetime) -> Pair:
    """Return the generated pair, made anew when missing, about to expire, or for other names."""
    folder = settings.data_volume_container / "ssl"
    folder.mkdir(mode=0o700, exist_ok=True)
    owner.own(folder, 0o700)
    pair = Pair(folder / "cert.crt", folder / "cert.key")
    names = list_names(settings)
    if pair.certificate.exists() and pair.key.exists():
        try:
            certificate = load_pair(pair, now).leaf
            if certificate.not_valid_after_utc - now > RENEW_BEFORE and _read_names(
                certificate
            ) == set(names):
                return pair
        except ConfigurationError:
            pass  # expired or damaged: it was ours, so it is made anew
    certificate_pem, key_pem = make_self_signed(names, now)
    write_private(pair.key, key_pem, owner)
    write_private(pair.certificate, certificate_pem, owner, 0o644)
    return pair


def list_names(settings: Settings) -> list[str]:
    """Return the names and addresses that the generated certificate is for."""
    names = ["localhost", "127.0.0.1", "::1", settings.hub_name]
    return list(dict.fromkeys([*names, *settings.mlhub_hostnames, *settings.subdomain_names]))


def make_self_signed(names: list[str], now: datetime.datetime) -> tuple[bytes, bytes]:
    """Return (certificate, key) in PEM for these names; addresses become IP entries (RFC 5280
    §4.2.1.6).
    """
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
        .add_extension(
            x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key_pem


def load_pair(pair: Pair, now: datetime.datetime, passphrase: str | None = None) -> Loaded:
    """Return what a pair holds after checking that it is readable, valid now, and belongs together.

    Raises ``ConfigurationError`` with one sentence otherwise.
    """
    loaded = read_pair(pair, passphrase)
    if now > loaded.leaf.not_valid_after_utc:
        raise ConfigurationError(
            f"The certificate {pair.certificate} expired on"
            f" {loaded.leaf.not_valid_after_utc:%Y-%m-%d}. {CURE}"
        )
    if now < loaded.leaf.not_valid_before_utc:
        raise ConfigurationError(
            f"The certificate {pair.certificate} is valid only from"
            f" {loaded.leaf.not_valid_before_utc:%Y-%m-%d}. Check this machine's clock, or the"
            " certificate."
        )
    return loaded


def install_pairs(pairs: list[Loaded], folder: Path, owner: Account) -> None:
    """Put pairs where nginx, which is not root, reads them, each file as a whole.

    Raises ``ConfigurationError`` where OpenSSL refuses one that can be read, such as a weak one.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    owner.own(folder, 0o700)
    for loaded in pairs:
        candidate = folder / "candidate.pem"
        write_private(candidate, loaded.chain + loaded.key, owner)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(candidate)
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"OpenSSL refuses the certificate {loaded.source} ({error.reason}). {CURE}"
            ) from error
        finally:
            candidate.unlink()
    write_private(folder / FIRST, pairs[0].chain + pairs[0].key, owner)
    served = [
        {
            "id": hashlib.sha256(loaded.chain).hexdigest()[:32],
            "names": sorted(name.lower() for name in _read_names(loaded.leaf)),
            "chain": loaded.chain.decode(),
            "key": loaded.key.decode(),
        }
        for loaded in pairs
    ]
    write_private(folder / SERVED, json.dumps(served), owner)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _read_names(certificate: x509.Certificate) -> set[str]:
    try:
        entries = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(entry.value) for entry in entries}
