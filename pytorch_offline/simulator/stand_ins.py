"""Stand-in wheels: small, valid, and the same bytes every time.

A stand-in has the real file name, the real requirement lines and a correct RECORD (binary distribution format,
https://packaging.python.org/specifications/binary-distribution-format/); only the library inside is a few lines of
plain Python. The bytes depend on the arguments alone (members sorted, no clock), and on this machine's zlib.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from packaging.tags import parse_tag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The earliest date that a zip archive can state.
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)

# Distributions whose importable module is not spelt as they are.
MODULES = {"jinja2": "jinja2", "pillow": "PIL", "setuptools": "setuptools", "cuda-toolkit": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreFacts:
    """What a stand-in's METADATA says besides its name and version."""

    requires: tuple[str, ...] = ()
    requires_python: str | None = None
    extras: tuple[str, ...] = ()


def render_metadata(name: str, version: str, facts: CoreFacts) -> bytes:
    """Write METADATA (core metadata 2.1)."""
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines.append("Summary: A stand-in with the real name and requirements and none of the library")
    if facts.requires_python:
        lines.append(f"Requires-Python: {facts.requires_python}")
    lines += [f"Provides-Extra: {extra}" for extra in facts.extras]
    lines += [f"Requires-Dist: {requirement}" for requirement in facts.requires]
    return ("\n".join(lines) + "\n\nServed by the pytorch-offline simulator.\n").encode()


def build_wheel(
    filename: str, facts: CoreFacts, *, modules: Mapping[str, bytes] | None = None, padding: int = 0
) -> bytes:
    """Build a wheel.

    Args:
        filename: the wheel's name; its first two parts name the ``.dist-info`` directory, as upstream's do.
        facts: what METADATA says.
        modules: the members besides ``.dist-info``; None for the default stand-in module of the project.
        padding: so many bytes that do not compress are added, for tests that need a body of some length.
    """
    parts = filename.removesuffix(".whl").split("-")
    distribution, version = parts[0], parts[1]
    tags = sorted(str(tag) for tag in parse_tag("-".join(parts[-3:])))
    members = dict(stand_in_modules(distribution, version) if modules is None else modules)
    if padding:
        members[f"{distribution.lower()}/padding.bin"] = hashlib.shake_256(filename.encode()).digest(padding)
    directory = f"{distribution}-{version}.dist-info"
    members[f"{directory}/METADATA"] = render_metadata(distribution.replace("_", "-"), version, facts)
    members[f"{directory}/WHEEL"] = _render_wheel_file(tags)
    members[f"{directory}/RECORD"] = _render_record(members, f"{directory}/RECORD")
    return _archive(members)


def _render_wheel_file(tags: Sequence[str]) -> bytes:
    pure = all(tag.endswith("-any") for tag in tags)
    lines = ["Wheel-Version: 1.0", "Generator: pytorch-offline-simulator", f"Root-Is-Purelib: {str(pure).lower()}"]
    return ("\n".join([*lines, *(f"Tag: {tag}" for tag in tags)]) + "\n").encode()


def _render_record(members: Mapping[str, bytes], record: str) -> bytes:
    lines = []
    for name, body in sorted(members.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(body)}")
    return ("\n".join([*lines, f"{record},,"]) + "\n").encode()


def _archive(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        # METADATA and its neighbours come last, as in the wheels that setuptools writes.
        for name in sorted(members, key=lambda name: (".dist-info/" in name, name)):
            info = zipfile.ZipInfo(name, ZIP_EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, members[name])
    return buffer.getvalue()


def stand_in_modules(distribution: str, version: str) -> dict[str, bytes]:
    """The default stand-in of a distribution: torch computes a little, the others state their version."""
    if distribution == "torch":
        local = version.partition("+")[2]
        cuda = f"{local[2:-1]}.{local[-1]}" if local.startswith("cu") and local[2:].isdigit() else None
        hip = local.removeprefix("rocm") if local.startswith("rocm") else None
        facts = f"__version__ = {version!r}\ncuda = {cuda!r}\nhip = {hip!r}\n"
        return {"torch/__init__.py": _torch_source(), "torch/version.py": facts.encode()}
    project = distribution.replace("_", "-").lower()
    if project.startswith("nvidia-"):
        # One namespace shared by all, as NVIDIA's wheels have it.
        return {f"nvidia/{project.removeprefix('nvidia-').replace('-', '_')}/__init__.py": b""}
    module = MODULES.get(project, project.replace("-", "_"))
    return {f"{module}/__init__.py": f"__version__ = {version!r}\n".encode()} if module else {}


@cache
def _torch_source() -> bytes:
    return resources.files("pytorch_offline.simulator.tables").joinpath("torch.py.txt").read_bytes()
