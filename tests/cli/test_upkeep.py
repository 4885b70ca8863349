"""A mirror over weeks, by its commands: what is noted of crawls and verifications, and what leaves it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pytorch_offline.mirror.stocktaking import take_stock
from pytorch_offline.mirror.store import Mirror
from pytorch_offline.simulator.faults import Status
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_offline.mirror.standing import Standing
    from tests.cli.in_process import Tool

LINUX = ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", "--accelerator", "none")
OLD, NEW = (f"torch-2.{minor}.0+cpu-cp311-cp311-linux_x86_64.whl" for minor in (4, 5))
OLD_HELPER, NEW_HELPER = (f"helper-{version}-py3-none-any.whl" for version in (1, 2))


def small_spec() -> Spec:
    spec = Spec()
    spec.add_wheel("cpu", OLD, requires=["helper==1"])
    spec.add_wheel("cpu", NEW, requires=["helper==2"])
    for helper in (OLD_HELPER, NEW_HELPER):
        spec.add_default(helper)
    return spec


def standing(directory: Path) -> Standing:
    mirror = Mirror(directory / "cache")
    return take_stock(mirror.root, mirror.read_published(), now=datetime.now(UTC))


def held(directory: Path) -> set[str]:
    return {path.name for path in Mirror(directory / "cache").read_files()}


def test_what_no_lock_names_any_more_leaves_and_can_come_back(tool: Tool) -> None:
    with Simulator(small_spec()) as upstream:
        indexes = ("--upstream", upstream.url, "--default-index", upstream.default_index_url)
        tool.run("fetch", "torch==2.4.0", *LINUX, *indexes)
        assert tool.json("prune", "--keep", "locks")["removed"] == []
        tool.run("fetch", "torch==2.5.0", *LINUX, *indexes)  # the same target: its lock names these now
        assert held(tool.directory) == {OLD, NEW, OLD_HELPER, NEW_HELPER}
        assert tool.json("prune", "--keep", "2")["removed"] == []
        gone = tool.json("prune", "--keep", "locks")["removed"]
        assert {(one["path"].rpartition("/")[2], one["why"]) for one in gone} == {
            (OLD, "not-locked"),
            (OLD_HELPER, "not-locked"),
        }
        assert held(tool.directory) == {NEW, NEW_HELPER}
        tool.run("verify", "--deep")
        assert tool.json("fetch", "torch==2.5.0", *LINUX, *indexes)["downloaded"] == []
        assert len(tool.json("fetch", "torch==2.4.0", *LINUX, *indexes)["downloaded"]) == 2
        # The lock is the old one's again; the new one stays by its version, and so does what it needs.
        assert tool.json("prune", "--keep", "1")["removed"] == []


def test_only_what_succeeded_is_noted(tool: Tool) -> None:
    with Simulator(small_spec()) as upstream:
        indexes = ("--upstream", upstream.url, "--default-index", upstream.default_index_url)
        tool.run("fetch", "torch==2.4.0", *LINUX, *indexes)
        first = standing(tool.directory)
        assert first.pages_read is not None  # for the fetch
        assert (first.crawled_at, first.reached.verified) == (None, None)
        assert first.reached.published is not None

        upstream.faults.add("/whl/cpu/torch/", Status(code=403))
        tool.run("crawl", "--upstream", upstream.url, "--backend", "cpu", expect=3)
        assert standing(tool.directory).crawled_at is None
        upstream.faults.clear()
        tool.run("crawl", "--upstream", upstream.url, "--backend", "cpu")
        (crawled,) = standing(tool.directory).reached.crawled
        assert crawled.upstream.startswith(upstream.url)
        assert not crawled.whole
        upstream.faults.add("/whl/cpu/torch/", Status(code=403))
        _, said = tool.run("crawl", "--upstream", upstream.url, "--backend", "cpu", expect=3)
        assert "the last crawl of it that succeeded was on 20" in said
        assert standing(tool.directory).reached.crawled == (crawled,)

        tool.run("verify")
        sound = standing(tool.directory).reached.sound
        assert sound is not None
        assert (sound.files, sound.read, sound.findings) == (2, 2, 0)
        (tool.directory / "cache/whl/cpu" / OLD).write_bytes(b"rotten")
        tool.run("verify", expect=4)
        reached = standing(tool.directory).reached
        assert reached.sound == sound
        assert reached.verified is not None
        assert reached.verified.findings == 1
        tool.run("verify", "--repair")
        reached = standing(tool.directory).reached
        assert reached.sound == reached.verified
