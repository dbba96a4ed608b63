"""The TLS pair: generated once with proper names, own pairs checked with a sentence."""

from __future__ import annotations

import datetime
import ipaddress

import pytest
from cryptography import x509

from mlhub.boot import certificates
from mlhub.boot.accounts import Account
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
        data_volume_container=tmp_path / "data", mlhub_resources_dir=tmp_path / "resources", mlhub_hostnames=("hub.example", "192.0.2.7")
    )


def write_pair(folder, names=("hub.example",), now=NOW):
    certificate, key = certificates.make_self_signed(list(names), now)
    pair = certificates.Pair(folder / "cert.crt", folder / "cert.key")
    pair.certificate.write_bytes(certificate)
    pair.key.write_bytes(key)
    return pair


def test_a_generated_certificate_names_hosts_as_names_and_addresses_as_addresses(settings, owner):
    pair = certificates.ensure_generated_pair(settings, owner, NOW)
    certificate = certificates.load_pair(pair, NOW)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "mlhub", "hub.example"}
    assert set(names.get_values_for_type(x509.IPAddress)) == {ipaddress.ip_address(text) for text in ("127.0.0.1", "::1", "192.0.2.7")}


def test_a_generated_certificate_is_kept(settings, owner):
    first = certificates.ensure_generated_pair(settings, owner, NOW).certificate.read_bytes()
    assert certificates.ensure_generated_pair(settings, owner, NOW + datetime.timedelta(days=100)).certificate.read_bytes() == first


def test_a_generated_certificate_is_kept_however_its_names_are_written(settings, owner):
    names = ("münchen.example", "2001:DB8:0::1", "HUB.Example.", "*.example.org", "my_hub")
    settings = Settings.model_validate({**settings.model_dump(), "mlhub_hostnames": names})
    pair = certificates.ensure_generated_pair(settings, owner, NOW)
    first = pair.certificate.read_bytes()
    assert certificates.ensure_generated_pair(settings, owner, NOW).certificate.read_bytes() == first
    inside = certificates.load_pair(pair, NOW).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    dns = {"localhost", "mlhub", "xn--mnchen-3ya.example", "hub.example", "*.example.org", "my_hub"}
    assert set(inside.get_values_for_type(x509.DNSName)) == dns
    assert ipaddress.ip_address("2001:db8::1") in inside.get_values_for_type(x509.IPAddress)


def test_a_generated_certificate_is_made_anew_before_it_expires_and_for_other_names(settings, owner):
    first = certificates.ensure_generated_pair(settings, owner, NOW).certificate.read_bytes()
    second = certificates.ensure_generated_pair(settings, owner, NOW + datetime.timedelta(days=810)).certificate.read_bytes()
    assert second != first
    renamed = settings.model_copy(update={"mlhub_hostnames": ("other.example",)})
    assert certificates.ensure_generated_pair(renamed, owner, NOW + datetime.timedelta(days=811)).certificate.read_bytes() != second


def test_the_generated_key_can_be_read_by_its_owner_only(settings, owner):
    pair = certificates.ensure_generated_pair(settings, owner, NOW)
    assert pair.key.stat().st_mode & 0o777 == 0o600


def test_no_own_pair_is_no_error(settings):
    assert certificates.find_own_pair(settings) is None


def test_half_a_pair_is_refused(settings):
    write_pair(settings.mlhub_resources_dir / "ssl").key.unlink()
    with pytest.raises(ConfigurationError, match=r"cert\.key is not"):
        certificates.find_own_pair(settings)


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
