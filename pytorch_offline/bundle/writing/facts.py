"""From a mirror directory and the names of targets to what a bundle's manifest says of them.

``install --from MIRROR`` makes the same values on the spot, so that one implementation installs from both.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytorch_offline.bundle.format.manifest import content_id
from pytorch_offline.bundle.format.model import BundleFile, LockedWheel, Manifest, TargetLock
from pytorch_offline.bundle.writing.closure import find_closure
from pytorch_offline.bundle.writing.driver_facts import make_driver_facts
from pytorch_offline.bundle.writing.locks import read_locks
from pytorch_offline.bundle.writing.machine_needs import cuda_need, lowest_glibc, oldest_pip
from pytorch_offline.bundle.writing.tools import choose_tools
from pytorch_offline.bundle.writing.wheel_facts import inspect_wheel, read_wheel_facts
from pytorch_offline.errors import IntegrityError, UsageError
from pytorch_offline.knowledge.torch_builds import find_default_backend
from pytorch_offline.mirror.layout import LOCKS, MANIFEST_NAME
from pytorch_offline.mirror.manifest import parse_manifest
from pytorch_offline.target.codec import parse_target
from pytorch_offline.wheels.backend import BackendKind, is_backend, parse_backend
from pytorch_offline.wheels.manylinux import promises_nothing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path, PurePosixPath

    from packaging.utils import NormalizedName

    from pytorch_offline.bundle.writing.locks import Lock
    from pytorch_offline.bundle.writing.wheel_facts import WheelFacts
    from pytorch_offline.mirror.model import MirrorFile
    from pytorch_offline.target.model import Target
    from pytorch_offline.wheels.backend import Backend
    from pytorch_offline.wheels.inspection import Inspection

# A manifest of a mirror directory as such is of no lineage and counts nothing; its date says that it is none.
NO_LINEAGE = "none"
NO_DATE = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """Locks and all files that belong to them, sorted, and the machine that each lock was made for."""

    targets: tuple[TargetLock, ...]
    files: tuple[BundleFile, ...]
    machines: Mapping[str, Target]


def describe_mirror(mirror: Path, targets: Sequence[str] = ()) -> Manifest:
    """Describe a mirror directory as a bundle that lies there under its real names.

    Raises:
        UsageError: ``not-a-mirror``, ``unknown-target``, ``unknown-manifest-format``, ``bad-target-file``.
        IntegrityError: ``bad-manifest``, ``bad-lock``, ``bad-files`` where a lock and the manifest disagree.
    """
    held = read_mirror_files(mirror)
    described = describe_targets(mirror, held, targets)
    tools, _ = choose_tools(held.values(), described.targets, described.machines, with_uv=True)
    files = {file.path: file for file in (*described.files, *(bundle_file_of(one.file) for one in tools))}
    sorted_files = tuple(files[path] for path in sorted(files))
    return Manifest(
        id=content_id(NO_LINEAGE, described.targets, sorted_files),
        lineage=NO_LINEAGE,
        counter=1,
        base=None,
        created=NO_DATE,
        targets=described.targets,
        tools=tuple(one.tool._replace(path=str(one.file.path)) for one in tools),
        files=sorted_files,
        drivers=make_driver_facts(),
    )


def read_mirror_files(mirror: Path) -> dict[PurePosixPath, MirrorFile]:
    """Read a mirror's manifest without opening the mirror for writing: it may lie on read-only media.

    Raises:
        UsageError: ``not-a-mirror`` if there is none, ``unknown-manifest-format``.
        IntegrityError: ``bad-manifest``.
    """
    try:
        body = (mirror / MANIFEST_NAME).read_bytes()
    except OSError as error:
        raise UsageError("not-a-mirror", f"{mirror} is no mirror directory: {error.strerror or error}") from error
    return {file.path: file for file in parse_manifest(body)}


def describe_targets(mirror: Path, held: Mapping[PurePosixPath, MirrorFile], targets: Sequence[str] = ()) -> Described:
    """Find out all that a far side has to know of some targets' locks; of all that the mirror has, if none is named.

    Raises:
        UsageError: ``not-a-mirror``, ``unknown-target``, ``bad-target-file``.
        IntegrityError: ``bad-lock``, ``bad-files``.
    """
    locks = _named(read_locks(mirror), targets)
    _refuse_disagreement(locks, held)
    reader = _Reader(mirror, held)
    files: dict[str, BundleFile] = {}
    described = []
    machines = {}
    for lock in locks:
        target, own = _read_target(mirror, lock)
        machines[lock.target] = target
        files.update((file.path, file) for file in own)
        files.update((str(wheel.path), bundle_file_of(held[wheel.path])) for wheel in lock.wheels)
        described.append(_describe(lock, target, reader))
    return Described(
        targets=tuple(sorted(described, key=lambda one: one.target)),
        files=tuple(sorted(files.values(), key=lambda file: file.path)),
        machines=machines,
    )


def _named(locks: Sequence[Lock], targets: Sequence[str]) -> tuple[Lock, ...]:
    known = {lock.target: lock for lock in locks}
    if unknown := [target for target in targets if target not in known]:
        raise UsageError(
            "unknown-target",
            f"there is no lock for target {unknown[0]!r}",
            facts={"targets": ", ".join(known)},
            hint="`fetch` writes a target's lock into the mirror",
        )
    return tuple(known[target] for target in dict.fromkeys(targets)) or tuple(locks)


def _refuse_disagreement(locks: Iterable[Lock], held: Mapping[PurePosixPath, MirrorFile]) -> None:
    bad = {}
    for lock in locks:
        for wheel in lock.wheels:
            file = held.get(wheel.path)
            if file is None:
                bad[str(wheel.path)] = f"the lock of {lock.target} names it, {MANIFEST_NAME} does not"
            elif file.sha256 != wheel.sha256 or wheel.size not in {None, file.size}:
                bad[str(wheel.path)] = f"the lock of {lock.target} has another sha256 or size than {MANIFEST_NAME}"
    if bad:
        raise IntegrityError(
            "bad-files",
            f"{len(bad)} files of the locks are not those that the mirror holds",
            facts=bad,
            hint="run `fetch` again for these targets: it downloads only what is missing, and writes their locks",
        )


def bundle_file_of(file: MirrorFile) -> BundleFile:
    """Make a wheel's row of a bundle; when its bytes were last verified here means nothing to others."""
    row: dict[str, Any] = {
        "hash_origin": file.hash_origin.value,
        "origin": file.origin,
        "metadata_sha256": file.metadata_sha256,
        "requires_python": file.requires_python,
        "yanked": file.yanked,
        "upload_time": file.upload_time,
        "spelling": file.spelling,
    }
    return BundleFile(path=str(file.path), size=file.size, sha256=file.sha256, row=row)


