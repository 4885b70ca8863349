"""A certificate authority of the tests' own, by openssl: good, expired, of another name, of clients."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Authority:
    """Issues certificates below a directory."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        self.directory = directory
        self.root = directory / "root.pem"
        self._openssl(
            "req", "-x509", *_KEY, "-days", "3650", "-subj", "/CN=Test authority",
            "-keyout", "root.key", "-out", "root.pem",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    def issue(self, name: str, *, names: str = "DNS:localhost,IP:127.0.0.1", expired: bool = False) -> Path:
        """Issue a certificate; the file holds its key as well."""
        self._openssl("req", *_KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (self.directory / f"{name}.ext").write_text(f"subjectAltName={names}\n", encoding="ascii")
        times = ["-days", "-1" if expired else "30"]
        self._openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial",
            "-extfile", f"{name}.ext", "-out", f"{name}.crt", *times,
        )  # fmt: skip
        both = self.directory / f"{name}.pem"
        both.write_bytes((self.directory / f"{name}.key").read_bytes() + (self.directory / f"{name}.crt").read_bytes())
        return both

    def serving(self, certificate: Path, *, of_clients: bool = False) -> ssl.SSLContext:
        """Make a server's context; with ``of_clients`` it wants a certificate of this authority from them."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        if of_clients:
            context.load_verify_locations(self.root)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.directory, check=True, capture_output=True)
