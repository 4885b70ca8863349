"""Manifests that a test can begin with, whole and consistent."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from pytorch_offline.bundle.format.manifest import content_id
from pytorch_offline.bundle.format.model import BundleFile, CudaNeed, LockedWheel, Manifest, Missing, TargetLock, Tool

if TYPE_CHECKING:
    from collections.abc import Sequence

TORCH = "whl/cpu/torch-2.4.0+cpu-cp311-cp311-linux_x86_64.whl"
PYLOCK = "locks/pylock.gpu-node.toml"
PIP = "tools/pip-24.0-py3-none-any.whl"


def bundle_file(path: str, body: bytes = b"body", **more: Any) -> BundleFile:  # noqa: ANN401  (any field)
    """Make a file's row by its bytes."""
    row = BundleFile(path=path, size=len(body), sha256=hashlib.sha256(body).hexdigest())
    return row._replace(**more)


def target_lock(target: str = "gpu-node", *, pylock: str = PYLOCK, wheel: str = TORCH) -> TargetLock:
    """Make a lock of one wheel, with every field filled."""
    return TargetLock(
        target=target,
        pylock=pylock,
        system="Linux",
        machine="x86_64",
        implementation="CPython",
        python="3.11",
        markers={"python_full_version": ("3.11.0", "3.11.1"), "sys_platform": ("linux",)},
        glibc="2.28",
        backend="cu121",
        cuda=CudaNeed(
            cuda="12.1", toolkit_driver="530.30.02", minor_floor="525.60.13", capabilities=("8.0", "9.0"), ptx="9.0"
        ),
        oldest_pip="20.3",
        wheels=(
            LockedWheel(
                project="torch",
                version="2.4.0+cpu",
                path=wheel,
                tags=("cp311-cp311-linux_x86_64",),
                requires_python=">=3.8",
                installed_bytes=4096,
            ),
        ),
        missing=(Missing(project="nvidia-x", requirement="nvidia-x==1", required_by="torch"),),
    )


def manifest(
    *,
    files: Sequence[BundleFile] | None = None,
    targets: Sequence[TargetLock] | None = None,
    **more: Any,  # noqa: ANN401  (any field)
) -> Manifest:
    """Make a manifest whose id is right; files are sorted."""
    if files is None:
        row = {"hash_origin": "published", "requires_python": None}
        files = (bundle_file(TORCH, row=row), bundle_file(PYLOCK), bundle_file(PIP), bundle_file("install.py"))
    if targets is None:
        targets = (target_lock(),)
    files = tuple(sorted(files, key=lambda file: file.path))
    known = {file.path for file in files}
    tools = (
        (Tool(name="pip", version="24.0", path=PIP, pythons=("3.7", "3.11"), tags=("py3-none-any",)),)
        if PIP in known
        else ()
    )
    made = Manifest(
        id="",
        lineage="0" * 64,
        counter=1,
        base=None,
        created="2026-01-31T12:00:00Z",
        targets=tuple(targets),
        tools=tools,
        files=files,
    )._replace(**more)
    return made._replace(id=content_id(made.lineage, made.targets, made.files))
