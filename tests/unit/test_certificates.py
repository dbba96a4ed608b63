"""The TLS pair: generated once with proper names, own pairs checked with a sentence."""

from __future__ import annotations

import datetime
import ipaddress
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from mlhub.boot import certificates
from mlhub.boot.accounts import Account
from mlhub.boot.watch import read_fingerprint
from mlhub.errors import ConfigurationError
from mlhub.settings import Settings

NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)


@pytest.fixture
def owner() -> Account:
    import os

    return Account("test", os.geteuid(), os.getegid())


@pytest.fixture
def settings(tmp_path) -> Settings:
    (tmp_path / "data").mkdir()
    (tmp_path / "resources" / "ssl").mkdir(parents=True)
    return Settings(
        data_volume_container=tmp_path / "data",
        mlhub_resources_dir=tmp_path / "resources",
        mlhub_hostnames=("hub.example", "192.0.2.7"),
    )


def write_pair(folder, names=("hub.example",), now=NOW):
    certificate, key = certificates.make_self_signed(list(names), now)
    pair = certificates.Pair(folder / "cert.crt", folder / "cert.key")
    pair.certificate.write_bytes(certificate)
    pair.key.write_bytes(key)
    return pair


def test_a_generated_certificate_names_hosts_as_names_and_addresses_as_addresses(settings, owner):
    pair = certificates.ensure_generated_pair(settings, owner, NOW)
    certificate = certificates.load_pair(pair, NOW).leaf
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "mlhub", "hub.example"}
    assert set(names.get_values_for_type(x509.IPAddress)) == {
        ipaddress.ip_address(text) for text in ("127.0.0.1", "::1", "192.0.2.7")
    }


def test_a_generated_certificate_is_kept(settings, owner):
    first = certificates.ensure_generated_pair(settings, owner, NOW).certificate.read_bytes()
    assert (
        certificates.ensure_generated_pair(
            settings, owner, NOW + datetime.timedelta(days=100)
        ).certificate.read_bytes()
        == first
    )


def test_a_generated_certificate_is_kept_however_its_names_are_written(settings, owner):
    names = ("münchen.example", "2001:DB8:0::1", "HUB.Example.", "*.example.org", "my_hub")
    settings = Settings.model_validate({**settings.model_dump(), "mlhub_hostnames": names})
    pair = certificates.ensure_generated_pair(settings, owner, NOW)
    first = pair.certificate.read_bytes()
    assert (
        certificates.ensure_generated_pair(settings, owner, NOW).certificate.read_bytes() == first
    )
    inside = (
        certificates.load_pair(pair, NOW)
        .leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    dns = {"localhost", "mlhub", "xn--mnchen-3ya.example", "hub.example", "*.example.org", "my_hub"}
    assert set(inside.get_values_for_type(x509.DNSName)) == dns
    assert ipaddress.ip_address("2001:db8::1") in inside.get_values_for_type(x509.IPAddress)


def test_a_generated_certificate_is_made_anew_before_it_expires_and_for_other_names(
    settings, owner
):
    first = certificates.ensure_generated_pair(settings, owner, NOW).certificate.read_bytes()
    second = certificates.ensure_generated_pair(
        settings, owner, NOW + datetime.timedelta(days=810)
    ).certificate.read_bytes()
    assert second != first
    renamed = settings.model_copy(update={"mlhub_hostnames": ("other.example",)})
    assert (
        certificates.ensure_generated_pair(
            renamed, owner, NOW + datetime.timedelta(days=811)
        ).certificate.read_bytes()
        != second
    )


def test_the_generated_key_can_be_read_by_its_owner_only(settings, owner):
    pair = certificates.ensure_generated_pair(settings, owner, NOW)
    assert pair.key.stat().st_mode & 0o777 == 0o600


def test_no_own_pair_is_no_error(settings):
    assert certificates.find_own_pairs(settings) == []


def test_half_a_pair_is_refused(settings):
    write_pair(settings.mlhub_resources_dir / "ssl").key.unlink()
    with pytest.raises(ConfigurationError, match=r"cert\.key is not"):
        certificates.find_own_pairs(settings)


def test_a_key_of_another_certificate_is_refused(tmp_path):
    pair = write_pair(tmp_path)
    pair.key.write_bytes(certificates.make_self_signed(["x"], NOW)[1])
    with pytest.raises(ConfigurationError, match="does not belong"):
        certificates.load_pair(pair, NOW)


def test_an_expired_certificate_is_refused_with_its_date(tmp_path):
    pair = write_pair(tmp_path, now=NOW - datetime.timedelta(days=900))
    with pytest.raises(ConfigurationError, match=r"expired on 2026-0\d-\d\d"):
        certificates.load_pair(pair, NOW)


def test_a_certificate_of_the_future_points_at_the_clock(tmp_path):
    pair = write_pair(tmp_path, now=NOW + datetime.timedelta(days=9))
    with pytest.raises(ConfigurationError, match="clock"):
        certificates.load_pair(pair, NOW)


@pytest.mark.parametrize("broken", ["cert.crt", "cert.key"])
def test_rubbish_is_refused_with_the_file_named(tmp_path, broken):
    pair = write_pair(tmp_path)
    (tmp_path / broken).write_text("rubbish")
    with pytest.raises(ConfigurationError, match=broken):
        certificates.load_pair(pair, NOW)


def bundle(folder, name, passphrase=b""):
    certificate, key = certificates.make_self_signed(["hub.example"], NOW)
    locked = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    file = folder / name
    leaf = x509.load_pem_x509_certificate(certificate)
    file.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"hub", load_pem_private_key(key, None), leaf, None, locked
        )
    )
    return certificates.Pair(file, file)


