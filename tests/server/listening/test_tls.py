"""https: certificates that cannot be meant are said before anybody can connect; renewed ones need no restart."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.errors import UsageError
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.server.listening.tls import read_identity
from tests.e2e.tool import run_json
from tests.mirror.loopback import sized_wheel
from tests.mirror.wheels import craft_wheel
from tests.server.processes import ServeProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")

# What would have a client trust others, or ask elsewhere; requests takes REQUESTS_CA_BUNDLE before pip's own --cert.
_OF_CLIENTS = ("PIP_", "UV_", "REQUESTS_", "CURL_", "SSL_")
TORCH = sized_wheel("whl/cu121/torch-2.4.0+cu121-cp311-cp311-linux_x86_64.whl", 3_000_000)
SMALL = craft_wheel("whl/sympy-1.1-py3-none-any.whl")


@dataclass(frozen=True)
class Authority:
    """A certificate authority of our own."""

    place: Path

    @property
    def certificate(self) -> Path:
        return self.place / "ca.pem"

    def issue(self, name: str, *options: str, days: str | None = None) -> tuple[Path, Path]:
        """Issue a certificate for loopback; give it with its key."""
        key, request, certificate = (self.place / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
        subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        _openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *(options or ("-nodes",)),
                 "-keyout", key, "-out", request, *subject)  # fmt: skip
        signing = ["-CA", self.certificate, "-CAkey", self.place / "ca.key", "-CAcreateserial"]
        _openssl("x509", "-req", "-in", request, "-out", certificate, *map(str, signing),
                 "-copy_extensions", "copy", "-days", days or "30")  # fmt: skip
        return certificate, key


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    place = tmp_path_factory.mktemp("authority")
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
             "-keyout", place / "ca.key", "-out", place / "ca.pem", "-subj", "/CN=our own",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    return Authority(place)


def test_a_certificate_says_for_whom_and_until_when_it_is(authority: Authority) -> None:
    identity = read_identity(*authority.issue("good"))
    assert identity.names == ("localhost", "127.0.0.1")
    assert 29 * 86400 < identity.until.timestamp() - time.time() < 31 * 86400
    assert identity.context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_certificate_that_cannot_be_meant_is_said_in_a_sentence(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("one")
    other, other_key = authority.issue("two")
    expired, expired_key = authority.issue("expired", days="-1")
    encrypted, encrypted_key = authority.issue("encrypted", "-passout", "pass:secret")
    junk = tmp_path / "junk"
    junk.write_bytes(b"\0\1\2")
    der = tmp_path / "der"
    _openssl("x509", "-in", certificate, "-outform", "DER", "-out", der)
    for pair, words in {
        (certificate, other_key): "the key is not the one of the certificate",
        (other, key): "the key is not the one of the certificate",
        (expired, expired_key): "the certificate has expired",
        (encrypted, encrypted_key): "the key is encrypted",
        (tmp_path / "nowhere", key): "the certificate cannot be read: No such file",
        (certificate, tmp_path / "nowhere"): "the key cannot be read: No such file",
        (certificate, tmp_path): "the key cannot be read: Is a directory",
        (junk, key): "no certificate in PEM",
        (der, key): "no certificate in PEM",
        (certificate, junk): "no private key in PEM",
        (key, certificate): "no certificate in PEM",
    }.items():
        with pytest.raises(UsageError, match=words) as caught:
            read_identity(*pair)
        assert caught.value.code == "bad-certificate"
        assert "secret" not in f"{caught.value.message} {caught.value.hint}"


def test_the_command_says_it_before_it_listens(authority: Authority, tmp_path: Path) -> None:
    certificate, _ = authority.issue("alone")
    arguments = ("serve", "--mirror", tmp_path, "--port", "0", "--tls-cert", certificate)
    assert (
        run_json(*arguments, cwd=tmp_path, expect=2)["error"]["message"] == "--tls-cert and --tls-key belong together"
    )
    error = run_json(*arguments, "--tls-key", certificate, cwd=tmp_path, expect=2)["error"]
    assert error["code"] == "bad-certificate"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mirror")
    mirror = Mirror(root)
    for wheel in (TORCH, SMALL):
        wheel.admit(mirror)
    mirror.publish()
    return root


@pytest.fixture(scope="module")
def pair(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("served")


@pytest.fixture(scope="module")
def server(root: Path, pair: tuple[Path, Path]) -> Iterator[ServeProcess]:
    with ServeProcess(root, "--tls-cert", pair[0], "--tls-key", pair[1], launcher=["setsid"]) as server:
        yield server
        assert server.stop() == 0
        assert not any("Traceback" in line for line in server.said)


def _ask(server: ServeProcess, target: str, context: ssl.SSLContext) -> tuple[bytes, str]:
    """Ask for a target; give the answer and whose certificate was shown."""
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        received = b""
        while piece := connection.recv(262_144):
            received += piece
        shown = connection.getpeercert()
        assert shown is not None
        return received, str(shown["serialNumber"])


def test_files_and_pages_come_by_tls(server: ServeProcess, authority: Authority, root: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    target = "/whl/cu121/torch-2.4.0%2Bcu121-cp311-cp311-linux_x86_64.whl"
    received, _ = _ask(server, target, trusting)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    kept = (root / "whl/cu121/torch-2.4.0+cu121-cp311-cp311-linux_x86_64.whl").read_bytes()
    assert hashlib.sha256(body).digest() == hashlib.sha256(kept).digest()
    assert server.told["listening"].startswith("https://127.0.0.1:")


def test_an_old_tls_and_plain_http_get_nothing_and_harm_nobody(server: ServeProcess, authority: Authority) -> None:
    old = ssl.create_default_context(cafile=str(authority.certificate))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        _ask(server, "/whl/", old)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain:
        plain.sendall(b"GET /whl/ HTTP/1.1\r\nHost: x\r\n\r\n")
        with suppress(ConnectionResetError):
            assert b"200" not in plain.recv(1000)
    silent = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(30)]
    assert _ask(server, "/whl/", ssl.create_default_context(cafile=str(authority.certificate)))[0]
    for one in silent:
        one.close()


def test_a_renewed_certificate_needs_no_restart_and_a_bad_one_changes_nothing(
    server: ServeProcess, authority: Authority, pair: tuple[Path, Path]
) -> None:
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    before = _ask(server, "/whl/", trusting)[1]
    good = [path.read_bytes() for path in pair]
    pair[1].write_bytes(b"half a fi")
    server.send(signal.SIGHUP)
    server.wait_said("the certificate stays as it was")
    assert _ask(server, "/whl/", trusting)[1] == before
    renewed = [path.read_bytes() for path in authority.issue("renewed")]
    for path, content in zip(pair, renewed, strict=True):
        path.write_bytes(content)
    server.send(signal.SIGHUP)
    server.wait_said("the certificate was read again; it is good until")
    assert _ask(server, "/whl/", trusting)[1] != before
    for path, content in zip(pair, good, strict=True):
        path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("client", ["pip", "uv"])
def test_pip_and_uv_install_by_tls_with_a_password(
    client: str, authority: Authority, root: Path, tmp_path: Path
) -> None:
    pair = authority.issue(f"for-{client}")
    users = tmp_path / "users"
    users.write_text("alice:{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=\n")
    options = ("--tls-cert", pair[0], "--tls-key", pair[1], "--htpasswd", users, "--access-log", tmp_path / "log")
    with ServeProcess(root, *options) as server:
        index = f"https://alice:correct%20horse@localhost:{server.port}/whl/"
        if client == "uv" and shutil.which("uv") is None:
            pytest.skip("uv is not installed")
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--isolated",
            "install",
            "--no-cache-dir",
            "--cert",
            str(authority.certificate),
        ]
        uv = ["uv", "pip", "install", "--no-config", "--no-cache", "--python", sys.executable]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_OF_CLIENTS)}
        environment |= {"SSL_CERT_FILE": str(authority.certificate)} if client == "uv" else {}
        arguments = ["--index-url", index, "--target", str(tmp_path / "there"), "--no-deps", "sympy==1.1"]
        command = [*(pip if client == "pip" else uv), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        assert server.stop() == 0
    assert (tmp_path / "there" / "sympy").is_dir()
    log = (tmp_path / "log").read_text()
    assert "- alice [" in log
    assert "correct" not in log
