"""TLS on real sockets: certificates are checked, and failures have a class of their own."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reconciler.delivery.resolver import Resolver
from reconciler.errors import SendFailed
from reconciler.model.delivery import AttemptError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CREATED = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and a name that nobody trusts by default, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(CREATED)
        .not_valid_after(CREATED + dt.timedelta(days=36500))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("receiver.example")]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "receiver.pem"
    encoding = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(encoding)
    )
    return path


@pytest.fixture
def tls_options(certificate: Path) -> dict[str, Any]:
    """What makes a receiver speak TLS with that certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return {"ssl": context}


def test_a_trusted_certificate_is_accepted(
    listen: Any, open_sender: Callable[..., Any], request_to: Callable[..., Any], certificate: Path, tls_options: Any
) -> None:
    """A delivery over TLS arrives, and its connection is used again."""

    async def go() -> None:
        trusting = ssl.create_default_context(cafile=certificate)
        async with listen(**tls_options) as receiver, open_sender(tls=trusting) as sender:
            for _ in range(3):
                reply = await sender.send(request_to(f"https://127.0.0.1:{receiver.port}/"))
                assert (reply.status, reply.body) == (200, b"ok")
            assert receiver.connections == 1

    asyncio.run(go())


def test_an_untrusted_certificate_is_not_accepted(
    listen: Any, open_sender: Callable[..., Any], request_to: Callable[..., Any], tls_options: Any
) -> None:
    """Nobody's certificate is nobody: no byte of the request is sent."""

    async def go() -> None:
        async with listen(**tls_options) as receiver, open_sender() as sender:
            with pytest.raises(SendFailed, match="self-signed certificate") as caught:
                await sender.send(request_to(f"https://127.0.0.1:{receiver.port}/"))
            assert caught.value.error == AttemptError.TLS
            assert receiver.requests == []

    asyncio.run(go())


def test_a_certificate_for_another_name_is_not_accepted(
    listen: Any, open_sender: Callable[..., Any], request_to: Callable[..., Any], certificate: Path, tls_options: Any
) -> None:
    """A good certificate of somebody else is a bad one."""

    async def go() -> None:
        trusting = ssl.create_default_context(cafile=certificate)
        async with listen(**tls_options) as receiver, open_sender(tls=trusting) as sender:
            with pytest.raises(SendFailed) as caught:
                await sender.send(request_to(f"https://localhost:{receiver.port}/"))
            assert caught.value.error == AttemptError.TLS

    asyncio.run(go())


def test_a_receiver_that_speaks_no_tls_fails_as_tls(
    listen: Any, open_sender: Callable[..., Any], request_to: Callable[..., Any]
) -> None:
    """An https URL on a plain port is recognised for what it is."""

    async def plain(receiver: Any, reader: Any, writer: Any) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def go() -> None:
        async with listen(plain) as receiver, open_sender() as sender:
            with pytest.raises(SendFailed) as caught:
                await sender.send(request_to(f"https://127.0.0.1:{receiver.port}/"))
            assert caught.value.error == AttemptError.TLS

    asyncio.run(go())


def test_a_hanging_handshake_ends_with_the_time_out(
    listen: Any, open_sender: Callable[..., Any], request_to: Callable[..., Any]
) -> None:
    """The time-out covers TLS as it covers all the rest."""

    async def mute(receiver: Any, reader: Any, writer: Any) -> None:
        await reader.read()

    async def go() -> None:
        async with listen(mute) as receiver, open_sender() as sender:
            with pytest.raises(SendFailed) as caught:
                await sender.send(request_to(f"https://127.0.0.1:{receiver.port}/", timeout_ms=300))
            assert caught.value.error == AttemptError.TIMEOUT
            await receiver.until(lambda: receiver.open == 0)

    asyncio.run(go())


def test_a_name_with_its_last_dot_is_the_name_in_the_certificate(
    listen: Any, open_sender: Callable[..., Any], request_to: Callable[..., Any], certificate: Path, tls_options: Any
) -> None:
    """The dot tells resolvers that a name is complete; no certificate has it."""

    async def go() -> None:
        trusting = ssl.create_default_context(cafile=certificate)
        resolver = Resolver(lambda _, port, *__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))])
        async with listen(**tls_options) as receiver, open_sender(tls=trusting, resolver=resolver) as sender:
            reply = await sender.send(request_to(f"https://receiver.example.:{receiver.port}/"))
            assert reply.status == 200

    asyncio.run(go())


def test_a_cancelled_handshake_leaves_no_trace_at_any_moment(
    listen: Any, open_sender: Callable[..., Any], request_to: Callable[..., Any], certificate: Path, tls_options: Any
) -> None:
    """However far it got: its socket is closed by its transport, and the number is free for the next connection."""

    async def go() -> None:
        trusting = ssl.create_default_context(cafile=certificate)
        async with listen(**tls_options) as receiver, open_sender(tls=trusting) as sender:
            for turns in range(30):
                task = asyncio.create_task(sender.send(request_to(f"https://127.0.0.1:{receiver.port}/")))
                for _ in range(turns):
                    await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop, no time
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                for _ in range(2):
                    fresh = await sender.send(request_to(f"https://127.0.0.1:{receiver.port}/"))
                    assert fresh.status == 200
                await sender.close()
            assert not sender._open

    asyncio.run(go())


def test_a_large_request_that_was_answered_early_keeps_no_connection(
    listen: Any, open_sender: Callable[..., Any], request_to: Callable[..., Any], certificate: Path, tls_options: Any
) -> None:
    """TLS hides how much of a request has not left yet: the next one must not stand behind the rest of it."""

    async def refuse(receiver: Any, reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.Event().wait()

    async def go() -> None:
        trusting = ssl.create_default_context(cafile=certificate)
        async with listen(refuse, limit=1024, **tls_options) as receiver, open_sender(tls=trusting) as sender:
            for _ in range(2):
                request = request_to(f"https://127.0.0.1:{receiver.port}/", body=bytes(8_000_000), timeout_ms=2000)
                assert (await sender.send(request)).status == 413
            assert receiver.connections == 2

    asyncio.run(go())
