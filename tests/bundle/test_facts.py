from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.bundle.format.manifest import parse_manifest, render_manifest
from pytorch_offline.bundle.format.model import Missing
from pytorch_offline.bundle.writing.facts import describe_mirror
from pytorch_offline.bundle.writing.machine_needs import cuda_need, lowest_glibc, oldest_pip
from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.mirror.manifest import parse_row
from pytorch_offline.target.model import Accelerator, AcceleratorKind
from pytorch_offline.wheels.backend import parse_backend
from pytorch_offline.wheels.filename import parse_wheel_name
from pytorch_offline.wheels.inspection import Inspection
from tests.installer.crafted import linux_target, pure, torch, write_mirror

if TYPE_CHECKING:
    from pathlib import Path

TARGET = linux_target("3.10.12")


def mirror(tmp_path: Path) -> Path:
    wheels = [torch(tags="cp310-cp310-manylinux_2_28_x86_64"), pure("filelock", "3.13", "Requires-Python: >=3.8")]
    return write_mirror(tmp_path / "mirror", {"node": wheels, "other": [*wheels[1:]]}, target=TARGET)


def test_a_mirror_is_described_as_a_bundle_would_be(tmp_path: Path) -> None:
    found = describe_mirror(mirror(tmp_path))
    node, other = found.targets
    assert (node.target, other.target) == ("node", "other")
    assert (node.system, node.machine, node.implementation, node.python) == ("Linux", "x86_64", "CPython", "3.10")
    assert (node.glibc, node.backend, node.cuda, node.oldest_pip) == ("2.28", "cpu", None, "20.3")
    assert (other.glibc, other.backend, other.oldest_pip) == (None, None, "0")
    filelock, torch_ = node.wheels
    assert torch_.needs == ("filelock",)
    assert torch_.tags == ("cp310-cp310-manylinux_2_28_x86_64",)
    assert filelock.requires_python == ">=3.8"
    assert filelock.installed_bytes == 5 * 4096  # a module and its byte code, METADATA, WHEEL, RECORD
    assert parse_manifest(render_manifest(found)) == found


def test_every_file_is_listed_with_what_its_bytes_are(tmp_path: Path) -> None:
    root = mirror(tmp_path)
    files = describe_mirror(root, ["other"]).files
    assert [file.path for file in files] == [
        "locks/other.json",
        "locks/pylock.other.toml",
        "whl/filelock-3.13-py3-none-any.whl",
    ]
    for file in files:
        body = (root / file.path).read_bytes()
        assert (file.size, file.sha256) == (len(body), hashlib.sha256(body).hexdigest())


def test_a_row_is_the_mirrors_own_without_a_clock(tmp_path: Path) -> None:
    file = describe_mirror(mirror(tmp_path), ["other"]).files[-1]
    row = dict(file.row or {})
    assert "verified_at" not in row
    moment = "2026-01-01T00:00:00Z"
    again = {**row, "path": file.path, "size": file.size, "sha256": file.sha256, "verified_at": moment}
    assert parse_row(again, where="row").path == PurePosixPath(file.path)


def test_a_requirement_without_a_wheel_is_left_to_the_destination(tmp_path: Path) -> None:
    root = write_mirror(tmp_path / "mirror", {"node": [torch()]}, target=TARGET)
    (node,) = describe_mirror(root).targets
    assert node.missing == (Missing(project="filelock", requirement="filelock", required_by="torch"),)
    assert "Windows" not in node.markers["platform_system"]


def test_a_damaged_wheel_is_described_by_its_sidecar_and_named_by_whoever_hashes_it(tmp_path: Path) -> None:
    root = mirror(tmp_path)
    wheel = root / "whl/filelock-3.13-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[:-100])
    (_, other) = describe_mirror(root).targets
    assert other.wheels[0].requires_python is None
    assert other.wheels[0].installed_bytes == 0


def test_an_unknown_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        describe_mirror(mirror(tmp_path), ["elsewhere"])
    assert caught.value.code == "unknown-target"
    assert caught.value.facts["targets"] == "node, other"


def test_a_lock_that_names_what_the_mirror_does_not_hold_is_refused(tmp_path: Path) -> None:
    root = mirror(tmp_path)
    lock = root / "locks/pylock.node.toml"
    lock.write_text(lock.read_text().replace("torch-2.4.0+cpu", "torch-2.4.1+cpu").replace('"2.4.0', '"2.4.1'))
    with pytest.raises(IntegrityError) as caught:
        describe_mirror(root)
    assert caught.value.code == "bad-files"
    assert any("torch-2.4.1" in name for name in caught.value.facts)


