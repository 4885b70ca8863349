"""Is the target's C library new enough for a wheel whose tag does not say what it needs?

Most of upstream's wheels up to 2.6 are tagged ``linux_x86_64``, which promises nothing, or ``manylinux1_x86_64``, which
promises glibc 2.5 and is not true: they were built on CentOS 7 and AlmaLinux 8 (research/selectors.md, section 6, rule
4). pip takes them anywhere, even on musl, and the import fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_offline.knowledge.family import family_projects
from pytorch_offline.knowledge.glibc_need import find_glibc_need
from pytorch_offline.wheels.manylinux import promises_nothing

if TYPE_CHECKING:
    from pytorch_offline.selector.model import Candidate
    from pytorch_offline.target.model import Libc
    from pytorch_offline.wheels.filename import WheelName

GlibcVersion = tuple[int, int]
# No file with such a tag was built on anything newer than AlmaLinux 8; from there on nothing is
# measured for this alone (builds.BuildJudge looks at what it has read anyway, and at builds that no table knows).
NEWEST_NEED: GlibcVersion = (2, 28)


def is_weakly_labelled(name: WheelName) -> bool:
    """Whether a wheel of torch's family is for Linux, and no tag of it says truly which glibc it needs."""
    return name.project in family_projects() and all(promises_nothing(tag.platform) for tag in name.tags)


def is_in_question(name: WheelName, libc: Libc | None) -> bool:
    """Whether a wheel's measured need decides: its tag says nothing, and the target's C library is old, or no glibc."""
    return libc is not None and is_weakly_labelled(name) and (libc.name != "glibc" or libc.version < NEWEST_NEED)


def need_by_table(candidate: Candidate) -> tuple[GlibcVersion | None, str]:
    """Say which glibc a wheel needs by the table of measured builds and of build images, and how certain that is."""
    name, path = candidate.file.name, candidate.file.link.path
    variant = path.rpartition("/")[0].rpartition("/")[2]
    row = find_glibc_need(name.project, name.version, {tag.platform for tag in name.tags}, variant)
    return (None, "") if row is None else (row.need, f"by the table glibc_need.csv, certainty {row.certainty}")


def lacking_glibc(libc: Libc, need: GlibcVersion | None, how: str) -> str | None:
    """Say why the C library does not do for a weakly labelled wheel; None if it does, or if the need is not known."""
    if libc.name != "glibc":
        return f"it is linked with glibc, whatever its tag says; the target has {libc}"
    if need is None or libc.version >= need:
        return None
    return f"needs glibc {need[0]}.{need[1]} ({how}), whatever its tag says; the target has {libc}"
