"""The backend that an exact version or an exact wheel asks for: ``torch==2.4.0+cu121``, ``…/whl/cu121/torch-….whl``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pytorch_offline.errors import UnsatisfiableError
from pytorch_offline.knowledge.family import TORCH, projects_built_per_backend
from pytorch_offline.selector.nothing_fits import NothingFitsError
from pytorch_offline.selector.rules.candidates import backend_of
from pytorch_offline.selector.rules.drivers import CannotRun, Runs, verdict_for_forced
from pytorch_offline.target.markers import applies
from pytorch_offline.target.model import AcceleratorKind
from pytorch_offline.wheels.backend import CPU, Backend, is_backend, parse_backend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packaging.requirements import Requirement

    from pytorch_offline.selector.model import Request
    from pytorch_offline.target.model import Target


def pinned_backend(request: Request, target: Target) -> tuple[Backend, str] | None:
    """Name the one backend that the request's exact pins leave, and the pin that says so; None if they leave all.

    Raises:
        UnsatisfiableError: ``conflict`` if pins ask for different backends, whose builds do not go together.
    """
    found: dict[Backend, str] = {}
    for one in request.bounds:
        if applies(one, target.marker_environment):
            backend = _of_version(one)
            if backend is not None:
                found.setdefault(backend, str(one))
    for wheel in request.wheels:
        by_backend = "whl" in wheel.path.split("/")
        backend = backend_of(wheel.name, wheel.path, indexed_by_backend=by_backend)
        if backend is not None:
            found.setdefault(backend, wheel.name.filename)
    if len(found) > 1:
        raise UnsatisfiableError(
            "conflict",
            "builds for different backends are asked for, and torch's family must be of one",
            facts={str(backend): text for backend, text in found.items()},
            hint="pin all of them to one label, or leave the labels out",
        )
    return next(iter(found.items()), None)


def _of_version(requirement: Requirement) -> Backend | None:
    if canonicalize_name(requirement.name) not in projects_built_per_backend():
        return None
    for specifier in requirement.specifier:
        if specifier.operator not in {"==", "==="}:
            continue
        try:
            label = Version(specifier.version).local
        except InvalidVersion:  # ==2.4.*, or any text behind ===
            continue
        for text in (label or "", (label or "").split(".")[0]):
            if is_backend(text):
                return parse_backend(text)
    return None


def judge_pin(request: Request, target: Target, backends: Sequence[Backend]) -> Runs | None:
    """Judge the backend that the request pins; None if it pins none, or one that is judged like any other.

    Where nothing is known of an accelerator, there is nothing that a pin could contradict: its build is taken. A label
    that no index has is no backend's affair: what is missing then is the version.

    Raises:
        UnsatisfiableError: ``no-backend`` if the target cannot run it; ``conflict``.
    """
    pinned = None if request.backend is not None else pinned_backend(request, target)
    if pinned is None or (pinned[0] not in backends and not request.wheels):
        return None
    backend, pin = pinned
    verdict = verdict_for_forced(target, backend)
    if isinstance(verdict, Runs):
        return verdict if backend == CPU else None  # left to itself, the CPU's build is not for a machine with a GPU
    accelerator = target.accelerator
    if accelerator is None or (
        accelerator.kind is AcceleratorKind.CUDA and accelerator.driver is accelerator.cuda is None
    ):
        return Runs(backend=backend, native=False, detail=f"{pin} asks for it, and the target's driver is not known")
    raise _refused(pin, verdict, target)


def _refused(pin: str, verdict: CannotRun, target: Target) -> UnsatisfiableError:
    """Say that a pinned build does not run on the target."""
    return NothingFitsError(
        "no-backend",
        f"{pin} asks for a build for {verdict.backend}, which target {target.name} cannot run",
        facts={str(verdict.backend): verdict.rejection.rule},
        hint=f"leave the label out, or force it with --backend {verdict.backend}",
        project=TORCH,
        rejected=[verdict.rejection],
    )