def lock(pair, passphrase):
    key = load_pem_private_key(pair.key.read_bytes(), None)
    locked = BestAvailableEncryption(passphrase)
    pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))


@pytest.mark.parametrize("passphrase", [b"", b"open sesame"], ids=["plain", "locked"])
@pytest.mark.parametrize("name", ["cert.p12", "cert.pfx"])
def test_a_pkcs12_file_is_taken_as_it_is(settings, name, passphrase):
    folder = settings.mlhub_resources_dir / "ssl"
    pair = bundle(folder, name, passphrase)
    assert certificates.find_own_pairs(settings) == [pair]
    loaded = certificates.load_pair(pair, NOW, passphrase.decode())
    assert load_pem_private_key(loaded.key, None).public_key() == loaded.leaf.public_key()


@pytest.mark.parametrize("name", ["cert.pem", "cert.crt"])
@pytest.mark.parametrize("key_first", [True, False])
def test_one_pem_file_with_key_and_chain_is_taken_and_the_keys_own_comes_first(
    settings, owner, name, key_first
):
    folder = settings.mlhub_resources_dir / "ssl"
    certificate, key = certificates.make_self_signed(["hub.example"], NOW)
    authority, _ = certificates.make_self_signed(["authority.example"], NOW)
    parts = [authority, certificate]
    (folder / name).write_bytes(b"".join([key, *parts] if key_first else [*parts, key]))
    (pair,) = certificates.find_own_pairs(settings)
    loaded = certificates.load_pair(pair, NOW)
    assert loaded.chain == certificate + authority
    assert loaded.key == key


def test_a_key_with_a_passphrase_is_opened_by_the_sites_own(tmp_path):
    pair = write_pair(tmp_path)
    plain = pair.key.read_bytes()
    lock(pair, b"open sesame")
    assert certificates.load_pair(pair, NOW, "open sesame").key == plain


def test_a_passphrase_opens_a_key_that_has_none_as_well(tmp_path):
    pair = write_pair(tmp_path)
    assert certificates.load_pair(pair, NOW, "open sesame").key == pair.key.read_bytes()


