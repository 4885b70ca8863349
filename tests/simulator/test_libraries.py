"""The libraries of a stand-in torch: true by the tables, small, and as a linker would have made them."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from pytorch_offline.simulator.libraries import build_elf
from pytorch_offline.simulator.spec import Spec
from pytorch_offline.wheels.arch_list import find_arch_list
from pytorch_offline.wheels.elf import find_glibc_need

if TYPE_CHECKING:
    from pathlib import Path

LINUX = "cp310-cp310-linux_x86_64.whl"
ARM = "cp310-cp310-manylinux_2_28_aarch64.whl"
DEFAULT = "cp310-cp310-manylinux1_x86_64.whl"


def members(directory: str, filename: str, **told: object) -> dict[str, bytes]:
    spec = Spec()
    body = spec.body(spec.add_wheel(directory, filename, requires=(), **told))  # type: ignore[arg-type]
    assert body.size < 8_000
    with zipfile.ZipFile(BytesIO(body.read(0, body.size))) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist() if name.startswith("torch/lib/")}


@pytest.mark.parametrize(
    ("directory", "filename", "architectures", "glibc"),
    [
        ("cu118", f"torch-2.0.1+cu118-{LINUX}", "sm_37 sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90", (2, 17)),
        (
            "cu130",
            f"torch-2.11.0+cu130-{ARM}",
            "sm_80 sm_90 sm_100 sm_110 sm_120",
            (2, 28),
        ),
        ("cpu", f"torch-2.4.0+cpu-{LINUX}", None, (2, 17)),
        ("cu75", "torch-0.3.0-cp36-cp36m-linux_x86_64.whl", None, (2, 12)),
        (
            "simple",
            f"torch-2.6.0-{DEFAULT}",
            "sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90",
            (2, 17),
        ),
    ],
)
def test_by_default_they_say_what_the_tables_say(
    directory: str, filename: str, architectures: str | None, glibc: tuple[int, int]
) -> None:
    library = members(directory, filename)["torch/lib/libtorch_python.so"]
    assert find_arch_list([library]) == (None if architectures is None else tuple(architectures.split()))
    assert find_glibc_need([library]) == glibc


def test_they_say_what_a_test_wants() -> None:
    told = members("cu121", f"torch-2.4.0+cu121-{LINUX}", architectures=("sm_90", "compute_90"), glibc=(2, 31))
    assert find_arch_list([told["torch/lib/libtorch_python.so"]]) == ("sm_90", "compute_90")
    assert find_glibc_need([told["torch/lib/libtorch_python.so"]]) == (2, 31)


def test_other_systems() -> None:
    windows = members("cu121", "torch-2.4.0+cu121-cp310-cp310-win_amd64.whl")
    assert set(windows) == {"torch/lib/c10.dll", "torch/lib/c10_cuda.dll", "torch/lib/torch_python.dll"}
    assert find_arch_list([windows["torch/lib/torch_python.dll"]]) is not None
    assert members("cpu", "torch-2.4.0-cp310-none-macosx_11_0_arm64.whl") == {}


@pytest.mark.skipif(shutil.which("readelf") is None, reason="binutils are not installed")
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_binutils_read_them(machine: str, tmp_path: Path) -> None:
    library = tmp_path / "one.so"
    library.write_bytes(build_elf(machine, needs=["GLIBC_2.17", "GLIBC_2.28"], texts=["sm_70 sm_75"]))
    command = ["readelf", "-hldSVW", "-p", ".rodata", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not done.stderr
    for said in ("Shared object file", "Shared library: [libc.so.6]", "Name: GLIBC_2.28", "sm_70 sm_75"):
        assert said in done.stdout
