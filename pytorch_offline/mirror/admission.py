"""The gate before the mirror: what a wheel must be before it gets its name there (DESIGN 4.3).

Neither pip nor uv compares a wheel with its RECORD (pypa/pip#4705), and upstream's files never passed the checks that
the public index makes of uploads (mirrors.md, section 1). So every wheel is read to its end here, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pytorch_offline.errors import IntegrityError
from pytorch_offline.wheels.archive import check_archive
from pytorch_offline.wheels.metadata import parse_metadata

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytorch_offline.mirror.model import WantedFile
    from pytorch_offline.wheels.archive_rules import ArchiveProblem
    from pytorch_offline.wheels.filename import WheelName

# How many of a wheel's problems an error spells out; the count says how many there are.
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBad:
    """Wheels that upstream published with a flaw, and still serves: let in with exactly this flaw.

    ``versions`` are spelt exactly, with the local part; ``filenames`` and ``members`` are patterns of ``fnmatch``.
    """

    project: str
    versions: frozenset[str]
    codes: frozenset[str]
    members: str
    source: str
    filenames: str = "*"


# The wheels prepared for the public index until 1.13 had `+cu102` and the like cut out of METADATA after RECORD was
# written (pytorch/builder#1164), so that METADATA alone disagrees, and only in Linux wheels without a local version.
KNOWN_BAD = (
    KnownBad(
        project="torch",
        versions=frozenset({"1.7.0"}),
        codes=frozenset({"record-mismatch"}),
        members="torch-*.dist-info/METADATA",
        filenames="*-manylinux1_x86_64.whl",
        source="https://github.com/pytorch/pytorch/issues/47916",
    ),
    KnownBad(
        project="torch",
        versions=frozenset({"1.9.0", "1.10.1"}),
        codes=frozenset({"record-mismatch"}),
        members="torch-*.dist-info/METADATA",
        filenames="*-manylinux1_x86_64.whl",
        source="https://github.com/pytorch/builder/issues/930",
    ),
    KnownBad(
        project="torch",
        versions=frozenset({"1.11.0"}),
        codes=frozenset({"record-mismatch"}),
        members="torch-*.dist-info/METADATA",
        filenames="*-manylinux1_x86_64.whl",
        source="https://github.com/pytorch/pytorch/issues/97153",
    ),
    KnownBad(
        project="torch",
        versions=frozenset({"1.12.1"}),
        codes=frozenset({"record-mismatch"}),
        members="torch-*.dist-info/METADATA",
        filenames="*-manylinux1_x86_64.whl",
        source="https://github.com/voicepaw/so-vits-svc-fork/pull/19",
    ),
    KnownBad(
        project="torch",
        versions=frozenset({"0.2.0.post1", "0.2.0.post3"}),
        codes=frozenset({"record-mismatch"}),
        members="torch/lib/libTHCS.so.1",
        filenames="*-linux_x86_64.whl",
        source="https://github.com/pytorch/pytorch/issues/2596",
    ),
    KnownBad(
        project="torch",
        versions=frozenset({"1.0.0", "1.0.1", "1.0.1.post2"}),
        codes=frozenset({"not-in-record", "record-no-hash"}),
        members="caffe2/*",
        source="https://github.com/pytorch/pytorch/issues/17972",
    ),
    KnownBad(
        project="torchvision",
        versions=frozenset({"0.11.2+cu113"}),
        codes=frozenset({"not-in-record"}),
        members="torchvision/*",
        filenames="*-win_amd64.whl",
        source="https://github.com/pytorch/vision/issues/5371",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What the gate learnt of a wheel that may pass."""

    metadata: bytes
    spelling: str
    requires_python: str | None
    excused: tuple[KnownBad, ...]


def excuse_for(name: WheelName, problem: ArchiveProblem) -> KnownBad | None:
    """Find the published exception that covers a problem of a wheel, if there is one."""
    for known in KNOWN_BAD:
        if (
            name.project == known.project
            and str(name.version) in known.versions
            and problem.code in known.codes
            and fnmatchcase(problem.member, known.members)
            and fnmatchcase(name.filename, known.filenames)
        ):
            return known
    return None


def check_bytes(wanted: WantedFile, *, size: int, sha256: str) -> None:
    """Compare what came with what was published.

    Raises:
        IntegrityError: ``hash-mismatch`` or ``size-mismatch``, naming both.
    """
    if wanted.sha256 is not None and sha256 != wanted.sha256:
        raise IntegrityError(
            "hash-mismatch",
            f"{wanted.name.filename} is not the file that was published",
            facts={
                "file": str(wanted.path),
                "published sha256": wanted.sha256,
                "received sha256": sha256,
                "published size": wanted.size,
                "received size": size,
            },
        )
    check_demanded(wanted, sha256)
    if wanted.size is not None and size != wanted.size:
        raise IntegrityError(
            "size-mismatch",
            f"{wanted.name.filename} has {size} bytes, {wanted.size} were published",
            facts={
                "file": str(wanted.path),
                "published size": wanted.size,
                "received size": size,
                "published sha256": wanted.sha256,
                "received sha256": sha256,
            },
        )


def check_demanded(wanted: WantedFile, sha256: str) -> None:
    """Compare what came, or what is here, with the hashes that the user admits.

    Raises:
        IntegrityError: ``hash-mismatch``.
    """
    if wanted.one_of and sha256 not in wanted.one_of:
        raise IntegrityError(
            "hash-mismatch",
            f"{wanted.name.filename} has none of the hashes that were demanded",
            facts={"file": str(wanted.path), "demanded sha256": sorted(wanted.one_of), "received sha256": sha256},
        )


def check_wheel(path: Path, name: WheelName, *, seen: Callable[[memoryview], object] | None = None) -> Admission:
    """Read a wheel to its end: the zip, RECORD and METADATA; ``seen`` is told of all its bytes in order.

    Raises:
        IntegrityError: ``bad-wheel`` with the problems that no exception covers, or what ``parse_metadata`` raises.
    """
    report = check_archive(path, name, seen=seen)
    excuses = {problem: excuse_for(name, problem) for problem in report.problems}
    unexcused = [problem for problem, excuse in excuses.items() if excuse is None]
    if unexcused:
        shown = {f"{problem.code} {problem.member}": problem.detail for problem in unexcused[:_SHOWN]}
        raise IntegrityError(
            "bad-wheel",
            f"{name.filename} is not a sound wheel ({len(unexcused)} problem{'s' if len(unexcused) > 1 else ''})",
            facts=shown,
        )
    metadata = parse_metadata(report.metadata)
    requires_python = metadata.requires_python
    return Admission(
        metadata=report.metadata,
        spelling=metadata.spelling,
        requires_python=None if requires_python is None else str(requires_python),
        excused=tuple(
            sorted({excuse for excuse in excuses.values() if excuse is not None}, key=lambda known: known.source)
        ),
    )