@pytest.mark.parametrize("passphrase", [None, "guessed"])
@pytest.mark.parametrize("is_bundle", [True, False])
def test_what_the_passphrase_does_not_open_is_refused_with_the_variable(
    tmp_path, passphrase, is_bundle
):
    pair = bundle(tmp_path, "cert.p12", b"sesame") if is_bundle else write_pair(tmp_path)
    if not is_bundle:
        lock(pair, b"sesame")
    with pytest.raises(ConfigurationError, match="SSL_KEY_PASSPHRASE_FILE") as error:
        certificates.load_pair(pair, NOW, passphrase)
    assert "guessed" not in str(error.value)


def test_others_beside_the_first_are_served_for_their_names_and_strangers_are_left_alone(
    settings, owner, tmp_path
):
    folder = settings.mlhub_resources_dir / "ssl"
    write_pair(folder)
    names = ["*.Lab.example", "lab.example"]
    certificate, key = certificates.make_self_signed(names, NOW)
    (folder / "a-lab.pem").write_bytes(certificate + key)
    (folder / "ca.crt").write_bytes(certificate)  # an authority's, without a key
    found = certificates.find_own_pairs(settings)
    assert [pair.certificate.name for pair in found] == ["cert.crt", "a-lab.pem"]
    loaded = [certificates.load_pair(pair, NOW) for pair in found]
    certificates.install_pairs(loaded, tmp_path / "tls", owner)
    served = json.loads((tmp_path / "tls" / certificates.SERVED).read_text())
    assert [entry["names"] for entry in served] == [
        ["hub.example"],
        ["*.lab.example", "lab.example"],
    ]
    assert len({entry["id"] for entry in served}) == 2
    assert {len(entry["id"]) for entry in served} == {32}  # OpenSSL takes no longer one


def test_nobody_else_can_read_what_is_installed(tmp_path, owner):
    loaded = certificates.load_pair(write_pair(tmp_path), NOW)
    folder = tmp_path / "tls"
    certificates.install_pairs([loaded], folder, owner)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()} == {
        certificates.FIRST: 0o600,
        certificates.SERVED: 0o600,
    }


def test_a_certificate_that_openssl_refuses_leaves_the_former(tmp_path, owner):
    former = certificates.load_pair(write_pair(tmp_path), NOW)
    folder = tmp_path / "tls"
    certificates.install_pairs([former], folder, owner)
    before = (folder / certificates.SERVED).read_bytes()
    weak = load_weak_pair(tmp_path)
    with pytest.raises(ConfigurationError, match="OpenSSL refuses"):
        certificates.install_pairs([former, weak], folder, owner)
    assert (folder / certificates.SERVED).read_bytes() == before
    assert sorted(file.name for file in folder.iterdir()) == [
        certificates.FIRST,
        certificates.SERVED,
    ]


def load_weak_pair(folder):
    """Return a pair of which every library reads the files, with a key that nobody believes."""
    key = rsa.generate_private_key(65537, 1024)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub.example")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - datetime.timedelta(days=1))
        .not_valid_after(NOW + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = folder / "weak.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    return certificates.load_pair(certificates.Pair(file, file), NOW)


def test_a_folder_looks_other_when_a_file_in_it_comes_changes_or_goes(tmp_path):
    seen = [read_fingerprint(str(tmp_path))]
    write_pair(tmp_path)
    seen.append(read_fingerprint(str(tmp_path)))
    (tmp_path / "cert.crt").write_text("another")
    seen.append(read_fingerprint(str(tmp_path)))
    (tmp_path / "cert.key").unlink()
    seen.append(read_fingerprint(str(tmp_path)))
    assert len({str(fingerprint) for fingerprint in seen}) == 4
    assert read_fingerprint(str(tmp_path)) == seen[-1]
    assert read_fingerprint(str(tmp_path / "gone")) is None
