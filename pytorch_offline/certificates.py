"""Which certificates are trusted: the system's, certifi's, and those that the user names; and what to say if not.

Since 24.2 pip trusts the system's store beside certifi, and what its ``cert`` or ``REQUESTS_CA_BUNDLE`` names beside
both; so do we, or a company's own CA that works for pip would not work here (docs/adr/0005). A context is made once and
shared: to read a store costs some 50 ms, and ``requests`` alone would read it for every connection.
"""

from __future__ import annotations

import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import certifi

from pytorch_offline.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Where distributions keep the system's certificates, for a Python whose OpenSSL was built to look elsewhere
# (truststore 0.10.5, _openssl.py, which is what pip carries).
_SYSTEM_STORES = (
    Path("/etc/ssl/cert.pem"),
    Path("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
    Path("/etc/pki/tls/cert.pem"),
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
)
_BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# OpenSSL's X509_V_ERR_…: not valid yet, expired; and names that do not match (host, e-mail, address).
_OUT_OF_TIME = frozenset({9, 10})
_OTHER_NAME = frozenset({62, 63, 64})


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFile:
    """A file of certificates (or a directory of them), and what named it."""

    path: Path
    said_by: str


def named_bundles(configured: NamedFile | None, environment: Mapping[str, str]) -> tuple[NamedFile, ...]:
    """Say which certificates the user names: by a setting, and by the first variable that ``requests`` reads."""
    variables = (
        NamedFile(path=Path(environment[name]), said_by=name) for name in _BUNDLE_VARIABLES if environment.get(name)
    )
    named = next(variables, None)
    return tuple(file for file in (configured, named) if file is not None)


def trusting_context(bundles: Sequence[NamedFile], client: NamedFile | None) -> ssl.SSLContext:
    """Make a context that checks servers, and shows the client's own certificate if there is one.

    Raises:
        UpstreamError: ``tls-error`` if a file that was named cannot be used.
    """
    context = _system_context()
    context.load_verify_locations(certifi.where())
    for bundle in bundles:
        try:
            if bundle.path.is_dir():
                context.load_verify_locations(capath=bundle.path)
            else:
                context.load_verify_locations(cafile=bundle.path)
        except OSError as error:  # ssl.SSLError is one
            raise _unusable(bundle, "the certificates to trust", error) from error
    _show(context, client)
    return context


def unchecking_context(client: NamedFile | None) -> ssl.SSLContext:
    """Make a context for trusted hosts, which takes any certificate; raises as ``trusting_context``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _show(context, client)
    return context


def _system_context() -> ssl.SSLContext:
    if sys.platform == "darwin" or sys.platform == "win32":
        import truststore  # noqa: PLC0415  (only there: the keychain and Windows' store are asked by their own rules)

        store: ssl.SSLContext = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return store
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    places = ssl.get_default_verify_paths()  # SSL_CERT_FILE and SSL_CERT_DIR are read here
    if places.cafile or (places.capath and any(Path(places.capath).glob("????????.[0-9]"))):
        context.set_default_verify_paths()
    elif (store_file := next((path for path in _SYSTEM_STORES if path.is_file()), None)) is not None:
        context.load_verify_locations(store_file)
    return context


def _show(context: ssl.SSLContext, client: NamedFile | None) -> None:
    if client is None:
        return
    try:
        context.load_cert_chain(client.path)
    except OSError as error:
        raise _unusable(client, "the client certificate", error) from error


def _unusable(file: NamedFile, what: str, error: OSError) -> UpstreamError:
    if isinstance(error, ssl.SSLError):
        reason = "it is no PEM file of the kind that is needed"
    else:
        reason = error.strerror or str(error)
    return UpstreamError(
        "tls-error",
        f"{what} in {file.path} cannot be read: {reason}",
        facts={"file": str(file.path), "named by": file.said_by, "reason": str(error)},
    )


def distrust_hint(error: ssl.SSLCertVerificationError, bundles: Sequence[NamedFile]) -> str:
    """Say what can be done about a certificate that was refused."""
    if error.verify_code in _OUT_OF_TIME:
        return "the certificate is out of its time: its owners must mend that, unless this machine's clock is wrong"
    if error.verify_code in _OTHER_NAME:
        return "another server answers under this name, as a captive portal or a wrong DNS entry makes it"
    trusted = ", ".join(["the system's store", "certifi's", *(f"{one.path} ({one.said_by})" for one in bundles)])
    return (
        "where a company's proxy opens TLS, name its CA: --cert FILE, REQUESTS_CA_BUNDLE, or pip's setting 'cert'; "
        f"trusted now: {trusted}"
    )
