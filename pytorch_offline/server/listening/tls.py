"""The server's own certificate: read, tried, and read again when it was renewed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pytorch_offline.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

# OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED.
_NOT_YET, _EXPIRED = 9, 10
_OUT_OF_TIME = {_NOT_YET: "is not valid yet", _EXPIRED: "has expired"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate and its key, ready to be shown.

    Args:
        context: for the server's side of a handshake.
        names: for which clients accept it: names and addresses.
        until: when it expires.
    """

    context: ssl.SSLContext
    names: tuple[str, ...]
    until: datetime


def read_identity(certificate: Path, key: Path) -> Identity:
    """Read a certificate with its chain, and its key, and shake hands with ourselves to see that they are good.

    Raises:
        UsageError: ``bad-certificate`` says what is wrong with which file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # what pip 18's oldest Pythons speak, and no less
    context.set_alpn_protocols(["http/1.1"])
    for what, path in (("certificate", certificate), ("key", key)):
        _check_readable(what, path)
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except _EncryptedError:
        hint = f"write it without: openssl pkey -in {key} -out NEW, readable by this server's user alone"
        raise _bad(key, "the key is encrypted, and a server that starts by itself has nobody to ask", hint) from None
    except ssl.SSLError as error:
        raise _unusable(certificate, key, error) from error
    return _tried(context, certificate)


class _EncryptedError(Exception):
    """A key that asks for a password."""


def _refuse_password() -> str:
    raise _EncryptedError


def _check_readable(what: str, path: Path) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise _bad(path, f"the {what} cannot be read: {error.strerror}") from error


def _unusable(certificate: Path, key: Path, error: ssl.SSLError) -> UsageError:
    if error.reason == "KEY_VALUES_MISMATCH":
        hint = "name the two that were issued together; the certificate comes first in its file, its chain after it"
        return _bad(key, f"the key is not the one of the certificate in {certificate}", hint)
    if error.reason in {"EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL"}:
        return _bad(certificate, "the certificate or its key is of a kind that clients refuse as too weak")
    text = certificate.read_bytes()
    if b"-----BEGIN CERTIFICATE-----" not in text:
        return _bad(certificate, "this is no certificate in PEM", "openssl x509 -inform DER turns DER into it")
    if b"PRIVATE KEY-----" not in key.read_bytes():
        return _bad(key, "this is no private key in PEM")
    return _bad(certificate, f"certificate and key cannot be used: {error.reason or error}")


def _tried(context: ssl.SSLContext, certificate: Path) -> Identity:
    """Shake hands in memory: the one way to learn what a certificate says, and that clients would take it."""
    judging = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    judging.check_hostname = False
    judging.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it vouches for itself: who issued it is the clients' matter
    judging.load_verify_locations(certificate)
    said = {}
    try:
        said = _handshake(context, judging)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code not in _OUT_OF_TIME:
            raise _bad(certificate, f"clients would refuse the certificate: {error.verify_message}") from error
        raise _bad(
            certificate,
            f"the certificate {_OUT_OF_TIME[error.verify_code]}, by this machine's clock",
            f"see: openssl x509 -in {certificate} -noout -dates",
        ) from error
    except ssl.SSLError as error:
        raise _bad(certificate, f"certificate and key cannot be used: {error.reason or error}") from error
    names = tuple(str(name) for _, name in said.get("subjectAltName", ()))
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(said["notAfter"])), UTC)
    return Identity(context=context, names=names, until=until)


def _handshake(serving: ssl.SSLContext, judging: ssl.SSLContext) -> dict[str, tuple[tuple[str, str], ...]]:
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = judging.wrap_bio(back, there)
    server = serving.wrap_bio(there, back, server_side=True)
    for _ in range(8):  # two flights each are enough
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
        if client.version() and client.cipher() and not there.pending and not back.pending:
            break
    return client.getpeercert() or {}  # type: ignore[return-value]  # typeshed leaves the values open


def _bad(path: Path, message: str, hint: str | None = None) -> UsageError:
    return UsageError("bad-certificate", f"{path}: {message}", facts={"file": str(path)}, hint=hint)
