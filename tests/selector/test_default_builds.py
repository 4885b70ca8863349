"""What a plain index has of torch: a file name there does not say for what it was built."""

from __future__ import annotations

import pytest

from pytorch_offline.selector.rules.candidates import backend_of
from pytorch_offline.wheels.filename import parse_wheel_name


@pytest.mark.parametrize(
    ("filename", "backend"),
    [
        ("torch-2.10.0-cp312-cp312-manylinux_2_28_x86_64.whl", "cu128"),
        ("torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl", "cu130"),
        ("torch-1.13.1-cp310-cp310-manylinux1_x86_64.whl", "cu117"),
        # Measured: a CPU build up to 2.10, which has no CUDA library.
        ("torch-2.10.0-cp312-cp312-manylinux_2_28_aarch64.whl", "cpu"),
        ("torch-1.8.0-cp36-cp36m-manylinux2014_aarch64.whl", "cpu"),
        ("torch-2.11.0-cp312-cp312-manylinux_2_28_aarch64.whl", "cu130"),
        ("torch-2.11.0-cp312-cp312-win_amd64.whl", "cpu"),
    ],
)
def test_the_default_build(filename: str, backend: str) -> None:
    name = parse_wheel_name(filename)
    assert str(backend_of(name, f"/packages/{filename}", indexed_by_backend=False)) == backend
