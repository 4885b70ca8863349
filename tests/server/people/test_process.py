"""The page of the real ``serve``, while other commands change the mirror."""

from __future__ import annotations

import http.client
import time
from typing import TYPE_CHECKING

from pytorch_offline.mirror.store import Mirror
from tests.e2e.tool import run_tool
from tests.mirror.wheels import craft_wheel
from tests.server.processes import ServeProcess

if TYPE_CHECKING:
    from pathlib import Path


def shown(port: int, target: str = "/", **headers: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", target, headers=headers)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def wait_for(port: int, part: str) -> str:
    until = time.monotonic() + 20
    while part not in (html := shown(port)):
        assert time.monotonic() < until, html
        time.sleep(0.1)
    return html


def test_the_page_follows_what_other_commands_do(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    root.mkdir()
    with ServeProcess(root) as server:
        assert "This mirror is empty" in shown(server.port)
        assert "本镜像是空的" in shown(server.port, **{"Accept-Language": "zh-CN"})
        mirror = Mirror(root)
        craft_wheel("whl/cpu/torch-2.4.0+cpu-cp311-cp311-linux_x86_64.whl").admit(mirror)
        mirror.write_locks({"requirements.node.txt": b"# empty\n"})
        mirror.publish()
        html = wait_for(server.port, "torch==2.4.0+cpu")
        assert f"http://127.0.0.1:{server.port}/whl/cpu" in html
        assert "locks/requirements.node.txt" in html
        assert "days ago" in wait_for(server.port, "days ago")
        craft_wheel("whl/cu121/torch-2.4.0+cu121-cp311-cp311-linux_x86_64.whl").admit(mirror)
        mirror.publish()
        wait_for(server.port, "torch==2.4.0+cu121")
        run_tool("verify", cwd=tmp_path)
        html = wait_for(server.port, "just now")
        assert "%</dd>" in html  # how full the disk is
        style = next(part for part in html.split('"') if part.startswith("assets/") and part.endswith(".css"))
        assert "--ground" in shown(server.port, f"/{style}")
