from __future__ import annotations

from pathlib import PurePosixPath

from pytorch_offline.bundle.writing.tools import Lacking, TravellingTool, choose_tools
from pytorch_offline.mirror.model import HashOrigin, MirrorFile
from tests.bundle.crafted_manifests import target_lock
from tests.installer.crafted import linux_target

MACHINES = {"old": linux_target("3.6.15"), "new": linux_target("3.11.7")}
LOCKS = tuple(
    target_lock(name)._replace(python=python, oldest_pip="20.3") for name, python in (("new", "3.11"), ("old", "3.6"))
)


def held(filename: str, requires_python: str | None = None, *, yanked: str | None = None) -> MirrorFile:
    return MirrorFile(
        path=PurePosixPath("whl", filename),
        size=1,
        sha256="0" * 64,
        hash_origin=HashOrigin.PUBLISHED,
        origin="https://index.example/",
        metadata_sha256="0" * 64,
        requires_python=requires_python,
        yanked=yanked,
        upload_time=None,
        verified_at="2026-11-21T00:00:00Z",
    )


OLD_PIP = held("pip-21.3.1-py3-none-any.whl", ">=3.6")
NEW_PIP = held("pip-24.0-py3-none-any.whl", ">=3.7")
UV = held("uv-0.8.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", ">=3.8")


def chosen(*files: MirrorFile, with_uv: bool = False) -> tuple[list[str], list[Lacking]]:
    tools, lacking = choose_tools(files, LOCKS, MACHINES, with_uv=with_uv)
    return [one.tool.path for one in tools], list(lacking)


def test_each_python_gets_the_newest_pip_that_admits_it() -> None:
    paths, lacking = chosen(OLD_PIP, NEW_PIP, held("pip-20.3-py2.py3-none-any.whl", ">=2.7"))
    assert paths == ["tools/pip-21.3.1-py3-none-any.whl", "tools/pip-24.0-py3-none-any.whl"]
    assert not lacking


def test_a_pip_serves_all_that_it_admits() -> None:
    assert chosen(OLD_PIP) == (["tools/pip-21.3.1-py3-none-any.whl"], [])
    tools, _ = choose_tools([NEW_PIP], LOCKS, MACHINES)
    assert tools[0].tool.pythons[:3] == ("3.7", "3.8", "3.9")
    assert tools[0].tool.tags == ("py3-none-any",)


def test_what_the_mirror_lacks_is_named() -> None:
    assert chosen(NEW_PIP)[1] == [Lacking(name="pip", target="old")]
    assert len(chosen()[1]) == 2
    assert [one.name for one in chosen(OLD_PIP, with_uv=True)[1]] == ["uv", "uv"]


def test_a_pip_that_does_not_take_the_locks_files_is_no_help() -> None:
    assert chosen(held("pip-20.2-py2.py3-none-any.whl", ">=2.7"))[0] == []


def test_yanked_files_candidates_and_other_projects_do_not_count() -> None:
    found = chosen(
        held("pip-21.3.1-py3-none-any.whl", ">=3.6", yanked="broken"),
        held("pip-25.0b1-py3-none-any.whl", ">=3.6"),
        held("pip_tools-7.0-py3-none-any.whl", ">=3.6"),
        held("pip-.whl"),
        held("pip-22.0-py3-none-any.whl", "no specifier"),
    )
    assert found[0] == []


def test_uv_travels_for_the_platform_of_the_target() -> None:
    windows = held("uv-0.9.0-py3-none-win_amd64.whl", ">=3.8")
    assert chosen(OLD_PIP, UV, windows, with_uv=True) == ([f"tools/{OLD_PIP.path.name}", f"tools/{UV.path.name}"], [])
    assert chosen(OLD_PIP, UV)[0] == [f"tools/{OLD_PIP.path.name}"]


def test_a_tool_keeps_the_mirrors_row() -> None:
    tools, _ = choose_tools([OLD_PIP], LOCKS, MACHINES)
    assert isinstance(tools[0], TravellingTool)
    assert tools[0].file is OLD_PIP
