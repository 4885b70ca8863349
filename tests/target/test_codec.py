"""The target file: what is written is read back; what cannot be read is refused by key."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.tags import Tag
from packaging.version import Version

from pytorch_offline.errors import UsageError
from pytorch_offline.target.build import TargetFlags, build_target
from pytorch_offline.target.codec import (
    parse_target,
    read_target,
    render_target,
    safe_name,
    target_document,
    write_text_file,
)
from pytorch_offline.target.model import MARKER_VARIABLES, Accelerator, AcceleratorKind, Device, Libc, Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEED = build_target(
    TargetFlags(python_version="3.10.12", preset="ubuntu22.04", gpus=("A100",), driver="470.82.01", cuda="12.2")
)

words = st.from_regex(r"[a-z][a-z0-9_]{0,11}", fullmatch=True)
versions = st.lists(st.integers(0, 999), min_size=1, max_size=4).map(lambda parts: Version(".".join(map(str, parts))))
pairs = st.tuples(st.integers(0, 99), st.integers(0, 99))
devices = st.builds(
    Device,
    name=st.none() | st.text(),
    compute_capability=st.none() | pairs,
    gfx=st.none() | st.text(),
)
accelerators = st.builds(
    Accelerator,
    kind=st.sampled_from(AcceleratorKind),
    driver=st.none() | versions,
    cuda=st.none() | versions,
    devices=st.lists(devices, max_size=3).map(tuple),
    driver_system=st.none() | st.just("Windows"),
)
markers = st.fixed_dictionaries({name: st.text() for name in MARKER_VARIABLES}).map(
    lambda values: MappingProxyType(values | {"python_full_version": "3.10.12"})
)
targets = st.builds(
    Target,
    name=st.text().map(safe_name),
    marker_environment=markers,
    tags=st.lists(st.builds(Tag, words, words, words), min_size=1, max_size=9, unique=True).map(tuple),
    libc=st.none() | st.builds(Libc, name=st.sampled_from(["glibc", "musl"]), version=pairs),
    accelerator=st.none() | accelerators,
    learnt_from=st.dictionaries(st.text(), st.text(), max_size=4).map(MappingProxyType),
)


@given(targets)
def test_what_is_written_is_read_back(target: Target) -> None:
    assert parse_target(render_target(target)) == target
    assert render_target(parse_target(render_target(target))) == render_target(target)


def test_versions_of_drivers_are_written_as_nvidia_spells_them() -> None:
    assert target_document(SEED)["accelerator"] == {
        "kind": "cuda",
        "driver": "470.82.01",
        "cuda": "12.2",
        "devices": [{"name": "A100", "compute_capability": "8.0"}],
    }
    spelt = {
        "535.104.05": "535.104.05",
        "580.95": "580.95",
        "580": "580",
        "461.09": "461.09",
        "418.226.00": "418.226.00",
    }
    for text, expected in spelt.items():
        assert Accelerator(kind=AcceleratorKind.CUDA, driver=Version(text)).driver_text == expected
    assert Accelerator(kind=AcceleratorKind.ROCM, driver=Version("6.8.5")).driver_text == "6.8.5"
    assert Accelerator(kind=AcceleratorKind.CUDA).driver_text is None


def pex_document() -> dict[str, Any]:
    return {
        "path": "/usr/bin/python3.10",
        "compatible_tags": [
            "cp310-cp310-manylinux_2_35_x86_64",
            "cp310-cp310-manylinux_2_34_x86_64",
            "cp310-cp310-linux_x86_64",
            "cp310-cp310-manylinux_2_34_x86_64",
            "py3-none-any",
        ],
        "marker_environment": dict(SEED.marker_environment),
    }


def test_a_file_of_pex_is_a_target(tmp_path: Path) -> None:
    path = tmp_path / "gpu node.json"
    path.write_text(json.dumps(pex_document()), encoding="utf-8")
    target = read_target(path)
    assert target.name == "gpu-node"
    assert [str(tag) for tag in target.tags] == [*pex_document()["compatible_tags"][:3], "py3-none-any"]
    assert target.libc == Libc(name="glibc", version=(2, 35))
    assert target.learnt_from == {"libc": "compatible_tags"}
    assert target.accelerator is None


def test_a_c_library_that_is_written_as_unknown_stays_unknown() -> None:
    target = replace(SEED, libc=None)
    assert parse_target(render_target(target)) == target


def test_a_target_is_named_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "node-7.json"
    write_text_file(path, render_target(SEED))
    assert read_target(path) == replace(SEED, name="node-7")
    for encoding in ("utf-16", "utf-8-sig"):
        path.write_text(render_target(SEED), encoding=encoding)
        assert read_target(path).tags == SEED.tags


def test_capabilities_that_a_driver_did_not_say_are_known_by_name(tmp_path: Path) -> None:
    said = Device(name="NVIDIA A100", compute_capability=(9, 9))  # the machine's own word stands
    cut = (Device(name="NVIDIA A100-PCI..."), Device(name="NVIDIA Something New"), Device(), said)
    accelerator = Accelerator(kind=AcceleratorKind.CUDA, devices=cut)
    path = tmp_path / "old.json"
    write_text_file(path, render_target(replace(SEED, accelerator=accelerator, learnt_from=MappingProxyType({}))))
    target = read_target(path)
    assert target.accelerator is not None
    assert [device.compute_capability for device in target.accelerator.devices] == [(8, 0), None, None, (9, 9)]
    assert list(target.learnt_from) == ["accelerator.devices[0].compute_capability"]


def change(*path: str | int, to: object) -> Callable[[dict[str, Any]], None]:
    def apply(document: Any) -> None:  # noqa: ANN401  (JSON)
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = to

    return apply


@pytest.mark.parametrize(
    ("spoil", "key"),
    [
        (change("format", to=2), "format"),
        (change("name", to=7), "name"),
        (change("marker_environment", to=None), "marker_environment"),
        (change("marker_environment", to=[]), "marker_environment"),
        (change("marker_environment", "os_name", to=3), "marker_environment.os_name"),
        (change("marker_environment", "os_name", to=None), "marker_environment.os_name"),
        (change("marker_environment", "python_full_version", to="three"), "marker_environment.python_full_version"),
        (change("compatible_tags", to=None), "compatible_tags"),
        (change("compatible_tags", to=[]), "compatible_tags"),
        (change("compatible_tags", 3, to="cp310-cp310"), "compatible_tags[3]"),
        (change("compatible_tags", 3, to="py2.py3-none-any"), "compatible_tags[3]"),
        (change("compatible_tags", 0, to=4), "compatible_tags[0]"),
        (change("libc", to="glibc"), "libc"),
        (change("libc", "version", to="new"), "libc.version"),
        (change("libc", "version", to=2.35), "libc.version"),
        (change("accelerator", to=[]), "accelerator"),
        (change("accelerator", "kind", to="tpu"), "accelerator.kind"),
        (change("accelerator", "kind", to=None), "accelerator.kind"),
        (change("accelerator", "driver", to="N/A"), "accelerator.driver"),
        (change("accelerator", "cuda", to=12.2), "accelerator.cuda"),
        (change("accelerator", "cuda", to="9" * 9999), "accelerator.cuda"),
        (change("libc", "version", to="2.999999999"), "libc.version"),
        (change("accelerator", "devices", to={}), "accelerator.devices"),
        (change("accelerator", "devices", 0, to="A100"), "accelerator.devices[0]"),
        (
            change("accelerator", "devices", 0, "compute_capability", to="8"),
            "accelerator.devices[0].compute_capability",
        ),
        (change("learnt_from", to=[]), "learnt_from"),
        (change("learnt_from", "libc", to=1), "learnt_from.libc"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_key(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None], key: str
) -> None:
    document = json.loads(render_target(SEED))
    spoil(document)
    path = tmp_path / "node.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_target(path)
    assert (caught.value.code, caught.value.exit_code) == ("bad-target-file", 2)
    assert caught.value.facts["key"] == key
    assert caught.value.facts["file"] == str(path)
    assert str(path) in caught.value.message


def test_missing_markers_are_all_named_and_never_filled_in(tmp_path: Path) -> None:
    document = pex_document()
    for name in ("platform_machine", "sys_platform"):
        del document["marker_environment"][name]
    path = tmp_path / "node.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UsageError, match=r"marker values are missing: platform_machine, sys_platform"):
        read_target(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '"x"', "\x00", "[" * 100_000])
def test_what_is_no_target_at_all(tmp_path: Path, text: str) -> None:
    path = tmp_path / "node.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_target(path)
    assert caught.value.code == "bad-target-file"


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(UsageError, match="cannot be read") as caught:
            read_target(path)
        assert caught.value.code == "bad-target-file"
    with pytest.raises(UsageError, match="cannot be written"):
        write_text_file(tmp_path / "no" / "folder.json", "text")
    for path in (tmp_path, tmp_path / "..", type(tmp_path)("/"), tmp_path / "a\0b"):
        with pytest.raises(UsageError, match="cannot be written"):
            write_text_file(path, "text")
    assert list(tmp_path.iterdir()) == []


KEYS = st.sampled_from(["format", "marker_environment", "compatible_tags", "accelerator", "devices", "kind", "libc"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    )
)
def test_no_document_breaks_the_reader(document: object) -> None:
    with pytest.raises(UsageError):
        parse_target(json.dumps(document))


def test_names_are_safe_in_file_names() -> None:
    assert safe_name("../../etc/passwd") == "etc-passwd"
    assert safe_name("nvidia/cuda:12.2.2-ubuntu22.04") == "nvidia-cuda-12_2_2-ubuntu22_04"
    assert safe_name("…") == "target"
    assert len(safe_name("x" * 300)) == 100


def test_a_file_that_is_too_large_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match="larger than 8 MiB"):
        read_target(path)


def test_a_list_of_tags_without_end_is_refused() -> None:
    document = json.loads(render_target(build_target(TargetFlags(python_version="3.10", platform="win_amd64"))))
    document["compatible_tags"] = [f"cp310-cp310-manylinux_2_{number}_x86_64" for number in range(30_000)]
    with pytest.raises(UsageError, match="30000 tags"):
        parse_target(json.dumps(document))