def _read_target(mirror: Path, lock: Lock) -> tuple[Target, list[BundleFile]]:
    """Read the target that a lock was made for, and give the rows of its files below ``locks/``."""
    names = (f"pylock.{lock.target}.toml", f"requirements.{lock.target}.txt", f"{lock.target}.json")
    found = {}
    for name in names:
        try:
            found[name] = (mirror / LOCKS / name).read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise IntegrityError("bad-lock", f"{LOCKS / name} cannot be read: {error.strerror or error}") from error
    if names[-1] not in found:
        raise IntegrityError(
            "bad-lock",
            f"{LOCKS / names[-1]} is missing: it says for which machine the lock of {lock.target} is",
            hint="run `fetch` again for this target",
        )
    target = parse_target(found[names[-1]].decode("utf-8", "replace"))
    rows = [
        BundleFile(path=str(LOCKS / name), size=len(body), sha256=hashlib.sha256(body).hexdigest())
        for name, body in found.items()
    ]
    return target, rows


class _Reader:
    """Reads each wheel once, however many locks name it."""

    def __init__(self, mirror: Path, held: Mapping[PurePosixPath, MirrorFile]) -> None:
        self._mirror = mirror
        self._held = held
        self._facts: dict[PurePosixPath, WheelFacts] = {}
        self._inspections: dict[PurePosixPath, Inspection] = {}

    def facts(self, path: PurePosixPath) -> WheelFacts:
        if path not in self._facts:
            self._facts[path] = read_wheel_facts(self._mirror, self._held[path])
        return self._facts[path]

    def inspections(self, lock: Lock, backend: Backend | None) -> dict[PurePosixPath, Inspection]:
        """Inspect those wheels of which something has to be known that their names do not say."""
        found = {}
        for wheel in lock.wheels:
            for_gpus = wheel.project == "torch" and backend is not None and backend.kind is BackendKind.CUDA
            if for_gpus or all(promises_nothing(tag.platform) for tag in wheel.name.tags):
                if wheel.path not in self._inspections:
                    self._inspections[wheel.path] = inspect_wheel(self._mirror, wheel.path, wheel.name)
                found[wheel.path] = self._inspections[wheel.path]
        return found


def _describe(lock: Lock, target: Target, reader: _Reader) -> TargetLock:
    facts = {wheel.project: reader.facts(wheel.path) for wheel in lock.wheels}
    closure = find_closure(
        {wheel.project: wheel.name.version for wheel in lock.wheels},
        {project: one.metadata for project, one in facts.items() if one.metadata is not None},
        target.marker_environment,
    )
    backend = backend_of(lock, target)
    inspections = reader.inspections(lock, backend)
    torch = lock.wheel_of("torch")
    return TargetLock(
        target=lock.target,
        pylock=str(LOCKS / f"pylock.{lock.target}.toml"),
        system=target.system,
        machine=target.machine,
        implementation=target.marker_environment["platform_python_implementation"],
        python=target.marker_environment["python_version"],
        markers=closure.markers,
        glibc=lowest_glibc([(wheel.name, wheel.path) for wheel in lock.wheels], target, inspections),
        backend=None if backend is None else str(backend),
        cuda=None if torch is None else cuda_need(backend, torch.name, target, inspections.get(torch.path)),
        oldest_pip=oldest_pip((wheel.name for wheel in lock.wheels), target),
        wheels=tuple(_describe_wheel(lock, wheel.project, facts, closure.needs) for wheel in lock.wheels),
        missing=closure.missing,
    )


def _describe_wheel(
    lock: Lock,
    project: NormalizedName,
    facts: Mapping[NormalizedName, WheelFacts],
    needs: Mapping[NormalizedName, tuple[NormalizedName, ...]],
) -> LockedWheel:
    wheel = lock.wheel_of(project)
    assert wheel is not None  # noqa: S101  (it is asked for by its own project)
    metadata = facts[project].metadata
    requires = metadata.requires_python if metadata is not None else None
    return LockedWheel(
        project=project,
        version=str(wheel.name.version),
        path=str(wheel.path),
        tags=tuple(sorted(map(str, wheel.name.tags))),
        needs=needs[project],
        requires_python=str(requires) if requires is not None and str(requires) else None,
        installed_bytes=facts[project].installed_bytes,
    )


def backend_of(lock: Lock, target: Target) -> Backend | None:
    """Say what torch was built for: by its directory or local version, else by what a plain index has of it."""
    if lock.backend is not None:
        return lock.backend
    torch = lock.wheel_of("torch")
    if torch is None or target.system != "Linux" or torch.name.version.local is not None:
        return None
    known = find_default_backend(torch.name.version, {tag.platform for tag in torch.name.tags})
    return parse_backend(known) if known is not None and is_backend(known) else None
