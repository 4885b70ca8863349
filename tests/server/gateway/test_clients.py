"""Real clients install through a gateway; more of them, and kills, by ``python -m tests.server.gateway_campaign``."""

from __future__ import annotations

import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from pytorch_offline.simulator.server import Simulator
from tests.server.gateway_campaign import install
from tests.server.gateways import Gateway

if TYPE_CHECKING:
    from pathlib import Path

TOOLS = ["pip", *(["uv"] if shutil.which("uv") else [])]


def test_clients_at_once_cost_one_download_each_and_need_no_upstream_afterwards(tmp_path: Path) -> None:
    with Simulator() as upstream:
        with Gateway(tmp_path / "mirror", upstream.url) as gateway, ThreadPoolExecutor(len(TOOLS)) as pool:
            codes = list(pool.map(lambda tool: install(tool, gateway.url, tmp_path / tool), TOOLS))
            assert codes == [0] * len(TOOLS)
            wheels = Counter(
                request.path
                for request in upstream.requests
                if request.path.endswith(".whl") and request.method == "GET"
            )
            assert set(wheels.values()) == {1}
            assert any(path.startswith("/whl/cpu/torch-") for path in wheels)
        address = upstream.url
    with Gateway(tmp_path / "mirror", address, later=timedelta(hours=1)) as gateway:
        assert install("pip", gateway.url, tmp_path / "again") == 0
