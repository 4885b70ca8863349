"""A gateway on loopback before the simulator, and clients of it."""

from __future__ import annotations

import http.client
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from pytorch_offline.mirror.store import Mirror
from pytorch_offline.net import Http
from pytorch_offline.retries import RetryPolicy
from pytorch_offline.server.gateway.finding import Indexes
from pytorch_offline.server.gateway.site import GatewaySite
from pytorch_offline.server.tree.following import FollowedMirror
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec
from tests.server.serving import Heard, Serving

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

    from tests.mirror.wheels import Wheel


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a gateway publish what came at once, and look for what was published often."""
    monkeypatch.setattr("pytorch_offline.server.gateway.keeping.QUIET_SECONDS", 0.1)
    monkeypatch.setattr("pytorch_offline.server.tree.following.LOOK_SECONDS", 0.05)


class Gateway(Serving):
    """A gateway for as long as the context lasts; ``mirror`` is its directory as any other process sees it."""

    def __init__(
        self,
        root: Path,
        upstream: str,
        *,
        default_index: str | None = None,
        max_size: int | None = None,
        later: timedelta = timedelta(),
    ) -> None:
        self.mirror_root = root
        said: list[str] = []
        local = FollowedMirror(root, tell=said.append)
        local.load()
        self._http = Http(retry=RetryPolicy(tries=2, connect_tries=1, first_wait=0.05, longest_wait=0.1, budget=1.0))
        self.site = GatewaySite(
            local,
            Mirror(root, work="a test", patience=0.3),
            Indexes(upstream=upstream, default_index=default_index),
            self._http,
            say=said.append,
            max_size=max_size,
            now=lambda: datetime.now(UTC) + later,
            retry=RetryPolicy(tries=3, first_wait=0.02, longest_wait=0.05),
        )
        super().__init__(self.site, follow=local)
        self.said = said

    @property
    def held(self) -> Mirror:
        """The mirror."""
        return Mirror(self.mirror_root)

    async def _serve(self) -> None:
        async with self.site:
            await super()._serve()

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        self._http.close()

    def get(self, path: str, *, upstream_path: bool = True, **headers: str) -> Heard:
        """Ask for a path, ``+`` encoded as pages write it; a body that is cut short raises ``IncompleteRead``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            asked = quote(path, safe="/") if upstream_path else path
            connection.request("GET", asked, headers={name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            body = response.read()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Heard(status=response.status, headers=fields, body=body)
        finally:
            connection.close()

    def get_many(self, path: str, count: int) -> list[Heard | Exception]:
        """Ask for a path from so many clients that start together."""
        start = threading.Barrier(count)

        def one(_: int) -> Heard | Exception:
            start.wait(30)
            try:
                return self.get(path)
            except (http.client.HTTPException, OSError) as error:
                return error

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(one, range(count)))


def offering(*wheels: Wheel, **offer: object) -> Simulator:
    """Make a simulator that offers these wheels alone, at their paths."""
    spec = Spec()
    for wheel in wheels:
        directory = str(wheel.path.parent).removeprefix("whl").strip("/")
        spec.add_wheel(directory, wheel.path.name, body=wheel.body, **offer)  # type: ignore[arg-type]
    return Simulator(spec)


def asked_for(simulator: Simulator, path: str) -> Sequence[str | None]:
    """Give the Range header of each request for a path that upstream was asked."""
    return [request.headers.get("range") for request in simulator.requests if request.path == path]


def host_and_port(url: str) -> tuple[str, int]:
    """Take an address apart."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port
