from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from loopback_site import Site, open_site

from safelight.net.egress import EgressGuard, parse_allowances
from safelight.net.fetch import FetchFailed
from safelight.net.tls import public_authorities

NAME = "pictures.example"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of `pictures.example`, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@asynccontextmanager
async def secure_site(certificate: Path) -> AsyncIterator[tuple[Site, list[str | None]]]:
    """A site with the certificate, and the names that its visitors asked for in the handshake."""
    asked: list[str | None] = []
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with open_site(tls=server) as site:
        yield site, asked


def guard_of(certificate: Path | None) -> EgressGuard:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    tls = ssl.create_default_context(cafile=certificate) if certificate else None
    return EgressGuard(parse_allowances("https://127.0.0.1:*"), resolve=resolve, tls=tls)


async def test_a_site_is_verified_by_its_name_though_it_is_connected_to_by_address(certificate: Path) -> None:
    async with secure_site(certificate) as (site, asked):
        fetch = guard_of(certificate).fetch
        fetched = await fetch(f"https://{NAME}:{site.port}/x", max_bytes=1000, timeout_seconds=20)

    assert fetched.data == b"ok"
    assert asked == [NAME]
    assert f"\r\nhost: {NAME}:{site.port}\r\n".encode() in site.requests[0].lower()


@pytest.mark.parametrize("host", ["other.example", "127.0.0.1"])
async def test_a_certificate_of_another_name_is_a_failure_and_nothing_is_asked(certificate: Path, host: str) -> None:
    async with secure_site(certificate) as (site, asked):
        fetch = guard_of(certificate).fetch
        with pytest.raises(FetchFailed, match="CERTIFICATE_VERIFY_FAILED") as failed:
            await fetch(f"https://{host}:{site.port}/x", max_bytes=1000, timeout_seconds=20)

    assert not failed.value.is_final
    assert len(asked) == 1
    assert site.requests == []


async def test_a_certificate_that_no_public_authority_signed_is_a_failure(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))  # the environment adds no authority
    public_authorities.cache_clear()
    async with secure_site(certificate) as (site, _):
        with pytest.raises(FetchFailed, match="CERTIFICATE_VERIFY_FAILED"):
            await guard_of(None).fetch(f"https://{NAME}:{site.port}/x", max_bytes=1000, timeout_seconds=20)

    assert site.requests == []


async def test_a_site_that_wants_a_certificate_of_ours_is_a_failure(certificate: Path) -> None:
    """It says so only after the handshake, in place of an answer."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    server.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> str | None:
            connection, _ = listener.accept()
            with connection.dup() as beneath:
                beneath.settimeout(20)
                try:
                    server.wrap_socket(connection, server_side=True)
                except ssl.SSLError as error:
                    beneath.recv(65536)  # the request: closing over it would reset the connection, and lose the alert
                    return error.reason
            return None

        serving = asyncio.create_task(asyncio.to_thread(serve))
        url = f"https://{NAME}:{listener.getsockname()[1]}/x"
        with pytest.raises(FetchFailed) as failed:
            await guard_of(certificate).fetch(url, max_bytes=1000, timeout_seconds=20)
        assert await serving == "PEER_DID_NOT_RETURN_A_CERTIFICATE"

    assert not failed.value.is_final
    assert isinstance(failed.value.__cause__, ssl.SSLError)
