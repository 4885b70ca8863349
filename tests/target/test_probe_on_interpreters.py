"""On every interpreter of this machine, the probe says what ``packaging`` says there."""

from __future__ import annotations

import functools
import importlib.metadata
import itertools
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import packaging
import pytest
from packaging import tags as packaging_tags

from pytorch_offline.target.build import TargetFlags, build_target
from pytorch_offline.target.capture import probe_source, this_machine
from pytorch_offline.target.codec import parse_target, render_target
from pytorch_offline.target.model import MARKER_VARIABLES, Target
from pytorch_offline.target.probe import merge_accelerator, parse_text
from tests.interpreters import find_interpreters, name_of

SITE = Path(packaging.__file__).parent.parent
PACKAGING_RUNS_ON = (3, 9)  # packaging 26.3 evaluates `tuple[int, int]` at import

pytestmark = pytest.mark.parametrize("python", find_interpreters(), ids=name_of)

# The whole truth: our own packaging, running there.
RUN_PACKAGING = f"""
import json, sys
sys.dont_write_bytecode = True
sys.path.insert(0, {str(SITE)!r})
import packaging.markers, packaging.tags
print(json.dumps([[str(tag) for tag in packaging.tags.sys_tags()], packaging.markers.default_environment()]))
"""
# What packaging reads of an interpreter, for one that is too old to run it.
READ_FACTS = """
import json, os, platform, sys, sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
names = ("Py_DEBUG", "Py_GIL_DISABLED", "WITH_PYMALLOC", "EXT_SUFFIX", "py_version_nodot")
print(json.dumps({
    "version": list(sys.version_info[:2]), "name": sys.implementation.name,
    "refcount": hasattr(sys, "gettotalrefcount"), "suffixes": EXTENSION_SUFFIXES,
    "platform": sysconfig.get_platform(), "system": platform.system(),
    "config": {name: sysconfig.get_config_var(name) for name in names},
}))
"""
RUN_VENDORED_MARKERS = """
import json, warnings
warnings.simplefilter("ignore")
from pip._vendor.packaging.markers import default_environment
print(json.dumps(default_environment()))
"""
RUN_VENDORED_TAGS = """
import json, warnings
warnings.simplefilter("ignore")
from pip._vendor.packaging.tags import sys_tags
print(json.dumps([str(tag) for tag in sys_tags()]))
"""


def run(python: Path, source: str) -> Any:  # noqa: ANN401  (JSON)
    done = subprocess.run([python, "-B", "-c", source], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"{python} cannot run it: {done.stderr.decode().strip().splitlines()[-1]}")
    return json.loads(done.stdout)


@functools.cache
def captured(python: Path) -> Target:
    return this_machine(python)


def version_of(python: Path) -> tuple[int, int]:
    release = captured(python).python_full_version.release
    return release[0], release[1]


