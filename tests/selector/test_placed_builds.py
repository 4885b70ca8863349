"""Which backend a wheel was built for, by its label, its directory and its platform: as upstream really places them."""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from pytorch_offline.errors import PytorchOfflineError
from pytorch_offline.selector.rules.candidates import backend_of
from pytorch_offline.wheels.backend import is_backend
from pytorch_offline.wheels.filename import parse_wheel_name

if TYPE_CHECKING:
    from pathlib import Path

PLACED = [
    # Before labels, the directory alone says which CUDA it is.
    ("cu75/torch-0.3.0-cp36-cp36m-linux_x86_64.whl", "cu75"),
    ("cu80/torch-0.4.1-cp37-cp37m-linux_x86_64.whl", "cu80"),
    ("cu90/torch-1.1.0-cp37-cp37m-linux_x86_64.whl", "cu90"),
    ("cu100/torch-1.1.0-cp37-cp37m-linux_x86_64.whl", "cu100"),  # 1.1.0's default is cu90
    ("cu92/torch-0.4.1-cp36-cp36m-win_amd64.whl", "cu92"),
    # From 1.2 on the default build alone has none.
    ("cu100/torch-1.2.0-cp37-cp37m-manylinux1_x86_64.whl", "cu100"),
    ("cu101/torch-1.3.1-cp37-cp37m-win_amd64.whl", "cu101"),
    ("cu102/torch-1.8.0-cp39-cp39-linux_x86_64.whl", "cu102"),
    ("cu102/torchvision-0.10.0-cp39-cp39-linux_x86_64.whl", "cu102"),
    ("cu124/torch-2.4.0-cp310-cp310-linux_aarch64.whl", "cu124"),
    ("cu124/torchvision-0.20.0-cp310-cp310-linux_aarch64.whl", "cu124"),
    # Gone astray in cu111.
    ("cu111/torch-1.10.2+cu111-cp39-cp39-linux_x86_64.whl", "cu111"),
    ("cu111/torch-1.10.2+cpu-cp39-cp39-linux_x86_64.whl", "cpu"),
    ("cu111/torch-1.10.2+cpu-cp39-cp39-win_amd64.whl", "cpu"),
    ("cu111/torch-1.10.2-cp39-cp39-manylinux1_x86_64.whl", "cu102"),
    ("cu111/torch-1.10.2-cp39-cp39-manylinux2014_aarch64.whl", "cpu"),
    ("cu111/torch-1.10.2-cp39-cp39-win_amd64.whl", "cpu"),
    ("cu111/torch-1.10.2-cp39-none-macosx_11_0_arm64.whl", "cpu"),
    # A label that says more or less than the directory does not contradict it.
    ("rocm7.0/fbgemm_gpu-1.4.0+rocm7.0.51831-cp312-cp312-manylinux_2_28_x86_64.whl", "rocm7.0"),
    ("rocm6.2.4/fbgemm_gpu-1.1.0+rocm6.2-cp312-cp312-manylinux_2_28_x86_64.whl", "rocm6.2.4"),
    ("rocm7.1/torch-2.10.0.dev20250929+rocm7.0-cp312-cp312-manylinux_2_28_x86_64.whl", "rocm7.0"),
    ("cpu/torchvision-0.25.0+82df5f5-cp312-cp312-win_arm64.whl", "cpu"),
    ("cu117_pypi_cudnn/torch-2.0.1+cu117.with.pypi.cudnn-cp310-cp310-linux_x86_64.whl", "cu117"),
    ("cpu/torch-2.4.0-cp310-none-macosx_11_0_arm64.whl", "cpu"),
]


@pytest.mark.parametrize(("path", "backend"), PLACED)
def test_what_a_wheel_was_built_for(path: str, backend: str) -> None:
    name = parse_wheel_name(path.rpartition("/")[2])
    assert str(backend_of(name, f"/whl/{path}", indexed_by_backend=True)) == backend


def test_of_all_recorded_wheels_only_those_in_cu111_are_astray(shared: Path) -> None:
    astray: Counter[tuple[str, str, str]] = Counter()
    with (shared / "upstream" / "wheels.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            path = unquote(row["url_path"])
            try:
                name = parse_wheel_name(path.rpartition("/")[2])
            except PytorchOfflineError:
                continue
            backend = backend_of(name, path, indexed_by_backend=True)
            if is_backend(row["variant"]) and backend is not None and str(backend) != row["variant"]:
                astray[row["variant"], str(name.version.public), str(backend)] += 1
    assert astray == {
        ("cu111", "1.10.2", "cpu"): 23,
        ("cu111", "1.10.2", "cu102"): 4,
        ("rocm7.1", "2.10.0.dev20250929", "rocm7.0"): 1,
    }
