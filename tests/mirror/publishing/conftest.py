"""An S3 in this process, and no credentials but the test's own."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.mirror.publishing.stores import Bucket, Proxy, make_bucket, misbehaving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def store_port() -> Iterator[int]:
    """The port of an S3 on loopback."""
    pytest.importorskip("botocore")
    server = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    yield running.get_host_and_port()[1]
    running.stop()


@pytest.fixture
def bucket(store_port: int) -> Bucket:
    """A bucket of the test's own."""
    return make_bucket(store_port)


@pytest.fixture(scope="session")
def proxy_for_all(store_port: int) -> Iterator[Proxy]:
    """What stands before the store."""
    with misbehaving(store_port) as running:
        yield running


@pytest.fixture
def proxy(proxy_for_all: Proxy) -> Proxy:
    """What stands before the store, with no faults yet."""
    proxy_for_all.faults.clear()
    proxy_for_all.requests.clear()
    return proxy_for_all