def test_a_lock_without_its_target_is_refused(tmp_path: Path) -> None:
    root = mirror(tmp_path)
    (root / "locks/node.json").unlink()
    with pytest.raises(IntegrityError, match=r"node\.json"):
        describe_mirror(root)
    assert describe_mirror(root, ["other"]).targets


def test_a_directory_without_locks_is_no_mirror(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        describe_mirror(tmp_path)
    assert caught.value.code == "not-a-mirror"


def names(*texts: str) -> list[tuple[str, PurePosixPath]]:
    return [(text, PurePosixPath("whl/cu121", text)) for text in texts]


@pytest.mark.parametrize(
    ("tags", "pip"),
    [
        ("py3-none-any", "0"),
        ("cp310-cp310-linux_x86_64", "0"),
        ("cp310-cp310-manylinux1_x86_64", "0"),
        ("cp310-cp310-manylinux2010_x86_64", "19.0"),
        ("cp310-cp310-manylinux2014_x86_64", "19.3"),
        ("cp310-cp310-manylinux_2_17_x86_64", "20.3"),
        ("cp310-cp310-manylinux_2_17_x86_64.manylinux2014_x86_64", "19.3"),
    ],
)
def test_the_oldest_pip_takes_every_file(tags: str, pip: str) -> None:
    wheels = [parse_wheel_name(f"a-1-{tags}.whl"), parse_wheel_name("b-1-py3-none-any.whl")]
    assert oldest_pip(wheels, TARGET) == pip


def test_the_lowest_glibc_is_that_of_the_most_demanding_wheel() -> None:
    found = [
        (parse_wheel_name(name), path)
        for name, path in names(
            "a-1-cp310-cp310-manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl",
            "b-1-cp310-cp310-manylinux_2_24_x86_64.whl",
        )
    ]
    assert lowest_glibc(found, TARGET, {}) == "2.24"


def test_a_glibc_that_no_tag_promises_is_read_from_the_libraries_or_the_table() -> None:
    ((name, path),) = names("torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl")
    wheels = [(parse_wheel_name(name), path)]
    assert lowest_glibc(wheels, TARGET, {path: Inspection(glibc=(2, 14))}) == "2.14"
    assert lowest_glibc(wheels, TARGET, {}) == "2.17"


CU121 = parse_wheel_name("torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl")


def test_a_cuda_build_asks_for_a_driver_and_has_code_for_devices() -> None:
    need = cuda_need(parse_backend("cu121"), CU121, TARGET, None)
    assert need is not None
    assert (need.cuda, need.toolkit_driver, need.minor_floor) == ("12.1", "530.30.02", "525.60.13")
    assert need.capabilities == ("5.0", "6.0", "7.0", "7.5", "8.0", "8.6", "9.0")


def test_a_wheels_own_list_beats_the_table() -> None:
    inspection = Inspection(architectures=("sm_80", "sm_90a", "sm_100f", "compute_90", "compute_100a"))
    need = cuda_need(parse_backend("cu128"), CU121, TARGET, inspection)
    assert need is not None
    assert need.capabilities == ("8.0", "9.0a", "10.0f")
    assert need.ptx == "9.0"


def test_what_nobody_knows_stays_unknown() -> None:
    newer = parse_wheel_name("torch-99.0+cu199-cp310-cp310-linux_x86_64.whl")
    need = cuda_need(parse_backend("cu199"), newer, TARGET, None)
    assert need is not None
    assert (need.toolkit_driver, need.minor_floor, need.capabilities, need.ptx) == (None, None, (), None)


def test_before_cuda_11_there_is_no_floor_below_the_toolkits_own_driver() -> None:
    need = cuda_need(parse_backend("cu102"), CU121, TARGET, None)
    assert need is not None
    assert (need.toolkit_driver, need.minor_floor) == ("440.33", None)


def test_windows_numbers_its_drivers_differently_also_below_wsl() -> None:
    below = linux_target(accelerator=Accelerator(kind=AcceleratorKind.CUDA, driver_system="Windows"))
    need = cuda_need(parse_backend("cu121"), CU121, below, None)
    assert need is not None
    assert need.minor_floor not in {None, "525.60.13"}


def test_a_cpu_build_asks_for_no_driver() -> None:
    assert cuda_need(parse_backend("cpu"), CU121, TARGET, None) is None