def unique(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


def test_the_oracle_orders_native_linux_tags_first(python: Path) -> None:
    del python
    assert tuple(map(int, importlib.metadata.version("packaging").split(".")[:2])) >= (26, 3)


def test_tags_and_markers_equal_those_of_packaging_there(python: Path) -> None:
    if version_of(python) < PACKAGING_RUNS_ON:
        pytest.skip("packaging does not run there; see the tests with pushed facts")
    tags, markers = run(python, RUN_PACKAGING)
    assert [str(tag) for tag in captured(python).tags] == unique(tags)
    assert dict(captured(python).marker_environment) == markers


def test_tags_equal_those_of_packaging_given_the_interpreters_facts(
    python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = run(python, READ_FACTS)
    fake_sys = SimpleNamespace(
        version_info=tuple(facts["version"]), implementation=SimpleNamespace(name=facts["name"]), maxunicode=0x10FFFF
    )
    if facts["refcount"]:
        fake_sys.gettotalrefcount = int
    monkeypatch.setattr(packaging_tags, "sys", fake_sys)
    monkeypatch.setattr(packaging_tags, "EXTENSION_SUFFIXES", facts["suffixes"])
    config = SimpleNamespace(get_platform=lambda: facts["platform"], get_config_var=facts["config"].get)
    monkeypatch.setattr(packaging_tags, "sysconfig", config)
    monkeypatch.setattr(packaging_tags, "platform", SimpleNamespace(system=lambda: facts["system"]))
    expected = [str(tag) for tag in packaging_tags.sys_tags()]  # noqa: TID251  (the oracle, told of another interpreter)
    assert [str(tag) for tag in captured(python).tags] == unique(expected)


def test_tags_equal_those_of_pips_own_packaging_there_but_for_its_older_order(python: Path) -> None:
    theirs = unique(run(python, RUN_VENDORED_TAGS))
    # Before 26.3 native linux tags came after manylinux; before 22.0 there was no cpXY-none-any.
    reordered: list[str] = []
    for _, group in itertools.groupby(theirs, key=lambda tag: tag.split("-")[:2]):
        tags = list(group)
        reordered += sorted(tags, key=lambda tag: not tag.split("-")[2].startswith("linux_"))
    ours = [str(tag) for tag in captured(python).tags]
    own = f"cp{''.join(map(str, version_of(python)))}-none-any"
    assert [tag for tag in ours if tag != own] == [tag for tag in reordered if tag != own]


def test_markers_equal_those_of_pips_own_packaging_there(python: Path) -> None:
    assert dict(captured(python).marker_environment) == run(python, RUN_VENDORED_MARKERS)


def test_a_described_target_equals_the_captured_one(python: Path) -> None:
    target = captured(python)
    assert target.libc is not None
    described = build_target(
        TargetFlags(
            python_version=target.marker_environment["python_full_version"],
            platform=f"linux_{target.machine}",
            glibc="{}.{}".format(*target.libc.version),
        )
    )
    assert described.tags == target.tags
    assert described.libc == target.libc
    unknown = {"platform_release", "platform_version"}
    for name in MARKER_VARIABLES:
        assert described.marker_environment[name] == ("" if name in unknown else target.marker_environment[name])


def test_the_file_works_alone_from_any_folder(python: Path, tmp_path: Path) -> None:
    standalone = tmp_path / "elsewhere" / "probe.py"
    standalone.parent.mkdir()
    source = Path(__file__).parents[2] / "pytorch_offline" / "target" / "probe.py"
    standalone.write_bytes(source.read_bytes())
    smi = tmp_path / "smi.txt"
    smi.write_text(
        "| NVIDIA-SMI 470.82.01    Driver Version: 470.82.01    CUDA Version: 12.2     |\n", encoding="utf-8"
    )
    command: list[str | Path] = [python, "-I", standalone, "--from-text", smi, "-o", "gpu-node.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    target = parse_target((tmp_path / "gpu-node.json").read_text(encoding="utf-8"))
    assert target.name == "gpu-node"
    assert target.tags == captured(python).tags
    assert target.accelerator is not None
    assert (target.accelerator.driver_text, str(target.accelerator.cuda)) == ("470.82.01", "12.2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "gpu-node.json", "smi.txt"]


def test_a_file_that_cannot_be_read_or_written_is_one_sentence(python: Path, tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "pytorch_offline" / "target" / "probe.py"
    for arguments in (["--from-text", "missing.txt"], ["-o", "no/such/folder/x.json"]):
        done = subprocess.run([python, "-I", source, *arguments], cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith(b"error: ")
        assert done.stderr.count(b"\n") == 1
        assert list(tmp_path.iterdir()) == []


def test_a_capture_survives_its_file(python: Path) -> None:
    assert parse_target(render_target(captured(python))) == captured(python)


def test_the_capture_is_of_that_interpreter(python: Path) -> None:
    version = run(python, "import json, platform; print(json.dumps(platform.python_version()))")
    assert captured(python).marker_environment["python_full_version"] == version
    if python == Path(sys.executable):
        assert captured(python) == this_machine()


TEXTS = (
    "name, driver_version, compute_cap\nNVIDIA GeForce RTX 4090, 570.195.03, 8.9\n",
    "NVIDIA GB10, 580.142, 12.1\n",
    (
        "| NVIDIA-SMI 610.43.02   KMD Version: 610.43.02   CUDA UMD Version: 13.3 |\n"
        "|   0  NVIDIA A100-PCIE-40GB    On  | 00000000:3B:00.0 Off |    0 |\n"
    ),
    "NVIDIA-SMI version  : 590.48.01\nDRIVER version      : 590.48.01\nCUDA Version        : 13.1\n",
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.142  Release Build  (dvs@x)\n",
    "<driver_version>535.104.05</driver_version><product_name>NVIDIA A100-SXM4-80GB</product_name>",
    "Agent 1\n  Name:  gfx90a:sramecc+\n  Marketing Name:  AMD Instinct MI250X\n  Device Type:  GPU\n",
    "gfx_target_version 90010\n",
    "# R36 (release), REVISION: 4.7, GCID: 1\n",
    "ldd (Ubuntu GLIBC 2.35-0ubuntu3.1) 2.35\n",
    'ID=ubuntu\nVERSION_ID="22.04"\n',
    "Python 3.10.12\nLinux gpu 5.15.0 #1 SMP x86_64 GNU/Linux\n",
)
PARSE_TEXTS = """
import json, sys
source, texts = json.load(sys.stdin)
probe = {"__name__": "probe"}
exec(source, probe)
seen = [probe["parse_text"]("text", text) for text in texts]
print(json.dumps([seen, [probe["merge_accelerator"]([one]) for one in seen]]))
"""


def test_every_text_is_read_alike_on_every_interpreter(python: Path) -> None:
    source = probe_source().decode()
    ours = [parse_text("text", text) for text in TEXTS]
    done = subprocess.run(
        [python, "-I", "-c", PARSE_TEXTS],
        input=json.dumps([source, TEXTS]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout) == json.loads(json.dumps([ours, [merge_accelerator([one]) for one in ours]]))
