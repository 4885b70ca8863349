"""One closure for every client: a small torch with what real ones have, fetched into a mirror by the real ``fetch``.

Two builds with local versions (``+cu121``, ``+cpu``); wheels for one interpreter and wheels for all; a library that is
only for manylinux; names that METADATA spells in its own way; an extra; a newer file for newer Pythons only; and,
beside it, a newer file that is yanked. The mirror holds it for CPython 3.6 to 3.13, so that every client meets wheels
that are not for it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytorch_offline.simulator.server import Simulator
from pytorch_offline.simulator.spec import Spec
from tests.e2e.tool import run_tool
from tests.interpreters import MINORS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

VERSION = "2.4.0"
BACKEND = "cu121"
# Beside the closure: a project whose newest file is yanked.
YANKED = "fsspec==2099.1.0"
NOT_YANKED = {"fsspec": "2024.6.1"}
EXTRA = "opt-einsum"
TORCH = f"torch[{EXTRA}]=={VERSION}"
# What a client that came all the way has, beside torch itself; networkx differs by Python.
_EVERYWHERE = {"filelock": "3.15.4", "jinja2": "3.1.4", "markupsafe": "2.1.5", "typing-extensions": "4.12.2"}
_TORCH_REQUIRES = (
    "filelock",
    "typing-extensions>=4.8.0",
    "networkx",
    "jinja2",
    'nvidia-cublas-cu12==12.1.3.1; platform_system == "Linux" and platform_machine == "x86_64"',
    'opt-einsum>=3.3; extra == "opt-einsum"',
)


def make_spec(*, size: int = 0) -> Spec:
    """Specify the upstream; each torch is ``size`` bytes longer than it need be."""
    spec = Spec()
    for minor in MINORS:
        python = f"cp{minor.replace('.', '')}"
        abi = python + ("m" if minor in {"3.6", "3.7"} else "")
        for backend in (BACKEND, "cpu"):
            name = f"torch-{VERSION}+{backend}-{python}-{abi}-linux_x86_64.whl"
            requires = [line for line in _TORCH_REQUIRES if backend != "cpu" or "nvidia" not in line]
            spec.add_wheel(backend, name, requires=requires, requires_python=">=3.6", extras=[EXTRA], padding=size)
        _add(spec, f"MarkupSafe-2.1.5-{python}-{abi}-manylinux1_x86_64.whl")
    _add(spec, "Jinja2-3.1.4-py3-none-any.whl", requires=["MarkupSafe>=2.0"])
    _add(spec, "typing_extensions-4.12.2-py3-none-any.whl")
    _add(spec, "filelock-3.15.4-py3-none-any.whl")
    _add(spec, "networkx-2.5.1-py3-none-any.whl")
    _add(spec, "networkx-3.4.2-py3-none-any.whl", requires_python=">=3.10")
    _add(spec, "opt_einsum-3.4.0-py3-none-any.whl")
    _add(spec, "nvidia_cublas_cu12-12.1.3.1-py3-none-manylinux1_x86_64.whl", requires_python=">=3")
    _add(spec, "fsspec-2024.6.1-py3-none-any.whl")
    spec.add_wheel("simple", "fsspec-2099.1.0-py3-none-any.whl", requires=(), yanked="loses files")
    return spec


def _add(spec: Spec, filename: str, *, requires: Sequence[str] = (), requires_python: str = ">=3.6") -> None:
    """Offer a dependency on the default index and, as upstream does, among its root-level files."""
    for directory in ("simple", ""):
        spec.add_wheel(directory, filename, requires=requires, requires_python=requires_python)


def fetch(
    mirror: Path, *, minors: Sequence[str] = MINORS, backends: Sequence[str] = ("cpu", BACKEND), size: int = 0
) -> None:
    """Fetch the closure for some Pythons into a mirror, as one would who serves machines of all of them.

    The last backend's locks stay.
    """
    with Simulator(make_spec(size=size)) as upstream:
        at = ("--upstream", upstream.url, "--default-index", upstream.default_index_url, "--mirror", mirror, "-q")
        for minor in minors:
            machine = ("--python-version", minor, "--platform", "linux_x86_64", "--glibc", "2.35")
            beside: list[tuple[str, ...]] = [("fsspec",), (YANKED,)] if minor == minors[0] else []
            for asked in (*beside, *((TORCH, "--backend", backend) for backend in backends)):
                run_tool("fetch", *asked, *machine, *at, cwd=mirror.parent)


def expected(minor: str, *, backend: str = BACKEND, extra: bool = False) -> dict[str, str]:
    """Say what an installation on a Python must hold, version by project."""
    newest = "3.4.2" if tuple(map(int, minor.split("."))) >= (3, 10) else "2.5.1"
    found = _EVERYWHERE | {"torch": f"{VERSION}+{backend}", "networkx": newest}
    if backend != "cpu":
        found["nvidia-cublas-cu12"] = "12.1.3.1"
    if extra:
        found[EXTRA] = "3.4.0"
    return found


def installed(site_packages: Path) -> dict[str, str]:
    """Read what an installation holds, version by project, leaving out what installs."""
    found = {}
    for directory in site_packages.glob("*.dist-info"):
        name, version = directory.name.removesuffix(".dist-info").split("-")
        found[re.sub(r"[-_.]+", "-", name).lower()] = version
    return {name: version for name, version in found.items() if name not in {"pip", "setuptools", "wheel"}}
