"""TLS pairs for tests."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.hub_container import Hub


def make_pair(folder: Path, days: int = 30, name: str = "mlhub.test") -> Path:
    """Write cert.crt and cert.key into a folder; negative days make an expired certificate."""
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - datetime.timedelta(days=60))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoding = (
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "cert.key").write_bytes(key.private_bytes(*encoding))
    (folder / "cert.key").chmod(0o600)
    return folder


def read_serial(hub: Hub, name: str | None = None) -> int:
    """Return the serial number of the certificate on the wire, for who asks for that name."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", hub.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        return x509.load_der_x509_certificate(connection.getpeercert(True)).serial_number


def serves(hub: Hub, folder: Path) -> bool:
    """Return True if a pair is on the wire."""
    return read_serial(hub) == serial_of(folder)


class HalfHello:
    """Somebody whose first packet of a handshake is on its way in two parts."""

    def __init__(self, hub: Hub) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._received, self._sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._sent, server_hostname="mlhub.test")
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        hello = self._sent.read()
        self._rest = hello[len(hello) // 2 :]
        self._plain = socket.create_connection((hub.host, hub.port), timeout=10)
        self._plain.sendall(hello[: len(hello) // 2])

    def finish(self) -> int:
        """Send the rest; return the serial number of the certificate that comes."""
        with self._plain:
            self._plain.sendall(self._rest)
            while True:
                try:
                    self._tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    received = self._plain.recv(65536)
                    assert received, "the connection was closed"
                    self._received.write(received)
        return x509.load_der_x509_certificate(self._tls.getpeercert(True)).serial_number


def serial_of(folder: Path) -> int:
    return x509.load_pem_x509_certificate((folder / "cert.crt").read_bytes()).serial_number
