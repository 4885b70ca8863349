"""What a bundle says of itself: for people, and as an SBOM that CycloneDX's own validator takes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytorch_offline.bundle.format.model import CudaNeed, Manifest, Missing
from pytorch_offline.bundle.writing.contents import render_contents, say_pythons
from pytorch_offline.bundle.writing.facts import describe_mirror
from pytorch_offline.bundle.writing.licences import WheelTerms, read_terms, terms_of
from pytorch_offline.bundle.writing.reports import SBOM_LEFT_OUT, make_reports
from pytorch_offline.errors import UsageError
from tests.installer.crafted import linux_target, pure, torch, write_mirror

HOSTILE = "\x1b]0;evil\x07\x1b[31mred\u202egpj <script> ![x](http://e/) `a` | #"
FIELDS = {
    "filelock": "Summary: A lock\nLicense-Expression: mit",
    "sympy": "License: BSD\nClassifier: License :: OSI Approved :: BSD License\nHome-page: https://sympy.example",
    "nvidia-cudnn-cu12": "Author: Nvidia CUDA Installer Team\nLicense: NVIDIA Proprietary Software\n"
    "Classifier: License :: Other/Proprietary License",
    "nothing": "Summary: says nothing",
    "hostile": f"Summary: {HOSTILE}\nLicense: {HOSTILE}\nHome-page: javascript:alert(1)\nAuthor: {HOSTILE}",
    "odd": "License-Expression: My own terms",
}


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    wheels = [torch(), *(pure(name, "1.0", fields) for name, fields in FIELDS.items())]
    return write_mirror(tmp_path / "mirror", {"node": wheels, "other": wheels[1:3]}, target=linux_target("3.11.7"))


def places(mirror: Path) -> dict[str, Path]:
    return {str(path.relative_to(mirror)): path for path in mirror.rglob("*") if path.is_file()}


def reports(mirror: Path, manifest: Manifest | None = None) -> tuple[str, dict[str, Any]]:
    found, warnings = make_reports(places(mirror), manifest or describe_mirror(mirror), sbom=True)
    assert warnings == ()
    assert sorted(found) == ["CONTENTS.md", "sbom.cdx.json"]
    return found["CONTENTS.md"].decode("utf-8"), json.loads(found["sbom.cdx.json"])


def test_the_page_says_what_is_inside_and_for_whom(mirror: Path) -> None:
    page, _ = reports(mirror)
    for sentence in (
        "complete in itself",
        "python3 install.py --venv env",
        "目标机器",
        "### node",
        "- Linux x86_64, CPython 3.11",
        "- torch 2.4.0+cpu, built for cpu",
        "- published by the index: 7",
        "**torch-2.4.0+cpu-py3-none-any.whl**",
        "licence: mit",
        "licence: BSD; BSD License",
        "licence: it does not say",
        "- locks/pylock.node.toml",
        "for node, other",
        "nvidia_cudnn_cu12-1.0-py3-none-any.whl: NVIDIA Proprietary Software; Other/Proprietary License (says that",
        "no legal advice",
    ):
        assert sentence in page, sentence


def test_the_page_says_what_a_machine_needs_and_what_a_delta_leaves_out(mirror: Path) -> None:
    manifest = describe_mirror(mirror, ["node"])
    need = CudaNeed("12.8", "570.26", "525.60.13", ("8.0", "9.0"), "9.0")
    target = manifest.targets[0]._replace(cuda=need, glibc="2.28", missing=(Missing("pillow", "pillow>=9", "torch"),))
    files = tuple(file._replace(carried="torch" not in file.path) for file in manifest.files)
    page, document = reports(mirror, manifest._replace(targets=(target,), files=files, base="b" * 64))
    for sentence in (
        "a delta",
        f"base     {'b' * 64}",
        "570.26 or newer, with which everything works; 525.60.13 at least",
        "compute capability 8.0, 9.0, and newer ones by its PTX for 9.0",
        "glibc 2.28 or newer",
        "must be there already: pillow>=9, for torch",
        "## What it leaves out",
        "- whl/cpu/torch-2.4.0+cpu-py3-none-any.whl\n",
    ):
        assert sentence in page, sentence
    carried = {
        one["name"]: {"name": "pytorch-offline:carried", "value": "no"} in one["properties"]
        for one in wheels_of(document)
    }
    assert [name for name, left in carried.items() if left] == ["torch"]


def test_nothing_that_others_wrote_is_obeyed(mirror: Path) -> None:
    found, _ = make_reports(places(mirror), describe_mirror(mirror), sbom=True)
    for name, body in found.items():
        text = body.decode("utf-8")
        assert not [letter for letter in text if letter != "\n" and (ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0)], (
            name
        )
        assert "\u202e" not in text
    page = found["CONTENTS.md"].decode("utf-8")
    assert "\\<script>" in page
    assert "!\\[x\\](http" in page
    assert "<script>" not in page.replace("\\<script>", "")


def wheels_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in document["components"] if one["type"] == "library"]


def test_cyclonedx_takes_its_own_document(mirror: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    found, _ = make_reports(places(mirror), describe_mirror(mirror), sbom=True)
    text = found["sbom.cdx.json"].decode("utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    by_name = {one["name"]: one for one in document["components"]}
    assert by_name["torch"]["purl"].startswith("pkg:pypi/torch@2.4.0%2Bcpu?")
    manifest = describe_mirror(mirror)
    hashes = {file.path: file.sha256 for file in manifest.files}
    assert {one["bom-ref"]: one["hashes"][0]["content"] for one in wheels_of(document)} == {
        path: sha256 for path, sha256 in hashes.items() if path.endswith(".whl")
    }
    assert by_name["filelock"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert by_name["odd"]["licenses"] == [{"license": {"name": "My own terms"}}]
    assert "licenses" not in by_name["nothing"]
    graph = {row["ref"]: row.get("dependsOn", []) for row in document["dependencies"]}
    assert graph["whl/cpu/torch-2.4.0+cpu-py3-none-any.whl"] == ["whl/filelock-1.0-py3-none-any.whl"]
    assert graph[document["metadata"]["component"]["bom-ref"]] == ["target:node", "target:other"]
    assert document["metadata"]["timestamp"] == "1970-01-01T00:00:00+00:00"


def test_the_same_bytes_whatever_the_hash_seed_and_the_time_zone(mirror: Path) -> None:
    program = (
        "import sys, hashlib, pathlib\n"
        "from pytorch_offline.bundle.writing.facts import describe_mirror\n"
        "from pytorch_offline.bundle.writing.reports import make_reports\n"
        "mirror = pathlib.Path(sys.argv[1])\n"
        "manifest = describe_mirror(mirror)\n"
        "places = {file.path: mirror / file.path for file in manifest.files}\n"
        "found, _ = make_reports(places, manifest, sbom=True)\n"
        "print([hashlib.sha256(found[name]).hexdigest() for name in sorted(found)])\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program, mirror],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C"},
            capture_output=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "Asia/Shanghai"), ("2", "UTC"))
    }
    assert len(said) == 1


def test_an_sbom_is_left_out_with_a_word_or_demanded(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = describe_mirror(mirror)
    assert sorted(make_reports(places(mirror), manifest, sbom=False)[0]) == ["CONTENTS.md"]
    monkeypatch.setattr("pytorch_offline.bundle.writing.reports.has_cyclonedx", lambda: False)
    monkeypatch.setattr("pytorch_offline.bundle.writing.sbom.has_cyclonedx", lambda: False)
    found, warnings = make_reports(places(mirror), manifest, sbom=None)
    assert sorted(found) == ["CONTENTS.md"]
    assert warnings == (SBOM_LEFT_OUT,)
    assert make_reports(places(mirror), manifest, sbom=False)[1] == ()
    with pytest.raises(UsageError) as refusal:
        make_reports(places(mirror), manifest, sbom=True)
    assert refusal.value.code == "no-cyclonedx"


def test_the_terms_of_nvidia_are_pointed_out() -> None:
    metadata = b"Metadata-Version: 2.1\nName: nvidia-cublas-cu12\nVersion: 12.1\nLicense: NVIDIA Proprietary Software\n"
    licence = "\n  End User License Agreement\n  See https://docs.nvidia.com/cuda/eula/index.html.\n"
    name = "nvidia_cublas_cu12-12.1.dist-info/License.txt"
    found = terms_of("nvidia-cublas-cu12", metadata, names=(name,), licences=(name,), texts={name: licence + "NVIDIA"})
    assert found.proprietary
    assert found.titles == ("End User License Agreement",)
    assert found.addresses == ("https://docs.nvidia.com/cuda/eula/index.html",)
    old_torch = terms_of(
        "torch",
        b"Metadata-Version: 2.1\nName: torch\nVersion: 1.13.1+cu117\nLicense: BSD-3\n",
        names=("torch/lib/libcudart-d0da41ae.so.11.0", "torch/lib/libtorch_cuda.so", "torch/lib/libcaffe2_nvrtc.so"),
        licences=(),
        texts={},
    )
    assert old_torch.nvidia_libraries == ("libcudart-d0da41ae.so.11.0",)
    assert not old_torch.by_nvidia


def test_a_damaged_wheel_says_nothing_and_breaks_nothing(mirror: Path) -> None:
    manifest = describe_mirror(mirror)
    file = next(file for file in manifest.files if "filelock" in file.path)
    (mirror / file.path).write_bytes(b"noise")
    assert read_terms(mirror / file.path, file, "filelock") == WheelTerms()
    assert b"filelock" in render_contents(manifest, {})


def test_many_pythons_are_said_as_a_range() -> None:
    assert say_pythons(["3.7", "3.8", "3.9", "3.10"]) == "3.7 to 3.10"
    assert say_pythons(["3.7", "3.9", "3.10"]) == "3.7, 3.9, 3.10"
    assert say_pythons(["3.6"]) == "3.6"
