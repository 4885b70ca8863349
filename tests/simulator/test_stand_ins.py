"""Stand-in wheels: valid, the same every time, with real requirements, and installable."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from pytorch_offline.simulator.offers import DEFAULT_INDEX, core_facts, expand_tags, read_offers
from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec
from pytorch_offline.simulator.stand_ins import CoreFacts, build_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from packaging.specifiers import SpecifierSet

OFFERS = read_offers()


def members(wheel: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@given(
    name=st.sampled_from(["torch", "Jinja2", "nvidia_cublas_cu12", "typing_extensions", "pillow"]),
    version=st.from_regex(r"[0-9]\.[0-9](\+cu1[0-9]{2})?", fullmatch=True),
    padding=st.integers(0, 2000),
)
def test_record_covers_every_member(name: str, version: str, padding: int) -> None:
    filename = f"{name}-{version}-cp310-cp310-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
    wheel = build_wheel(filename, CoreFacts(requires=("filelock",)), padding=padding)
    assert wheel == build_wheel(filename, CoreFacts(requires=("filelock",)), padding=padding)
    content = members(wheel)
    info = f"{name}-{version}.dist-info"
    rows = [row.split(",") for row in content.pop(f"{info}/RECORD").decode().splitlines()]
    assert rows.pop() == [f"{info}/RECORD", "", ""]
    assert sorted(row[0] for row in rows) == sorted(content)
    for member, digest, size in rows:
        algorithm, _, value = digest.partition("=")
        assert algorithm == "sha256"
        assert base64.urlsafe_b64decode(value + "=") == hashlib.sha256(content[member]).digest()
        assert int(size) == len(content[member])
    assert b"Tag: cp310-cp310-manylinux2014_x86_64\n" in content[f"{info}/WHEEL"]


def test_every_real_name_is_a_wheels_name() -> None:
    assert len(OFFERS) > 4000
    assert len({offer.path for offer in OFFERS}) == len(OFFERS)
    for offer in OFFERS:
        project, *_ = parse_wheel_filename(offer.filename)
        assert project == canonicalize_name(offer.project)


def test_the_names_are_those_that_pages_list(shared: Path) -> None:
    import csv

    with (shared / "upstream/wheels.csv").open() as file:
        real = {(row["variant"].replace("(root)", ""), row["filename"]) for row in csv.DictReader(file)}
    ours = {(offer.directory, offer.filename) for offer in OFFERS if offer.directory != DEFAULT_INDEX}
    unknown = {name for _, name in ours - real}
    assert {name.split("-")[:2] != ["triton", "3.7.1"] for name in unknown} <= {False}


def test_the_seed_machines_wheel_has_its_real_requirements() -> None:
    facts = core_facts("cu121", "torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl")
    assert facts.requires_python == ">=3.8.0"
    marker = ' ; platform_system == "Linux" and platform_machine == "x86_64"'
    assert f"nvidia-cudnn-cu12 (==9.1.0.70){marker}" in facts.requires
    assert f'triton (==3.0.0){marker} and python_version < "3.13"' in facts.requires
    assert len([line for line in facts.requires if line.startswith("nvidia-")]) == 11
    windows = core_facts("cu121", "torch-2.4.0+cu121-cp310-cp310-win_amd64.whl")
    assert [line for line in windows.requires if "nvidia" in line or "triton" in line] == []
    assert "setuptools" in core_facts("cpu", "torch-2.4.0+cpu-cp312-cp312-linux_x86_64.whl").requires


def test_every_pinned_requirement_is_on_offer() -> None:
    versions: dict[str, set[str]] = {}
    for offer in OFFERS:
        project, version, *_ = parse_wheel_filename(offer.filename)
        versions.setdefault(project, set()).add(version.public)
    for offer in OFFERS:
        for line in core_facts(offer.directory, offer.filename).requires:
            requirement = Requirement(line)
            if "extra ==" in line and offer.project != "cuda-toolkit":
                continue
            specifier: SpecifierSet = requirement.specifier
            assert list(specifier.filter(versions.get(canonicalize_name(requirement.name), set()))), (offer, line)


def test_tags_are_expanded() -> None:
    assert list(expand_tags("cp38 cp37m cp313t cp27mu cp39-none @ a b; py3-none @ any")) == [
        *("cp38-cp38-a", "cp38-cp38-b", "cp37-cp37m-a", "cp37-cp37m-b", "cp313-cp313t-a", "cp313-cp313t-b"),
        *("cp27-cp27mu-a", "cp27-cp27mu-b", "cp39-none-a", "cp39-none-b", "py3-none-any"),
    ]


def test_the_torch_stand_in_computes(tmp_path: Path) -> None:
    wheel = Spec.default()
    offer = wheel.find("/whl/cu121/torch-2.4.0+cu121-cp310-cp310-linux_x86_64.whl")
    assert offer is not None
    for name, body in members(wheel.body(offer).read(0, wheel.body(offer).size)).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(body)
    program = (
        "import torch; assert torch.__version__ == '2.4.0+cu121'; assert torch.version.cuda == '12.1'\n"
        "assert (torch.ones(2, 3) @ torch.ones(3, 2)).tolist() == [[3.0, 3.0], [3.0, 3.0]]\n"
        "matrix = torch.tensor([[1.0, 2.0], [3.0, 4.0]])\n"
        "assert torch.equal(torch.eye(2) @ matrix, matrix)\n"
        "assert (torch.eye(3) * 2).sum().item() == 6.0 and not torch.cuda.is_available()\n"
        "assert torch.ones((2, 2)).shape == (2, 2) and (torch.zeros(2, 2) + 1 == torch.ones(2, 2)).all()\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=tmp_path, check=True)


@pytest.mark.slow
def test_pip_resolves_and_installs_from_the_simulator(tmp_path: Path) -> None:
    target = tmp_path / "site"
    with Simulator(era="2026-08") as simulator:
        command = [sys.executable, "-m", "pip", "--isolated", "--no-cache-dir", "install", "--quiet"]
        command += ["--disable-pip-version-check", "--target", str(target), "torch==2.13.0"]
        command += ["--index-url", f"{simulator.url}/cpu", "--extra-index-url", simulator.default_index_url]
        subprocess.run(command, check=True, capture_output=True, text=True)
        assert {request.status for request in simulator.requests} <= {200, 206, 403, 404}
    installed = {path.name for path in target.glob("*.dist-info")}
    assert "torch-2.13.0+cpu.dist-info" in installed
    assert "sympy-1.14.0.dist-info" in installed
    output = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.__version__)"],
        cwd=target,
        check=True,
        capture_output=True,
        text=True,
    )
    assert output.stdout == "2.13.0+cpu\n"
